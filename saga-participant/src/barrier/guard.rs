//! What the guard rows of a step are made of, whichever driver reads and writes them.

use std::fmt::Display;
use std::time::{SystemTime, UNIX_EPOCH};

use super::BarrierError;
use super::decision::Guards;
use crate::answer::Answer;
use crate::call::{CallIdentity, Op, UnknownOp};
use crate::faults::{self, Plant};

/// The status of a guard row whose call is being answered. Only the transaction that claimed the
/// row sees it like that.
pub(super) const UNANSWERED: i32 = 0;

/// How many steps' guard rows one transaction of a pruning deletes at most.
pub(super) const PRUNED_STEPS_MAX: i64 = 500;

/// The rows that a call claims, in this order.
///
/// A compensation claims the row of its action first, so it meets an action at the same instant
/// there, and no two calls of a step ever wait for each other.
pub(super) fn claimed_by(op: Op) -> &'static [Op] {
    match op {
        Op::Compensation if faults::planted(Plant::NoTombstone) => &[Op::Compensation],
        Op::Action => &[Op::Action],
        Op::Compensation => &[Op::Action, Op::Compensation],
    }
}

/// What the guard rows of a step say (operation, status, body), of which this transaction has claimed
/// so many.
pub(super) fn read(
    rows: Vec<(String, i32, String)>,
    claimed: u64,
    identity: &CallIdentity,
) -> Result<Guards, BarrierError> {
    let undecodable = |fault: &dyn Display| BarrierError::database(format!("a guard row: {fault}"));
    let mut guards = Guards::default();
    let mut unanswered = 0;
    for (op, status, body) in rows {
        if status == UNANSWERED {
            unanswered += 1;
            continue;
        }
        let status = u16::try_from(status).map_err(|fault| undecodable(&fault))?;
        let answer = Some(Answer::replay(status, body));
        match op.parse().map_err(|fault: UnknownOp| undecodable(&fault))? {
            Op::Action => guards.action = answer,
            Op::Compensation => guards.compensation = answer,
        }
    }
    if unanswered > claimed {
        return Err(BarrierError::Unanswered { identity: identity.clone() });
    }
    Ok(guards)
}

/// Microseconds since 1970, as guard rows keep them. An integer, because times as text do not sort.
pub(super) fn micros_since_epoch(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
