//! Operator commands, from the worker's own client and through the inbox of any other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use saga_core::{
    Assume, Command, CommandAction, Effect, Payload, Refusal, Remaining, SagaId, Status, Verdict,
};
use saga_worker::{Client, CommandError, Started, Worker};
use tokio::time::Instant;

use crate::support::{
    ACTION, Behave, COMPENSATION, Fault, World, command, order, tell, verdict, within_an_hour,
};

/// A client in the worker's process and one in another.
fn clients(world: &World, worker: &Worker) -> [Client; 2] {
    [worker.client().clone(), world.client()]
}

fn skip(step: &str, assume: Assume) -> CommandAction {
    CommandAction::Skip { step: step.to_owned(), assume }
}

#[track_caller]
fn refusal(outcome: Result<(), CommandError>) -> Refusal {
    match outcome {
        Err(CommandError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Runs a scenario with either client.
async fn from_both<T: Future<Output = ()>>(scenario: impl Fn(World, Worker, Client) -> T) {
    for inside in [true, false] {
        let world = World::new();
        let worker = world.worker().await;
        let [own, other] = clients(&world, &worker);
        within_an_hour(scenario(world, worker, if inside { own } else { other })).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cancel_before_the_pivot_turns_the_saga_and_fires_the_token() {
    from_both(|world, worker, client| async move {
        world.desk.always("redeem", ACTION, Behave::CleanUpWhenTold);
        let started = order(&worker).await;
        world.desk.arrived("redeem", ACTION, 1).await;
        client.cancel(started.id, "olga", "the customer called").await.unwrap();
        assert_eq!(verdict(&started).await, Verdict::Compensated);
        assert_eq!(world.desk.cleaned_up(), 1);
        assert!(world.clock.elapsed() < Duration::from_secs(3), "the timeout was not waited for");
        world.assert_clean(started.id);
        // Asking again for what has happened is explained.
        let late = tell(&client, started.id, CommandAction::Cancel).await;
        assert_eq!(refusal(late), Refusal::Ended { verdict: "compensated".to_owned() });
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn cancel_after_the_pivot_was_handed_out_is_refused_with_its_name() {
    from_both(|world, worker, client| async move {
        world.desk.always("pay", ACTION, Behave::Gate);
        let started = order(&worker).await;
        world.desk.arrived("pay", ACTION, 1).await;
        for action in [CommandAction::Cancel, CommandAction::Compensate] {
            let refused = refusal(tell(&client, started.id, action).await);
            assert_eq!(refused, Refusal::PivotHandedOut { step: "pay".to_owned() });
        }
        world.desk.open();
        assert_eq!(verdict(&started).await, Verdict::Completed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_two_operators_who_saw_the_same_saga_one_is_told_that_it_has_moved_on() {
    from_both(|world, worker, client| async move {
        world.desk.always("confirm", ACTION, Behave::Reject);
        let started = order(&worker).await;
        world.settled(started.id, Status::Stuck).await;
        let seq = client.view(started.id).await.unwrap().unwrap().seq;
        let seen = |request_id, action| {
            let command = command(request_id, action);
            client.command(started.id, Command { expected_seq: Some(seq), ..command })
        };
        let (pause, retry) =
            tokio::join!(seen("pause", CommandAction::Pause), seen("retry", CommandAction::Retry));
        let (refused, first) = match (pause, retry) {
            (Ok(()), refused) => (refusal(refused), seen("pause", CommandAction::Pause)),
            (refused, Ok(())) => (refusal(refused), seen("retry", CommandAction::Retry)),
            both => panic!("{both:?}"),
        };
        assert!(matches!(refused, Refusal::MovedOn { expected, .. } if expected == seq));
        // The one that was carried out may be repeated.
        first.await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn compensate_forces_backward_recovery_once() {
    from_both(|world, worker, client| async move {
        world.desk.always("redeem", ACTION, Behave::Fail);
        world.desk.always("redeem", COMPENSATION, Behave::Reject);
        let started = order(&worker).await;
        world.desk.arrived("redeem", ACTION, 1).await;
        tell(&client, started.id, CommandAction::Compensate).await.unwrap();
        world.settled(started.id, Status::Stuck).await;
        let again = tell(&client, started.id, CommandAction::Compensate).await;
        assert_eq!(refusal(again), Refusal::CompensatingAlready);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn retry_gives_a_stuck_saga_a_fresh_budget() {
    from_both(|world, worker, client| async move {
        world.desk.always("confirm", ACTION, Behave::Reject);
        let started = order(&worker).await;
        world.settled(started.id, Status::Stuck).await;
        world.desk.always("confirm", ACTION, Behave::Answer);
        tell(&client, started.id, CommandAction::Retry).await.unwrap();
        assert_eq!(verdict(&started).await, Verdict::Completed);
        world.assert_whole(started.id);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn retry_makes_a_waiting_saga_go_on_at_once_and_is_refused_where_nothing_waits() {
    from_both(|world, worker, client| async move {
        world.desk.first("redeem", ACTION, Behave::NotYet(Duration::from_secs(3_000)));
        world.desk.always("pay", ACTION, Behave::Gate);
        let started = order(&worker).await;
        world.desk.arrived("redeem", ACTION, 1).await;
        world.settled(started.id, Status::Running).await;
        tell(&client, started.id, CommandAction::Retry).await.unwrap();
        world.desk.arrived("pay", ACTION, 1).await;
        assert!(world.clock.elapsed() < Duration::from_secs(3), "{:?}", world.clock.elapsed());
        let refused = refusal(tell(&client, started.id, CommandAction::Retry).await);
        assert_eq!(refused, Refusal::NothingToRetry);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn skip_takes_a_step_as_processed_with_the_output_to_assume() {
    from_both(|world, worker, client| async move {
        world.desk.always("confirm", ACTION, Behave::Reject);
        let started = order(&worker).await;
        world.settled(started.id, Status::Stuck).await;
        let refused = refusal(tell(&client, started.id, skip("confirm", Assume::NoEffect)).await);
        assert!(matches!(refused, Refusal::NotSkippable { .. }), "{refused}");
        let unknown = refusal(tell(&client, started.id, skip("conform", Assume::NoEffect)).await);
        assert!(unknown.to_string().contains("confirm"), "names what there is: {unknown}");
        let output = Payload::from_json("42").unwrap();
        let action = skip("confirm", Assume::Processed(output.clone()));
        tell(&client, started.id, action).await.unwrap();
        assert_eq!(verdict(&started).await, Verdict::Completed);
        assert_eq!(world.view(started.id).await.steps[3].output, Some(output));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn skip_takes_a_doubtful_pivot_as_without_effect_and_compensates() {
    from_both(|world, worker, client| async move {
        world.desk.script("pay", ACTION, |attempt| match attempt {
            1 => Behave::Fail,
            _ => Behave::Reject,
        });
        let started = order(&worker).await;
        world.settled(started.id, Status::Stuck).await;
        tell(&client, started.id, skip("pay", Assume::NoEffect)).await.unwrap();
        assert_eq!(verdict(&started).await, Verdict::Compensated);
        world.assert_clean(started.id);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn skip_leaves_a_compensation_out_and_the_verdict_says_what_remains() {
    from_both(|world, worker, client| async move {
        world.desk.always("pay", ACTION, Behave::Reject);
        world.desk.always("redeem", COMPENSATION, Behave::Reject);
        let started = order(&worker).await;
        world.settled(started.id, Status::Stuck).await;
        tell(&client, started.id, skip("redeem", Assume::EffectRemains)).await.unwrap();
        let remaining = vec![Remaining { step: "redeem".to_owned(), effect: Effect::Present }];
        assert_eq!(verdict(&started).await, Verdict::Stopped { remaining });
        assert_eq!(world.effects(started.id, "redeem"), (1, 0));
        assert_eq!(world.effects(started.id, "reserve"), (1, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stop_while_a_call_hangs_ends_the_saga_at_once_and_names_the_unknown_effect() {
    from_both(|world, worker, client| async move {
        world.desk.always("redeem", ACTION, Behave::CleanUpWhenTold);
        let started = order(&worker).await;
        world.desk.arrived("redeem", ACTION, 1).await;
        tell(&client, started.id, CommandAction::Stop).await.unwrap();
        let remaining = vec![
            Remaining { step: "reserve".to_owned(), effect: Effect::Present },
            Remaining { step: "redeem".to_owned(), effect: Effect::Unknown },
        ];
        assert_eq!(verdict(&started).await, Verdict::Stopped { remaining });
        assert!(world.clock.elapsed() < Duration::from_secs(3), "{:?}", world.clock.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.desk.cleaned_up(), 1, "its token fired and it had time to end");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_saga_hands_out_no_call_until_it_is_resumed() {
    from_both(|world, worker, client| async move {
        world.desk.always("redeem", ACTION, Behave::Gate);
        let started = order(&worker).await;
        world.desk.arrived("redeem", ACTION, 1).await;
        tell(&client, started.id, CommandAction::Pause).await.unwrap();
        let twice = refusal(tell(&client, started.id, CommandAction::Pause).await);
        assert_eq!(twice, Refusal::Paused);
        // The call in flight may finish and is recorded.
        world.desk.open();
        world.settled(started.id, Status::Running).await;
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(world.desk.arrivals_of("pay", ACTION).is_empty());
        assert!(world.wait_text(started.id).await.starts_with("paused by olga"));
        tell(&client, started.id, CommandAction::Resume).await.unwrap();
        assert_eq!(verdict(&started).await, Verdict::Completed);
        let ended = refusal(tell(&client, started.id, CommandAction::Resume).await);
        assert_eq!(ended, Refusal::Ended { verdict: "completed".to_owned() });
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_command_repeated_under_its_request_id_has_no_further_effect_and_the_same_answer() {
    from_both(|world, worker, client| async move {
        world.desk.always("confirm", ACTION, Behave::Reject);
        let started = order(&worker).await;
        world.settled(started.id, Status::Stuck).await;
        let retry = command("retry-1", CommandAction::Retry);
        for _ in 0..3 {
            client.command(started.id, retry.clone()).await.unwrap();
            world.settled(started.id, Status::Stuck).await;
        }
        assert_eq!(world.desk.arrivals_of("confirm", ACTION).len(), 2, "retried once");
        let resume = command("resume-1", CommandAction::Resume);
        for _ in 0..2 {
            let refused = refusal(client.command(started.id, resume.clone()).await);
            assert_eq!(refused, Refusal::NotPaused);
        }
        let other = command("retry-1", CommandAction::Stop);
        let conflict = client.command(started.id, other).await.unwrap_err();
        assert!(matches!(conflict, CommandError::Conflict { .. }), "{conflict}");
        let stop = command("stop-1", CommandAction::Stop);
        for _ in 0..2 {
            client.command(started.id, stop.clone()).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_command_without_actor_or_for_no_saga_is_refused_before_anything_is_stored() {
    let world = World::new();
    let client = world.client();
    let id: SagaId = "01890000-0000-7000-8000-000000000000".parse().unwrap();
    let unknown = tell(&client, id, CommandAction::Stop).await.unwrap_err();
    assert_eq!(unknown, CommandError::NotFound { id });
    let started = order(&client).await;
    let mut anonymous = command("stop", CommandAction::Stop);
    anonymous.actor = " ".to_owned();
    let refused = client.command(started.id, anonymous).await.unwrap_err().to_string();
    assert!(refused.contains("actor"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_no_worker_takes_up_says_so_and_is_carried_out_later() {
    let world = World::new();
    let client = world.client();
    let started = order(&client).await;
    let begun = Instant::now();
    let cancel = command("cancel", CommandAction::Cancel);
    let unanswered = client.command(started.id, cancel.clone()).await.unwrap_err();
    assert!(matches!(unanswered, CommandError::Unanswered { .. }), "{unanswered}");
    assert_eq!(begun.elapsed(), Client::ANSWER_WAIT);
    let _worker = world.worker().await;
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    assert!(world.desk.arrivals().is_empty(), "cancelled before its first call");
    assert_eq!(client.command(started.id, cancel).await, Ok(()), "told what became of it");
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_answer_is_lost_is_answered_again() {
    let world = World::new();
    world.desk.always("confirm", ACTION, Behave::Reject);
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    let started = order(&worker).await;
    world.settled(started.id, Status::Stuck).await;
    access.fail("answer", 2, Fault::Before);
    tell(&worker, started.id, CommandAction::Pause).await.unwrap();
    let pauses = world.words(started.id).await;
    let pauses = pauses.iter().filter(|line| line.contains("pause")).count();
    assert_eq!(pauses, 1, "carried out once");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_lands_late_does_not_hide_that_the_command_was_carried_out_since() {
    let world = World::new();
    world.desk.always("confirm", ACTION, Behave::Reject);
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    let started = order(&worker).await;
    world.settled(started.id, Status::Stuck).await;
    let answers = std::sync::atomic::AtomicU32::new(0);
    access.plan(move |op| {
        let nth = |op| (op == "answer").then(|| answers.fetch_add(1, Ordering::SeqCst));
        // The refusal is lost on its way and found again; what follows does not get through at all.
        nth(op)
            .map(|nth| if nth == 0 { Fault::Late(Duration::from_secs(3)) } else { Fault::Before })
    });
    let outsider = world.client();
    let resume = tokio::spawn({
        let (client, id) = (outsider.clone(), started.id);
        async move { client.command(id, command("resume", CommandAction::Resume)).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let pause = tokio::spawn({
        let (client, id) = (outsider.clone(), started.id);
        async move { client.command(id, command("pause", CommandAction::Pause)).await }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    access.heal();
    let told = resume.await.unwrap();
    pause.await.unwrap().unwrap();
    let words = world.words(started.id).await;
    let carried_out = words.iter().any(|line| line.contains("resume"));
    assert_eq!(told.is_ok(), carried_out, "{told:?}, and the log: {words:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_that_a_command_is_accepted_before_that_is_durable() {
    let world = World::new();
    world.desk.always("confirm", ACTION, Behave::Reject);
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    let started = order(&worker).await;
    world.settled(started.id, Status::Stuck).await;
    access.plan(|op| (op == "append").then_some(Fault::Before));
    let outsider = world.client();
    let stop = async move { tell(&outsider, started.id, CommandAction::Stop).await };
    let stop = tokio::spawn(stop);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!stop.is_finished(), "the log cannot be written yet");
    access.heal();
    assert_eq!(stop.await.unwrap(), Ok(()));
}

/// Checks that what two callers were told of their cancels is what became of the saga.
#[track_caller]
fn assert_told_the_same(
    world: &World,
    told: [Result<(), CommandError>; 2],
    started: &Started,
    verdict: &Verdict,
) {
    for told in told {
        match (&told, verdict) {
            (Ok(()), Verdict::Compensated) => world.assert_clean(started.id),
            (Err(CommandError::Refused(_)), Verdict::Completed) => world.assert_whole(started.id),
            // One who comes when the other's cancel has been carried out to the end.
            (Err(CommandError::Refused(Refusal::Ended { .. })), Verdict::Compensated) => {}
            (told, verdict) => panic!("told {told:?}, but the saga is {verdict:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cancel_at_the_moment_of_the_pivot_has_one_winner_and_both_callers_are_told_the_same() {
    let mut verdicts = Vec::new();
    for ms in 45..55 {
        let world = World::new();
        world.desk.always("redeem", ACTION, Behave::Slow(Duration::from_millis(50)));
        world.desk.always("pay", ACTION, Behave::Slow(Duration::from_millis(50)));
        let worker = world.worker().await;
        let started = order(&worker).await;
        let id = started.id;
        let cancels = [(); 2].map(|()| {
            let client = worker.client().clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                tell(&client, id, CommandAction::Cancel).await
            })
        });
        let [one, other] = cancels;
        let told = [one.await.unwrap(), other.await.unwrap()];
        let verdict = verdict(&started).await;
        assert_told_the_same(&world, told, &started, &verdict);
        verdicts.push(verdict);
    }
    let turned = verdicts.iter().take_while(|verdict| **verdict == Verdict::Compensated).count();
    assert!((1..10).contains(&turned), "first the cancels win, then the pivot: {verdicts:?}");
    assert!(verdicts[turned..].iter().all(|verdict| *verdict == Verdict::Completed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cancel_racing_a_saga_on_many_threads_is_told_what_became_of_it() {
    let world = World::new();
    let worker = world.worker().await;
    for round in 0..100_u64 {
        let started = order(&worker).await;
        let id = started.id;
        let cancels = clients(&world, &worker).map(|client| {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(round % 30 * 10)).await;
                tell(&client, id, CommandAction::Cancel).await
            })
        });
        let verdict = verdict(&started).await;
        let [one, other] = cancels;
        let told = [one.await.unwrap(), other.await.unwrap()];
        assert_told_the_same(&world, told, &started, &verdict);
    }
}
