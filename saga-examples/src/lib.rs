//! A shop in pieces: four services that take part in sagas, each with its own database.
//!
//! An [`Order`](order::Order) reserves stock ([`inventory`]), redeems a coupon ([`coupons`]),
//! freezes loyalty points ([`points`]) and captures a payment ([`payments`]). Each service is a
//! real participant behind the barrier of `saga-participant`, keeps [`books`] that prove what it
//! did, and has [`switches`] that make it misbehave in every way a network and a service know.
//!
//! [`place_order`] is the saga that drives them, and [`orders`] the service that starts it.
//!
//! Read one business first, [`inventory`] for instance; the rest is what surrounds it.

pub mod order;

pub mod coupons;
pub mod inventory;
pub mod payments;
pub mod points;

pub mod orders;
pub mod place_order;

pub mod books;
#[cfg(feature = "crash-points")]
pub mod crashing_store;
pub mod database;
mod faults;
pub mod guard;
pub mod hang_up;
pub mod misbehave;
pub mod participant;
pub mod service;
pub mod sql;
pub mod switches;

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
