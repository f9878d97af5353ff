//! Each misbehaviour, seen from a client's eyes.

use std::time::Duration;

use saga_examples::inventory::Inventory;
use saga_examples::switches::{Faults, Misbehaviour, Switches};
use saga_participant::{Op, problem};
use sqlx::Sqlite;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Service, order};
use crate::place::{Kind, on_each_database};

on_each_database!(a_wild_service_has_every_effect_at_most_once_whatever_the_client_sees,);

async fn service(misbehaviour: Misbehaviour) -> Service {
    let service = Service::start::<Inventory, Sqlite>("reserve-stock").await;
    service.always(Some(misbehaviour)).await;
    service
}

/// Behaving again, the service gives the first attempt's answer, and there is one effect.
async fn check_retry_finds_the_first_effect(inventory: &Service) {
    inventory.always(None).await;
    let retried = inventory.act("/reserve", "s", &order()).await;
    assert_eq!(retried.output()["reservation_id"], 1);
    assert_eq!(inventory.effects("s").await, (1, 0));
}

#[tokio::test]
async fn a_slow_service_has_committed_although_the_client_has_timed_out() {
    let inventory = service(Misbehaviour::Slow).await;
    let timed_out = inventory
        .request("/reserve", Op::Action, "s", &order())
        .timeout(Duration::from_millis(300))
        .send()
        .await
        .unwrap_err();
    assert!(timed_out.is_timeout(), "{timed_out:?}");
    inventory.until_effective("s").await;
    check_retry_finds_the_first_effect(&inventory).await;
}

#[tokio::test]
async fn a_dropped_connection_ends_without_an_answer_but_the_effect_is_there() {
    let inventory = service(Misbehaviour::Drop).await;
    let broken = inventory.send("/reserve", Op::Action, "s", &order()).await.unwrap_err();
    assert!(broken.status().is_none() && !broken.is_timeout(), "{broken:?}");
    assert_eq!(inventory.effects("s").await, (1, 0));
    check_retry_finds_the_first_effect(&inventory).await;
}

#[tokio::test]
async fn a_dropped_connection_does_not_bring_a_single_byte() {
    let inventory = service(Misbehaviour::Drop).await;
    let request = inventory.request("/reserve", Op::Action, "s", &order()).build().unwrap();
    let mut text = "POST /reserve HTTP/1.1\r\nhost: inventory\r\n".to_owned();
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    let body = request.body().unwrap().as_bytes().unwrap();
    text += &format!("content-length: {}\r\n\r\n", body.len());

    let mut connection = TcpStream::connect(inventory.address).await.unwrap();
    connection.write_all(text.as_bytes()).await.unwrap();
    connection.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    // The end of the connection may show as its end or as a reset; an answer is neither.
    let _ = connection.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    assert_eq!(inventory.effects("s").await, (1, 0));
}

#[tokio::test]
async fn an_error_before_the_commit_is_a_500_without_an_effect() {
    let inventory = service(Misbehaviour::ErrorBefore).await;
    let failed = inventory.act("/reserve", "s", &order()).await;
    assert_eq!((failed.status, failed.recorded), (500, false));
    assert_eq!(inventory.effects("s").await, (0, 0));
    check_retry_finds_the_first_effect(&inventory).await;
}

#[tokio::test]
async fn an_error_after_the_commit_is_a_500_with_an_effect() {
    let inventory = service(Misbehaviour::ErrorAfter).await;
    let failed = inventory.act("/reserve", "s", &order()).await;
    assert_eq!((failed.status, failed.recorded), (500, false));
    assert_eq!(inventory.effects("s").await, (1, 0));
    check_retry_finds_the_first_effect(&inventory).await;
}

#[tokio::test]
async fn a_late_delivery_takes_effect_after_the_client_was_told_otherwise() {
    let inventory = service(Misbehaviour::Late).await;
    match inventory.send("/reserve", Op::Action, "s", &order()).await {
        Ok(not_yet) => assert_eq!((not_yet.status, not_yet.recorded), (503, false)),
        Err(broken) => assert!(broken.status().is_none() && !broken.is_timeout()),
    }
    inventory.until_effective("s").await;
    check_retry_finds_the_first_effect(&inventory).await;
}

#[tokio::test]
async fn a_late_delivery_both_breaks_connections_off_and_answers_503() {
    let inventory = service(Misbehaviour::Late).await;
    let (mut answered, mut broken) = (0, 0);
    for nth in 0..20 {
        let order = saga_examples::order::Order { order: format!("order-{nth}"), ..order() };
        match inventory.send("/reserve", Op::Action, &format!("s-{nth}"), &order).await {
            Ok(_) => answered += 1,
            Err(_) => broken += 1,
        }
    }
    assert!(answered > 0 && broken > 0, "{answered} answered, {broken} broken off");
}

#[tokio::test]
async fn a_late_delivery_after_its_compensation_is_refused() {
    let inventory = service(Misbehaviour::Late).await;
    let _late = inventory.send("/reserve", Op::Action, "s", &order()).await;
    inventory.compensate("/release", "s", &order()).await.output();

    // A second late delivery, sent afterwards, is in; so the first one has been in too.
    let _later = inventory.send("/reserve", Op::Action, "t", &order()).await;
    inventory.until_effective("t").await;
    assert_eq!(inventory.effects("s").await, (0, 0));
}

#[tokio::test]
async fn a_rejection_by_a_switch_is_recorded_and_final() {
    let inventory = service(Misbehaviour::Reject).await;
    let rejected = inventory.act("/reserve", "s", &order()).await;
    assert!(rejected.rejection().contains("a switch rejects"));
    inventory.always(None).await;
    assert_eq!(inventory.act("/reserve", "s", &order()).await, rejected);
    assert_eq!(inventory.effects("s").await, (0, 0));
}

#[tokio::test]
async fn a_duplicated_request_has_one_effect() {
    let inventory = service(Misbehaviour::Duplicate).await;
    for nth in 0..10 {
        let saga_id = format!("s-{nth}");
        inventory.act("/reserve", &saga_id, &order()).await.output();
        assert_eq!(inventory.effects(&saga_id).await, (1, 0));
    }
}

#[tokio::test]
async fn compensations_behave_while_actions_always_misbehave() {
    let inventory = service(Misbehaviour::ErrorAfter).await;
    assert_eq!(inventory.act("/reserve", "s", &order()).await.status, 500);
    inventory.compensate("/release", "s", &order()).await.output();
    assert_eq!(inventory.effects("s").await, (1, 1));
}

#[tokio::test]
async fn switches_are_shown_as_they_were_set_and_nonsense_is_refused() {
    let inventory = Service::start::<Inventory, Sqlite>("reserve-stock").await;
    let url = inventory.url("/switches");
    let set = |body: &'static str| inventory.http.put(&url).body(body).send();
    let shown =
        async || inventory.http.get(&url).send().await.unwrap().json::<Switches>().await.unwrap();
    assert_eq!(shown().await, Switches::default());

    assert_eq!(set(r#"{"faults": "wild", "seed": 9}"#).await.unwrap().status(), 200);
    let wild = Switches { faults: Faults::Wild, seed: 9, ..Switches::default() };
    assert_eq!(shown().await, wild);

    for (nonsense, named) in
        [(r#"{"faults": "chaotic"}"#, "chaotic"), (r#"{"seeds": 1}"#, "seeds"), ("", "EOF")]
    {
        let refused = set(nonsense).await.unwrap();
        assert_eq!(refused.status(), 400);
        assert_eq!(refused.headers()["content-type"], problem::CONTENT_TYPE);
        let text = refused.text().await.unwrap();
        assert!(text.contains(named) && text.contains("Expected for instance"), "{text}");
    }
    assert_eq!(shown().await, wild, "a refused setting changes nothing");
}

async fn a_wild_service_has_every_effect_at_most_once_whatever_the_client_sees<DB: Kind>() {
    let inventory = std::sync::Arc::new(Service::start::<Inventory, DB>("reserve-stock").await);
    let wild = r#"{"faults": "wild", "seed": 5, "slow_ms": 1, "late_ms": 1}"#;
    inventory.http.put(inventory.url("/switches")).body(wild).send().await.unwrap();
    let mut sagas = tokio::task::JoinSet::new();
    for nth in 0..60 {
        let inventory = std::sync::Arc::clone(&inventory);
        sagas.spawn(async move {
            let (saga_id, order) = (
                format!("s-{nth}"),
                saga_examples::order::Order { order: format!("o-{nth}"), ..order() },
            );
            for _ in 0..2 {
                let _unknown = inventory.send("/reserve", Op::Action, &saga_id, &order).await;
            }
            for _ in 0..2 {
                let _unknown = inventory.send("/release", Op::Compensation, &saga_id, &order).await;
            }
        });
    }
    sagas.join_all().await;
    for movement in inventory.books().await.movements {
        assert_eq!(movement.action_effects, 1, "{movement:?}");
        assert!(movement.compensation_effects <= 1, "{movement:?}");
    }
}
