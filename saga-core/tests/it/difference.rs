//! What a person reads when a definition was changed under the same version.

use saga_core::{Definition, Failure, Stage, Step, parallel};

async fn work() -> Result<(), Failure> {
    Ok(())
}

fn step(name: &str) -> Step {
    Step::compensatable(name, work, work)
}

fn retriable(name: &str) -> Step {
    Step::retriable(name, work)
}

/// The difference between definitions of these stages.
#[track_caller]
fn differs<const N: usize, const M: usize>(was: [Stage; N], is: [Stage; M], lines: &[&str]) {
    let define = |stages: Vec<Stage>| Definition::new("order", stages).expect("well-formed");
    let (was, is) = (define(was.into_iter().collect()), define(is.into_iter().collect()));
    assert_eq!(was.spec().difference(is.spec()), lines);
    assert_eq!(lines.is_empty(), was.spec().digest() == is.spec().digest());
}

#[test]
fn the_same_structure_has_no_difference() {
    differs([step("a").into()], [step("a").participant("elsewhere").into()], &[]);
}

#[test]
fn steps_that_have_come_or_gone_are_named_with_their_kind_and_group() {
    differs(
        [step("a").into(), step("b").into()],
        [step("a").into(), retriable("c").into()],
        &["- b (compensatable)", "+ c (retriable)"],
    );
    differs(
        [parallel([step("a"), step("b"), step("c")])],
        [parallel([step("a"), step("c")]), step("d").into()],
        &["- b (compensatable, in parallel with a, c)", "+ d (compensatable)"],
    );
}

#[test]
fn a_step_in_front_that_has_gone_is_all_that_is_told() {
    differs(
        [step("a").into(), step("b").into(), step("c").into()],
        [step("b").into(), step("c").into()],
        &["- a (compensatable)"],
    );
}

#[test]
fn another_kind_is_told_with_the_one_before() {
    differs(
        [step("a").into(), Step::pivot("b", work).into()],
        [step("a").into(), retriable("b").into()],
        &["~ b is retriable now, and was pivot"],
    );
}

#[test]
fn another_group_is_told_with_its_company() {
    differs(
        [step("a").into(), step("b").into(), step("c").into()],
        [step("a").into(), parallel([step("b"), step("c")])],
        &[
            "~ b runs in parallel with c now, and ran on its own",
            "~ c runs in parallel with b now, and ran on its own",
        ],
    );
}

#[test]
fn another_order_is_told_as_a_whole() {
    differs(
        [step("a").into(), parallel([step("b"), step("c")]), step("d").into()],
        [step("d").into(), parallel([step("b"), step("c")]), step("a").into()],
        &["~ the order is d, [b | c], a now, and was a, [b | c], d"],
    );
}

#[test]
fn everything_at_once_is_told_completely() {
    differs(
        [step("a").into(), step("b").into(), step("c").into(), Step::pivot("pay", work).into()],
        [step("c").into(), parallel([step("b"), step("new")]), retriable("pay").into()],
        &[
            "- a (compensatable)",
            "+ new (compensatable, in parallel with b)",
            "~ pay is retriable now, and was pivot",
            "~ the order is c, [b | new], pay now, and was a, b, c, pay",
        ],
    );
}

#[test]
fn stages_that_are_only_numbered_otherwise_are_told_by_their_numbers() {
    let definition = Definition::new("order", [step("a"), step("b")]).expect("well-formed");
    let mut offered = (**definition.spec()).clone();
    offered.steps[1].stage = 2;
    let lines = definition.spec().difference(&offered);
    assert_eq!(lines, ["~ the stages are numbered 0, 2 now, and were numbered 0, 1"]);
}
