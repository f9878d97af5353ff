//! The order that every target is given, and the steps it goes through.

use saga_core::StepKind;
use saga_examples::order::Order;

/// The definition's name.
pub(crate) const PLACE_ORDER: &str = "place-order";

/// What a saga consists of: the same five steps for every target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrderStep {
    pub(crate) name: &'static str,
    pub(crate) participant: &'static str,
    pub(crate) kind: StepKind,
    pub(crate) action: &'static str,
    pub(crate) compensation: &'static str,
}

const fn step(
    name: &'static str,
    participant: &'static str,
    kind: StepKind,
    action: &'static str,
    compensation: &'static str,
) -> OrderStep {
    OrderStep { name, participant, kind, action, compensation }
}

/// The steps of an order.
pub(crate) const STEPS: [OrderStep; 5] = [
    step("reserve-stock", "inventory", StepKind::Compensatable, "reserve", "release"),
    step("redeem-coupon", "coupons", StepKind::Compensatable, "redeem", "restore"),
    step("freeze-points", "points", StepKind::Compensatable, "freeze", "unfreeze"),
    step("capture-payment", "payments", StepKind::Pivot, "capture", ""),
    step("confirm-order", "orders", StepKind::Retriable, "confirm", ""),
];

/// The last participant that may refuse an order.
pub(crate) const REJECTING: &str = "payments";

/// The coupons that there are, each good for one order.
const COUPONS: u64 = 10_000;

/// All participants.
pub(crate) fn participants() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.participant).collect()
}

/// Order number so and so: about 150 bytes of JSON. Stock, customers and cards are spread as in a
/// shop; one order in ten has a coupon, as long as there are any.
pub(crate) fn order(number: u64) -> Order {
    let coupon = number.is_multiple_of(10).then_some(number / 10).filter(|nth| *nth < COUPONS);
    Order {
        order: format!("order-{number}"),
        customer: format!("customer-{:03}", number % 100),
        sku: format!("SKU-{:03}", number % 10),
        quantity: 1,
        coupon: coupon.map(|nth| format!("COUPON-{nth:05}")),
        points: (number % 3) as u32 * 10,
        amount_cents: 4_999,
        card: format!("card-{number}"),
    }
}

/// The number of an order from its name.
pub(crate) fn number(order: &str) -> Option<u64> {
    order.strip_prefix("order-")?.parse().ok()
}
