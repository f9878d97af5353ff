//! Real orders, so many at a time that about a given number of sagas is alive.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::crew::Crew;
use super::sql::Reader;
use crate::demo::api::{self, OrderService};
use crate::demo::driver;
use crate::demo::plan::{self, Planned};

/// How often the live sagas are counted.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long an order is posted again and again until it gets a clear answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most orders that are on their way to the order service at the same time.
const POSTING_MAX: usize = 16;
/// How many orders are dealt at once.
const DEAL: u32 = 10_000;

/// The orders that the order service acknowledged: the id of the saga and what was ordered.
pub(super) type Acknowledged = Vec<(String, Planned)>;

/// Posts orders until `stop` says so, then waits for those under way.
///
/// # Errors
/// When the HTTP client cannot be set up.
pub(super) async fn post(
    crew: Arc<Crew>,
    url: String,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<Acknowledged> {
    let service = OrderService::new(api::client()?, url, PATIENCE);
    let acknowledged = Arc::new(Mutex::new(Acknowledged::new()));
    let mut sagas = Reader::new(crew.ground.sagas());
    let mut plan = orders(crew.options.seed);
    let mut posting = JoinSet::new();
    while !*stop.borrow() {
        while posting.try_join_next().is_some() {}
        if let Ok(live) = crew.witness.look(&mut sagas).await {
            let room = (crew.options.in_flight as usize).saturating_sub(live.len());
            let room = room.min(POSTING_MAX).saturating_sub(posting.len());
            for planned in plan.by_ref().take(room) {
                let (crew, service) = (Arc::clone(&crew), service.clone());
                posting.spawn(post_one(crew, service, planned, Arc::clone(&acknowledged)));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stop.changed() => {}
        }
    }
    while posting.join_next().await.is_some() {}
    Ok(std::mem::take(&mut acknowledged.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Orders without end, decided by the seed.
fn orders(seed: u64) -> impl Iterator<Item = Planned> {
    (seed.wrapping_mul(1_000)..).flat_map(|seed| plan::orders(seed, DEAL))
}

async fn post_one(
    crew: Arc<Crew>,
    service: OrderService,
    planned: Planned,
    acknowledged: Arc<Mutex<Acknowledged>>,
) {
    match driver::post(&service, &planned).await {
        Ok(Ok(saga)) => {
            acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push((saga, planned));
        }
        Ok(Err(broken)) => {
            crew.tally.violated("S11", format!("order {}: {broken}", planned.key));
        }
        // Nothing was acknowledged, so nothing was promised.
        Err(_) => crew.tally.did("order without an answer"),
    }
}
