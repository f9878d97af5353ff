//! A process that is started again whenever it dies.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::worker;
use super::{Crew, FAILED_STARTS_MAX, NotStarted, PAUSE, Started};
use crate::soak::points::Passer;

/// The number of SIGABRT, by which a process ends that dies at a crash point.
const SIGABRT: i32 = 6;
/// How long a service may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// What is to be done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT after so long. Workers only.
    Freeze(Duration),
    /// SIGTERM, and a look at how it ends. Workers only.
    Drain,
    /// It ends in order, and is not started again.
    End,
}

/// A process that is kept running.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Where it listens, if it is a service.
    pub(crate) url: String,
    running: Running,
    frozen: Arc<AtomicBool>,
    deeds: mpsc::Sender<Deed>,
    task: JoinHandle<()>,
}

/// What is best done to a process, so that it comes to the crash point that it is armed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Whatever comes.
    Anything,
    /// It is drained.
    Drain,
    /// It is left alone until it dies by itself.
    Peace,
}

/// What runs now, if something is ready, and what is best done to it.
type Running = Arc<Mutex<Option<Wish>>>;

/// What is to become of a process that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It is started again.
    Again,
    /// It is not.
    Never,
}

impl Kept {
    pub(super) fn service(
        crew: Arc<Crew>,
        name: &'static str,
        url: String,
        first: Started,
    ) -> Self {
        let (running, (deeds, orders)) = (Running::default(), mpsc::channel(1));
        let listen = url.trim_start_matches("http://").to_owned();
        let task = tokio::spawn(keep_service(crew, name, listen, first, running.clone(), orders));
        Self { url, running, frozen: Arc::default(), deeds, task }
    }

    pub(super) fn worker(crew: Arc<Crew>, slot: u16, services: Vec<String>) -> Self {
        let (running, (deeds, orders)) = (Running::default(), mpsc::channel(1));
        let frozen = Arc::new(AtomicBool::new(false));
        let states = (running.clone(), frozen.clone());
        let task = tokio::spawn(keep_worker(crew, slot, services, states, orders));
        Self { url: String::new(), running, frozen, deeds, task }
    }

    /// Whether it is ready, and if so, what is best done to it.
    pub(crate) fn ready(&self) -> Option<Wish> {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it stands still just now.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }

    /// Asks for a deed; false when its task is busy with another one.
    pub(crate) fn ask(&self, deed: Deed) -> bool {
        let asked = self.deeds.try_send(deed).is_ok();
        if asked {
            self.frozen.store(matches!(deed, Deed::Freeze(_)), Ordering::SeqCst);
            // Until it is ready again there is nothing to do it to.
            set(&self.running, None);
        }
        asked
    }

    /// Ends it in order and waits for that.
    pub(crate) async fn end(self) {
        // Where nobody listens any more, it has ended for good.
        self.deeds.send(Deed::End).await.ok();
        self.task.await.ok();
    }
}

fn set(running: &Running, now: Option<Wish>) {
    *running.lock().unwrap_or_else(PoisonError::into_inner) = now;
}

async fn keep_worker(
    crew: Arc<Crew>,
    slot: u16,
    services: Vec<String>,
    (running, frozen): (Running, Arc<AtomicBool>),
    mut orders: mpsc::Receiver<Deed>,
) {
    let mut failed = 0;
    loop {
        match crew.start_worker(slot, &services).await {
            Ok(Started { process, point }) => {
                failed = 0;
                let wish = match point.map(|point| point.passer) {
                    Some(Passer::Draining) => Wish::Drain,
                    Some(Passer::Forgetting) => Wish::Peace,
                    Some(Passer::Worker | Passer::Orders | Passer::Participant) | None => {
                        Wish::Anything
                    }
                };
                let ready = || {
                    frozen.store(false, Ordering::SeqCst);
                    set(&running, Some(wish));
                };
                let busy = || set(&running, None);
                let after = worker::attend(&crew, process, &mut orders, ready, busy).await;
                set(&running, None);
                point.into_iter().for_each(|point| crew.armoury.take_back(point));
                if after == After::Never {
                    return;
                }
            }
            Err(fault) if note_failed_start(&crew, &fault, &mut failed).await => {}
            Err(_) => return,
        }
    }
}

async fn keep_service(
    crew: Arc<Crew>,
    name: &'static str,
    listen: String,
    first: Started,
    running: Running,
    mut orders: mpsc::Receiver<Deed>,
) {
    let mut started = Some(first);
    let mut failed = 0;
    loop {
        let Started { mut process, point } = match started.take() {
            Some(started) => started,
            None => match crew.start_service(name, &listen).await {
                Ok(service) => service.started,
                Err(fault) if note_failed_start(&crew, &fault, &mut failed).await => continue,
                Err(_) => return,
            },
        };
        failed = 0;
        set(&running, Some(Wish::Anything));
        let pid = process.pid();
        let order = tokio::select! {
            ended = process.end() => {
                note_death(&crew, name, pid, ended.ok(), &process.tail());
                None
            }
            order = orders.recv() => Some(order.unwrap_or(Deed::End)),
        };
        set(&running, None);
        point.into_iter().for_each(|point| crew.armoury.take_back(point));
        match order {
            None => {}
            Some(Deed::End) => {
                process.ask_to_end();
                return process.ended(GRACE).await;
            }
            Some(Deed::Kill | Deed::Freeze(_) | Deed::Drain) => {
                process.kill().await.ok();
                crew.tally.did("service killed");
            }
        }
    }
}

/// Notes that a process did not come up; false when it is to be given up.
async fn note_failed_start(crew: &Crew, fault: &NotStarted, failed: &mut u32) -> bool {
    *failed += 1;
    if fault.at_point {
        crew.tally.did("died at a crash point");
    } else if fault.expected {
        crew.tally.did("start without a database");
    } else {
        crew.tally.violated("process", format!("a process did not start: {fault}"));
    }
    tokio::time::sleep(PAUSE).await;
    *failed < FAILED_STARTS_MAX
}

/// Notes that a process ended although nobody asked it to.
pub(super) fn note_death(
    crew: &Crew,
    name: &str,
    pid: u32,
    status: Option<ExitStatus>,
    tail: &str,
) {
    let aborted = status.is_some_and(|status| status.signal() == Some(SIGABRT));
    if aborted && crew.armoury.death_of(pid).is_some() {
        crew.tally.did("died at a crash point");
    } else {
        let how = status.map_or("in an unknown way".to_owned(), |status| status.to_string());
        crew.tally.violated("process", format!("{name} ended by itself, {how}{tail}"));
    }
}
