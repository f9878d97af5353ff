//! Which orders the demo places, and how it places them: decided by the seed alone.

use serde::{Deserialize, Serialize};

use super::rng::Rng;

/// What a customer orders; the input of the saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub order: String,
    pub customer: String,
    pub sku: String,
    pub quantity: u64,
    pub coupon: Option<String>,
    pub points: u64,
    pub amount_cents: u64,
    pub card: String,
}

/// What the business must answer to an order when nothing breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Business {
    /// Every service can do its part.
    Accepts,
    /// The inventory does not know the sku.
    UnknownSku,
    /// The coupon has expired.
    ExpiredCoupon,
    /// The customer has not enough points.
    PoorCustomer,
    /// The card is declined.
    DeclinedCard,
}

impl Business {
    /// Why the order must be refused, in words; nothing for an order that can be fulfilled.
    pub(crate) fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Accepts => None,
            Self::UnknownSku => Some("unknown sku"),
            Self::ExpiredCoupon => Some("expired coupon"),
            Self::PoorCustomer => Some("not enough points"),
            Self::DeclinedCard => Some("declined card"),
        }
    }
}

/// How an order is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Posting {
    /// One call.
    Once,
    /// The same call again after its answer.
    Twice,
    /// Two equal calls at the same time.
    AtOnce,
    /// A second call with the same key and another body, which must be refused.
    OtherBody,
}

/// One order of the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub key: String,
    pub order: Order,
    pub business: Business,
    pub posting: Posting,
}

/// Twenty orders hold six that the business must refuse, at each step where it can.
const BUSINESS: [Business; 20] = {
    let mut deck = [Business::Accepts; 20];
    deck[1] = Business::DeclinedCard;
    deck[4] = Business::ExpiredCoupon;
    deck[7] = Business::PoorCustomer;
    deck[10] = Business::UnknownSku;
    deck[13] = Business::DeclinedCard;
    deck[16] = Business::ExpiredCoupon;
    deck
};

/// Ten orders hold four that are called more than once.
const POSTING: [Posting; 10] = {
    use Posting::{AtOnce, Once, OtherBody, Twice};
    [Once, Twice, Once, AtOnce, Once, OtherBody, Once, AtOnce, Once, Once]
};

/// The coupons that exist; each can be redeemed once.
const COUPONS: u32 = 10_000;

/// The orders of a demo: the same for the same seed and number.
pub(crate) fn orders(seed: u64, number: u32) -> Vec<Planned> {
    let mut rng = Rng::new(seed);
    let mut business = dealt(&BUSINESS, number);
    let mut posting = dealt(&POSTING, number);
    rng.shuffle(&mut business);
    rng.shuffle(&mut posting);
    let kinds = business.into_iter().zip(posting).zip(0..number);
    kinds
        .map(|((business, posting), index)| Planned {
            key: format!("demo-{seed}-order-{index}"),
            order: order(&mut rng, index, business),
            business,
            posting,
        })
        .collect()
}

/// The first `number` cards of a deck that is repeated for ever.
fn dealt<T: Copy>(deck: &[T], number: u32) -> Vec<T> {
    deck.iter().copied().cycle().take(number as usize).collect()
}

/// A random order that the business answers as told.
fn order(rng: &mut Rng, index: u32, business: Business) -> Order {
    let mut order = fulfillable(rng, index);
    match business {
        Business::Accepts => {}
        Business::UnknownSku => order.sku = "SKU-UNKNOWN".to_owned(),
        Business::ExpiredCoupon => order.coupon = Some("EXPIRED".to_owned()),
        Business::PoorCustomer => {
            order.customer = "customer-poor".to_owned();
            order.points = 100;
        }
        Business::DeclinedCard => order.card = "card-declined".to_owned(),
    }
    order
}

fn fulfillable(rng: &mut Rng, index: u32) -> Order {
    let with_coupon = index < COUPONS && rng.below(2) == 0;
    let with_points = rng.below(3) > 0;
    Order {
        order: format!("order-{index}"),
        customer: format!("customer-{:03}", rng.below(100)),
        sku: format!("SKU-{:03}", rng.below(10)),
        quantity: 1 + rng.below(3),
        coupon: with_coupon.then(|| format!("COUPON-{index:05}")),
        points: if with_points { 10 + rng.below(200) } else { 0 },
        amount_cents: 1_000 + rng.below(9_000),
        card: format!("card-{index}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_deals_the_same_orders() {
        assert_eq!(orders(7, 200), orders(7, 200));
        assert_ne!(orders(7, 200), orders(8, 200));
    }

    #[test]
    fn sixty_orders_hold_every_kind_of_refusal_and_of_posting() {
        let plan = orders(3, 60);
        let kinds: BTreeSet<_> = plan.iter().map(|planned| planned.business).collect();
        assert_eq!(kinds.len(), 5);
        for posting in [Posting::Once, Posting::Twice, Posting::AtOnce, Posting::OtherBody] {
            assert!(plan.iter().any(|planned| planned.posting == posting), "{posting:?}");
        }
    }

    #[test]
    fn keys_orders_and_coupons_are_used_once() {
        let plan = orders(5, 500);
        let keys: BTreeSet<_> = plan.iter().map(|planned| &planned.key).collect();
        assert_eq!(keys.len(), plan.len());
        let coupons: Vec<_> = plan
            .iter()
            .filter_map(|planned| planned.order.coupon.as_deref())
            .filter(|coupon| *coupon != "EXPIRED")
            .collect();
        assert_eq!(coupons.iter().collect::<BTreeSet<_>>().len(), coupons.len());
    }

    #[test]
    fn a_refused_order_is_refused_for_the_reason_it_is_dealt_for() {
        for planned in orders(11, 200) {
            let order = &planned.order;
            let holds = [
                (order.sku == "SKU-UNKNOWN", Business::UnknownSku),
                (order.coupon.as_deref() == Some("EXPIRED"), Business::ExpiredCoupon),
                (order.customer == "customer-poor", Business::PoorCustomer),
                (order.card == "card-declined", Business::DeclinedCard),
            ];
            let found: Vec<_> = holds.iter().filter(|(holds, _)| *holds).collect();
            match planned.business {
                Business::Accepts => assert!(found.is_empty()),
                refused => assert!(matches!(found[..], [(_, is)] if *is == refused)),
            }
        }
    }
}
