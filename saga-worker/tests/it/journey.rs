//! From start to verdict: which calls are made, and what is left of them.

use std::sync::Arc;

use saga_core::{Definition, Failure, Input, Op, Output, Step, Verdict, parallel};
use saga_worker::Worker;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::support::{ACTION, Behave, COMPENSATION, World, order, verdict};

#[tokio::test(start_paused = true)]
async fn a_saga_without_trouble_calls_every_action_once_and_is_completed() {
    let world = World::new();
    let worker = world.worker().await;
    let started = order(&worker).await;
    assert!(started.created);
    assert_eq!(verdict(&started).await, Verdict::Completed);
    let journey = ["reserve action", "redeem action", "pay action", "confirm action"];
    assert_eq!(world.desk.journey(), journey);
    world.assert_whole(started.id);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_pivot_compensates_the_earlier_steps_in_reverse() {
    let world = World::new();
    world.desk.always("pay", ACTION, Behave::Reject);
    let worker = world.worker().await;
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    let journey = [
        "reserve action",
        "redeem action",
        "pay action",
        "redeem compensation",
        "reserve compensation",
    ];
    assert_eq!(world.desk.journey(), journey);
    world.assert_clean(started.id);
}

#[tokio::test(start_paused = true)]
async fn a_step_rejected_after_an_unknown_attempt_is_compensated_itself() {
    let world = World::new();
    world.desk.script("redeem", ACTION, |attempt| match attempt {
        1 => Behave::Fail,
        _ => Behave::Reject,
    });
    let worker = world.worker().await;
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    assert_eq!(world.desk.arrivals_of("redeem", COMPENSATION).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_recorded_by_a_barrier_settles_earlier_unknown_attempts() {
    let world = World::new();
    world.desk.script("redeem", ACTION, |attempt| match attempt {
        1 => Behave::Fail,
        _ => Behave::RejectForGood,
    });
    let worker = world.worker().await;
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    assert!(world.desk.arrivals_of("redeem", COMPENSATION).is_empty());
    world.assert_clean(started.id);
}

#[tokio::test(start_paused = true)]
async fn spent_attempts_compensate_the_step_itself_because_its_effect_is_unknown() {
    let world = World::new();
    world.desk.always("redeem", ACTION, Behave::FailAfter);
    let worker = world.worker().await;
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    assert_eq!(world.desk.arrivals_of("redeem", ACTION).len(), 3);
    assert_eq!(world.effects(started.id, "redeem"), (1, 1));
    world.assert_clean(started.id);
}

#[tokio::test(start_paused = true)]
async fn the_steps_of_a_group_run_side_by_side_and_compensate_side_by_side() {
    let world = World::new();
    for step in ["left", "right"] {
        world.desk.always(step, ACTION, Behave::Gate);
        world.desk.always(step, COMPENSATION, Behave::Gate);
    }
    world.desk.always("pay", ACTION, Behave::Reject);
    let group = parallel([world.desk.compensatable("left"), world.desk.compensatable("right")]);
    let definition = world.define("grouped", [group]);
    let worker = world.builder_of(&world.access(), definition).start().await.unwrap();
    let started = worker.start("grouped", &()).await.unwrap();
    // Both are under way before either may answer.
    world.desk.arrived("left", Op::Action, 1).await;
    world.desk.arrived("right", Op::Action, 1).await;
    assert_eq!(world.desk.arrivals().len(), 2);
    world.desk.open();
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    for step in ["left", "right"] {
        assert_eq!(world.effects(started.id, step), (1, 1));
    }
}

#[derive(Serialize, Deserialize)]
struct Order {
    cents: u64,
}
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reservation {
    number: u32,
}
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Discount {
    cents: u64,
}

#[tokio::test(start_paused = true)]
async fn typed_outputs_reach_later_steps_and_compensations() {
    let world = World::new();
    let (seen, mut heard) = mpsc::unbounded_channel();
    let (by_pay, by_release, by_restore) = (seen.clone(), seen.clone(), seen);
    let reserve = async || Ok::<_, Failure>(Reservation { number: 7 });
    let redeem = |Input(order): Input<Order>| async move {
        Ok::<_, Failure>(Discount { cents: order.cents / 10 })
    };
    let pay = move |Output(reservation): Output<Reservation>,
                    Output(discount): Output<Discount>| {
        let seen = by_pay.clone();
        async move {
            seen.send(format!("pay {} less {}", reservation.number, discount.cents)).unwrap();
            Err::<(), _>(Failure::rejected("declined"))
        }
    };
    let release = move |own: Option<Output<Reservation>>| {
        let seen = by_release.clone();
        async move {
            seen.send(format!("release {:?}", own.map(|Output(own)| own.number))).unwrap();
            Ok::<_, Failure>(())
        }
    };
    let restore = move |own: Option<Output<Discount>>, Input(order): Input<Order>| {
        let seen = by_restore.clone();
        async move {
            let own = own.map(|Output(own)| own.cents);
            seen.send(format!("restore {own:?} of {}", order.cents)).unwrap();
            Ok::<_, Failure>(())
        }
    };
    let definition = Definition::new(
        "typed",
        [
            Step::compensatable("reserve", reserve, release),
            Step::compensatable("redeem", redeem, restore),
            Step::pivot("pay", pay),
        ],
    );
    let builder = Worker::builder(world.memory.clone()).clock(world.clock.clone());
    let worker = builder.register(definition.unwrap()).start().await.unwrap();
    let started = worker.start("typed", &Order { cents: 500 }).await.unwrap();
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    let expected = ["pay 7 less 50", "restore Some(50) of 500", "release Some(7)"];
    for line in expected {
        assert_eq!(heard.recv().await.unwrap(), line);
    }
}

#[tokio::test(start_paused = true)]
async fn the_compensation_of_a_step_whose_output_never_came_is_given_none() {
    let world = World::new();
    let (seen, mut heard) = mpsc::unbounded_channel();
    let reserve = async || Err::<Reservation, _>(Failure::transient("gone"));
    let release = move |own: Option<Output<Reservation>>| {
        let seen = seen.clone();
        async move {
            seen.send(own.map(|Output(own)| own)).unwrap();
            Ok::<_, Failure>(())
        }
    };
    let definition =
        Definition::new("nothing", [Step::compensatable("reserve", reserve, release)]).unwrap();
    let store: Arc<dyn saga_core::Store> = world.memory.clone();
    let builder = Worker::builder(store).clock(world.clock.clone()).register(definition);
    let worker = builder.start().await.unwrap();
    let started = worker.start("nothing", &()).await.unwrap();
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    assert_eq!(heard.recv().await.unwrap(), None);
}
