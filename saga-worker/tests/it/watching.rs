//! What can be seen of a saga, from its worker's process and from any other.

use std::time::Duration;

use futures_util::TryStreamExt;
use saga_core::store::Query;
use saga_core::{
    CommandAction, Event, IdempotencyKey, SagaId, Status, StepState, Transition, Verdict,
    WaitReason,
};
use saga_worker::{Client, ClientError, Settled};

use crate::support::{ACTION, Behave, World, order, tell, verdict, within_an_hour};

async fn follow(client: Client, id: SagaId, after: u64) -> Vec<Transition> {
    within_an_hour(client.events(id, after).try_collect()).await.unwrap()
}

#[track_caller]
fn assert_whole_story(transitions: &[Transition]) {
    let seqs: Vec<_> = transitions.iter().map(|transition| transition.seq).collect();
    assert_eq!(seqs, (1..=transitions.len() as u64).collect::<Vec<_>>(), "gap-free from 1");
    assert!(matches!(transitions[0].events[0], Event::SagaStarted(_)));
    let last = transitions.last().and_then(|transition| transition.events.last());
    assert!(matches!(last, Some(Event::SagaEnded { .. })), "ends with the verdict: {last:?}");
}

#[tokio::test(start_paused = true)]
async fn events_come_without_gap_as_they_happen_and_end_with_the_verdict() {
    let world = World::new();
    world.desk.first("redeem", ACTION, Behave::Hang);
    let worker = world.worker().await;
    let started = order(&worker).await;
    // One inside the worker's process, one outside, one that comes late, one from the middle.
    let inside = tokio::spawn(follow(worker.client().clone(), started.id, 0));
    let outside = tokio::spawn(follow(world.client(), started.id, 0));
    let middle = tokio::spawn(follow(world.client(), started.id, 2));
    assert_eq!(verdict(&started).await, Verdict::Completed);
    let late = follow(world.client(), started.id, 0).await;
    let (inside, outside) = (inside.await.unwrap(), outside.await.unwrap());
    assert_whole_story(&inside);
    assert_eq!(inside, outside);
    assert_eq!(inside, late);
    assert_eq!(middle.await.unwrap(), inside[2..]);
    assert!(follow(world.client(), started.id, inside.len() as u64).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_event_is_seen_in_the_same_process_without_waiting_for_a_poll() {
    let world = World::new();
    world.desk.always("redeem", ACTION, Behave::Slow(Duration::from_millis(2_500)));
    let worker = world.worker().await;
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert_eq!(world.clock.elapsed(), Duration::from_millis(2_500));
}

#[tokio::test(start_paused = true)]
async fn a_verdict_is_the_same_in_every_process() {
    let world = World::new();
    world.desk.always("pay", ACTION, Behave::Reject);
    let worker = world.worker().await;
    let started = order(&worker).await;
    let outside = world.client();
    let elsewhere = tokio::spawn(async move { outside.verdict(started.id).await.unwrap() });
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    assert_eq!(elsewhere.await.unwrap(), Verdict::Compensated);
    assert_eq!(world.client().verdict(started.id).await.unwrap(), Verdict::Compensated);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_saga_is_said_to_be_unknown() {
    let world = World::new();
    let (client, known) = (world.client(), order(&world.client()).await);
    drop(known);
    let id: SagaId = "01890000-0000-7000-8000-000000000000".parse().unwrap();
    assert_eq!(client.view(id).await.unwrap(), None);
    assert_eq!(client.verdict(id).await.unwrap_err(), ClientError::NotFound { id });
    assert_eq!(client.log(id, 0, 9).await.unwrap_err(), ClientError::NotFound { id });
    let events: Result<Vec<_>, _> = client.events(id, 0).try_collect().await;
    assert_eq!(events.unwrap_err(), ClientError::NotFound { id });
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_the_journey_in_words_and_in_pages() {
    let world = World::new();
    let worker = world.worker().await;
    let started = order(&worker).await;
    verdict(&started).await;
    let all = worker.log(started.id, 0, 100).await.unwrap();
    let words: Vec<_> = all.iter().flat_map(|entry| entry.words.clone()).collect();
    assert_eq!(words[0], "saga place-order v1 started");
    assert_eq!(words[1], "step reserve received (attempt 1)");
    assert_eq!(words.last().unwrap(), "saga ended: completed");
    let page = worker.log(started.id, 1, 2).await.unwrap();
    assert_eq!(page, all[1..3]);
}

#[tokio::test(start_paused = true)]
async fn sagas_are_found_by_status_name_and_key_and_counted_by_status() {
    let world = World::new();
    world.desk.first("pay", ACTION, Behave::Reject);
    let worker = world.worker().await;
    let keyed = worker.start("place-order", &1).key("order-1").await.unwrap();
    verdict(&keyed).await;
    world.desk.always("pay", ACTION, Behave::Answer);
    verdict(&order(&worker).await).await;
    let client = world.client();
    let key = IdempotencyKey::new("order-1").unwrap();
    let row = client.find_by_key("place-order", &key).await.unwrap().unwrap();
    assert_eq!((row.id, row.summary.status), (keyed.id, Status::Compensated));
    assert_eq!(client.find_by_key("other", &key).await.unwrap(), None);
    let completed = Query { statuses: vec![Status::Completed], ..Query::default() };
    assert_eq!(client.find(&completed).await.unwrap().len(), 1);
    let counts = client.counts().await.unwrap();
    assert_eq!(counts.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_view_shows_steps_attempts_and_errors() {
    let world = World::new();
    world.desk.first("redeem", ACTION, Behave::Fail);
    world.desk.always("confirm", ACTION, Behave::Reject);
    let worker = world.worker().await;
    let started = order(&worker).await;
    world.settled(started.id, Status::Stuck).await;
    let view = worker.view(started.id).await.unwrap().unwrap();
    assert_eq!(view, world.view(started.id).await, "the same in another process");
    let redeem = &view.steps[1];
    assert_eq!((redeem.state, redeem.attempts), (StepState::Processed, 2));
    assert!(redeem.last_error.as_ref().unwrap().contains("out of order"));
    assert_eq!(view.steps[3].state, StepState::Failed);
    assert_eq!(view.input.as_json(), r#"{"order":17}"#);
}

#[tokio::test(start_paused = true)]
async fn a_live_saga_always_says_what_it_waits_for() {
    let world = World::new();
    world.desk.always("reserve", ACTION, Behave::Gate);
    world.desk.first("redeem", ACTION, Behave::NotYet(Duration::from_secs(300)));
    world.desk.always("confirm", ACTION, Behave::Reject);
    // Nobody has ever registered it: only a definition on record can be told by name.
    let started = order(&world.client()).await;
    let nobody = world.wait_text(started.id).await;
    assert_eq!(nobody, "no worker knows definition place-order v1");

    let worker = world.worker().await;
    world.desk.arrived("reserve", ACTION, 1).await;
    let in_flight = world.view(started.id).await.wait.unwrap();
    assert!(matches!(in_flight.reason, WaitReason::InFlight { attempt: 1, .. }), "{in_flight:?}");
    assert!(in_flight.text.starts_with("action of reserve in flight since"), "{in_flight:?}");

    world.desk.open();
    world.desk.arrived("redeem", ACTION, 1).await;
    world.settled(started.id, Status::Running).await;
    let retry = world.wait_text(started.id).await;
    assert!(retry.starts_with("attempt 2 of the action of redeem at"), "{retry}");
    assert!(retry.contains("busy"), "{retry}");

    tell(&worker, started.id, saga_core::CommandAction::Pause).await.unwrap();
    assert_eq!(world.wait_text(started.id).await, "paused by olga: the customer called");

    tell(&worker, started.id, saga_core::CommandAction::Resume).await.unwrap();
    world.settled(started.id, Status::Stuck).await;
    let stuck = world.wait_text(started.id).await;
    assert!(stuck.starts_with("stuck: retriable step confirm was rejected"), "{stuck}");

    tell(&worker, started.id, saga_core::CommandAction::Stop).await.unwrap();
    assert_eq!(world.view(started.id).await.wait, None);
}

#[tokio::test(start_paused = true)]
async fn a_saga_of_a_definition_nobody_has_registered_is_not_claimed_and_says_so() {
    let world = World::new();
    let builder = saga_core::Definition::builder("place-order").version(2);
    let newer = builder.step(world.desk.retriable("other")).build().unwrap();
    let _old = world.worker().await;
    let publisher = world.builder_of(&world.access(), newer.clone()).start().await.unwrap();
    publisher.shutdown().await;
    let client = Client::new(world.memory.clone(), vec![newer.clone()]).unwrap();
    let started = order(&client.with_clock(world.clock.clone())).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(world.desk.arrivals().is_empty());
    let wait = world.wait_text(started.id).await;
    assert_eq!(wait, "no worker knows definition place-order v2");
    let _new = world.builder_of(&world.access(), newer).start().await.unwrap();
    assert_eq!(verdict(&started).await, Verdict::Completed);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_until_a_saga_is_settled_hears_that_it_needs_a_person() {
    let world = World::new();
    world.desk.always("confirm", ACTION, Behave::Reject);
    let worker = world.worker().await;
    let started = order(&worker).await;
    for client in [worker.client(), &world.client()] {
        let settled = within_an_hour(client.settled(started.id)).await.unwrap();
        let Settled::Stuck(wait) = settled else { panic!("{settled:?}") };
        assert!(wait.text.contains("confirm was rejected"), "{}", wait.text);
        let limit = Duration::from_secs(20);
        let begun = world.clock.elapsed();
        assert_eq!(client.verdict_within(started.id, limit).await.unwrap(), None);
        assert_eq!(world.clock.elapsed() - begun, limit);
    }
    world.desk.always("confirm", ACTION, Behave::Answer);
    let settled = tokio::spawn(async move { started.settled().await.map(|end| (started, end)) });
    let (started, _) = settled.await.unwrap().unwrap();
    tell(&worker, started.id, CommandAction::Retry).await.unwrap();
    let settled = within_an_hour(started.settled()).await.unwrap();
    assert_eq!(settled, Settled::Ended(Verdict::Completed));
    let limit = Duration::from_secs(1);
    assert_eq!(started.verdict_within(limit).await.unwrap(), Some(Verdict::Completed));
}

#[tokio::test(start_paused = true)]
async fn a_paused_saga_is_settled_once_its_last_call_has_come_back() {
    let world = World::new();
    world.desk.always("redeem", ACTION, Behave::Slow(Duration::from_secs(2)));
    let worker = world.worker().await;
    let started = order(&worker).await;
    world.desk.arrived("redeem", ACTION, 1).await;
    tell(&worker, started.id, CommandAction::Pause).await.unwrap();
    let settled = within_an_hour(started.settled()).await.unwrap();
    let Settled::Paused(wait) = settled else { panic!("{settled:?}") };
    assert!(wait.text.contains("paused by olga"), "{}", wait.text);
    assert!(world.clock.elapsed() >= Duration::from_secs(2), "not while a call is under way");
    assert!(world.client().settled(saga_core::SagaId::from_bytes([7; 16])).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_the_process_that_drives_a_saga_does_not_ask_the_store() {
    let world = World::new();
    world.desk.always("redeem", ACTION, Behave::Slow(Duration::from_millis(2_500)));
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    for reads in [0, 1] {
        let started = order(&worker).await;
        let before = access.calls();
        let waiting = async {
            match reads {
                0 => started.verdict().await,
                // Who has not started it has to look once.
                _ => worker.verdict(started.id).await,
            }
        };
        assert_eq!(within_an_hour(waiting).await.unwrap(), Verdict::Completed);
        let asked = |op| access.calls().get(op).copied() != before.get(op).copied();
        let after = ["row", "load", "log", "find"].map(asked);
        assert_eq!(after, [reads == 1, false, false, false]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_is_shown_as_it_ended_wherever_it_did_so() {
    let world = World::new();
    let worker = world.worker().await;
    let here = order(&worker).await;
    let ended = within_an_hour(here.ended()).await.unwrap();
    assert_eq!((ended.verdict.clone(), ended.wait.clone()), (Some(Verdict::Completed), None));
    assert_eq!(ended, world.view(here.id).await);
    world.desk.always("redeem", ACTION, Behave::Reject);
    let elsewhere = order(&world.client()).await;
    let ended = within_an_hour(elsewhere.ended()).await.unwrap();
    assert_eq!(ended.status, Status::Compensated);
    assert_eq!(ended, world.view(elsewhere.id).await);
    let turned = order(&worker).await;
    let ended = within_an_hour(turned.ended()).await.unwrap();
    assert_eq!((ended.status, ended), (Status::Compensated, world.view(turned.id).await));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_repeated_shows_the_saga_as_it_ended_under_way_and_afterwards() {
    let world = World::new();
    world.desk.always("redeem", ACTION, Behave::Slow(Duration::from_millis(2_500)));
    let worker = world.worker().await;
    let start = || worker.start("place-order", &1).key("order-1");
    let first = start().await.unwrap();
    let under_way = start().await.unwrap();
    assert_eq!((first.created, under_way.created), (true, false));
    let ended = within_an_hour(under_way.ended()).await.unwrap();
    assert_eq!(ended.verdict, Some(Verdict::Completed));
    assert_eq!(ended, within_an_hour(first.ended()).await.unwrap());
    let afterwards = start().await.unwrap();
    assert_eq!((afterwards.id, afterwards.created), (first.id, false));
    assert_eq!(within_an_hour(afterwards.ended()).await.unwrap(), ended);
    assert_eq!(world.view(first.id).await, ended);
}
