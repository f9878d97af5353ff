//! Tests of definitions: what is refused, and with which words.

use std::time::Duration;

use super::*;
use crate::context::Output;
use crate::failure::Failure;
use crate::policy::breaker::BreakerPolicy;
use crate::policy::retry::RetryPolicy;

async fn work() -> Result<(), Failure> {
    Ok(())
}

fn compensatable(name: &str) -> Step {
    Step::compensatable(name, work, work)
}

/// The faults of a definition that has to be refused.
#[track_caller]
fn refused(builder: DefinitionBuilder) -> Vec<Fault> {
    builder.build().expect_err("it has to be refused").faults
}

/// Checks that a definition of these stages is refused with exactly this fault, in these words.
#[track_caller]
fn fault(stages: impl IntoIterator<Item = impl Into<Stage>>, fault: Fault, words: &str) {
    assert_eq!(refused(Definition::builder("saga").stages(stages)), std::slice::from_ref(&fault));
    assert!(fault.to_string().contains(words), "{fault}");
}

#[test]
fn a_well_formed_definition_is_accepted_in_every_legal_order() {
    let group = || parallel([compensatable("a"), compensatable("b")]);
    let after = || parallel([Step::retriable("x", work), Step::retriable("y", work)]);
    let pivot = || Step::pivot("p", work).into();
    let legal: [Vec<Stage>; 6] = [
        vec![compensatable("a").into()],
        vec![pivot()],
        vec![Step::retriable("x", work).into()],
        vec![group(), pivot(), after()],
        vec![group(), after()],
        vec![
            group(),
            compensatable("c").into(),
            pivot(),
            after(),
            Step::retriable("z", work).into(),
        ],
    ];
    for stages in legal {
        let definition = Definition::new("saga", stages).expect("it is well-formed");
        assert!(definition.spec().indexes().all(|step| definition.calls(step).is_some()));
    }
}

#[test]
fn a_name_that_does_not_fit_into_a_url_is_refused() {
    for (name, words) in
        [("", "is empty"), ("Order", "holds 'O'"), ("a b", "holds ' '"), ("ä", "holds 'ä'")]
    {
        let faults = refused(Definition::builder(name).step(compensatable("a")));
        assert!(
            matches!(&faults[..], [Fault::Name { .. }]) && faults[0].to_string().contains(words)
        );
        let faults =
            refused(Definition::builder("saga").step(compensatable(name).participant("x")));
        assert!(
            matches!(&faults[..], [Fault::StepName { .. }])
                && faults[0].to_string().contains(words)
        );
    }
    let long = "x".repeat(65);
    let faults = refused(Definition::builder(&*long).step(compensatable("a")));
    assert!(
        faults[0].to_string().contains("is 65 bytes long: expected at most 64"),
        "{}",
        faults[0]
    );
    assert!(Definition::builder("x".repeat(64)).step(compensatable("a")).build().is_ok());
}

#[test]
fn version_0_and_a_deadline_of_0_are_refused() {
    let base = || Definition::builder("saga").step(compensatable("a"));
    assert_eq!(refused(base().version(0)), [Fault::Version]);
    assert_eq!(refused(base().deadline(Duration::from_micros(999))), [Fault::Deadline]);
    assert!(base().version(7).deadline(Duration::from_millis(1)).build().is_ok());
}

#[test]
fn a_definition_has_between_1_and_200_steps() {
    assert_eq!(refused(Definition::builder("saga")), [Fault::NoSteps]);
    let steps = |count: usize| (0..count).map(|n| compensatable(&format!("s{n}")));
    fault(steps(201), Fault::TooManySteps { count: 201 }, "expected at most 200");
    assert!(Definition::new("saga", steps(200)).is_ok());
}

#[test]
fn an_empty_group_is_refused() {
    let stages = [compensatable("a").into(), parallel([])];
    fault(
        stages,
        Fault::EmptyGroup { stage: 1 },
        "parallel group number 1 (counted from 0) is empty",
    );
}

#[test]
fn a_step_that_stands_twice_is_refused() {
    let twice = Fault::DuplicateStep { step: "a".to_owned(), count: 2 };
    fault([compensatable("a"), compensatable("a")], twice, "expected every name once");
}

#[test]
fn steps_in_the_wrong_order_are_refused() {
    let wrong = |step: &str, kind, earlier: &str, earlier_kind| Fault::Order {
        step: step.to_owned(),
        kind,
        earlier: earlier.to_owned(),
        earlier_kind,
    };
    use StepKind::{Compensatable, Pivot, Retriable};
    let (pivot, retriable) = (|| Step::pivot("p", work), || Step::retriable("r", work));
    let words = "expected the order compensatable*, pivot?, retriable*";
    fault([pivot(), compensatable("a")], wrong("a", Compensatable, "p", Pivot), words);
    fault([retriable(), compensatable("a")], wrong("a", Compensatable, "r", Retriable), words);
    fault([retriable(), pivot()], wrong("p", Pivot, "r", Retriable), words);
    fault([pivot(), Step::pivot("q", work)], wrong("q", Pivot, "p", Pivot), words);
}

#[test]
fn a_group_of_mixed_kinds_or_with_a_pivot_is_refused() {
    let mixed = |steps: [&str; 2]| Fault::MixedGroup { steps: steps.map(str::to_owned).to_vec() };
    let words = "expected only compensatable or only retriable steps";
    let group = parallel([compensatable("a"), Step::retriable("r", work)]);
    fault([group], mixed(["a", "r"]), words);
    fault([parallel([Step::pivot("p", work), Step::pivot("q", work)])], mixed(["p", "q"]), words);
    assert!(
        Definition::new("saga", [parallel([Step::pivot("p", work)])]).is_ok(),
        "a group of one"
    );
}

#[test]
fn a_timeout_is_1_ms_to_an_hour() {
    let timeout = |field, value| Fault::Timeout { step: "a".to_owned(), field, value };
    let words = "expected 1 to 3600000";
    fault([compensatable("a").timeout(Duration::ZERO)], timeout("timeout", 0), words);
    let long = Duration::from_millis(3_600_001);
    let field = "compensation timeout";
    fault([compensatable("a").compensation_timeout(long)], timeout(field, 3_600_001), words);
    fault([compensatable("a").timeout(Duration::MAX)], timeout("timeout", u64::MAX), words);
}

#[test]
fn policies_that_cannot_work_are_refused() {
    let policy =
        |field, why: &str| Fault::Policy { step: "a".to_owned(), field, why: why.to_owned() };
    let none = RetryPolicy::new(0, Duration::ZERO);
    let why = "attempts_max is 0: expected at least 1";
    fault(
        [compensatable("a").retry(none.clone())],
        policy("retry", why),
        "step \"a\": retry attempts_max",
    );
    fault([compensatable("a").compensation_retry(none)], policy("compensation retry", why), why);
    let shrinking = RetryPolicy { multiplier_percent: 99, ..RetryPolicy::ACTION };
    let why = "multiplier_percent is under 100, so delays would shrink: expected at least 100";
    fault([compensatable("a").retry(shrinking)], policy("retry", why), why);
    let breaker = BreakerPolicy { probes_max: 0, ..BreakerPolicy::default() };
    let why = "breaker probes_max is 0: expected at least 1";
    fault([compensatable("a").breaker(breaker)], policy("policy", why), why);
    let breaker = BreakerPolicy { failure_percent_min: 101, ..BreakerPolicy::default() };
    let why = "breaker failure_percent_min is over 100: expected 0 to 100";
    fault([compensatable("a").breaker(breaker)], policy("policy", why), why);
    let why = "\"\" is empty or longer than 129 bytes";
    fault([compensatable("a").participant("")], policy("participant", why), why);
}

#[test]
fn a_shared_participant_has_one_breaker_policy() {
    let other = BreakerPolicy { open_ms: 1, ..BreakerPolicy::default() };
    let steps = ["a".to_owned(), "b".to_owned()].to_vec();
    let shared = [
        compensatable("a").participant("bank"),
        compensatable("b").participant("bank").breaker(other),
        compensatable("c"),
    ];
    let different = Fault::Breaker { participant: "bank".to_owned(), steps };
    fault(shared, different, "participant \"bank\" has different breaker policies");
}

async fn give() -> Result<u32, Failure> {
    Ok(1)
}

async fn read(Output(_): Output<u32>) -> Result<(), Failure> {
    Ok(())
}

async fn read_perhaps(_: Option<Output<u32>>) -> Result<(), Failure> {
    Ok(())
}

fn number() -> &'static str {
    std::any::type_name::<u32>()
}

#[test]
fn reading_an_output_that_no_earlier_step_gives_is_refused() {
    let unknown = |op| Fault::UnknownOutput { step: "a".to_owned(), op, wanted: number() };
    fault([Step::pivot("a", read)], unknown("action"), "which no earlier step gives");
    fault([Step::pivot("a", read_perhaps)], unknown("action"), "the action of step \"a\" reads");
    fault(
        [Step::compensatable("a", work, read)],
        unknown("compensation"),
        "the compensation of step",
    );
    // A step of the same group may not have run yet.
    let group =
        parallel([Step::compensatable("b", give, work), Step::compensatable("a", read, work)]);
    fault([group], unknown("action"), "which no earlier step gives");
    // A later one certainly has not.
    let later = [Step::compensatable("a", read, work), Step::compensatable("b", give, work)];
    fault(later, unknown("action"), "expected one of the earlier steps to return it");
}

#[test]
fn reading_an_output_that_several_earlier_steps_give_is_refused() {
    let givers = ["a".to_owned(), "b".to_owned()].to_vec();
    let several =
        Fault::AmbiguousOutput { step: "c".to_owned(), op: "action", wanted: number(), givers };
    let givers = || [Step::compensatable("a", give, work), Step::compensatable("b", give, work)];
    fault(
        givers().into_iter().chain([Step::pivot("c", read)]),
        several,
        r#"which steps ["a", "b"] all give"#,
    );
}

#[test]
fn a_compensation_must_bear_that_its_own_action_never_happened() {
    let certain = Fault::CertainOutput { step: "a".to_owned(), wanted: number() };
    fault([Step::compensatable("a", give, read)], certain, "take Option<Output<_>>");
    assert!(Definition::new("saga", [Step::compensatable("a", give, read_perhaps)]).is_ok());
}

#[test]
fn all_faults_are_reported_at_once_in_readable_words() {
    let other = BreakerPolicy { open_ms: 1, ..BreakerPolicy::default() };
    let error = Definition::builder("Bad Name")
        .version(0)
        .deadline(Duration::ZERO)
        .step(Step::pivot("pay", read).participant("bank").breaker(other))
        .step(parallel([]))
        .step(compensatable("reserve").timeout(Duration::ZERO).participant("bank"))
        .step(compensatable("reserve").retry(RetryPolicy::new(0, Duration::ZERO)))
        .build()
        .expect_err("hardly anything is right");
    let expected = [
        "saga definition \"Bad Name\" has 10 fault(s):",
        "  - parallel group number 1 (counted from 0) is empty: expected at least one step",
        "  - the definition's name \"Bad Name\" holds 'B': expected lower-case letters, digits and hyphens",
        "  - the version is 0: expected 1 or more",
        "  - the deadline is 0 ms: leave it out for none",
        "  - step \"reserve\": timeout is 0 ms: expected 1 to 3600000",
        "  - step \"reserve\": retry attempts_max is 0: expected at least 1",
        "  - step \"reserve\" stands 2 times: expected every name once",
        "  - step \"reserve\" is compensatable and comes after pivot \"pay\": expected the order compensatable*, pivot?, retriable*",
        "  - participant \"bank\" has different breaker policies in [\"pay\", \"reserve\"]: its breaker is shared, so give all the same",
        "  - the action of step \"pay\" reads the output u32, which no earlier step gives: expected one of the earlier steps to return it",
    ];
    assert_eq!(error.to_string().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_defaults_of_the_source_design_are_in_force() {
    let steps = [compensatable("a"), Step::pivot("p", work), Step::retriable("r", work)];
    let definition = Definition::new("saga", steps).expect("it is well-formed");
    let [a, p, r] = &definition.spec().steps[..] else { panic!("three steps") };
    assert_eq!((a.retry.attempts_max, a.retry.delay_ms), (3, 2_000));
    assert_eq!((a.participant.as_str(), a.timeout_ms), ("a", 3_000));
    for persistent in [&a.compensation_retry, &p.retry, &r.retry] {
        assert_eq!(*persistent, RetryPolicy::PERSISTENT);
    }
    assert_eq!((definition.spec().version, definition.spec().deadline_ms), (1, None));
}

#[test]
fn the_digest_tells_structures_apart_but_not_policies() {
    let spec = |steps: Vec<Step>| {
        Definition::new("saga", steps).expect("it is well-formed").spec().clone()
    };
    let base = spec(vec![compensatable("a"), compensatable("b")]);
    let tuned =
        spec(vec![compensatable("a").timeout(Duration::from_millis(9)), compensatable("b")]);
    assert_eq!(base.digest(), tuned.digest());
    let group = parallel([compensatable("a"), compensatable("b")]);
    let group = Definition::new("saga", [group]).expect("it is well-formed");
    let renumbered = DefinitionSpec { version: 2, ..(*base).clone() };
    let others = [
        spec(vec![compensatable("b"), compensatable("a")]).digest(),
        spec(vec![compensatable("a"), Step::pivot("b", work)]).digest(),
        spec(vec![compensatable("a")]).digest(),
        group.spec().digest(),
        renumbered.digest(),
    ];
    others.iter().for_each(|other| assert_ne!(*other, base.digest()));
}

#[test]
fn a_definition_as_data_survives_json() {
    let definition = Definition::builder("saga")
        .version(3)
        .deadline(Duration::from_secs(60))
        .stages([compensatable("a").into(), parallel([compensatable("b"), compensatable("c")])])
        .build()
        .expect("it is well-formed");
    let json = serde_json::to_string(&**definition.spec()).expect("it is data");
    let read: DefinitionSpec = serde_json::from_str(&json).expect("its own JSON");
    assert_eq!(read, **definition.spec());
    assert_eq!(read.digest(), definition.spec().digest());
}

#[test]
fn an_input_is_checked_against_every_step_that_reads_it() {
    use crate::context::Input;
    async fn number(_: Input<u32>) -> Result<(), Failure> {
        Ok(())
    }
    async fn text(_: Input<String>) -> Result<(), Failure> {
        Ok(())
    }
    let numeric =
        Definition::new("saga", [Step::compensatable("a", work, number)]).expect("well-formed");
    let payload = |json: &str| Payload::from_json(json).expect("JSON");
    assert!(numeric.check_input(&payload("7")).is_ok());
    let error = numeric.check_input(&payload("\"seven\"")).expect_err("no number");
    assert!(error.to_string().contains("cannot be read as u32"), "{error}");
    let torn =
        Definition::new("saga", [Step::compensatable("a", number, text)]).expect("well-formed");
    for json in ["7", "\"seven\""] {
        torn.check_input(&payload(json)).expect_err("one of the two cannot read it");
    }
}
