//! The wire format of the saga log, pinned: stored logs must stay readable.
//!
//! A change here is a change of every stored log. It needs a release that reads both.

use saga_core::{
    Assume, Command, CommandAction, DefinitionRef, Digest, Event, Failure, IdempotencyKey, LogHead,
    Op, Payload, RecoveryCause, Rejection, Remaining, SagaStarted, StepIndex, StuckReason,
    Timestamp, Transient, TransientCause, Verdict,
};

const STEP: StepIndex = StepIndex(2);
const AT: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// A number for every variant: without an arm a new variant does not compile, and without a
/// line in [`pinned`] it is found to be missing.
fn variant(event: &Event) -> usize {
    match event {
        Event::SagaStarted(_) => 0,
        Event::StepReceived { .. } => 1,
        Event::StepProcessed { .. } => 2,
        Event::StepFailed { .. } => 3,
        Event::StepRejected { .. } => 4,
        Event::CallHeld { .. } => 5,
        Event::CallWithdrawn { .. } => 6,
        Event::WorkerLost => 7,
        Event::RecoveryBegan { .. } => 8,
        Event::CompensationReceived { .. } => 9,
        Event::StepCompensated { .. } => 10,
        Event::CompensationFailed { .. } => 11,
        Event::SagaStuck { .. } => 12,
        Event::CommandAccepted(_) => 13,
        Event::SagaEnded { .. } => 14,
    }
}

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::new(text).expect("short and printable")
}

fn payload(json: &str) -> Payload {
    Payload::from_json(json).expect("JSON")
}

fn transient(cause: TransientCause, retry_after_ms: Option<u64>) -> Transient {
    Transient { cause, message: "late".to_owned(), retry_after_ms }
}

fn starts() -> Vec<(Event, &'static str)> {
    let definition = || DefinitionRef {
        name: "order".to_owned(),
        version: 3,
        digest: Digest::from_bytes([0xab; 16]),
    };
    let bare = SagaStarted {
        definition: definition(),
        input: payload("null"),
        key: None,
        deadline: None,
        traceparent: None,
        by: None,
    };
    let full = SagaStarted {
        definition: definition(),
        input: payload(r#"{"sku": "SKU-1", "n": 1.50}"#),
        key: Some(key("order-17")),
        deadline: Some(AT),
        traceparent: Some("00-a-b-01".to_owned()),
        by: Some("key shop-1".to_owned()),
    };
    vec![
        (
            Event::SagaStarted(bare),
            r#"{"saga_started":{"definition":{"name":"order","version":3,"digest":"abababababababababababababababab"},"input":null}}"#,
        ),
        (
            Event::SagaStarted(full),
            r#"{"saga_started":{"definition":{"name":"order","version":3,"digest":"abababababababababababababababab"},"input":{"sku": "SKU-1", "n": 1.50},"key":"order-17","deadline":1700000000000000,"traceparent":"00-a-b-01","by":"key shop-1"}}"#,
        ),
    ]
}

fn steps() -> Vec<(Event, &'static str)> {
    let failed = |cause, retry_at| Event::StepFailed {
        step: STEP,
        failure: transient(cause, None),
        retry_at,
    };
    let rejected = |settled| Event::StepRejected {
        step: STEP,
        rejection: Rejection { reason: "no".to_owned(), settled, uncalled: false },
    };
    let asked = transient(TransientCause::NotYet, Some(1_500));
    vec![
        (
            Event::StepReceived { step: STEP, attempt: 1 },
            r#"{"step_received":{"step":2,"attempt":1}}"#,
        ),
        (
            Event::StepProcessed { step: STEP, output: payload(r#"{"id":7}"#) },
            r#"{"step_processed":{"step":2,"output":{"id":7}}}"#,
        ),
        (
            failed(TransientCause::Error, None),
            r#"{"step_failed":{"step":2,"failure":{"cause":"error","message":"late"},"retry_at":null}}"#,
        ),
        (
            failed(TransientCause::Timeout, Some(AT)),
            r#"{"step_failed":{"step":2,"failure":{"cause":"timeout","message":"late"},"retry_at":1700000000000000}}"#,
        ),
        (
            failed(TransientCause::Panicked, None),
            r#"{"step_failed":{"step":2,"failure":{"cause":"panicked","message":"late"},"retry_at":null}}"#,
        ),
        (
            failed(TransientCause::Cancelled, None),
            r#"{"step_failed":{"step":2,"failure":{"cause":"cancelled","message":"late"},"retry_at":null}}"#,
        ),
        (
            failed(TransientCause::WorkerLost, None),
            r#"{"step_failed":{"step":2,"failure":{"cause":"worker_lost","message":"late"},"retry_at":null}}"#,
        ),
        (
            Event::StepFailed { step: STEP, failure: asked, retry_at: Some(AT) },
            r#"{"step_failed":{"step":2,"failure":{"cause":"not_yet","message":"late","retry_after_ms":1500},"retry_at":1700000000000000}}"#,
        ),
        (rejected(false), r#"{"step_rejected":{"step":2,"rejection":{"reason":"no"}}}"#),
        (
            rejected(true),
            r#"{"step_rejected":{"step":2,"rejection":{"reason":"no","settled":true}}}"#,
        ),
        (
            Event::StepRejected {
                step: STEP,
                rejection: Rejection { reason: "no".to_owned(), settled: false, uncalled: true },
            },
            r#"{"step_rejected":{"step":2,"rejection":{"reason":"no","uncalled":true}}}"#,
        ),
        (
            Event::CallHeld { step: STEP, op: Op::Action, until: AT },
            r#"{"call_held":{"step":2,"op":"action","until":1700000000000000}}"#,
        ),
        (
            Event::CallHeld { step: STEP, op: Op::Compensation, until: AT },
            r#"{"call_held":{"step":2,"op":"compensation","until":1700000000000000}}"#,
        ),
        (
            Event::CallWithdrawn { step: STEP, op: Op::Action, why: "drained".to_owned() },
            r#"{"call_withdrawn":{"step":2,"op":"action","why":"drained"}}"#,
        ),
        (Event::WorkerLost, r#""worker_lost""#),
    ]
}

fn recovery() -> Vec<(Event, &'static str)> {
    let began = |cause| Event::RecoveryBegan { cause };
    let refused =
        Failure::Rejected(Rejection { reason: "no".to_owned(), settled: false, uncalled: false });
    let late = Failure::Transient(transient(TransientCause::Timeout, None));
    vec![
        (
            began(RecoveryCause::StepRejected { step: STEP }),
            r#"{"recovery_began":{"cause":{"step_rejected":{"step":2}}}}"#,
        ),
        (
            began(RecoveryCause::AttemptsSpent { step: STEP }),
            r#"{"recovery_began":{"cause":{"attempts_spent":{"step":2}}}}"#,
        ),
        (began(RecoveryCause::DeadlinePassed), r#"{"recovery_began":{"cause":"deadline_passed"}}"#),
        (began(RecoveryCause::Commanded), r#"{"recovery_began":{"cause":"commanded"}}"#),
        (
            Event::CompensationReceived { step: STEP, attempt: 4 },
            r#"{"compensation_received":{"step":2,"attempt":4}}"#,
        ),
        (Event::StepCompensated { step: STEP }, r#"{"step_compensated":{"step":2}}"#),
        (
            Event::CompensationFailed { step: STEP, failure: late, retry_at: Some(AT) },
            r#"{"compensation_failed":{"step":2,"failure":{"transient":{"cause":"timeout","message":"late"}},"retry_at":1700000000000000}}"#,
        ),
        (
            Event::CompensationFailed { step: STEP, failure: refused, retry_at: None },
            r#"{"compensation_failed":{"step":2,"failure":{"rejected":{"reason":"no"}},"retry_at":null}}"#,
        ),
    ]
}

fn stuck() -> Vec<(Event, &'static str)> {
    let reasons = [
        (
            StuckReason::PivotUnknown { step: STEP },
            r#"{"saga_stuck":{"reason":{"pivot_unknown":{"step":2}}}}"#,
        ),
        (
            StuckReason::PivotInDoubt { step: STEP },
            r#"{"saga_stuck":{"reason":{"pivot_in_doubt":{"step":2}}}}"#,
        ),
        (
            StuckReason::RetriableSpent { step: STEP },
            r#"{"saga_stuck":{"reason":{"retriable_spent":{"step":2}}}}"#,
        ),
        (
            StuckReason::RetriableRejected { step: STEP },
            r#"{"saga_stuck":{"reason":{"retriable_rejected":{"step":2}}}}"#,
        ),
        (
            StuckReason::CompensationSpent { step: STEP },
            r#"{"saga_stuck":{"reason":{"compensation_spent":{"step":2}}}}"#,
        ),
        (StuckReason::Poison { losses: 5 }, r#"{"saga_stuck":{"reason":{"poison":{"losses":5}}}}"#),
        (
            StuckReason::LogFull { transitions: 10_000 },
            r#"{"saga_stuck":{"reason":{"log_full":{"transitions":10000}}}}"#,
        ),
        (
            StuckReason::LogDamaged { why: "row 3".to_owned() },
            r#"{"saga_stuck":{"reason":{"log_damaged":{"why":"row 3"}}}}"#,
        ),
    ];
    reasons.map(|(reason, json)| (Event::SagaStuck { reason }, json)).to_vec()
}

fn commands() -> Vec<(Event, &'static str)> {
    let skip = |assume| CommandAction::Skip { step: "capture".to_owned(), assume };
    let actions = [
        (
            CommandAction::Retry,
            r#"{"command_accepted":{"request_id":"r-1","actor":"ada","reason":"why not","action":"retry"}}"#,
        ),
        (
            skip(Assume::Processed(payload("7"))),
            r#"{"command_accepted":{"request_id":"r-1","actor":"ada","reason":"why not","action":{"skip":{"step":"capture","assume":{"processed":7}}}}}"#,
        ),
        (
            skip(Assume::NoEffect),
            r#"{"command_accepted":{"request_id":"r-1","actor":"ada","reason":"why not","action":{"skip":{"step":"capture","assume":"no_effect"}}}}"#,
        ),
        (
            skip(Assume::Compensated),
            r#"{"command_accepted":{"request_id":"r-1","actor":"ada","reason":"why not","action":{"skip":{"step":"capture","assume":"compensated"}}}}"#,
        ),
        (
            skip(Assume::EffectRemains),
            r#"{"command_accepted":{"request_id":"r-1","actor":"ada","reason":"why not","action":{"skip":{"step":"capture","assume":"effect_remains"}}}}"#,
        ),
        (
            CommandAction::Compensate,
            r#"{"command_accepted":{"request_id":"r-1","actor":"ada","reason":"why not","action":"compensate"}}"#,
        ),
        (
            CommandAction::Cancel,
            r#"{"command_accepted":{"request_id":"r-1","actor":"ada","reason":"why not","action":"cancel"}}"#,
        ),
        (
            CommandAction::Pause,
            r#"{"command_accepted":{"request_id":"r-1","actor":"ada","reason":"why not","action":"pause"}}"#,
        ),
        (
            CommandAction::Resume,
            r#"{"command_accepted":{"request_id":"r-1","actor":"ada","reason":"why not","action":"resume"}}"#,
        ),
        (
            CommandAction::Stop,
            r#"{"command_accepted":{"request_id":"r-1","actor":"ada","reason":"why not","action":"stop"}}"#,
        ),
    ];
    let command = |action| Command {
        request_id: key("r-1"),
        actor: "ada".to_owned(),
        reason: "why not".to_owned(),
        action,
        expected_seq: None,
    };
    actions.map(|(action, json)| (Event::CommandAccepted(command(action)), json)).to_vec()
}

fn ends() -> Vec<(Event, &'static str)> {
    let left = |step: &str, effect| Remaining { step: step.to_owned(), effect };
    let remaining =
        vec![left("a", saga_core::Effect::Present), left("b", saga_core::Effect::Unknown)];
    vec![
        (
            Event::SagaEnded { verdict: Verdict::Completed },
            r#"{"saga_ended":{"verdict":{"outcome":"completed"}}}"#,
        ),
        (
            Event::SagaEnded { verdict: Verdict::Compensated },
            r#"{"saga_ended":{"verdict":{"outcome":"compensated"}}}"#,
        ),
        (
            Event::SagaEnded { verdict: Verdict::Stopped { remaining } },
            r#"{"saga_ended":{"verdict":{"outcome":"stopped","remaining":[{"step":"a","effect":"present"},{"step":"b","effect":"unknown"}]}}}"#,
        ),
    ]
}

fn pinned() -> Vec<(Event, &'static str)> {
    [starts(), steps(), recovery(), stuck(), commands(), ends()].concat()
}

#[test]
fn every_event_has_the_json_it_always_had() {
    for (event, json) in pinned() {
        assert_eq!(serde_json::to_string(&event).expect("events are JSON"), json);
        assert_eq!(serde_json::from_str::<Event>(json).expect(json), event);
    }
}

#[test]
fn no_event_is_missing_from_the_pinned_ones() {
    let mut found: Vec<_> = pinned().iter().map(|(event, _)| variant(event)).collect();
    found.dedup();
    assert_eq!(found, (0..=14).collect::<Vec<_>>());
}

#[test]
fn the_kind_of_an_event_is_its_name_in_the_log_and_all_kinds_are_listed() {
    let mut kinds: Vec<&str> = Vec::new();
    for (event, json) in pinned() {
        let name = json.trim_start_matches(['{', '"']).split('"').next();
        assert_eq!(Some(event.kind()), name, "{json}");
        kinds.push(event.kind());
    }
    kinds.dedup();
    assert_eq!(kinds, Event::KINDS);
}

#[test]
fn an_event_of_a_newer_release_is_refused_and_not_guessed() {
    let row = LogHead::default().seal(1, AT, &[Event::WorkerLost]);
    let mut newer = row.clone();
    newer.body = r#"[{"saga_rethought":{"step":2}}]"#.to_owned();
    let error = newer.decode().expect_err("nobody knows it");
    assert!(error.to_string().contains("a newer release wrote it"), "{error}");
}

#[test]
fn a_log_row_has_the_digest_it_always_had() {
    let events = [Event::StepReceived { step: STEP, attempt: 1 }, Event::WorkerLost];
    let first = LogHead::default().seal(1, AT, &events);
    assert_eq!(first.body, r#"[{"step_received":{"step":2,"attempt":1}},"worker_lost"]"#);
    let second = first.head().seal(2, AT, &[]);
    assert_eq!((second.seq, second.epoch, second.body.as_str()), (2, 2, "[]"));
    assert_eq!(first.digest.to_string(), "558367d8fd5c94847bf22f1de73c83ea");
    assert_eq!(second.digest.to_string(), "0a2a10edc8483592b65f1a30f8236f1a");
}
