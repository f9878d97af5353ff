//! Typed parameters: what an action and a compensation are given.

use saga_core::{
    Cancellation, Definition, Failure, Input, Op, Output, Payload, SagaId, Step, StepContext,
    StepIndex, StepOutput, TransientCause, TypeKey, parallel,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Order {
    sku: String,
}

#[derive(Serialize, Deserialize)]
struct Reservation {
    number: u32,
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    text: String,
}

fn payload(json: &str) -> Payload {
    Payload::from_json(json).expect("JSON")
}

/// Calls one half of a step of `definition` as the worker does, with the outputs of these steps.
async fn call(
    definition: &Definition,
    step: usize,
    op: Op,
    input: &str,
    outputs: &[(usize, &str)],
) -> Result<Payload, Failure> {
    let calls =
        |step: usize| definition.calls(StepIndex(step as u16)).expect("a step of the definition");
    let name = |step: usize| definition.spec().steps[step].name.as_str().into();
    let output = |(step, json): &(usize, &str)| StepOutput {
        step: name(*step),
        gives: calls(*step).gives,
        value: payload(json),
    };
    let context = StepContext {
        saga_id: SagaId::from_bytes([7; 16]),
        saga: "trip".into(),
        step: name(step),
        op,
        attempt: 3,
        gives: calls(step).gives,
        input: payload(input),
        outputs: outputs.iter().map(output).collect(),
        cancellation: Cancellation::never(),
        traceparent: Some("00-a-b-01".to_owned()),
    };
    let half = match op {
        Op::Action => calls(step).action.clone(),
        Op::Compensation => calls(step).compensation.clone().expect("a compensatable step"),
    };
    half.call(context).await
}

/// Checks that a call ended as unknown, explained by these words.
#[track_caller]
fn unknown(result: Result<Payload, Failure>, words: &[&str]) {
    let Err(Failure::Transient(transient)) = result else { panic!("{result:?}") };
    assert_eq!(transient.cause, TransientCause::Error);
    words
        .iter()
        .for_each(|word| assert!(transient.message.contains(word), "{}", transient.message));
}

/// Checks that the function was not even called, explained by these words.
#[track_caller]
fn uncalled(result: Result<Payload, Failure>, words: &[&str]) {
    let Err(Failure::Rejected(rejection)) = result else { panic!("{result:?}") };
    assert!(rejection.uncalled && !rejection.settled);
    let reason = rejection.reason;
    assert!(reason.starts_with("not called, its parameters cannot be read: "), "{reason}");
    words.iter().for_each(|word| assert!(reason.contains(word), "{reason}"));
}

async fn reserve(Input(order): Input<Order>) -> Result<Reservation, Failure> {
    Ok(Reservation { number: order.sku.len() as u32 })
}

async fn release(own: Option<Output<Reservation>>) -> Result<(), Failure> {
    match own {
        Some(Output(Reservation { number: 13 })) => Err(Failure::rejected("never 13")),
        _ => Ok(()),
    }
}

async fn pay(
    context: StepContext,
    Input(order): Input<Order>,
    Output(reservation): Output<Reservation>,
) -> Result<Receipt, Failure> {
    let (sku, number, key) = (order.sku, reservation.number, context.idempotency_key());
    Ok(Receipt { text: format!("{sku} {number} {} {key}", context.attempt) })
}

fn trip() -> Definition {
    let steps = [Step::compensatable("reserve", reserve, release), Step::pivot("pay", pay)];
    Definition::new("trip", steps).expect("it is well-formed")
}

#[tokio::test]
async fn an_action_reads_the_input_with_its_type() {
    let output = call(&trip(), 0, Op::Action, r#"{"sku":"SKU-1"}"#, &[]).await;
    assert_eq!(output, Ok(payload(r#"{"number":5}"#)));
}

#[tokio::test]
async fn an_action_reads_context_input_and_an_earlier_output_together() {
    let output = call(&trip(), 1, Op::Action, r#"{"sku":"S"}"#, &[(0, r#"{"number":5}"#)]).await;
    let receipt: Receipt = output.expect("it is paid").decode().expect("a receipt");
    assert_eq!(receipt.text, "S 5 3 07070707-0707-0707-0707-070707070707:pay:action");
}

#[tokio::test]
async fn a_compensation_reads_its_own_output_if_there_is_one() {
    let compensate =
        async |outputs: &[_]| call(&trip(), 0, Op::Compensation, "null", outputs).await;
    assert_eq!(compensate(&[]).await, Ok(Payload::null()));
    assert_eq!(compensate(&[(0, r#"{"number":7}"#)]).await, Ok(Payload::null()));
    assert_eq!(compensate(&[(0, r#"{"number":13}"#)]).await, Err(Failure::rejected("never 13")));
}

#[tokio::test]
async fn a_compensation_reads_input_context_and_the_certain_output_of_an_earlier_step() {
    async fn refund(
        context: StepContext,
        Input(order): Input<Order>,
        Output(reservation): Output<Reservation>,
        own: Option<Output<Receipt>>,
    ) -> Result<(), Failure> {
        let own = own.map_or("nothing".to_owned(), |Output(receipt)| receipt.text);
        let key = context.idempotency_key();
        Err(Failure::rejected(format!("{} {} {own} {key}", order.sku, reservation.number)))
    }
    let steps =
        [Step::compensatable("reserve", reserve, release), Step::compensatable("pay", pay, refund)];
    let definition = Definition::new("trip", steps).expect("it is well-formed");
    for (outputs, own) in [
        (&[(0, r#"{"number":5}"#)][..], "nothing"),
        (&[(0, r#"{"number":5}"#), (1, r#"{"text":"paid"}"#)], "paid"),
    ] {
        let result = call(&definition, 1, Op::Compensation, r#"{"sku":"S"}"#, outputs).await;
        let key = "07070707-0707-0707-0707-070707070707:pay:compensation";
        assert_eq!(result, Err(Failure::rejected(format!("S 5 {own} {key}"))));
    }
}

#[tokio::test]
async fn the_output_of_an_earlier_step_never_stands_in_for_a_compensations_own() {
    async fn again(_: Option<Output<Reservation>>) -> Result<(), Failure> {
        Ok(())
    }
    async fn undo(own: Option<Output<Reservation>>) -> Result<(), Failure> {
        let own =
            own.map_or("none".to_owned(), |Output(reservation)| reservation.number.to_string());
        Err(Failure::rejected(own))
    }
    let steps = [
        Step::compensatable("first", reserve, again),
        Step::compensatable("second", reserve, undo),
    ];
    let definition = Definition::new("trip", steps).expect("own outputs are not ambiguous");
    let first = (0, r#"{"number":1}"#);
    for (outputs, own) in [(&[first][..], "none"), (&[first, (1, r#"{"number":2}"#)], "2")] {
        let result = call(&definition, 1, Op::Compensation, "null", outputs).await;
        assert_eq!(result, Err(Failure::rejected(own)));
    }
}

#[tokio::test]
async fn siblings_of_one_group_may_give_the_same_type_and_each_compensates_its_own() {
    async fn undo(own: Option<Output<Reservation>>) -> Result<(), Failure> {
        let own = own.map(|Output(reservation)| reservation.number);
        Err(Failure::rejected(format!("{own:?}")))
    }
    let group = parallel(["left", "right"].map(|name| Step::compensatable(name, reserve, undo)));
    let definition = Definition::new("trip", [group]).expect("it is well-formed");
    let outputs = [(0, r#"{"number":1}"#)];
    let own = |text: &str| Err(Failure::rejected(text));
    assert_eq!(call(&definition, 0, Op::Compensation, "null", &outputs).await, own("Some(1)"));
    assert_eq!(call(&definition, 1, Op::Compensation, "null", &outputs).await, own("None"));
}

#[tokio::test]
async fn a_value_of_the_wrong_type_is_a_rejection_without_a_call_and_names_the_type() {
    let input = call(&trip(), 0, Op::Action, "[1, 2]", &[]).await;
    uncalled(
        input,
        &["cannot be read as", "extraction::Order", "invalid type: integer `1`, expected a string"],
    );
    let output =
        call(&trip(), 1, Op::Action, r#"{"sku":"S"}"#, &[(0, r#"{"number":"five"}"#)]).await;
    uncalled(output, &["Reservation", "invalid type: string \"five\", expected u32"]);
    let own = call(&trip(), 0, Op::Compensation, "null", &[(0, "true")]).await;
    uncalled(own, &["Reservation", "invalid type: boolean `true`"]);
    let missing = call(&trip(), 1, Op::Action, r#"{"sku":"S"}"#, &[]).await;
    uncalled(missing, &["no earlier step has given a", "Reservation"]);
}

#[tokio::test]
async fn any_error_let_through_is_unknown_and_only_a_rejection_rejects() {
    async fn parse(Input(text): Input<String>) -> Result<u32, Failure> {
        let number = text.parse()?;
        if number == 0 {
            return Err(Failure::rejected("zero"));
        }
        Ok(number)
    }
    let definition = Definition::new("trip", [Step::pivot("parse", parse)]).expect("well-formed");
    unknown(
        call(&definition, 0, Op::Action, "\"x\"", &[]).await,
        &["invalid digit found in string"],
    );
    let zero = call(&definition, 0, Op::Action, "\"0\"", &[]).await;
    assert_eq!(zero, Err(Failure::rejected("zero")));
}

#[tokio::test]
async fn closures_with_captured_state_and_other_error_types_serve_as_actions() {
    let bonus = std::sync::Arc::new(40);
    let action = move |Input(base): Input<u32>| {
        let bonus = bonus.clone();
        async move {
            if base == 0 { Err(std::io::Error::other("base is 0")) } else { Ok(base + *bonus) }
        }
    };
    let definition = Definition::new("trip", [Step::pivot("add", action)]).expect("well-formed");
    assert_eq!(call(&definition, 0, Op::Action, "2", &[]).await, Ok(payload("42")));
    unknown(call(&definition, 0, Op::Action, "0", &[]).await, &["base is 0"]);
}

#[tokio::test]
async fn an_output_that_is_not_json_leaves_the_outcome_unknown() {
    async fn odd() -> Result<std::collections::BTreeMap<Vec<u8>, u32>, Failure> {
        Ok([(vec![1], 2)].into())
    }
    let definition = Definition::new("trip", [Step::pivot("odd", odd)]).expect("well-formed");
    unknown(call(&definition, 0, Op::Action, "null", &[]).await, &["cannot be written as JSON"]);
}

#[test]
fn an_output_is_checked_by_everyone_who_reads_it() {
    let trip = trip();
    let check = |step, json: &str| trip.check_output(StepIndex(step), &payload(json));
    assert_eq!(check(0, r#"{"number":5}"#), Ok(()));
    let wrong = check(0, r#"{"number":"five"}"#).expect_err("the pivot reads it as a number");
    assert!(wrong.to_string().contains("Reservation"), "{wrong}");
    assert_eq!(check(1, "true"), Ok(()), "nobody reads what the pivot gives");
    assert_eq!(check(9, "true"), Ok(()));
    // A compensation reads its own; two that give the same type do not check each other's.
    async fn undo(_: Option<Output<Reservation>>) -> Result<(), Failure> {
        Ok(())
    }
    async fn undo_nothing() -> Result<(), Failure> {
        Ok(())
    }
    let steps = [
        Step::compensatable("first", reserve, undo_nothing),
        Step::compensatable("second", reserve, undo),
    ];
    let own = Definition::new("trip", steps).expect("it is well-formed");
    assert_eq!(own.check_output(StepIndex(0), &payload("true")), Ok(()));
    assert!(own.check_output(StepIndex(1), &payload("true")).is_err());
}

#[test]
fn a_definition_knows_what_its_steps_give() {
    let trip = trip();
    let gives = |step| trip.calls(StepIndex(step)).map(|calls| calls.gives);
    assert_eq!(gives(0), Some(TypeKey::of::<Reservation>()));
    assert_eq!(gives(1), Some(TypeKey::of::<Receipt>()));
    assert!(gives(2).is_none());
}
