//! Verdicts held against effects: a fast system that loses orders is not fast.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use saga_core::{IdempotencyKey, Status};
use saga_worker::Client;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::order::{PLACE_ORDER, STEPS, order};
use super::recorder::End;
use super::target::{Target, http};

/// How long sagas may go on after the run, without a client that waits for them.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// Pause between looks at whether they have ended.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the clients know of each saga, from the first arrival on.
#[derive(Debug)]
pub(crate) struct Verdicts(Vec<AtomicU8>);

const COMPLETED: u8 = 1;
const COMPENSATED: u8 = 2;
/// A client has begun with it and was told no verdict.
const UNKNOWN: u8 = 3;
/// It is not on record: no start of it has got through.
const NEVER: u8 = 4;

impl Verdicts {
    pub(crate) fn new(arrivals: u64) -> Self {
        Self((0..arrivals).map(|_| AtomicU8::new(NEVER)).collect())
    }

    /// A client begins with it.
    pub(crate) fn begin(&self, number: u64) {
        self.set(number, UNKNOWN);
    }

    pub(crate) fn note(&self, number: u64, end: &End) {
        self.set(
            number,
            match end {
                End::Completed => COMPLETED,
                End::Compensated => COMPENSATED,
                End::Stopped | End::Alive(_) | End::NotStarted(_) => UNKNOWN,
            },
        );
    }

    fn set(&self, number: u64, word: u8) {
        if let Some(verdict) = self.0.get(usize::try_from(number).unwrap_or(usize::MAX)) {
            verdict.store(word, Ordering::Relaxed);
        }
    }

    /// The orders with this word, by number.
    fn of(&self, word: u8) -> impl Iterator<Item = u64> {
        let all = (0..).zip(&self.0);
        all.filter(move |(_, verdict)| verdict.load(Ordering::Relaxed) == word).map(|(n, _)| n)
    }

    fn count(&self, word: u8) -> i64 {
        self.of(word).count() as i64
    }
}

/// What the audit found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Audit {
    /// What was looked at, in words.
    pub(crate) looked_at: Vec<String>,
    /// What could not be looked at, and why.
    #[serde(default)]
    pub(crate) not_looked_at: Vec<String>,
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

/// Holds what the target did against the verdicts that the clients were given. What they were not
/// told is looked up first, once the sagas that are still under way have ended.
pub(crate) async fn audit(target: &Target, verdicts: &Verdicts) -> Audit {
    let mut audit = Audit::default();
    if let Err(error) = look(&mut audit, target, verdicts).await {
        audit.findings.push(format!("the audit could not be made: {error:#}"));
    }
    audit
}

async fn look(audit: &mut Audit, target: &Target, verdicts: &Verdicts) -> anyhow::Result<()> {
    let Some(client) = target.record().await? else {
        audit.not_looked_at.push("the effects, for the daemon is somebody else's".to_owned());
        return Ok(());
    };
    let stuck = settle(audit, &client, verdicts).await?;
    match target {
        Target::Engine(engine) => effects(audit, &engine.participants.ledger, verdicts),
        Target::Daemon(_, alone) => effects(audit, &alone.participants.ledger, verdicts),
        Target::Orders(..) if verdicts.count(UNKNOWN) == 0 => {
            books(audit, target, verdicts).await?
        }
        Target::Orders(..) => {
            let unknown = verdicts.count(UNKNOWN);
            let why =
                format!("the books, for {unknown} orders have no verdict that they could show");
            audit.not_looked_at.push(why);
        }
        Target::Given(..) => {}
    }
    on_record(audit, &client, verdicts, stuck).await
}

/// Waits until no saga is under way any more, and looks up what became of those whose verdict no client
/// was told. Returns how many are stuck, which is no verdict and nothing wrong: they wait for a person.
async fn settle(audit: &mut Audit, client: &Client, verdicts: &Verdicts) -> anyhow::Result<i64> {
    let until = Instant::now() + SETTLED_WITHIN;
    while under_way(client).await? > 0 && Instant::now() < until {
        sleep(LOOK_EVERY).await;
    }
    let (mut stuck, mut left) = (0, Vec::new());
    for number in verdicts.of(UNKNOWN).collect::<Vec<_>>() {
        let key = IdempotencyKey::new(format!("order-{number}"))?;
        match client.find_by_key(PLACE_ORDER, &key).await?.map(|row| row.summary.status) {
            None => verdicts.set(number, NEVER),
            Some(Status::Completed) => verdicts.set(number, COMPLETED),
            Some(Status::Compensated) => verdicts.set(number, COMPENSATED),
            Some(Status::Stuck) => stuck += 1,
            Some(status) => left.push(format!("order-{number} is {status}")),
        }
    }
    if let Some(first) = left.first() {
        let (n, s) = (left.len(), SETTLED_WITHIN.as_secs());
        audit.findings.push(format!("{n} orders have not ended {s} s after the run: {first}"));
    }
    Ok(stuck)
}

/// How many sagas go on without a person.
async fn under_way(client: &Client) -> anyhow::Result<u64> {
    let counts = client.counts().await?;
    let goes_on = |status: &Status| status.is_alive() && *status != Status::Stuck;
    Ok(counts.iter().filter(|(status, _)| goes_on(status)).map(|(_, n)| n).sum())
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
async fn on_record(
    audit: &mut Audit,
    client: &Client,
    verdicts: &Verdicts,
    stuck: i64,
) -> anyhow::Result<()> {
    let counts = client.counts().await?;
    let count = |status| counts.iter().find(|(s, _)| *s == status).map_or(0, |(_, n)| *n) as i64;
    for (status, expected) in [
        (Status::Completed, verdicts.count(COMPLETED)),
        (Status::Compensated, verdicts.count(COMPENSATED)),
        (Status::Stuck, stuck),
    ] {
        audit.expect(&format!("sagas on record as {status}"), expected, count(status));
    }
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    let started = verdicts.0.len() as i64 - verdicts.count(NEVER);
    audit.expect("sagas on record", started, all as i64);
    audit.looked_at.push("the number of sagas on record by status".to_owned());
    audit.on_record = counts.iter().map(|(status, n)| (status.to_string(), *n)).collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use saga_core::{Definition, Failure, MemoryStore, Step};
    use saga_worker::{SystemClock, Worker};

    use super::*;

    async fn work() -> Result<(), Failure> {
        Ok(())
    }

    #[tokio::test]
    async fn what_no_client_was_told_is_looked_up() {
        let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let kind = Definition::new(PLACE_ORDER, [Step::pivot("pay", work)]).unwrap();
        let worker = Worker::builder(store).register(kind).start().await.unwrap();
        let verdicts = Verdicts::new(4);
        for number in [0, 1] {
            let saga = worker.start(PLACE_ORDER, &()).key(format!("order-{number}")).await.unwrap();
            saga.verdict().await.unwrap();
        }
        verdicts.note(0, &End::Completed);
        verdicts.begin(1);
        verdicts.note(2, &End::NotStarted("503".to_owned()));
        let mut audit = Audit::default();
        let stuck = settle(&mut audit, worker.client(), &verdicts).await.unwrap();
        on_record(&mut audit, worker.client(), &verdicts, stuck).await.unwrap();
        assert_eq!(verdicts.of(COMPLETED).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(verdicts.of(NEVER).collect::<Vec<_>>(), [2, 3]);
        assert!(audit.findings.is_empty(), "{:?}", audit.findings);
        // A start that the client believes in and the store does not know is a finding.
        verdicts.note(3, &End::Completed);
        on_record(&mut audit, worker.client(), &verdicts, stuck).await.unwrap();
        let found = "sagas on record as completed: 2, but the verdicts say 3";
        assert_eq!(audit.findings[0], found);
    }
}
