//! Real orders, so many at a time that about a given number of sagas is alive, and operators who give
//! commands to some of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::crew::Crew;
use super::operators::{Given, Operators};
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

/// How the keys of orders begin that have a row which appears together with their saga.
pub(super) const TOGETHER: &str = "together-";

/// An order that the order service acknowledged.
#[derive(Debug)]
pub(super) struct Acknowledged {
    pub saga: String,
    pub planned: Planned,
}

/// What the order service promised.
#[derive(Debug, Default)]
pub(super) struct Promises {
    pub orders: Vec<Acknowledged>,
    pub commands: Vec<Given>,
}

/// Posts orders and gives commands until `stop` says so, then waits for those under way.
///
/// # Errors
/// When the HTTP client cannot be set up.
pub(super) async fn post(
    crew: Arc<Crew>,
    url: String,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<Promises> {
    let mut operators = Operators::new(Arc::clone(&crew), url.clone())?;
    let service = OrderService::new(api::client()?, url, PATIENCE);
    let acknowledged = Arc::default();
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
            operators.look(&live);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stop.changed() => {}
        }
    }
    while posting.join_next().await.is_some() {}
    let orders = std::mem::take(&mut *acknowledged.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Promises { orders, commands: operators.finish().await })
}

/// Orders without end, decided by the seed. Every second one is placed together with its saga.
fn orders(seed: u64) -> impl Iterator<Item = Planned> {
    let plan = (seed.wrapping_mul(1_000)..).flat_map(|seed| plan::orders(seed, DEAL));
    plan.enumerate().map(|(nth, planned)| match nth % 2 {
        0 => planned,
        _ => Planned { key: format!("{TOGETHER}{}", planned.key), ..planned },
    })
}

async fn post_one(
    crew: Arc<Crew>,
    service: OrderService,
    planned: Planned,
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
) {
    let is_together = planned.key.starts_with(TOGETHER);
    let service = if is_together { service.together() } else { service };
    let began = Instant::now();
    match driver::post(&service, &planned).await {
        Ok(Ok(saga)) => {
            let mut acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
            acknowledged.push(Acknowledged { saga, planned });
        }
        // Its key is free again when its saga was forgotten meanwhile, and the second call starts another.
        Ok(Err(_)) if !is_together && began.elapsed() > crew.options.retention() => {
            crew.tally.did("order repeated after its saga was forgotten");
        }
        Ok(Err(broken)) => {
            crew.tally.violated("S11", format!("order {}: {broken}", planned.key));
        }
        // Nothing was acknowledged, so nothing was promised.
        Err(_) => crew.tally.did("order without an answer"),
    }
}
