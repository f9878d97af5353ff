use std::sync::Arc;

use saga_core::{
    Definition, Failure, IdempotencyKey, LogHead, LogRow, Payload, StartRequest, Step, Timestamp,
};

use super::*;

/// A saga of one pivot, with these events after its start.
fn saga(events: &[Event]) -> (Saga, Vec<Transition>) {
    let pay = async || Ok::<(), Failure>(());
    let definition = Definition::new("buy", [Step::pivot("pay", pay)]).unwrap();
    let (id, now) = (SagaId::from_bytes([7; 16]), Timestamp::default());
    let request = StartRequest { input: Payload::null(), key: None, by: None, traceparent: None };
    let (_, mut all) = Saga::start(id, Arc::clone(definition.spec()), now, request);
    all.extend_from_slice(events);
    let row = LogHead::default().seal(0, now, &all);
    let log = [LogRow::decode(&row).unwrap()];
    (Saga::replay(id, Arc::clone(definition.spec()), &[row]).unwrap(), log.to_vec())
}

/// The only step is handed out.
fn call() -> Event {
    let step = saga(&[]).0.spec().find("pay").unwrap();
    Event::StepReceived { step, attempt: 1 }
}

fn command(action: CommandAction) -> Command {
    let request_id = IdempotencyKey::new("cancel-1").unwrap();
    let (actor, reason) = ("soak".to_owned(), "why not".to_owned());
    Command { request_id, actor, reason, action, expected_seq: None }
}

fn cancelled() -> (Saga, Vec<Transition>) {
    let began = Event::RecoveryBegan { cause: saga_core::RecoveryCause::Commanded };
    let ended = Event::SagaEnded { verdict: Verdict::Compensated };
    saga(&[Event::CommandAccepted(command(CommandAction::Cancel)), began, ended])
}

fn kept(answer: Option<CommandAnswer>) -> Kept {
    Kept { command: command(CommandAction::Cancel), answer }
}

fn given(told: Told) -> Given {
    let (saga, request_id) = (SagaId::from_bytes([7; 16]), "cancel-1".to_owned());
    Given { saga, request_id, verb: "cancel", told }
}

/// Which invariants these commands violate in a saga.
fn found(
    (saga, log): (Saga, Vec<Transition>),
    kept: Option<CommandAnswer>,
    told: Told,
) -> Vec<&'static str> {
    let mut commands = Commands::given(vec![given(told)]);
    commands.kept.insert(saga.id(), vec![self::kept(kept)]);
    let tally = Tally::default();
    commands.check(&tally, &saga, &log, false);
    tally.counted().violations.into_keys().collect()
}

#[test]
fn a_command_that_was_carried_out_is_in_the_log_on_record_and_was_told_so() {
    let refusal = Refusal::NotPaused;
    let refused = || Some(CommandAnswer::Refused(refusal.clone()));
    let accepted = || Some(CommandAnswer::Accepted);
    let told_refused = || Told::Refused(refusal.to_string());
    assert_eq!(found(cancelled(), accepted(), Told::CarriedOut), Vec::<&str>::new());
    assert_eq!(found(saga(&[]), refused(), told_refused()), Vec::<&str>::new());

    assert_eq!(found(cancelled(), refused(), told_refused()), ["S13", "S14"]);
    assert_eq!(found(cancelled(), refused(), Told::CarriedOut), ["S13", "S14"]);
    assert_eq!(found(cancelled(), accepted(), told_refused()), ["S13"]);
    assert_eq!(found(cancelled(), accepted(), Told::NoSuchSaga), ["S13"]);
    assert_eq!(found(saga(&[]), accepted(), Told::CarriedOut), ["S13", "S14"]);
    assert_eq!(found(cancelled(), None, Told::CarriedOut), ["L2", "S13"]);
}

#[test]
fn what_a_forgotten_saga_was_told_is_held_against_its_log() {
    let found = |(saga, log): (Saga, Vec<Transition>), told| {
        let tally = Tally::default();
        Commands::given(vec![given(told)]).check(&tally, &saga, &log, true);
        tally.counted().violations.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(found(cancelled(), Told::CarriedOut), Vec::<&str>::new());
    assert_eq!(found(saga(&[]), Told::NoSuchSaga), Vec::<&str>::new());
    assert_eq!(found(cancelled(), Told::NoSuchSaga), ["S13"]);
    assert_eq!(found(saga(&[]), Told::CarriedOut), ["S13"]);
}

#[test]
fn a_refusal_for_what_never_was_is_found() {
    let refused = |why: Refusal, of: (Saga, Vec<Transition>)| {
        let told = Told::Refused(why.to_string());
        found(of, Some(CommandAnswer::Refused(why)), told)
    };
    let handed_out = || Refusal::PivotHandedOut { step: "pay".to_owned() };
    assert_eq!(refused(handed_out(), saga(&[])), ["S14"]);
    assert_eq!(refused(handed_out(), saga(&[call()])), Vec::<&str>::new());
    let ended = || Refusal::Ended { verdict: "completed".to_owned() };
    assert_eq!(refused(ended(), saga(&[])), ["S14"]);
}

/// What is found in a log alone that holds these events.
fn found_in_log(events: Vec<Event>) -> usize {
    let (saga, mut log) = saga(&[]);
    log[0].events.extend(events);
    OfLog::read(&saga, &log).check_itself().len()
}

#[test]
fn what_goes_on_while_paused_and_what_does_not_end_when_stopped_is_found() {
    let accepted = |action| Event::CommandAccepted(command(action));
    let paused = || accepted(CommandAction::Pause);
    assert_eq!(found_in_log(vec![paused()]), 0);
    assert_eq!(found_in_log(vec![paused(), call()]), 1);
    assert_eq!(found_in_log(vec![accepted(CommandAction::Stop)]), 1);
    assert_eq!(found_in_log(vec![accepted(CommandAction::Stop), call()]), 1);
    let ended = Event::SagaEnded { verdict: Verdict::Compensated };
    assert_eq!(found_in_log(vec![accepted(CommandAction::Stop), ended]), 0);
    assert_eq!(found_in_log(vec![accepted(CommandAction::Cancel); 2]), 1);
}

#[test]
fn a_command_to_a_saga_that_is_gone_is_found() {
    let commands = Commands::given(vec![given(Told::CarriedOut)]);
    let tally = Tally::default();
    commands.check_strangers(&tally, |_| true);
    assert_eq!(tally.counted().findings.len(), 0);
    commands.check_strangers(&tally, |_| false);
    assert_eq!(tally.counted().findings.len(), 1);
}
