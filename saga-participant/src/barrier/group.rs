//! The barrier over a pool of sqlx whose calls share transactions.
//!
//! A row that many calls write, such as the balance of one account, is locked from the write to the
//! end of its commit, so at most as many of these calls come through in a second as commits fit in
//! there one after the other. In a group they do not wait for each other: one task runs whatever has
//! queued while the last commit was in flight in one transaction, each call in a savepoint of its own,
//! and commits once.
//!
//! Whatever breaks a shared transaction, the answer is the same: it is rolled back, and every call of
//! it gets a transaction of its own. That is always right, for the barrier bears repeated calls, its
//! own included: one that was committed after all is found in its guard row.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;

use serde::Serialize;
use sqlx::{Connection as _, Pool, SqlSafeStr as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::rows::{Dialect as _, Fate, GuardRows};
use super::transaction::{Arguments, Stopped, inside, is_given_up, own};
use super::{BarrierError, Business};
use crate::answer::Answer;
use crate::call::CallIdentity;
use crate::faults;

/// How many calls may wait in line; callers beyond that wait to get there.
const QUEUE_MAX: usize = 1_024;
/// Most calls in one transaction.
const CALLS_MAX: usize = 64;

type Running<'c, E> = Pin<Box<dyn Future<Output = Result<Answer, E>> + Send + 'c>>;
type Inside<C> = dyn for<'c> FnMut(&'c mut C) -> Running<'c, Stopped> + Send;
type Alone = dyn FnOnce(Option<BarrierError>) -> Running<'static, BarrierError> + Send;

/// A call in line, with the one who waits for its answer.
struct Call<DB: GuardRows> {
    /// Runs it in a savepoint of a transaction.
    inside: Box<Inside<DB::Connection>>,
    /// Runs it in a transaction of its own, after one that may have been committed.
    alone: Box<Alone>,
    reply: oneshot::Sender<Result<Answer, BarrierError>>,
}

/// The queue of a group.
pub(super) struct Group<DB: GuardRows> {
    queue: mpsc::Sender<Call<DB>>,
}

impl<DB: GuardRows> Group<DB> {
    /// Starts the task of a group, which ends when its last handle is dropped.
    pub(super) fn start(pool: Pool<DB>) -> Self {
        let (queue, calls) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(pool, calls));
        Group { queue }
    }

    /// Puts a call in line and waits for its answer. A caller that goes away does not take it out.
    pub(super) async fn call<Args, T, F>(
        &self,
        pool: Pool<DB>,
        identity: CallIdentity,
        business: F,
    ) -> Result<Answer, BarrierError>
    where
        Args: Arguments + Send + 'static,
        T: Serialize + Send + 'static,
        F: for<'c> Business<'c, DB::Connection, Args, T> + Clone + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let (again, of) = (business.clone(), identity.clone());
        let inside: Box<Inside<DB::Connection>> = Box::new(move |tx| {
            let (of, again) = (of.clone(), again.clone());
            Box::pin(async move { inside::<DB, Args, T, F>(tx, &of, again).await })
        });
        let alone: Box<Alone> = Box::new(move |in_doubt| {
            Box::pin(own::<DB, Args, T, F>(pool, identity, business, in_doubt))
        });
        let gone = || BarrierError::lost("the task of the group is gone");
        let call = Call { inside, alone, reply };
        self.queue.send(call).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl<DB: GuardRows> Clone for Group<DB> {
    fn clone(&self) -> Self {
        Group { queue: self.queue.clone() }
    }
}

async fn run<DB: GuardRows>(pool: Pool<DB>, mut queue: mpsc::Receiver<Call<DB>>) {
    let mut calls = Vec::with_capacity(CALLS_MAX);
    while queue.recv_many(&mut calls, CALLS_MAX).await > 0 {
        let shared = match calls.len() {
            // Alone it needs no savepoint.
            1 => Err(Broken { in_doubt: false }),
            _ => transaction(&pool, &mut calls).await,
        };
        match shared {
            Ok(answers) => {
                for (call, answer) in calls.drain(..).zip(answers) {
                    drop(call.reply.send(answer));
                }
            }
            Err(broken) => {
                // Whoever comes next waits for them, so that no more are under way than in a group.
                let alone = |call: Call<DB>| {
                    let answer = (call.alone)(broken.doubt());
                    async move { drop(call.reply.send(answer.await)) }
                };
                calls.drain(..).map(alone).collect::<JoinSet<()>>().join_all().await;
            }
        }
    }
}

/// A shared transaction that has no outcome.
#[derive(Debug)]
struct Broken {
    /// It may have been committed.
    in_doubt: bool,
}

impl Broken {
    fn doubt(&self) -> Option<BarrierError> {
        let why = "a commit that this call shared was not answered";
        self.in_doubt.then(|| BarrierError::lost(why))
    }
}

/// Runs calls in one transaction and commits it.
async fn transaction<DB: GuardRows>(
    pool: &Pool<DB>,
    calls: &mut [Call<DB>],
) -> Result<Vec<Result<Answer, BarrierError>>, Broken> {
    const UNDONE: Broken = Broken { in_doubt: false };
    let mut db = pool.acquire().await.map_err(|_| UNDONE)?;
    let mut is_committing = false;
    let work = async {
        let begin = DB::Dialect::BEGIN.into_sql_str();
        let mut tx = db.begin_with(begin).await.map_err(|_| UNDONE)?;
        DB::Dialect::execute(&mut tx, "SAVEPOINT saga_group", &[]).await.map_err(|_| UNDONE)?;
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            answers.push(answer::<DB>(&mut tx, call).await?);
        }
        // A COMMIT is answered like a success by a transaction that is broken, or that business code
        // has ended and its calls before with it. This is not.
        let release = "RELEASE SAVEPOINT saga_group";
        DB::Dialect::execute(&mut tx, release, &[]).await.map_err(|_| UNDONE)?;
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

/// One call. The error inside is its own; the one outside is everybody's.
async fn answer<DB: GuardRows>(
    tx: &mut DB::Connection,
    call: &mut Call<DB>,
) -> Result<Result<Answer, BarrierError>, Broken> {
    let mut running = pin!((call.inside)(tx));
    let polling = std::future::poll_fn(|cx| {
        match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            // Its future must not be polled again, and nobody knows where the connection stands.
            Err(_) => Poll::Ready(None),
        }
    });
    match polling.await {
        Some(Ok(answer)) => Ok(Ok(answer)),
        Some(Err(stopped)) => match stopped.fate::<DB>() {
            Fate::Busy | Fate::Failed if !matches!(stopped, Stopped::AtCommit(_)) => {
                Ok(Err(stopped.into()))
            }
            _ => Err(Broken { in_doubt: false }),
        },
        None => Err(Broken { in_doubt: false }),
    }
}
