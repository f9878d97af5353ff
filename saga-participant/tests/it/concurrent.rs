//! The three anomalies with everything arriving at once, from two processes.

use std::sync::Arc;

use saga_participant::{Answer, Barrier, Op};
use tokio::sync::Barrier as StartingLine;
use tokio::task::JoinSet;

use crate::shop::{Home, Shop, act, compensate, on_each_database};

on_each_database!(
    of_many_equal_actions_at_once_one_runs_and_all_get_its_answer,
    of_many_equal_compensations_at_once_one_runs_and_all_get_its_answer,
    actions_that_arrive_beside_or_after_a_null_compensation_are_all_refused,
    an_action_and_its_compensation_at_the_same_instant_cancel_out_action_first,
    an_action_and_its_compensation_at_the_same_instant_cancel_out_compensation_first,
    duplicated_actions_and_compensations_all_at_once_never_leave_an_effect_behind,
);

const PAIRS: usize = 60;

/// Sends the calls at one instant, every other one from a second process, and returns the answers.
async fn at_once<DB: Home>(shop: &Shop<DB>, calls: &[(Op, String)]) -> Vec<(Op, String, Answer)> {
    let processes = [shop.barrier.clone(), shop.other_process().await];
    let line = Arc::new(StartingLine::new(calls.len()));
    let mut tasks = JoinSet::new();
    for (nth, (op, saga_id)) in calls.iter().cloned().enumerate() {
        let (barrier, line) = (processes[nth % 2].clone(), Arc::clone(&line));
        tasks.spawn(async move {
            line.wait().await;
            let answer = call(&barrier, op, &saga_id).await;
            (op, saga_id, answer)
        });
    }
    tasks.join_all().await
}

async fn call<DB: Home>(barrier: &Barrier<DB>, op: Op, saga_id: &str) -> Answer {
    match op {
        Op::Action => act(barrier, saga_id).await,
        Op::Compensation => compensate(barrier, saga_id).await,
    }
    .unwrap()
}

fn saga(nth: usize) -> String {
    format!("s-{nth}")
}

async fn of_many_equal_actions_at_once_one_runs_and_all_get_its_answer<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    let calls: Vec<_> = (0..80).map(|nth| (Op::Action, saga(nth / 20))).collect();
    for (_, saga_id, answer) in at_once(&shop, &calls).await {
        assert_eq!(answer.body(), format!("\"done for {saga_id}\""));
        assert!(answer.is_recorded());
    }
    for nth in 0..4 {
        assert_eq!(shop.effects(&saga(nth)).await, (1, 0));
    }
}

async fn of_many_equal_compensations_at_once_one_runs_and_all_get_its_answer<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    act(&shop.barrier, "s").await.unwrap();
    let calls = vec![(Op::Compensation, "s".to_owned()); 40];
    for (_, _, answer) in at_once(&shop, &calls).await {
        assert_eq!((answer.status(), answer.body()), (200, "null"));
    }
    assert_eq!(shop.effects("s").await, (1, 1));
}

async fn actions_that_arrive_beside_or_after_a_null_compensation_are_all_refused<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    for nth in 0..4 {
        assert!(compensate(&shop.barrier, &saga(nth)).await.unwrap().is_processed());
    }
    let calls: Vec<_> = (0..80)
        .map(|nth| (if nth % 5 == 0 { Op::Compensation } else { Op::Action }, saga(nth % 4)))
        .collect();
    for (op, _, answer) in at_once(&shop, &calls).await {
        let expected = match op {
            Op::Action => 409,
            Op::Compensation => 200,
        };
        assert_eq!(answer.status(), expected);
    }
    for nth in 0..4 {
        assert_eq!(shop.effects(&saga(nth)).await, (0, 0));
    }
}

/// Whoever of a pair wins, its effects cancel out, and the answers tell what happened.
async fn check_pairs<DB: Home>(order: [Op; 2]) {
    let shop = Shop::<DB>::open().await;
    let calls: Vec<_> = (0..PAIRS).flat_map(|nth| order.map(|op| (op, saga(nth)))).collect();
    let answers = at_once(&shop, &calls).await;
    for (op, saga_id, answer) in answers {
        assert!(answer.is_recorded());
        let effects = shop.effects(&saga_id).await;
        match (op, answer.status()) {
            (Op::Action, 200) => assert_eq!(effects, (1, 1), "{saga_id}: done, then undone"),
            (Op::Action, 409) => assert_eq!(effects, (0, 0), "{saga_id}: refused, never done"),
            (Op::Compensation, 200) => assert!(effects == (0, 0) || effects == (1, 1)),
            (op, status) => panic!("{saga_id}: {op} was answered with {status}"),
        }
    }
}

async fn an_action_and_its_compensation_at_the_same_instant_cancel_out_action_first<DB: Home>() {
    check_pairs::<DB>([Op::Action, Op::Compensation]).await;
}

async fn an_action_and_its_compensation_at_the_same_instant_cancel_out_compensation_first<
    DB: Home,
>() {
    check_pairs::<DB>([Op::Compensation, Op::Action]).await;
}

async fn duplicated_actions_and_compensations_all_at_once_never_leave_an_effect_behind<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    let calls: Vec<_> = (0..20)
        .flat_map(|nth| {
            [Op::Action, Op::Compensation, Op::Compensation, Op::Action].map(|op| (op, saga(nth)))
        })
        .collect();
    let answers = at_once(&shop, &calls).await;
    for nth in 0..20 {
        let (done, undone) = shop.effects(&saga(nth)).await;
        assert!(done == undone && done <= 1, "{}: {done} done, {undone} undone", saga(nth));
        let mut bodies: Vec<_> = answers
            .iter()
            .filter(|(op, saga_id, _)| *op == Op::Action && *saga_id == saga(nth))
            .map(|(_, _, answer)| answer.body())
            .collect();
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "both actions of {} got one answer", saga(nth));
    }
}
