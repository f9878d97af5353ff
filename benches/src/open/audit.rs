//! Verdicts held against effects: a fast system that loses orders is not fast.

use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::Context as _;
use saga_core::Status;
use serde::{Deserialize, Serialize};

use super::order::{STEPS, order};
use super::recorder::End;
use super::target::{Target, http};

/// What the clients know of each saga, from the first arrival on.
#[derive(Debug)]
pub(crate) struct Verdicts(Vec<AtomicU8>);

const COMPLETED: u8 = 1;
const COMPENSATED: u8 = 2;
const OTHER: u8 = 3;

impl Verdicts {
    pub(crate) fn new(arrivals: u64) -> Self {
        Self((0..arrivals).map(|_| AtomicU8::new(0)).collect())
    }

    pub(crate) fn note(&self, number: u64, end: &End) {
        let word = match end {
            End::Completed => COMPLETED,
            End::Compensated => COMPENSATED,
            End::Stopped | End::Alive(_) | End::NotStarted(_) => OTHER,
        };
        if let Some(verdict) = self.0.get(usize::try_from(number).unwrap_or(usize::MAX)) {
            verdict.store(word, Ordering::Relaxed);
        }
    }

    /// The orders with this word, by number.
    fn of(&self, word: u8) -> impl Iterator<Item = u64> {
        let all = (0..).zip(&self.0);
        all.filter(move |(_, verdict)| verdict.load(Ordering::Relaxed) == word).map(|(n, _)| n)
    }

    fn are_all_known(&self) -> bool {
        self.of(COMPLETED).count() + self.of(COMPENSATED).count() == self.0.len()
    }
}

/// What the audit found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Audit {
    /// What was looked at, in words.
    pub(crate) looked_at: Vec<String>,
    /// What is wrong. Empty if all is as the verdicts say.
    pub(crate) findings: Vec<String>,
    /// Sagas on record by status, where the store could be asked.
    pub(crate) on_record: Vec<(String, u64)>,
}

impl Audit {
    fn expect(&mut self, what: &str, expected: i64, found: i64) {
        if expected != found {
            self.findings.push(format!("{what}: {found}, but the verdicts say {expected}"));
        }
    }
}

/// Holds what the target did against the verdicts that the clients were given.
pub(crate) async fn audit(target: &Target, verdicts: &Verdicts) -> anyhow::Result<Audit> {
    let mut audit = Audit::default();
    match target {
        Target::Engine(engine) => effects(&mut audit, &engine.participants.ledger, verdicts),
        Target::Daemon(_, alone) => effects(&mut audit, &alone.participants.ledger, verdicts),
        Target::Orders(..) if verdicts.are_all_known() => {
            books(&mut audit, target, verdicts).await?
        }
        Target::Orders(..) => {
            let why = "the books were not audited: some sagas have no verdict yet".to_owned();
            audit.looked_at.push(why);
        }
        Target::Given(..) => {}
    }
    on_record(&mut audit, target, verdicts).await?;
    Ok(audit)
}

/// A completed order has every effect, a compensated one none.
fn effects(audit: &mut Audit, ledger: &super::ledger::Ledger, verdicts: &Verdicts) {
    let steps = STEPS.map(|step| step.name);
    let wrong = |word, effects| {
        verdicts.of(word).filter(|number| ledger.made(*number, &steps) != effects).count()
    };
    let (lost, left) = (wrong(COMPLETED, steps.len()), wrong(COMPENSATED, 0));
    audit.expect("completed orders that lack an effect", 0, lost as i64);
    audit.expect("compensated orders of which an effect is left", 0, left as i64);
    audit.looked_at.push("every effect of every order with a verdict".to_owned());
}

/// What the services hold is what completed orders owe.
async fn books(audit: &mut Audit, target: &Target, verdicts: &Verdicts) -> anyhow::Result<()> {
    let services = target.bookkeepers().context("this target has no books")?;
    let books = http::books(services).await?;
    let completed: Vec<_> = verdicts.of(COMPLETED).map(order).collect();
    for (name, book) in &books {
        let owed = |order: &saga_examples::order::Order| match *name {
            "coupons" => i64::from(order.coupon.is_some()),
            "points" => i64::from(order.points),
            "payments" => i64::from(order.amount_cents) - 500 * i64::from(order.coupon.is_some()),
            _ => 1,
        };
        audit.expect(&format!("{name} holds"), completed.iter().map(owed).sum(), book.held);
        let doubled = book.movements.iter().filter(|movement| {
            movement.action_effects > 1 || movement.compensation_effects > movement.action_effects
        });
        for movement in doubled.take(3) {
            let saga = &movement.saga_id;
            audit
                .findings
                .push(format!("{name}: effects of saga {saga} are doubled or undone twice"));
        }
        if !book.arithmetic_ok {
            audit
                .findings
                .push(format!("{name}: its ledger and its accounts contradict each other"));
        }
    }
    audit.looked_at.push("the books of all services, with every movement".to_owned());
    Ok(())
}

/// The store knows each verdict that a client was given, and no saga besides.
async fn on_record(audit: &mut Audit, target: &Target, verdicts: &Verdicts) -> anyhow::Result<()> {
    let counts = match (target, target.store()) {
        (Target::Engine(engine), _) => engine.workers[0].counts().await?,
        (_, Some(url)) => saga_store::connect(url).await?.counts().await?,
        (_, None) => return Ok(()),
    };
    let count = |status| counts.iter().find(|(s, _)| *s == status).map_or(0, |(_, n)| *n);
    if verdicts.are_all_known() {
        for (status, word) in [(Status::Completed, COMPLETED), (Status::Compensated, COMPENSATED)] {
            let what = format!("sagas on record as {status}");
            audit.expect(&what, verdicts.of(word).count() as i64, count(status) as i64);
        }
        let all: u64 = counts.iter().map(|(_, count)| count).sum();
        audit.expect("sagas on record", verdicts.0.len() as i64, all as i64);
        audit.looked_at.push("the number of sagas on record by status".to_owned());
    }
    audit.on_record = counts.iter().map(|(status, n)| (status.to_string(), *n)).collect();
    Ok(())
}
