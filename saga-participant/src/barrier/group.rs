//! The barrier over a pool of sqlx whose calls share transactions.
//!
//! A row that many calls write, such as the balance of one account, is locked from the write to the
//! end of its commit, so at most as many of these calls come through in a second as commits fit in
//! there one after the other. In a group they do not wait for each other: one task runs whatever has
//! queued while the last commit was in flight in one transaction, each call in a savepoint of its own,
//! and commits once. `shared` is that transaction, and `guards` are its guard rows, which one statement
//! claims and reads for all calls, and one answers.
//!
//! Whatever breaks a shared transaction, the answer is the same: it is rolled back, and every call of
//! it gets a transaction of its own. That is always right, for the barrier bears repeated calls, its
//! own included: one that was committed after all is found in its guard row.

mod guards;
mod shared;

use std::collections::HashSet;
use std::pin::Pin;

use serde::Serialize;
use sqlx::Pool;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::decision::settle;
use super::rows::GuardRows;
use super::transaction::{Arguments, own};
use super::{BarrierError, Business};
use crate::answer::Answer;
use crate::call::CallIdentity;

/// How many calls may wait in line; callers beyond that wait to get there.
const QUEUE_MAX: usize = 1_024;
/// Most calls in one transaction.
const CALLS_MAX: usize = 64;

type Running<'c> = Pin<Box<dyn Future<Output = Result<Answer, BarrierError>> + Send + 'c>>;
/// Business code, given the recorded output of the action as JSON.
type Run<C> = dyn for<'c> FnMut(&'c mut C, &str) -> Running<'c> + Send;
type Alone = dyn FnOnce(Option<BarrierError>) -> Running<'static> + Send;

/// A call in line, with the one who waits for its answer.
struct Call<DB: GuardRows> {
    identity: CallIdentity,
    /// Runs its business code.
    run: Box<Run<DB::Connection>>,
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
        let (of, again) = (identity.clone(), business.clone());
        let run: Box<Run<DB::Connection>> = Box::new(move |tx, output| {
            let (of, again, output) = (of.clone(), again.clone(), output.to_owned());
            Box::pin(async move {
                // Read in here, where a panic is caught.
                let args = Args::read(&output).map_err(|fault| BarrierError::RecordedOutput {
                    identity: of.clone(),
                    fault,
                })?;
                settle(of.op, again.run(tx, args).await)
            })
        });
        let of = identity.clone();
        let alone: Box<Alone> =
            Box::new(move |in_doubt| Box::pin(own::<DB, Args, T, F>(pool, of, business, in_doubt)));
        let gone = || BarrierError::lost("the task of the group is gone");
        let call = Call { identity, run, alone, reply };
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
        let repeated = take_repeated(&mut calls);
        let shared = match calls.len() {
            // Alone it needs no savepoint.
            1 => Err(Broken { in_doubt: false }),
            _ => {
                let parts = calls.iter_mut().map(|call| (&call.identity, &mut *call.run));
                shared::transaction(&pool, &mut parts.collect::<Vec<_>>()).await
            }
        };
        match shared {
            Ok(answers) => {
                for (call, answer) in calls.drain(..).zip(answers) {
                    drop(call.reply.send(answer));
                }
            }
            Err(broken) => each_alone(calls.drain(..), &broken).await,
        }
        each_alone(repeated, &Broken { in_doubt: false }).await;
    }
}

/// Takes out the calls of a step that another one in front is of, which have to see its guard row.
fn take_repeated<DB: GuardRows>(calls: &mut Vec<Call<DB>>) -> Vec<Call<DB>> {
    let mut steps = HashSet::with_capacity(calls.len());
    let mut is_repeated = |CallIdentity { saga_id, step, .. }: &CallIdentity| {
        !steps.insert((saga_id.clone(), step.clone()))
    };
    calls.extract_if(.., |call| is_repeated(&call.identity)).collect()
}

/// Runs each call in a transaction of its own. Whoever comes next waits for them, so that no more
/// are under way than in a group.
async fn each_alone<DB: GuardRows>(calls: impl IntoIterator<Item = Call<DB>>, broken: &Broken) {
    let alone = |call: Call<DB>| {
        let answer = (call.alone)(broken.doubt());
        async move { drop(call.reply.send(answer.await)) }
    };
    calls.into_iter().map(alone).collect::<JoinSet<()>>().join_all().await;
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
