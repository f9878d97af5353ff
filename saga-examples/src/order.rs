//! The input of the saga `place-order`, which every participant reads.

use serde::{Deserialize, Serialize};

/// An order of a customer. It is the saga's input, so each call to a participant brings it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The shop's own number of the order, for instance `order-17`.
    pub order: String,
    /// Who orders, for instance `customer-003`.
    pub customer: String,
    /// What is ordered, for instance `SKU-004`.
    pub sku: String,
    /// How many units of it; at least 1.
    pub quantity: u32,
    /// The coupon to redeem. Default: none.
    #[serde(default)]
    pub coupon: Option<String>,
    /// How many points of the customer to freeze; may be 0.
    pub points: u32,
    /// The price in cents, before the discount of the coupon.
    pub amount_cents: u32,
    /// The card to charge, for instance `card-17`.
    pub card: String,
}
