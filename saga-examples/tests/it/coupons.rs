//! A coupon is good for one saga at a time.

use std::sync::Arc;

use saga_examples::coupons::Coupons;
use saga_examples::order::Order;
use serde_json::json;
use tokio::task::JoinSet;

use crate::client::{Service, order};
use crate::place::{Kind, on_each_database};

on_each_database!(
    a_coupon_is_redeemed_by_one_saga_until_it_is_restored,
    a_coupon_that_many_sagas_want_at_once_is_redeemed_by_one,
    an_order_without_a_coupon_is_processed_without_an_effect,
    an_unknown_or_expired_coupon_is_rejected,
);

async fn service<DB: Kind>() -> Service {
    Service::start::<Coupons, DB>("redeem-coupon").await
}

async fn a_coupon_is_redeemed_by_one_saga_until_it_is_restored<DB: Kind>() {
    let coupons = service::<DB>().await;
    assert_eq!(coupons.books().await.opening, 10_001);
    let redeemed = coupons.act("/redeem", "first", &order()).await;
    assert_eq!(redeemed.output(), &json!({"coupon": "COUPON-00017", "discount_cents": 500}));
    let second = coupons.act("/redeem", "second", &order()).await;
    assert!(second.rejection().contains("already redeemed"));
    assert_eq!(coupons.books().await.held, 1);

    coupons.compensate("/restore", "second", &order()).await.output();
    assert_eq!(coupons.books().await.held, 1, "the rejected saga had nothing to restore");
    coupons.compensate("/restore", "first", &order()).await.output();
    assert_eq!(coupons.books().await.held, 0);
    coupons.act("/redeem", "third", &order()).await.output();
    assert_eq!(coupons.effects("first").await, (1, 1));
    assert_eq!(coupons.effects("third").await, (1, 0));
}

async fn a_coupon_that_many_sagas_want_at_once_is_redeemed_by_one<DB: Kind>() {
    let coupons = Arc::new(service::<DB>().await);
    let mut sagas = JoinSet::new();
    for nth in 0..20 {
        let coupons = Arc::clone(&coupons);
        sagas.spawn(async move { coupons.act("/redeem", &format!("s-{nth}"), &order()).await });
    }
    let replies = sagas.join_all().await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        assert!(reply.rejection().contains("already redeemed"));
    }
    assert_eq!(coupons.books().await.held, 1);
}

async fn an_order_without_a_coupon_is_processed_without_an_effect<DB: Kind>() {
    let coupons = service::<DB>().await;
    let none = Order { coupon: None, ..order() };
    let reply = coupons.act("/redeem", "s", &none).await;
    assert_eq!(reply.output(), &json!({"discount_cents": 0}));
    assert_eq!(coupons.compensate("/restore", "s", &none).await.output(), &json!(null));
    assert_eq!(coupons.books().await.movements, []);
}

async fn an_unknown_or_expired_coupon_is_rejected<DB: Kind>() {
    let coupons = service::<DB>().await;
    for (code, reason) in [("COUPON-99999", "no coupon `COUPON-99999`"), ("EXPIRED", "has expired")]
    {
        let order = Order { coupon: Some(code.to_owned()), ..order() };
        let reply = coupons.act("/redeem", code, &order).await;
        assert!(reply.rejection().contains(reason), "{}", reply.body);
    }
    assert_eq!(coupons.books().await.movements, []);
}
