//! Commands to sagas that have ended: each is answered once, by whoever sees it.

use std::time::Duration;

use saga_core::store::{CommandAnswer, Inbox, SubmitOutcome};
use saga_core::{Command, CommandAction, Refusal, SagaId, Status, Verdict};
use saga_worker::{Client, CommandError};
use tokio::time::Instant;

use crate::support::{ACTION, Behave, Fault, World, command, order, verdict, within_an_hour};

#[track_caller]
fn refusal(outcome: Result<(), CommandError>) -> Refusal {
    match outcome {
        Err(CommandError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// What is on record about a command, asked as another process would.
async fn on_record(world: &World, saga: SagaId, asked: &Command) -> SubmitOutcome {
    world.memory.submit(saga, asked).await.unwrap()
}

/// Polls until a command is answered.
async fn answer(world: &World, saga: SagaId, asked: &Command) -> CommandAnswer {
    let answered = async {
        loop {
            if world.memory.commands(saga).await.unwrap().is_empty() {
                match on_record(world, saga, asked).await {
                    SubmitOutcome::Answered(answer) => return answer,
                    other => panic!("neither open nor answered: {other:?}"),
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within_an_hour(answered).await
}

#[tokio::test(start_paused = true)]
async fn a_command_that_nobody_waits_for_is_answered_after_the_end_and_leaves_the_inbox() {
    let world = World::new();
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    let (late, begun) = (command("late", CommandAction::Cancel), Instant::now());
    assert_eq!(on_record(&world, started.id, &late).await, SubmitOutcome::Queued);
    let refused = Refusal::Ended { verdict: "completed".to_owned() };
    assert_eq!(answer(&world, started.id, &late).await, CommandAnswer::Refused(refused.clone()));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(tell_again(&worker, started.id, &late).await, refused);

    let nobody = saga_core::WorkerId::from_bytes([9; 16]);
    assert_eq!(world.memory.pending(nobody, 10).await, Ok(Vec::new()));
    let before = access.calls();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let after = access.calls();
    for looked in ["row", "log", "answer"] {
        assert_eq!(before.get(looked), after.get(looked), "polls have nothing left to look at");
    }
}

/// The refusal that a command gets when it is repeated.
async fn tell_again(client: &Client, saga: SagaId, asked: &Command) -> Refusal {
    refusal(client.command(saga, asked.clone()).await)
}

#[tokio::test(start_paused = true)]
async fn the_command_that_ended_its_saga_is_accepted_even_when_its_worker_dies_before_saying_so() {
    let world = World::new();
    world.desk.always("confirm", ACTION, Behave::Reject);
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    let started = order(&worker).await;
    world.settled(started.id, Status::Stuck).await;
    access.plan(|op| (op == "answer").then_some(Fault::Before));
    let stop = command("stop", CommandAction::Stop);
    assert_eq!(on_record(&world, started.id, &stop).await, SubmitOutcome::Queued);
    world.settled(started.id, Status::Stopped).await;
    assert_eq!(on_record(&world, started.id, &stop).await, SubmitOutcome::Queued, "not yet told");
    drop(worker);

    let _next = world.worker().await;
    assert_eq!(answer(&world, started.id, &stop).await, CommandAnswer::Accepted);
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_refused_after_the_end_at_once_and_for_good_without_any_worker() {
    let world = World::new();
    let worker = world.worker().await;
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    worker.shutdown().await;
    let (client, begun) = (world.client(), Instant::now());
    let late = command("late", CommandAction::Cancel);
    let refused = refusal(client.command(started.id, late.clone()).await);
    assert_eq!(refused, Refusal::Ended { verdict: "completed".to_owned() });
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let answer = SubmitOutcome::Answered(CommandAnswer::Refused(refused));
    assert_eq!(on_record(&world, started.id, &late).await, answer);
}

#[tokio::test(start_paused = true)]
async fn commands_racing_the_end_of_their_sagas_are_all_answered() {
    let world = World::new();
    world.desk.always("reserve", ACTION, Behave::Slow(Duration::from_millis(500)));
    let worker = world.worker().await;
    let mut asked = Vec::new();
    for number in 0..50 {
        let started = order(&worker).await;
        let command = command(&format!("cancel-{number}"), CommandAction::Cancel);
        assert_eq!(on_record(&world, started.id, &command).await, SubmitOutcome::Queued);
        asked.push((started, command));
        // A poll finds some of them half-way and others at their end.
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let mut accepted = 0;
    for (started, command) in asked {
        let answer = answer(&world, started.id, &command).await;
        let verdict = verdict(&started).await;
        match answer {
            CommandAnswer::Accepted => assert_eq!(verdict, Verdict::Compensated),
            CommandAnswer::Refused(_) => assert_eq!(verdict, Verdict::Completed),
        }
        accepted += u32::from(answer == CommandAnswer::Accepted);
    }
    assert!((1..50).contains(&accepted), "{accepted} of 50 came in time");
}
