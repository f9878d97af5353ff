//! Calls that were announced and then not made: no attempt, and no doubt.

use super::check;
use super::script::Script;
use crate::saga::StepState;

#[test]
fn a_call_that_was_not_made_is_no_attempt_and_can_be_made_at_once() {
    let mut script = Script::of("c1 c2");
    let fresh = script.ledger("c1").clone();
    script.expect("c1:go c1:back", "c1 received 1, c1 withdrawn");
    assert_eq!(*script.ledger("c1"), fresh, "as if it had never been announced");
    assert_eq!(script.next(), "call c1");
    script.expect("c1", "c1 received 1, c1 processed");
}

#[test]
fn withdrawals_spend_no_budget_however_many_there_are() {
    let mut script = Script::short("c1");
    script.run("c1:go c1:? due");
    (0..20).for_each(|_| drop(script.run("c1:go c1:back")));
    assert_eq!(script.ledger("c1").attempts, 1);
    script.expect("c1:go c1:?", "c1 received 2, c1 failed spent, turned: c1 spent");
}

#[test]
fn a_pivot_that_was_not_called_can_be_refused_without_a_person() {
    let given = "c1 p:go p:back";
    check("c1 p", given, "p:go p:no", "p received 1, p rejected, turned: p rejected");
    check("c1 p", given, "cancel", "accepted cancel, turned: commanded");
}

#[test]
fn a_withdrawal_takes_back_no_doubt_that_was_there_before() {
    let mut script = Script::short("c1 p");
    script.run("c1 p:go p:? due p:go p:back");
    assert_eq!(script.ledger("p").state, StepState::Failed);
    script.expect("p:go p:no", "p received 2, p rejected, stuck: pivot_in_doubt p");
}

#[test]
fn a_step_withdrawn_after_the_saga_turned_needs_no_compensation() {
    check("c1 c2", "c1 c2:go cancel", "c2:back", "c2 withdrawn");
    let mut script = Script::of("c1 c2");
    script.run("c1 c2:go cancel c2:back");
    assert_eq!(script.next(), "call -c1");
    check("c1", "c1:go cancel", "c1:back", "c1 withdrawn, compensated");
}

#[test]
fn a_compensation_that_was_not_called_leaves_its_step_as_it_was() {
    let mut script = Script::of("c1 c2");
    script.run("c1 c2:go c2:? cancel");
    for (step, before) in [("c2", StepState::Failed), ("c1", StepState::Processed)] {
        script.run(&format!("-{step}:go -{step}:back"));
        let ledger = script.ledger(step);
        assert_eq!((ledger.state, ledger.compensation_attempts), (before, 0));
        script.run(&format!("-{step}:go -{step}:? due -{step}:go -{step}:back"));
        assert_eq!(script.ledger(step).state, StepState::CompensationFailed);
        script.expect(
            &format!("-{step}:go -{step}:back"),
            &format!("-{step} received 2, -{step} withdrawn"),
        );
        script.run(&format!("-{step}"));
    }
    assert_eq!(script.next(), "compensated");
}
