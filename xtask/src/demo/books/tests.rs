use super::super::verdicts::tests::ended;
use super::*;

fn movement(saga: &Ended, action: u64, compensation: u64) -> Movement {
    Movement {
        saga_id: saga.accepted.saga_id.clone(),
        action_effects: action,
        compensation_effects: compensation,
        amount: due("payments", saga).unwrap(),
    }
}

/// The payments book of a world in which each completed order was captured once.
fn honest(ended: &[Ended]) -> Book {
    let completed: Vec<_> = ended.iter().filter(|s| s.view.status == Status::Completed).collect();
    let held: u64 = completed.iter().filter_map(|saga| due("payments", saga)).sum();
    let held = i64::try_from(held).unwrap();
    Book {
        service: "payments".to_owned(),
        unit: "cents".to_owned(),
        opening: 1_000_000,
        balance: 1_000_000 - held,
        held,
        movements: completed.iter().map(|saga| movement(saga, 1, 0)).collect(),
        arithmetic_ok: true,
    }
}

fn world() -> Vec<Ended> {
    vec![
        ended(0, Status::Completed, 5),
        ended(1, Status::Completed, 5),
        ended(2, Status::Compensated, 5),
    ]
}

fn counts(audit: &Audit) -> (u64, u64, u64) {
    (audit.duplicate_effects, audit.lost_effects, audit.orphaned_effects)
}

#[test]
fn honest_books_balance() {
    let world = world();
    let audit = audit(&world, &[honest(&world)]);
    assert!(audit.balances(), "{:?}", audit.findings);
    assert_eq!(audit.pages[0].held, audit.pages[0].expected);
}

#[test]
fn an_effect_made_and_undone_for_a_compensated_saga_balances() {
    let world = world();
    let mut book = honest(&world);
    book.movements.push(movement(&world[2], 1, 1));
    assert!(audit(&world, &[book]).balances());
}

#[test]
fn a_planted_double_capture_is_found() {
    let world = world();
    let mut book = honest(&world);
    book.movements[0].action_effects = 2;
    let audit = audit(&world, &[book]);
    assert_eq!(counts(&audit), (1, 0, 0));
    assert!(!audit.balances());
    assert!(audit.findings[0].contains("1 effect doubled of saga saga-0"), "{:?}", audit.findings);
}

#[test]
fn a_planted_lost_capture_is_found() {
    let world = world();
    let mut book = honest(&world);
    book.movements.remove(1);
    assert_eq!(counts(&audit(&world, &[book])), (0, 1, 0));
}

#[test]
fn an_effect_undone_behind_a_completed_saga_is_lost() {
    let world = world();
    let mut book = honest(&world);
    book.movements[1].compensation_effects = 1;
    assert_eq!(counts(&audit(&world, &[book])), (0, 1, 0));
}

#[test]
fn an_effect_left_behind_by_a_compensated_saga_is_orphaned() {
    let world = world();
    let mut book = honest(&world);
    book.movements.push(movement(&world[2], 1, 0));
    assert_eq!(counts(&audit(&world, &[book])), (0, 0, 1));
}

#[test]
fn an_effect_of_a_saga_that_nobody_started_is_orphaned() {
    let world = world();
    let mut book = honest(&world);
    book.movements.push(movement(&ended(9, Status::Completed, 5), 1, 0));
    let audit = audit(&world, &[book]);
    assert_eq!(counts(&audit), (0, 0, 1));
    assert!(audit.findings[0].contains("unknown to the order service"), "{:?}", audit.findings);
}

#[test]
fn undoing_twice_is_doubled_and_undoing_what_never_was_is_orphaned() {
    let world = world();
    let mut book = honest(&world);
    book.movements.push(movement(&world[2], 1, 2));
    assert_eq!(counts(&audit(&world, &[book.clone()])), (1, 0, 0));
    *book.movements.last_mut().unwrap() = movement(&world[2], 0, 1);
    assert_eq!(counts(&audit(&world, &[book])), (0, 0, 1));
}

#[test]
fn a_cent_too_much_is_found_though_each_effect_is_there_once() {
    let world = world();
    let mut book = honest(&world);
    book.held += 1;
    book.balance -= 1;
    let audit = audit(&world, &[book]);
    assert_eq!(counts(&audit), (0, 0, 0));
    assert!(!audit.balances());
    assert!(audit.findings[0].contains("the verdicts say"), "{:?}", audit.findings);
}

#[test]
fn two_sagas_that_paid_each_others_price_are_found_though_the_sum_is_right() {
    let world = world();
    let mut book = honest(&world);
    book.movements[0].amount += 1;
    book.movements[1].amount -= 1;
    let audit = audit(&world, &[book]);
    assert_eq!(audit.findings.len(), 2, "{:?}", audit.findings);
    assert!(!audit.balances());
}

#[test]
fn a_service_that_contradicts_itself_does_not_balance() {
    let world = world();
    let mut book = honest(&world);
    book.arithmetic_ok = false;
    assert!(!audit(&world, &[book]).balances());
}

#[test]
fn an_order_without_points_owes_no_points() {
    let mut without = ended(0, Status::Completed, 5);
    without.accepted.planned.order.points = 0;
    let book = Book {
        service: "points".to_owned(),
        unit: "points".to_owned(),
        opening: 10,
        balance: 10,
        held: 0,
        movements: Vec::new(),
        arithmetic_ok: true,
    };
    assert!(audit(&[without], &[book]).balances());
}

#[test]
fn a_living_saga_is_not_called_lost_or_orphaned() {
    assert_eq!(compare(Status::Running, true, 1, 0), Deviation::default());
    assert_eq!(compare(Status::Stuck, true, 0, 0), Deviation::default());
    assert_eq!(compare(Status::Stopped, true, 2, 0).duplicate, 1);
}
