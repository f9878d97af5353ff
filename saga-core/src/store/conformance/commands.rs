//! Operator commands: durable, once for each request id, and seen by whoever drives the saga.

use tokio::task::JoinSet;

use super::scene::{Draft, Driven, FUTURE, PAST, Scene, command, nobody, order};
use crate::store::{Append, CommandAnswer, Owner, SubmitOutcome};
use crate::{Command, CommandAction, Refusal};

pub(super) async fn a_command_is_stored_once_under_its_request_id(scene: Scene) {
    let (first, second) = (scene.due().await, scene.due().await);
    let asked = command("request-1", "the customer called");
    for store in [&scene.store, &scene.other] {
        assert_eq!(store.submit(first.id, &asked).await, Ok(SubmitOutcome::Queued));
    }
    let other = command("request-1", "another reason");
    assert_eq!(scene.store.submit(first.id, &other).await, Ok(SubmitOutcome::Conflict));
    assert_eq!(scene.other.commands(first.id).await, Ok(vec![asked.clone()]));

    assert_eq!(scene.store.submit(second.id, &other).await, Ok(SubmitOutcome::Queued));
    let mut in_order = vec![other];
    for number in (0..20).rev() {
        let next = command(&format!("request-{number}-more"), "and another thing");
        assert_eq!(scene.store.submit(second.id, &next).await, Ok(SubmitOutcome::Queued));
        in_order.push(next);
    }
    assert_eq!(scene.other.commands(second.id).await, Ok(in_order), "oldest first");
    assert_eq!(scene.other.commands(first.id).await, Ok(vec![asked]));
}

pub(super) async fn of_racing_commands_under_one_request_id_one_is_stored(scene: Scene) {
    let id = scene.due().await.id;
    let mut race = JoinSet::new();
    for caller in 0..16 {
        let store = if caller % 2 == 0 { scene.store.clone() } else { scene.other.clone() };
        let asked = command("request-1", &format!("reason {}", caller % 4));
        race.spawn(async move { (store.submit(id, &asked).await.expect("a command"), asked) });
    }
    let outcomes = race.join_all().await;
    let stored = scene.other.commands(id).await.expect("a read");
    assert_eq!(stored.len(), 1);
    for (outcome, asked) in outcomes {
        let same = asked == stored[0];
        let wanted = if same { SubmitOutcome::Queued } else { SubmitOutcome::Conflict };
        assert_eq!(outcome, wanted);
    }
}

pub(super) async fn a_command_for_an_unknown_saga_is_not_found(scene: Scene) {
    let unknown = scene.draft(&order(), None).id;
    let asked = command("request-1", "a mistake");
    assert_eq!(scene.store.submit(unknown, &asked).await, Ok(SubmitOutcome::NotFound));
    assert_eq!(scene.other.commands(unknown).await, Ok(Vec::new()));
    let answer = CommandAnswer::Accepted;
    assert_eq!(scene.store.answer(unknown, &asked.request_id, &answer, None).await, Ok(()));
}

pub(super) async fn a_command_makes_an_unowned_saga_due(scene: Scene) {
    let worker = scene.worker().await;
    let draft = Draft { wake: Some(FUTURE), ..scene.draft(&order(), None) };
    let waiting = scene.started(draft).await;
    let (stuck, appends) = scene.owned(worker).await.into_stuck();
    for append in appends {
        let release = append.row.seq == 5;
        assert_eq!(scene.store.append(Append { release, ..append }).await, Ok(()));
    }
    assert_eq!(scene.claim(worker).await, []);
    for (number, driven) in [waiting, stuck].into_iter().enumerate() {
        let asked = command(&format!("request-{number}"), "go on");
        assert_eq!(scene.store.submit(driven.id, &asked).await, Ok(SubmitOutcome::Queued));
        let rows = scene.claim(worker).await;
        assert_eq!((rows.len(), rows[0].id), (1, driven.id));
    }
    scene.assert_sound().await;
}

pub(super) async fn pending_commands_are_those_of_owned_sagas(scene: Scene) {
    let (worker, other) = (scene.worker().await, scene.worker().await);
    let (ours, theirs, free) =
        (scene.owned(worker).await, scene.owned(other).await, scene.due().await);
    let (first, second) = (command("request-1", "one"), command("request-2", "two"));
    for id in [ours.id, theirs.id, free.id] {
        for asked in [&first, &second] {
            assert_eq!(scene.store.submit(id, asked).await, Ok(SubmitOutcome::Queued));
        }
    }
    let both = vec![(ours.id, first.clone()), (ours.id, second)];
    assert_eq!(scene.other.pending(worker, 10).await, Ok(both));
    assert_eq!(scene.other.pending(worker, 1).await, Ok(vec![(ours.id, first.clone())]));
    assert_eq!(scene.other.pending(worker, 0).await, Ok(Vec::new()));
    assert_eq!(scene.other.pending(nobody(), 10).await, Ok(Vec::new()));

    scene
        .store
        .answer(ours.id, &first.request_id, &CommandAnswer::Accepted, None)
        .await
        .expect("answered");
    assert_eq!(scene.other.pending(worker, 10).await.expect("a read").len(), 1);
}

pub(super) async fn a_command_that_arrived_unseen_makes_a_released_saga_due(scene: Scene) {
    let worker = scene.worker().await;
    let by_release = scene.owned(worker).await;
    let mut by_append = scene.owned(worker).await;
    let answered = scene.owned(worker).await;
    let asked = command("request-1", "now");
    for driven in [&by_release, &by_append, &answered] {
        assert_eq!(scene.store.submit(driven.id, &asked).await, Ok(SubmitOutcome::Queued));
        let row = scene.row(driven.id).await;
        assert_eq!(row.owner, Some(worker), "a command does not take a saga from its owner");
    }
    scene
        .store
        .answer(answered.id, &asked.request_id, &CommandAnswer::Accepted, None)
        .await
        .expect("answered");

    let let_go = |driven: &Driven| (driven.id, driven.epoch);
    for (id, epoch) in [let_go(&by_release), let_go(&answered)] {
        assert_eq!(scene.store.release(id, worker, epoch, Some(FUTURE)).await, Ok(()));
    }
    let append = Append { release: true, ..by_append.advance() };
    assert_eq!(scene.store.append(append).await, Ok(()));

    let mut due: Vec<_> = scene.claim(worker).await.iter().map(|row| row.id).collect();
    due.sort();
    assert_eq!(due, [by_release.id, by_append.id], "and the answered one is left in peace");
}

pub(super) async fn a_command_is_answered_once(scene: Scene) {
    let id = scene.due().await.id;
    let asked = Command { action: CommandAction::Pause, ..command("request-1", "wait") };
    assert_eq!(scene.store.submit(id, &asked).await, Ok(SubmitOutcome::Queued));
    let refused = CommandAnswer::Refused(Refusal::NotPaused);
    for answer in [&refused, &CommandAnswer::Accepted] {
        assert_eq!(scene.store.answer(id, &asked.request_id, answer, None).await, Ok(()));
    }
    assert_eq!(scene.other.commands(id).await, Ok(Vec::new()));
    let outcome = SubmitOutcome::Answered(refused);
    assert_eq!(scene.other.submit(id, &asked).await, Ok(outcome), "the first answer stands");
    let other = command("request-1", "something else");
    assert_eq!(scene.other.submit(id, &other).await, Ok(SubmitOutcome::Conflict));
}

pub(super) async fn an_answer_of_one_who_no_longer_owns_the_saga_is_not_recorded(scene: Scene) {
    let (before, after) = (scene.worker().await, scene.worker().await);
    let mut saga = scene.owned(before).await;
    let asked = command("request-1", "wait");
    assert_eq!(scene.store.submit(saga.id, &asked).await, Ok(SubmitOutcome::Queued));
    let owner = |worker, epoch| Some(Owner { worker, epoch });
    let refused = CommandAnswer::Refused(Refusal::NotPaused);
    let answer = async |by| scene.store.answer(saga.id, &asked.request_id, &refused, by).await;
    for by in [owner(after, saga.epoch), owner(before, saga.epoch + 1), owner(nobody(), 0)] {
        assert_eq!(answer(by).await, Ok(()));
        assert_eq!(scene.other.commands(saga.id).await, Ok(vec![asked.clone()]), "{by:?}");
    }
    let late = owner(before, saga.epoch);
    scene.expire(before).await;
    let taken = scene.claim(after).await;
    assert_eq!(answer(late).await, Ok(()));
    assert_eq!(scene.other.commands(saga.id).await, Ok(vec![asked.clone()]), "it came too late");

    let now = owner(after, scene.row(saga.id).await.epoch);
    assert_eq!(answer(now).await, Ok(()));
    assert_eq!(scene.other.commands(saga.id).await, Ok(Vec::new()));
    let outcome = SubmitOutcome::Answered(refused.clone());
    assert_eq!(scene.other.submit(saga.id, &asked).await, Ok(outcome));
    // It is counted as answered, too: letting go does not make the saga due.
    saga.taken(&taken);
    let append = Append { release: true, ..saga.advance() };
    assert_eq!(scene.store.append(append).await, Ok(()));
    assert!(scene.claim(before).await.is_empty() && scene.claim(after).await.is_empty());
}

pub(super) async fn a_command_for_an_ended_saga_does_not_wake_it_and_is_everybodys_to_answer(
    scene: Scene,
) {
    let worker = scene.worker().await;
    let mut ended = scene.owned(worker).await;
    let early = command("request-1", "before its end");
    assert_eq!(scene.store.submit(ended.id, &early).await, Ok(SubmitOutcome::Queued));
    while !ended.has_ended() {
        assert_eq!(scene.store.append(ended.advance()).await, Ok(()));
    }
    let late = command("request-2", "after its end");
    assert_eq!(scene.store.submit(ended.id, &late).await, Ok(SubmitOutcome::Queued));
    assert_eq!(scene.other.commands(ended.id).await, Ok(vec![early.clone(), late.clone()]));
    let row = scene.row(ended.id).await;
    assert_eq!((row.owner, row.summary.next_wake_at), (None, None));
    assert_eq!(scene.store.release(ended.id, worker, ended.epoch, Some(PAST)).await, Ok(()));
    assert_eq!(scene.row(ended.id).await, row);

    // Nobody owns it any more: what came before and after its end is everybody's to answer.
    let both = [(ended.id, early.clone()), (ended.id, late.clone())];
    for anybody in [worker, scene.worker().await, nobody()] {
        assert_eq!(scene.other.pending(anybody, 10).await, Ok(both.to_vec()));
    }
    let refused = CommandAnswer::Refused(Refusal::Ended { verdict: "completed".into() });
    for (command, left) in [(&late, &both[..1]), (&early, &[])] {
        let answered = scene.other.answer(ended.id, &command.request_id, &refused, None).await;
        assert_eq!(answered, Ok(()));
        assert_eq!(scene.store.pending(worker, 10).await, Ok(left.to_vec()));
        let outcome = SubmitOutcome::Answered(refused.clone());
        assert_eq!(scene.store.submit(ended.id, command).await, Ok(outcome));
    }
    assert_eq!(scene.store.pending(worker, 10).await, Ok(Vec::new()), "asking again adds nothing");
    scene.assert_sound().await;
}

pub(super) async fn a_command_racing_the_end_of_its_saga_is_everybodys_to_answer(scene: Scene) {
    let (worker, stranger) = (scene.worker().await, scene.worker().await);
    let mut submitted = Vec::new();
    for _ in 0..40 {
        let mut ending = scene.owned(worker).await;
        let mut last = ending.advance();
        while !ending.has_ended() {
            assert_eq!(scene.store.append(last).await, Ok(()));
            last = ending.advance();
        }
        let asked = command("request-1", "at the last moment");
        let (id, store, other) = (ending.id, scene.store.clone(), scene.other.clone());
        let end = tokio::spawn(async move { store.append(last).await });
        assert_eq!(other.submit(id, &asked).await, Ok(SubmitOutcome::Queued));
        assert_eq!(end.await.expect("the append is not interrupted"), Ok(()));
        submitted.push((id, asked));
    }
    let mut pending = scene.other.pending(stranger, 1_000).await.expect("a read");
    pending.sort_by_key(|(id, _)| *id);
    assert_eq!(pending, submitted, "each command is seen, whichever of the two came first");
    for (id, asked) in submitted {
        let answer = CommandAnswer::Accepted;
        assert_eq!(scene.store.answer(id, &asked.request_id, &answer, None).await, Ok(()));
        assert_eq!(scene.row(id).await.owner, None);
    }
    assert_eq!(scene.other.pending(stranger, 1_000).await, Ok(Vec::new()));
    scene.assert_sound().await;
}
