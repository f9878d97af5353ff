//! What the barrier does for one call inside a transaction of the writer.

use std::time::SystemTime;

use rusqlite::{Connection, Params};

use super::super::decision::{Decision, Guards};
use super::super::{BarrierError, guard};
use super::writer::Call;
use crate::answer::Answer;
use crate::call::{CallIdentity, Op};

const CLAIM_GUARD: &str = include_str!("../sqlite/claim_guard.sql");
const SELECT_GUARDS: &str = include_str!("../sqlite/select_guards.sql");
const ANSWER_GUARD: &str = include_str!("../sqlite/answer_guard.sql");

/// The transaction is no more what the writer began: it has to be given up, with all calls in it.
#[derive(Debug)]
pub(super) struct Broken(pub(super) Box<dyn std::error::Error + Send + Sync>);

impl From<rusqlite::Error> for Broken {
    fn from(error: rusqlite::Error) -> Self {
        Broken(error.into())
    }
}

/// Runs a call in a savepoint, so that its failure leaves the others of the transaction alone. Only
/// a recorded answer is kept.
pub(super) fn through(
    db: &mut Connection,
    call: &mut Call,
) -> Result<Result<Answer, BarrierError>, Broken> {
    run(db, "SAVEPOINT saga_call", ())?;
    let answered = answer(db, call);
    // SQLite ends a transaction by itself when the disk is full, and business code might.
    if db.is_autocommit() {
        let cause = answered.err().map(|error| error.to_string());
        return Err(Broken(cause.unwrap_or_else(|| "the transaction has ended".into()).into()));
    }
    if !answered.as_ref().is_ok_and(Answer::is_recorded) {
        run(db, "ROLLBACK TO saga_call", ())?;
    }
    run(db, "RELEASE saga_call", ())?;
    Ok(answered)
}

fn answer(db: &mut Connection, call: &mut Call) -> Result<Answer, BarrierError> {
    let Call { identity, business, .. } = call;
    match claim(db, identity)?.decide(identity) {
        Decision::Replay(answer) => Ok(answer),
        Decision::Record { refusal_of_action, answer } => {
            if let Some(refusal) = refusal_of_action {
                record(db, identity, Op::Action, &refusal)?;
            }
            record(db, identity, identity.op, &answer)?;
            Ok(answer)
        }
        Decision::Run { output } => {
            let answer = business(db, &output)?;
            if db.is_autocommit() {
                return Err(BarrierError::database("the business code ended the transaction"));
            }
            if answer.is_recorded() && !answer.is_processed() {
                // A rejection is recorded without what the business wrote before it.
                run(db, "ROLLBACK TO saga_call", ()).map_err(BarrierError::database)?;
                claim(db, identity)?;
            }
            if answer.is_recorded() {
                record(db, identity, identity.op, &answer)?;
            }
            Ok(answer)
        }
    }
}

/// Claims the guard rows of a call and returns what is recorded for its step.
fn claim(db: &Connection, identity: &CallIdentity) -> Result<Guards, BarrierError> {
    let CallIdentity { saga_id, step, op } = identity;
    let now = guard::micros_since_epoch(SystemTime::now());
    let mut claimed = 0;
    for op in guard::claimed_by(*op) {
        let row = (saga_id, step, op.as_str(), guard::UNANSWERED, now);
        claimed += run(db, CLAIM_GUARD, row).map_err(BarrierError::database)?;
    }
    let rows = select(db, identity).map_err(BarrierError::database)?;
    guard::read(rows, claimed as u64, identity)
}

fn select(
    db: &Connection,
    identity: &CallIdentity,
) -> rusqlite::Result<Vec<(String, i32, String)>> {
    let mut select = db.prepare_cached(SELECT_GUARDS)?;
    let rows = select.query_map((&identity.saga_id, &identity.step), |row| row.try_into())?;
    rows.collect()
}

/// Writes an answer into a claimed guard row.
fn record(
    db: &Connection,
    identity: &CallIdentity,
    op: Op,
    answer: &Answer,
) -> Result<(), BarrierError> {
    let row = (&identity.saga_id, &identity.step, op.as_str(), answer.status(), answer.body());
    match run(db, ANSWER_GUARD, row).map_err(BarrierError::database)? {
        // A row that vanished between claim and answer would let the call through once more.
        0 => Err(BarrierError::database("a claimed guard row is gone")),
        _ => Ok(()),
    }
}

/// Runs a statement and returns how many rows it changed.
pub(super) fn run(
    db: &Connection,
    statement: &str,
    params: impl Params,
) -> rusqlite::Result<usize> {
    db.prepare_cached(statement)?.execute(params)
}
