//! The audit: what the services say they did, held against the verdicts.
//!
//! A completed saga has each of its effects exactly once, a compensated one has none left, and what
//! belongs to no saga of the run belongs nowhere.

use std::collections::{BTreeMap, BTreeSet};

use super::api::{Book, Movement, Status};
use super::verdicts::Ended;
use crate::text;

/// What the audit found.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// Effects beyond the first of one action or one compensation.
    pub duplicate_effects: u64,
    /// Effects that a completed saga should have and has not.
    pub lost_effects: u64,
    /// Effects that no verdict explains: left after a compensation, undone without having been
    /// made, or of a saga that nobody started.
    pub orphaned_effects: u64,
    /// One page per service.
    pub pages: Vec<Page>,
    /// Each finding in words.
    pub findings: Vec<String>,
}

/// One service's book in figures, in the service's own unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub service: String,
    pub unit: String,
    pub opening: i64,
    pub balance: i64,
    pub held: i64,
    /// What the verdicts say should be held.
    pub expected: i64,
    /// Whether the service's own arithmetic holds, what it holds is what the verdicts say, and each
    /// completed saga moved the amount of its order.
    pub balances: bool,
}

/// The effects of one saga at one service that were not as the verdict says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Deviation {
    duplicate: u64,
    lost: u64,
    orphaned: u64,
}

/// Holds every book against the verdicts.
pub(crate) fn audit(ended: &[Ended], books: &[Book]) -> Audit {
    let mut audit = Audit::default();
    for book in books {
        audit.check_effects(ended, book);
        audit.check_sums(ended, book);
    }
    audit
}

impl Audit {
    /// Whether no effect is lost, doubled or orphaned and every sum is as the verdicts say.
    pub(crate) fn balances(&self) -> bool {
        self.duplicate_effects + self.lost_effects + self.orphaned_effects == 0
            && self.pages.iter().all(|page| page.balances)
    }

    fn check_effects(&mut self, ended: &[Ended], book: &Book) {
        let movements: BTreeMap<&str, &Movement> =
            book.movements.iter().map(|movement| (movement.saga_id.as_str(), movement)).collect();
        for saga in ended {
            let movement = movements.get(saga.accepted.saga_id.as_str()).copied();
            let (action, compensation) =
                movement.map_or((0, 0), |m| (m.action_effects, m.compensation_effects));
            let due = due(&book.service, saga).is_some_and(|amount| amount > 0);
            let deviation = compare(saga.view.status, due, action, compensation);
            self.note(&book.service, &saga.accepted.saga_id, saga.view.status.word(), deviation);
        }
        let known: BTreeSet<&str> = ended.iter().map(|s| s.accepted.saga_id.as_str()).collect();
        for stray in book.movements.iter().filter(|m| !known.contains(m.saga_id.as_str())) {
            let orphaned = stray.action_effects.max(stray.compensation_effects);
            let deviation = Deviation { orphaned, ..Deviation::default() };
            self.note(&book.service, &stray.saga_id, "unknown to the order service", deviation);
        }
    }

    /// The sums, and what each completed saga moved.
    fn check_sums(&mut self, ended: &[Ended], book: &Book) {
        let known_findings = self.findings.len();
        let due = amounts_due(ended, &book.service);
        let expected = i64::try_from(due.values().sum::<u64>()).unwrap_or(i64::MAX);
        let (service, unit) = (&book.service, &book.unit);
        if !book.arithmetic_ok || book.opening != book.balance + book.held {
            self.findings
                .push(format!("{service}: its ledger and its accounts contradict each other"));
        }
        if book.held != expected {
            let held = book.held;
            self.findings
                .push(format!("{service}: holds {held} {unit}, the verdicts say {expected}"));
        }
        for Movement { saga_id, amount, .. } in &book.movements {
            if let Some(due) = due.get(saga_id.as_str()).filter(|due| *due != amount) {
                let what = format!("{service}: saga {saga_id} moved {amount} {unit}, not {due}");
                self.findings.push(what);
            }
        }
        let balances = self.findings.len() == known_findings;
        self.pages.push(Page {
            service: book.service.clone(),
            unit: book.unit.clone(),
            opening: book.opening,
            balance: book.balance,
            held: book.held,
            expected,
            balances,
        });
    }

    fn note(&mut self, service: &str, saga: &str, status: &str, deviation: Deviation) {
        let Deviation { duplicate, lost, orphaned } = deviation;
        self.duplicate_effects += duplicate;
        self.lost_effects += lost;
        self.orphaned_effects += orphaned;
        for (number, what) in [(duplicate, "doubled"), (lost, "lost"), (orphaned, "orphaned")] {
            if number > 0 {
                let effects = text::count(number as usize, "effect");
                self.findings
                    .push(format!("{service}: {effects} {what} of saga {saga} ({status})"));
            }
        }
    }
}

/// What each completed saga owes to a service.
fn amounts_due<'a>(ended: &'a [Ended], service: &str) -> BTreeMap<&'a str, u64> {
    let completed = ended.iter().filter(|saga| saga.view.status == Status::Completed);
    let amounts = completed.map(|saga| (saga.accepted.saga_id.as_str(), due(service, saga)));
    amounts.filter_map(|(saga, due)| Some((saga, due?))).collect()
}

/// What a completed saga owes to a service, in the service's unit; nothing for a service that the
/// demo does not know, whose sum is then expected to be zero.
fn due(service: &str, saga: &Ended) -> Option<u64> {
    let order = &saga.accepted.planned.order;
    Some(match service {
        "inventory" => order.quantity,
        "coupons" => u64::from(order.coupon.is_some()),
        "points" => order.points,
        "payments" => order.amount_cents.saturating_sub(saga.discount_cents()),
        "orders" => 1,
        _ => return None,
    })
}

/// Compares the effects of one saga at one service with its verdict. `due` tells whether a
/// completed saga must have an effect there; where it need not, one effect of nothing is fine.
fn compare(status: Status, due: bool, action: u64, compensation: u64) -> Deviation {
    let duplicate = action.saturating_sub(1) + compensation.saturating_sub(1);
    let (made, undone) = (action.min(1), compensation.min(1));
    let undone_without_being_made = undone.saturating_sub(made);
    let left = made.saturating_sub(undone);
    let (lost, orphaned) = match status {
        Status::Completed => (u64::from(due && left == 0), 0),
        Status::Compensated => (0, left),
        Status::Running | Status::Compensating | Status::Stuck | Status::Stopped => (0, 0),
    };
    Deviation { duplicate, lost, orphaned: orphaned + undone_without_being_made }
}

#[cfg(test)]
mod tests;
