//! What a saga did at its participants, held against its verdict.

use std::collections::BTreeSet;

use saga_core::{Effect, Event, Op, Saga, StepIndex, Transition, Verdict};
use serde_json::Value;

use super::books::{Books, Effects};
use crate::demo::plan::Order;
use crate::soak::tally::Tally;

/// S4 to S8: each effect at most once and never without an intent; what is compensated left nothing,
/// what is completed did everything once, and exactly what may have happened was compensated.
pub(super) fn check(tally: &Tally, saga: &Saga, log: &[Transition], books: &Books) {
    let id = saga.id().to_string();
    let events: Vec<&Event> = log.iter().flat_map(|transition| &transition.events).collect();
    for index in saga.spec().indexes() {
        let step = saga.spec().name_of(index);
        let effects = books.effects(&id, step);
        let said = |what: &str| format!("saga {id}: {step} {what}: {effects:?}");
        if effects.actions > 1 || effects.compensations > effects.actions {
            tally.violated("S6", said("took effect more often than once"));
        }
        if effects.actions > 0 && !has_intent(&events, index, false) {
            tally.violated("S7", said("took effect without an intent in the log"));
        }
        if effects.compensations > 0 && !has_intent(&events, index, true) {
            tally.violated("S7", said("was compensated without an intent in the log"));
        }
        match saga.ended() {
            Some((_, Verdict::Compensated)) if effects.net != 0 => {
                tally.violated("S4", said("has an effect left, although the saga is compensated"));
            }
            Some((_, Verdict::Completed)) => match due(saga, step) {
                Some(due) if is_whole(effects, due) => {}
                due => tally.violated("S5", said(&format!("should have moved {due:?} once"))),
            },
            Some((_, Verdict::Stopped { remaining })) => {
                let listed = remaining.iter().find(|left| left.step == step);
                let listed = listed.map(|left| left.effect);
                if !is_as_listed(effects, listed, due(saga, step)) {
                    let listed = format!("is listed as {listed:?} by a saga that was stopped");
                    tally.violated("S4", said(&listed));
                }
            }
            Some((_, Verdict::Compensated)) | None => {}
        }
    }
    if matches!(saga.ended(), Some((_, Verdict::Compensated))) {
        check_compensations(tally, saga, &events);
    }
}

fn has_intent(events: &[&Event], index: StepIndex, compensation: bool) -> bool {
    events.iter().any(|event| match event {
        Event::StepReceived { step, .. } => !compensation && *step == index,
        Event::CompensationReceived { step, .. } => compensation && *step == index,
        _ => false,
    })
}

/// Whether the action took effect once, with the amount due; an amount of nothing leaves no trace.
fn is_whole(effects: Effects, due: i64) -> bool {
    effects == Effects { actions: i64::from(due > 0), compensations: 0, net: due }
}

/// Whether the books say what a stopped saga lists: what is present is there once, what is unknown is
/// there once or not at all, and of what is not listed nothing is left.
fn is_as_listed(effects: Effects, listed: Option<Effect>, due: Option<i64>) -> bool {
    let is_whole = due.is_some_and(|due| is_whole(effects, due));
    match listed {
        Some(Effect::Present) => is_whole,
        // Without an amount due, S6 is all that can be said.
        Some(Effect::Unknown) => effects.net == 0 || is_whole || due.is_none(),
        Some(Effect::None | Effect::Undone) => false,
        None => effects.net == 0,
    }
}

/// What a step of a completed saga moves in its participant's unit, by the order that was placed.
fn due(saga: &Saga, step: &str) -> Option<i64> {
    let order: Order = serde_json::from_str(saga.started().input.as_json()).ok()?;
    let due = match step {
        "reserve-stock" => order.quantity,
        "redeem-coupon" => u64::from(order.coupon.is_some()),
        "freeze-points" => order.points,
        "capture-payment" => order.amount_cents.saturating_sub(discount_cents(saga)?),
        "confirm-order" => 1,
        _ => return None,
    };
    i64::try_from(due).ok()
}

/// What the coupon took off the price.
fn discount_cents(saga: &Saga) -> Option<u64> {
    let index = saga.spec().find("redeem-coupon")?;
    let output = saga.steps()[index.usize()].output.as_ref()?;
    serde_json::from_str::<Value>(output.as_json()).ok()?.get("discount_cents")?.as_u64()
}

/// S8: compensated is what has an intent and was not refused for certain, in the reverse order.
fn check_compensations(tally: &Tally, saga: &Saga, events: &[&Event]) {
    let (mut open, mut doubted) = (BTreeSet::new(), BTreeSet::new());
    let mut compensated = Vec::new();
    for event in events {
        match event {
            Event::StepReceived { step, .. } => {
                open.insert(*step);
            }
            // What was never called has no effect of its own.
            Event::CallWithdrawn { step, op: Op::Action, .. } if !doubted.contains(step) => {
                open.remove(step);
            }
            // An attempt that failed may have had its effect; that of a lost worker has failed too.
            Event::StepFailed { step, .. } => {
                doubted.insert(*step);
            }
            // The barrier's own word on it holds for every attempt.
            Event::StepRejected { step, rejection }
                if !doubted.contains(step) || rejection.settled =>
            {
                open.remove(step);
            }
            Event::StepCompensated { step } => compensated.push(*step),
            _ => {}
        }
    }
    let expected: Vec<StepIndex> = open.into_iter().rev().collect();
    if compensated != expected {
        let name = |step: &StepIndex| saga.spec().name_of(*step).to_owned();
        let (is, should): (Vec<_>, Vec<_>) =
            (compensated.iter().map(name).collect(), expected.iter().map(name).collect());
        let what = format!("saga {}: {is:?} were compensated, not {should:?}", saga.id());
        tally.violated("S8", what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stopped_saga_lists_is_what_the_books_say() {
        let once = Effects { actions: 1, compensations: 0, net: 3 };
        let undone = Effects { actions: 1, compensations: 1, net: 0 };
        let never = Effects::default();
        let half = Effects { actions: 1, compensations: 0, net: 2 };
        for (effects, listed, is_so) in [
            (once, Some(Effect::Present), true),
            (never, Some(Effect::Present), false),
            (undone, Some(Effect::Present), false),
            (half, Some(Effect::Present), false),
            (once, Some(Effect::Unknown), true),
            (never, Some(Effect::Unknown), true),
            (half, Some(Effect::Unknown), false),
            (once, None, false),
            (undone, None, true),
            (once, Some(Effect::Undone), false),
        ] {
            let found = is_as_listed(effects, listed, Some(3));
            assert_eq!(found, is_so, "{effects:?} listed as {listed:?}");
        }
    }
}
