//! One transaction for several calls, each of a step of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use sqlx::{Connection as _, Pool, SqlSafeStr as _};
use tokio::time::timeout;

use super::super::BarrierError;
use super::super::decision::Decision;
use super::super::rows::{Dialect as _, Fate, GuardRows};
use super::super::transaction::{Stopped, is_given_up};
use super::guards::Ledger;
use super::{Broken, Run};
use crate::answer::Answer;
use crate::call::{CallIdentity, Op};
use crate::faults;

const UNDONE: Broken = Broken { in_doubt: false };

/// Runs calls in one transaction and commits it.
pub(super) async fn transaction<DB: GuardRows>(
    pool: &Pool<DB>,
    calls: &mut [(&CallIdentity, &mut Run<DB::Connection>)],
) -> Result<Vec<Result<Answer, BarrierError>>, Broken> {
    let mut db = pool.acquire().await.map_err(undone)?;
    let mut is_committing = false;
    let work = async {
        let mut tx = db.begin_with(DB::Dialect::BEGIN.into_sql_str()).await.map_err(undone)?;
        let answers = answers::<DB>(&mut tx, calls).await?;
        faults::crash_here("commit.before");
        is_committing = true;
        tx.commit().await.map_err(|error| Broken { in_doubt: is_given_up::<DB>(&error) })?;
        faults::crash_here("commit.after");
        Ok(answers)
    };
    let ended = match DB::Dialect::TRANSACTION_MAX {
        None => work.await,
        Some(max) => timeout(max, work).await.unwrap_or(Err(Broken { in_doubt: is_committing })),
    };
    // What is dropped half-way is dropped together with its connection.
    if ended.is_err() || db.is_in_transaction() {
        drop(db.detach());
    }
    ended
}

/// Answers the calls one after the other, and has the guard rows say so.
async fn answers<DB: GuardRows>(
    tx: &mut DB::Connection,
    calls: &mut [(&CallIdentity, &mut Run<DB::Connection>)],
) -> Result<Vec<Result<Answer, BarrierError>>, Broken> {
    let identities: Vec<_> = calls.iter().map(|(identity, _)| *identity).collect();
    let (mut ledger, guards) = Ledger::open::<DB>(tx, &identities).await.map_err(undone)?;
    let mut answers = Vec::with_capacity(calls.len());
    let mut savepoints = Savepoints::default();
    for ((identity, run), guards) in calls.iter_mut().zip(guards) {
        let decision = guards.map(|guards| guards.decide(identity));
        answers.push(match decision {
            Err(error) => Err(error),
            Ok(Decision::Replay(answer)) => Ok(answer),
            Ok(Decision::Record { refusal_of_action, answer }) => {
                if let Some(refusal) = refusal_of_action {
                    ledger.record(identity, Op::Action, refusal);
                }
                ledger.record(identity, identity.op, answer.clone());
                Ok(answer)
            }
            Ok(Decision::Run { output }) => {
                let answer = isolated::<DB>(tx, &mut savepoints, &mut **run, &output).await?;
                if let Ok(answer) = answer.as_ref()
                    && answer.is_recorded()
                {
                    ledger.record(identity, identity.op, answer.clone());
                }
                answer
            }
        });
    }
    // Before anything else is written: where business code has ended the transaction, each further
    // statement would be one of its own.
    savepoints.end::<DB>(tx).await?;
    match ledger.close::<DB>(tx).await {
        Ok(true) => Ok(answers),
        Ok(false) | Err(_) => Err(UNDONE),
    }
}

/// Business code in a savepoint, which only one that is processed keeps. The error inside is the
/// call's own; the one outside is everybody's.
async fn isolated<DB: GuardRows>(
    tx: &mut DB::Connection,
    savepoints: &mut Savepoints,
    run: &mut Run<DB::Connection>,
    output: &str,
) -> Result<Result<Answer, BarrierError>, Broken> {
    savepoints.next::<DB>(tx).await?;
    let answer = match polled::<DB>(tx, run, output).await {
        Some(answer) => answer.map_err(Stopped::Inside),
        // Its future must not be polled again, and nobody knows where the connection stands.
        None => return Err(UNDONE),
    };
    match answer {
        Ok(answer) if answer.is_processed() => Ok(Ok(answer)),
        Ok(answer) => {
            savepoints.roll_back::<DB>(tx).await?;
            Ok(Ok(answer))
        }
        Err(stopped) => match stopped.fate::<DB>() {
            Fate::Busy | Fate::Failed => {
                savepoints.roll_back::<DB>(tx).await?;
                Ok(Err(stopped.into()))
            }
            Fate::TakenBack | Fate::Lost => Err(UNDONE),
        },
    }
}

/// The savepoint of the call that runs, which ends with the next one's beginning, inside one for all of
/// them. None of the statements is answered like a success where business code has ended the
/// transaction: the savepoints have ended with it.
#[derive(Default)]
struct Savepoints {
    are_set: bool,
}

impl Savepoints {
    /// Begins that of the next call. Two statements, and one round trip.
    async fn next<DB: GuardRows>(&mut self, tx: &mut DB::Connection) -> Result<(), Broken> {
        let statements = match self.are_set {
            false => "SAVEPOINT saga_group; SAVEPOINT saga_call",
            true => "RELEASE SAVEPOINT saga_call; SAVEPOINT saga_call",
        };
        self.are_set = true;
        DB::Dialect::run(tx, statements).await.map_err(undone)
    }

    /// Takes back what the call has written.
    async fn roll_back<DB: GuardRows>(&self, tx: &mut DB::Connection) -> Result<(), Broken> {
        let back = "ROLLBACK TO SAVEPOINT saga_call";
        DB::Dialect::run(tx, back).await.map_err(undone)
    }

    /// Ends all of them.
    async fn end<DB: GuardRows>(self, tx: &mut DB::Connection) -> Result<(), Broken> {
        match self.are_set {
            false => Ok(()),
            true => DB::Dialect::run(tx, "RELEASE SAVEPOINT saga_group").await.map_err(undone),
        }
    }
}

/// What business code says; `None` where it panics.
async fn polled<DB: GuardRows>(
    tx: &mut DB::Connection,
    run: &mut Run<DB::Connection>,
    output: &str,
) -> Option<Result<Answer, BarrierError>> {
    let mut running = pin!(run(tx, output));
    let polling = std::future::poll_fn(|cx| {
        match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    });
    polling.await
}

fn undone(_error: sqlx::Error) -> Broken {
    UNDONE
}
