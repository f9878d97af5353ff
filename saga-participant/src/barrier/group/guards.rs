//! The guard rows of calls that share a transaction: claimed, read and answered for all of them at once.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use super::super::BarrierError;
use super::super::decision::Guards;
use super::super::guard::{self, UNANSWERED};
use super::super::rows::{Dialect as _, GuardRow, GuardRows, Value};
use crate::answer::Answer;
use crate::call::{CallIdentity, Op};

/// A saga and its step.
type Step = (String, String);

/// What calls of different steps have claimed, and what they are going to be answered with.
pub(super) struct Ledger<'a> {
    /// Rows that this transaction has inserted: saga, step and operation.
    claimed: HashSet<(String, String, String)>,
    answers: Vec<(GuardRow<'a>, Answer)>,
    now: i64,
}

impl<'a> Ledger<'a> {
    /// Claims the guard rows of calls, and says for each what is recorded of its step.
    ///
    /// Where another transaction holds one of the rows, all of them wait for its end.
    pub(super) async fn open<DB: GuardRows>(
        tx: &mut DB::Connection,
        calls: &[&'a CallIdentity],
    ) -> Result<(Self, Vec<Result<Guards, BarrierError>>), sqlx::Error> {
        let now = guard::micros_since_epoch(SystemTime::now());
        let rows = rows_of(calls);
        let mut ledger = Ledger { claimed: HashSet::new(), answers: Vec::new(), now };
        let mut recorded: HashMap<Step, Vec<(String, i32, String)>> = HashMap::new();
        for (saga_id, step, op, status, body) in DB::Dialect::claim_all(tx, &rows, now).await? {
            if status.is_none() {
                ledger.claimed.insert((saga_id.clone(), step.clone(), op.clone()));
            }
            let row = (op, status.unwrap_or(UNANSWERED), body);
            recorded.entry((saga_id, step)).or_default().push(row);
        }
        for GuardRow { identity, op } in &rows {
            let of_step = recorded.entry(step_of(identity)).or_default();
            let is_there = |rows: &[(String, i32, String)]| {
                rows.iter().any(|(known, ..)| known == op.as_str())
            };
            if !is_there(of_step) {
                // Somebody else has just committed it.
                *of_step = DB::Dialect::select(tx, &identity.saga_id, &identity.step).await?;
            }
            if !is_there(of_step) {
                // And somebody has deleted it since: nobody holds the claim.
                return Err(sqlx::Error::RowNotFound);
            }
        }
        let read = |call: &&CallIdentity| {
            let rows = recorded.remove(&step_of(call)).unwrap_or_default();
            guard::read(rows, ledger.claimed_by(call), call)
        };
        let guards = calls.iter().map(read).collect();
        Ok((ledger, guards))
    }

    /// How many rows of a call's step were claimed.
    fn claimed_by(&self, call: &CallIdentity) -> u64 {
        let (saga_id, step) = step_of(call);
        let ops = [Op::Action, Op::Compensation];
        let claims = ops.map(|op| (saga_id.clone(), step.clone(), op.to_string()));
        claims.iter().filter(|claim| self.claimed.contains(*claim)).count() as u64
    }

    /// Has an answer recorded in the guard row of an operation of the call's step.
    pub(super) fn record(&mut self, identity: &'a CallIdentity, op: Op, answer: Answer) {
        self.answers.push((GuardRow { identity, op }, answer));
    }

    /// Writes the answers, and takes back the claims that have none. `false` where a claimed row is
    /// gone, which would let its call through once more.
    pub(super) async fn close<DB: GuardRows>(
        mut self,
        tx: &mut DB::Connection,
    ) -> Result<bool, sqlx::Error> {
        for (GuardRow { identity, op }, _) in &self.answers {
            let (saga_id, step) = step_of(identity);
            self.claimed.remove(&(saga_id, step, op.to_string()));
        }
        for (saga_id, step, op) in &self.claimed {
            let row = [Value::Text(saga_id), Value::Text(step), Value::Text(op)];
            if DB::Dialect::execute(tx, DB::Dialect::SQL.disclaim_guard, &row).await? != 1 {
                return Ok(false);
            }
        }
        if self.answers.is_empty() {
            return Ok(true);
        }
        let answers: Vec<_> = self.answers.iter().map(|(row, answer)| (*row, answer)).collect();
        let written = DB::Dialect::answer_all(tx, &answers, self.now).await?;
        Ok(written == answers.len() as u64)
    }
}

/// The guard rows that calls claim, in one order for everybody, so that no two groups wait for each
/// other.
fn rows_of<'a>(calls: &[&'a CallIdentity]) -> Vec<GuardRow<'a>> {
    let of_call = |call: &&'a CallIdentity| {
        let identity = *call;
        guard::claimed_by(identity.op).iter().map(move |op| GuardRow { identity, op: *op })
    };
    let mut rows: Vec<_> = calls.iter().flat_map(of_call).collect();
    rows.sort_by_key(|row| (&row.identity.saga_id, &row.identity.step, row.op.as_str()));
    rows
}

fn step_of(call: &CallIdentity) -> Step {
    (call.saga_id.clone(), call.step.clone())
}
