//! What goes wrong, and when: a fault every 30 to 150 ms, dealt by the seed.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::crew::{Crew, Deed, Kept, SERVICES, Wish};
use super::ground::Server;
use super::progress::Progress;
use super::proxy::Line;
use crate::demo::api;
use crate::demo::rng::Rng;

/// The pause between two faults, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 30..151;
/// How long after all kills were done the crash points that were hit too seldom are waited for.
const HITS_MAX: Duration = Duration::from_secs(60);
/// How long the server is up at least between two ends of it.
const OUTAGE_EVERY: Duration = Duration::from_secs(5);
/// How long requests that come late take to land in a storm: longer than all attempts at an action.
pub(super) const LATE: Duration = Duration::from_millis(6_000);
/// How many of the services, the first ones, have actions that can be compensated.
const COMPENSATED: u64 = 3;
/// How long a storm lasts.
const STORM: Duration = Duration::from_millis(3_000);

/// The processes that faults are done to.
#[derive(Debug)]
pub(super) struct Targets {
    pub workers: Vec<Kept>,
    pub services: Vec<Kept>,
}

/// Does faults until enough have been done.
pub(super) async fn rage(crew: &Arc<Crew>, targets: &Targets, progress: &mut Progress) {
    let mut rng = Rng::new(crew.options.seed);
    let (began, mut enough_since) = (Instant::now(), None);
    let (mut background, storming) = (JoinSet::new(), Arc::default());
    let outages = Arc::new(Mutex::new(began + OUTAGE_EVERY));
    loop {
        if is_enough(crew, began) {
            let since = *enough_since.get_or_insert_with(Instant::now);
            if crew.armoury.lagging().is_empty() || since.elapsed() > HITS_MAX {
                break;
            }
        }
        sleep(Duration::from_millis(PAUSE_MS.start + rng.below(PAUSE_MS.end - PAUSE_MS.start)))
            .await;
        while background.try_join_next().is_some() {}
        let is_due = outages.try_lock().is_ok_and(|next| Instant::now() > *next);
        if is_due && crew.ground.server().is_some() {
            let (crew, crash) = (Arc::clone(crew), rng.below(2) == 0);
            let (outages, pause) = (Arc::clone(&outages), Duration::from_millis(rng.below(400)));
            background.spawn(async move {
                let (mut next, began) = (outages.lock().await, Instant::now());
                end_server(&crew, crash, pause).await;
                // Where the disk is slow, a server that is down most of the time would find nothing.
                *next = Instant::now() + OUTAGE_EVERY.max(began.elapsed() * 3);
            });
        }
        one(crew, targets, &mut rng, &mut background, &storming);
        progress.show(crew);
    }
    while background.join_next().await.is_some() {}
}

fn is_enough(crew: &Crew, began: Instant) -> bool {
    match crew.options.minutes {
        Some(minutes) => began.elapsed() >= Duration::from_secs(minutes * 60),
        None => crew.tally.done("worker killed") >= crew.options.kills,
    }
}

/// Does one fault.
fn one(
    crew: &Arc<Crew>,
    targets: &Targets,
    rng: &mut Rng,
    background: &mut JoinSet<()>,
    storming: &Arc<Mutex<()>>,
) {
    let connections = crew.ground.server().is_some();
    match rng.below(100) {
        // One at a time, or there would soon be nobody to take over from it.
        0..10 if targets.workers.iter().all(|worker| !worker.is_frozen()) => {
            let lease = crew.options.lease_ms;
            let pause = lease * 3 + rng.below(lease / 2 + 1);
            to_a_worker(crew, targets, rng, Deed::Freeze(Duration::from_millis(pause)));
        }
        10..16 => to_a_worker(crew, targets, rng, Deed::Drain),
        16..18 => {
            let service = &targets.services[rng.below(targets.services.len() as u64) as usize];
            if service.ready().is_some() {
                service.ask(Deed::Kill);
            }
        }
        18..28 if storming.try_lock().is_ok() => {
            let nth = rng.below(COMPENSATED) as usize;
            let (crew, url) = (Arc::clone(crew), targets.services[nth].url.clone());
            let storming = Arc::clone(storming);
            background.spawn(async move {
                let _one = storming.lock().await;
                storm(&crew, &url).await;
            });
        }
        28..32 if connections => {
            let (crew, mut rng) = (Arc::clone(crew), Rng::new(rng.below(u64::MAX)));
            background.spawn(async move {
                if let Some(server) = crew.ground.server() {
                    disturb_connections(&crew, server, &mut rng).await;
                }
            });
        }
        _ => to_a_worker(crew, targets, rng, Deed::Kill),
    }
}

/// Does it to one of the workers that are ready. One that is armed with a point of the drain is
/// drained instead, and one that is armed with a point of retention left alone, or they would never
/// come to their points.
fn to_a_worker(crew: &Crew, targets: &Targets, rng: &mut Rng, deed: Deed) {
    let ready: Vec<_> =
        targets.workers.iter().filter_map(|worker| Some((worker, worker.ready()?))).collect();
    // A fleet that only ever starts gets no saga on, and nothing is found in it. Without a database
    // none gets on anyway.
    let calm = crew.ground.calm().is_some();
    if ready.is_empty() || (calm && ready.len() * 2 < targets.workers.len()) {
        return;
    }
    match ready[rng.below(ready.len() as u64) as usize] {
        (worker, Wish::Anything) => drop(worker.ask(deed)),
        (worker, Wish::Drain) => drop(worker.ask(Deed::Drain)),
        (_, Wish::Peace) => {}
    }
}

/// Makes all participants behave again, so that no further call is delayed, and mends the network:
/// connections that were silenced are told now that they are dead.
pub(super) async fn calm(crew: &Crew, targets: &Targets) {
    if let Some(server) = crew.ground.server() {
        server.proxy().turn(Line::Cut, || true);
    }
    let Ok(client) = api::client() else { return };
    let participants = targets.services.iter().take(SERVICES.len() - 1);
    for url in participants.map(|service| format!("{}/switches", service.url)) {
        for _ in 0..50 {
            let switches = json!({ "faults": "off", "seed": crew.options.seed });
            if client.put(&url).json(&switches).send().await.is_ok() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// For a while every action at one participant comes late: after its compensation.
async fn storm(crew: &Crew, url: &str) {
    let Ok(client) = api::client() else { return };
    let late = u64::try_from(LATE.as_millis()).unwrap_or(u64::MAX);
    let mut switches = json!({
        "faults": "mild", "seed": crew.options.seed, "slow_ms": 3_000, "late_ms": late, "always": "late"
    });
    let url = format!("{url}/switches");
    // A participant that is down just now has no storm, and comes back without one.
    if client.put(&url).json(&switches).send().await.is_err() {
        return;
    }
    crew.tally.did("storm of late calls");
    sleep(STORM).await;
    switches["always"] = json!(null);
    for _ in 0..20 {
        if client.put(&url).json(&switches).send().await.is_ok() {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn disturb_connections(crew: &Crew, server: &Server, rng: &mut Rng) {
    let disturbance = server.disturb();
    match rng.below(3) {
        0 => {
            server.proxy().turn(Line::Cut, || rng.below(2) == 0);
            crew.tally.did("connections cut");
        }
        1 => {
            server.proxy().turn(Line::Silent, || rng.below(3) == 0);
            crew.tally.did("connections silenced");
        }
        _ => {
            let pause = Duration::from_millis(200 + rng.below(1_000));
            server.proxy().freeze(pause).await;
            crew.tally.did("connections frozen");
        }
    }
    drop(disturbance);
}

async fn end_server(crew: &Crew, crash: bool, pause: Duration) {
    let Some(server) = crew.ground.server() else { return };
    match server.outage(crash, pause).await {
        Ok(()) if crash => crew.tally.did("PostgreSQL killed"),
        Ok(()) => crew.tally.did("PostgreSQL stopped at once"),
        Err(error) => {
            crew.tally.violated("process", format!("PostgreSQL did not come back: {error:#}"));
        }
    }
}
