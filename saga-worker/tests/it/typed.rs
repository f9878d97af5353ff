//! Typed steps whose values do not fit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use saga_core::{
    Assume, CommandAction, Definition, Event, Failure, Input, Output, Payload, Refusal,
    RetryPolicy, Status, Step, Verdict,
};
use saga_worker::{Client, CommandError};
use serde::{Deserialize, Serialize};

use crate::support::{World, tell, verdict};

#[derive(Serialize, Deserialize)]
struct Order {
    sku: String,
}

#[derive(Serialize, Deserialize)]
struct Room {
    number: u32,
}

/// `book` fails until it is mended by hand; `charge` reads what it gives.
fn trip(calls: &Arc<AtomicU32>) -> Definition {
    let charged = calls.clone();
    let book = |_: Input<Order>| async { Err::<Room, _>(Failure::transient("out of order")) };
    async fn cancel(_: Option<Output<Room>>) -> Result<(), Failure> {
        Ok(())
    }
    let charge = move |Output(room): Output<Room>| {
        charged.fetch_add(room.number, Ordering::SeqCst);
        async { Ok::<(), Failure>(()) }
    };
    let patient = RetryPolicy::new(50, Duration::from_secs(3_600));
    let book = Step::compensatable("book", book, cancel).retry(patient);
    let steps = [book, Step::pivot("charge", charge)];
    Definition::new("trip", steps).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_input_that_a_pivot_cannot_read_is_refused_without_a_person() {
    let world = World::new();
    let called = Arc::new(AtomicU32::new(0));
    let counter = called.clone();
    let pay = move |_: Input<Order>| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok::<(), Failure>(()) }
    };
    let definition = Definition::new("pay", [Step::pivot("pay", pay)]).unwrap();
    let _worker = world.builder_of(&world.access(), definition).start().await.unwrap();
    // A process without the code cannot check the input.
    let client = Client::new(world.access(), vec![]).unwrap().with_clock(world.clock.clone());
    let started = client.start("pay", &17).await.unwrap();
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    assert_eq!(called.load(Ordering::SeqCst), 0, "it was never called");
    let events = world.events(started.id).await;
    let told = |event: &Event| match event {
        Event::StepRejected { rejection, .. } => {
            rejection.uncalled.then(|| rejection.reason.clone())
        }
        _ => None,
    };
    let reason = events.iter().find_map(told).expect("it is recorded as such");
    assert!(reason.contains("not called, its parameters cannot be read"), "{reason}");
    assert!(reason.contains("Order"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn an_output_to_assume_must_be_one_that_the_steps_after_it_can_read() {
    for inside in [true, false] {
        let world = World::new();
        let calls = Arc::new(AtomicU32::new(0));
        let builder = world.builder_of(&world.access(), trip(&calls));
        let worker = builder.payload_bytes_max(1_000).start().await.unwrap();
        let client = if inside { worker.client().clone() } else { world.client() };
        let started = worker.start("trip", &Order { sku: "A".to_owned() }).await.unwrap();
        world.settled(started.id, Status::Running).await;
        let skip = |json: &str| CommandAction::Skip {
            step: "book".to_owned(),
            assume: Assume::Processed(Payload::from_json(json).unwrap()),
        };
        let long = format!(r#"{{"number":7,"note":"{}"}}"#, "x".repeat(2_000));
        for (output, explanation) in [
            (r#"{"room":7}"#, "missing field `number`"),
            ("null", "cannot be read as"),
            (long.as_str(), "the bound is 1000"),
        ] {
            let refused = tell(&client, started.id, skip(output)).await.unwrap_err();
            let CommandError::Refused(refusal @ Refusal::Output { .. }) = refused else {
                panic!("{output}: {refused}");
            };
            let words = refusal.to_string();
            assert!(words.contains("step book cannot be taken as processed"), "{words}");
            assert!(words.contains(explanation), "{words}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        tell(&client, started.id, skip(r#"{"number":7}"#)).await.unwrap();
        assert_eq!(verdict(&started).await, Verdict::Completed);
        assert_eq!(calls.load(Ordering::SeqCst), 7);
    }
}

#[tokio::test(start_paused = true)]
async fn an_output_to_assume_that_is_too_big_never_reaches_the_inbox() {
    let world = World::new();
    let client = world.client();
    let nobody = saga_core::SagaId::from_bytes([7; 16]);
    let text = "x".repeat(saga_core::PAYLOAD_BYTES_MAX);
    let assume = Assume::Processed(Payload::encode(&text).unwrap());
    let skip = CommandAction::Skip { step: "book".to_owned(), assume };
    let refused = tell(&client, nobody, skip).await.unwrap_err();
    assert!(matches!(refused, CommandError::Refused(Refusal::Output { .. })), "{refused}");
}
