//! What is done to a worker, and what it must do then.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;

use super::kept::{After, Deed, note_death};
use super::{Crew, DRAIN, now_micros};
use crate::demo::process::Process;
use crate::soak::sql::Reader;
use crate::soak::witness::Woken;

/// How long after its drain a worker may take for everything else that an end needs, on a machine
/// that is busy with all the other processes.
const END_MAX: Duration = Duration::from_secs(8);

/// How often is looked whether a worker has stopped itself.
const LOOK_EVERY: Duration = Duration::from_millis(50);

const LEASES: &str = "\
    SELECT name, lease_until, (SELECT count(*) FROM saga WHERE owner = saga_worker.id) \
    FROM saga_worker";

/// Carries out what is asked, until the worker has ended. `ready` tells that more can be asked.
pub(super) async fn attend(
    crew: &Crew,
    mut process: Process,
    orders: &mut mpsc::Receiver<Deed>,
    ready: impl Fn(),
    busy: impl Fn(),
) -> After {
    let pid = process.pid();
    loop {
        ready();
        let order = tokio::select! {
            ended = process.end() => {
                note_death(crew, "a worker", pid, ended.ok(), &process.tail());
                return After::Again;
            }
            order = orders.recv() => order.unwrap_or(Deed::End),
            () = stands_still(pid) => {
                busy();
                // Time enough for others to take its sagas over and to get on with them.
                wake(crew, pid, crew.options.lease() * 2).await;
                crew.tally.did("worker stood still at an append");
                continue;
            }
        };
        match order {
            Deed::Kill => {
                process.kill().await.ok();
                crew.tally.did("worker killed");
                return After::Again;
            }
            Deed::Freeze(pause) => freeze(crew, pid, pause).await,
            Deed::Drain => {
                drain(crew, process).await;
                crew.tally.did("worker drained");
                return After::Again;
            }
            Deed::End => {
                drain(crew, process).await;
                return After::Never;
            }
        }
    }
}

/// Stops the process for so long, and remembers who owned what before it goes on.
async fn freeze(crew: &Crew, pid: u32, pause: Duration) {
    signal(pid, Signal::STOP);
    wake(crew, pid, pause).await;
    crew.tally.did("worker frozen past its lease");
}

/// Lets a process that stands still go on after so long.
async fn wake(crew: &Crew, pid: u32, pause: Duration) {
    tokio::time::sleep(pause).await;
    let looked = crew.witness.look(&mut Reader::new(crew.ground.sagas())).await;
    if let Ok(epochs) = looked {
        crew.witness.wakes(Woken { pid, at: now_micros(), epochs });
    }
    signal(pid, Signal::CONT);
}

/// Waits until the process has stopped itself. Where there is no `/proc`, nobody notices.
async fn stands_still(pid: u32) {
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.contains(") T ") {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// SIGTERM: it has to end with exit code 0 in time, and hand everything back.
async fn drain(crew: &Crew, mut process: Process) {
    let pid = process.pid();
    let calm = crew.ground.calm();
    signal(pid, Signal::TERM);
    let end = async {
        loop {
            tokio::select! {
                ended = process.end() => return ended,
                // Its drain is what is watched now.
                () = stands_still(pid) => signal(pid, Signal::CONT),
            }
        }
    };
    let ended = tokio::time::timeout(DRAIN + END_MAX, end).await;
    let Ok(ended) = ended else {
        let what = format!("a worker did not end after SIGTERM{}", process.tail());
        crew.tally.violated("L4", what);
        process.kill().await.ok();
        return;
    };
    if !ended.as_ref().is_ok_and(|status| status.success()) {
        // Only a crash point excuses it.
        return note_death(crew, "a draining worker", pid, ended.ok(), &process.tail());
    }
    // On a machine that is busy enough, a worker may be too late for its lease, or for the store to
    // hear of its end in time; what it had is then taken over when the lease runs out.
    if ["lease lost", "cannot hand the lease back"].iter().any(|words| process.said(words)) {
        crew.tally.did("drain without a lease or a store");
        return;
    }
    let leases = Reader::new(crew.ground.sagas()).rows::<(String, i64, i64)>(LEASES, &[]).await;
    // Where the database was disturbed, the lease could not be handed back: it runs out.
    let (Ok(leases), true) = (leases, crew.ground.is_calm_since(calm)) else { return };
    let name = format!("process-{pid}");
    for (_, _, sagas) in leases.iter().filter(|(n, until, _)| *n == name && *until > now_micros()) {
        crew.tally.violated("L4", format!("{name} was drained, but holds {sagas} sagas"));
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // A process that is gone has ended by itself, which its end tells.
    pid.map(|pid| kill_process(pid, signal).ok());
}
