//! The saga of an order: what it consists of, and nothing else.

use std::time::Duration;

use saga_core::{Definition, RetryPolicy, Step};
use saga_worker::HttpParticipant;

/// The definition's name.
pub const PLACE_ORDER: &str = "place-order";

/// How long a participant may take to answer.
const TIMEOUT: Duration = Duration::from_millis(1_000);

/// Where the participants are: base URLs such as `http://127.0.0.1:8081`.
#[derive(Debug, Clone, clap::Args)]
pub struct Participants {
    /// Base URL of the inventory
    #[arg(long, value_name = "URL")]
    pub inventory: String,
    /// Base URL of the coupons
    #[arg(long, value_name = "URL")]
    pub coupons: String,
    /// Base URL of the points
    #[arg(long, value_name = "URL")]
    pub points: String,
    /// Base URL of the payments
    #[arg(long, value_name = "URL")]
    pub payments: String,
    /// Base URL of the order service
    #[arg(long, value_name = "URL")]
    pub orders: String,
}

/// The newest version of the saga.
pub const NEWEST: u32 = 2;

/// The saga `place-order` with these participants, in its first version.
///
/// # Errors
/// When a URL is none, with the participant's name.
pub fn definition(at: &Participants) -> anyhow::Result<Definition> {
    version(at, 1)
}

/// The versions of the saga up to `newest`: since the second one points are frozen before the coupon is
/// redeemed, because customers lack points more often than their coupons have expired.
///
/// # Errors
/// As [`definition`].
pub fn definitions(at: &Participants, newest: u32) -> anyhow::Result<Vec<Definition>> {
    (1..=newest).map(|number| version(at, number)).collect()
}

fn version(at: &Participants, number: u32) -> anyhow::Result<Definition> {
    let inventory = HttpParticipant::new("inventory", &at.inventory)?;
    let coupons = HttpParticipant::new("coupons", &at.coupons)?;
    let points = HttpParticipant::new("points", &at.points)?;
    let payments = HttpParticipant::new("payments", &at.payments)?;
    let orders = HttpParticipant::new("orders", &at.orders)?;
    let redeem = patient(coupons.compensatable("redeem-coupon", "redeem", "restore")?);
    let freeze = patient(points.compensatable("freeze-points", "freeze", "unfreeze")?);
    let [second, third] = if number == 1 { [redeem, freeze] } else { [freeze, redeem] };
    let place_order = Definition::builder(PLACE_ORDER)
        .version(number)
        .step(patient(inventory.compensatable("reserve-stock", "reserve", "release")?))
        .step(second)
        .step(third)
        .step(patient(payments.pivot("capture-payment", "capture")?).retry(persistent()))
        .step(patient(orders.retriable("confirm-order", "confirm")?).retry(persistent()))
        .build()?;
    Ok(place_order)
}

/// Policies for services on the same network: short timeouts, short delays.
fn patient(step: Step) -> Step {
    let retry = RetryPolicy::new(3, Duration::from_millis(200));
    step.timeout(TIMEOUT)
        .compensation_timeout(TIMEOUT)
        .retry(retry)
        .compensation_retry(persistent())
}

/// For what has to succeed in the end.
fn persistent() -> RetryPolicy {
    RetryPolicy::new(20, Duration::from_millis(200)).capped(Duration::from_secs(5))
}
