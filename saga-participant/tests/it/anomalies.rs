//! Duplicate, null compensation and dangling action, one call after the other.

use saga_participant::problem::DANGLING_ACTION;
use saga_participant::{Answer, BarrierError, Refusal};

use crate::shop::{Home, Shop, act, action, compensate, compensation, on_each_database, problem};

on_each_database!(
    a_repeated_action_gets_the_first_answer_byte_for_byte_and_has_no_second_effect,
    a_repeated_compensation_gets_the_first_answer_and_has_no_second_effect,
    an_action_repeated_after_its_compensation_gets_its_own_first_answer,
    a_compensation_before_its_action_does_nothing_and_the_late_action_is_refused,
    the_guards_of_one_saga_and_step_do_not_touch_another,
    the_rejection_of_an_action_leaves_no_effect_and_is_final,
    the_rejection_of_a_compensation_is_not_recorded_so_that_it_can_succeed_later,
    a_call_at_the_endpoint_of_the_other_op_is_refused_without_a_trace,
);

async fn a_repeated_action_gets_the_first_answer_byte_for_byte_and_has_no_second_effect<
    DB: Home,
>() {
    let shop = Shop::<DB>::open().await;
    let first = act(&shop.barrier, "s").await.unwrap();
    assert_eq!(first.body(), r#""done for s""#);
    assert!(first.is_processed() && first.is_recorded());

    let again = shop
        .barrier
        .act(&action("s"), async |_tx| -> Result<(), Refusal> {
            panic!("the business code of a repeated call must not run")
        })
        .await
        .unwrap();
    assert_eq!(again, first);
    assert_eq!(shop.effects("s").await, (1, 0));
}

async fn a_repeated_compensation_gets_the_first_answer_and_has_no_second_effect<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    act(&shop.barrier, "s").await.unwrap();
    let first = compensate(&shop.barrier, "s").await.unwrap();
    let again = compensate(&shop.barrier, "s").await.unwrap();
    assert_eq!(again, first);
    assert!(first.is_processed() && first.is_recorded());
    assert_eq!(shop.effects("s").await, (1, 1));
}

async fn an_action_repeated_after_its_compensation_gets_its_own_first_answer<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    let first = act(&shop.barrier, "s").await.unwrap();
    compensate(&shop.barrier, "s").await.unwrap();
    assert_eq!(act(&shop.barrier, "s").await.unwrap(), first);
    assert_eq!(shop.effects("s").await, (1, 1));
}

async fn a_compensation_before_its_action_does_nothing_and_the_late_action_is_refused<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    let null_compensation = compensate(&shop.barrier, "s").await.unwrap();
    assert_eq!((null_compensation.status(), null_compensation.body()), (200, "null"));
    assert!(null_compensation.is_recorded());
    assert_eq!(shop.guard_rows().await, 2);

    for _ in 0..2 {
        let dangling = act(&shop.barrier, "s").await.unwrap();
        assert_eq!(dangling.status(), 409);
        assert!(dangling.is_recorded());
        let problem = problem(&dangling);
        assert_eq!(problem.kind.as_deref(), Some(DANGLING_ACTION));
        assert!(problem.reason().unwrap().contains("s:reserve:action"), "{problem}");
    }
    assert_eq!(compensate(&shop.barrier, "s").await.unwrap(), null_compensation);
    assert_eq!(shop.effects("s").await, (0, 0));
}

async fn the_guards_of_one_saga_and_step_do_not_touch_another<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    compensate(&shop.barrier, "s").await.unwrap();
    assert!(act(&shop.barrier, "t").await.unwrap().is_processed());

    let mut other_step = action("s");
    other_step.step = "pack".to_owned();
    let answer = shop.barrier.act(&other_step, async |_tx| Ok(())).await.unwrap();
    assert!(answer.is_processed());
}

async fn the_rejection_of_an_action_leaves_no_effect_and_is_final<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    let reject = || async {
        let identity = action("s");
        let effect_of = identity.clone();
        shop.barrier
            .act(&identity, async move |tx| -> Result<(), Refusal> {
                DB::effect(tx, &effect_of).await?;
                Err(Refusal::rejected("out of stock"))
            })
            .await
            .unwrap()
    };
    let first: Answer = reject().await;
    assert_eq!(first.status(), 422);
    assert!(first.is_recorded());
    assert_eq!(problem(&first).reason(), Some("out of stock"));

    // The goods have come in meanwhile, but the engine may have acted on the first answer.
    assert_eq!(act(&shop.barrier, "s").await.unwrap(), first);

    let undone = compensate(&shop.barrier, "s").await.unwrap();
    assert_eq!((undone.status(), undone.body()), (200, "null"));
    assert_eq!(shop.effects("s").await, (0, 0));
}

async fn the_rejection_of_a_compensation_is_not_recorded_so_that_it_can_succeed_later<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    act(&shop.barrier, "s").await.unwrap();
    let refused = shop
        .barrier
        .compensate(&compensation("s"), async |_tx, _output: String| -> Result<(), Refusal> {
            Err(Refusal::rejected("the parcel is on its way"))
        })
        .await
        .unwrap();
    assert_eq!((refused.status(), refused.is_recorded()), (422, false));

    assert!(compensate(&shop.barrier, "s").await.unwrap().is_processed());
    assert_eq!(shop.effects("s").await, (1, 1));
}

async fn a_call_at_the_endpoint_of_the_other_op_is_refused_without_a_trace<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    let action_at_compensation =
        shop.barrier.compensate(&action("s"), async |_tx, _: String| Ok(())).await;
    assert!(matches!(action_at_compensation, Err(BarrierError::WrongOp { .. })));
    let compensation_at_action = shop.barrier.act(&compensation("s"), async |_tx| Ok(())).await;
    assert!(matches!(compensation_at_action, Err(BarrierError::WrongOp { .. })));
    assert_eq!(shop.guard_rows().await, 0);
}
