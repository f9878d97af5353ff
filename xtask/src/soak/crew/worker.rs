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

const LEASES: &str = "SELECT id, name, lease_until FROM saga_worker";
const OWNERS: &str = "SELECT owner, count(*) FROM saga WHERE owner IS NOT NULL GROUP BY owner";

/// A lease by the store's account: of whom, under which name, and until when.
type Lease = (Vec<u8>, String, i64);

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
    let (name, mut sagas) = (format!("process-{pid}"), Reader::new(crew.ground.sagas()));
    let before = sagas.rows::<Lease>(LEASES, &[]).await;
    let began = now_micros();
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
    let after = sagas.rows::<Lease>(LEASES, &[]).await;
    let owners = sagas.rows::<(Vec<u8>, i64)>(OWNERS, &[]).await;
    // Where the database was disturbed, the lease could not be handed back: it runs out.
    let (Ok(before), Ok(after), Ok(owners), true) =
        (before, after, owners, crew.ground.is_calm_since(calm))
    else {
        return;
    };
    let held = live(&before, &name, began);
    let left = left_behind(&held, &live(&after, &name, now_micros()), &owners);
    match left {
        Some(what) => crew.tally.violated("L4", format!("{name} was drained, but {what}")),
        // One that had lost its lease before had nothing to leave behind.
        None if held.is_empty() => {}
        None => crew.tally.drained(),
    }
}

/// The workers of a name whose leases have not run out at a moment.
fn live<'a>(leases: &'a [Lease], name: &str, at: i64) -> Vec<&'a [u8]> {
    let live = leases.iter().filter(|(_, of, until)| of == name && *until > at);
    live.map(|(id, _, _)| id.as_slice()).collect()
}

/// What a drained worker, which held leases before, still has.
fn left_behind(before: &[&[u8]], after: &[&[u8]], owners: &[(Vec<u8>, i64)]) -> Option<String> {
    if !after.is_empty() {
        return Some("holds a lease".to_owned());
    }
    let owned = owners.iter().find(|(owner, _)| before.contains(&owner.as_slice()));
    owned.map(|(_, sagas)| format!("owns {sagas} sagas"))
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // A process that is gone has ended by itself, which its end tells.
    pid.map(|pid| kill_process(pid, signal).ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_or_a_saga_that_a_drained_worker_keeps_is_found() {
        let lease = |id: u8, name: &str, until| (vec![id], name.to_owned(), until);
        let (one, expired) = (lease(1, "process-12", 50), lease(2, "process-12", 20));
        let leases = [one, expired, lease(3, "process-13", 50)];
        assert_eq!(live(&leases, "process-12", 30), [&[1_u8][..]]);

        let (mine, others) = ([&[1_u8][..]], [(vec![3], 7), (vec![2], 1)]);
        assert_eq!(left_behind(&mine, &[], &others), None);
        assert!(left_behind(&mine, &mine, &others).unwrap().contains("a lease"));
        let owned = left_behind(&mine, &[], &[(vec![1], 4)]).unwrap();
        assert!(owned.contains("4 sagas"), "{owned}");
    }
}
