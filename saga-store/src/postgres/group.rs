//! Group commit: what queues while a statement is in flight makes up the next one.

use std::fmt;
use std::time::Instant;

use async_trait::async_trait;
use saga_core::store::StoreError;
use sqlx::Error;
use sqlx::postgres::PgConnection;
use tokio::sync::{mpsc, oneshot};

use super::connect::Connector;
use super::lane::{Session, Work};
use crate::commits::OnCommit;

/// Items that may wait; callers beyond that wait to get in line.
const QUEUE_MAX: usize = 4_096;
/// Most items of one statement.
const BATCH_MAX: usize = 512;

/// Items that share one statement. The statement has a condition for each item, so one that may
/// not happen does not disturb the others, and repeating it is harmless.
#[async_trait]
pub(super) trait Batch: Clone + Send + Sync + 'static {
    /// What a caller gives.
    type Item: Clone + Send + Sync + 'static;
    /// What a caller learns.
    type Outcome: Send + 'static;

    /// What it is about, for messages.
    const WHAT: &'static str;

    /// Runs the statement; one outcome per item, in order.
    async fn run(
        &self,
        db: &mut PgConnection,
        items: &[Self::Item],
    ) -> Result<Vec<Self::Outcome>, Error>;
}

/// The way to a task that owns one connection and sends batches over it, one after the other.
pub(super) struct Group<B: Batch> {
    queue: mpsc::Sender<Queued<B>>,
}

type Reply<B> = oneshot::Sender<Result<<B as Batch>::Outcome, StoreError>>;

struct Queued<B: Batch> {
    item: B::Item,
    reply: Reply<B>,
}

impl<B: Batch> Group<B> {
    pub(super) fn start(batch: B, connector: Connector) -> Self {
        let (queue, items) = mpsc::channel(QUEUE_MAX);
        let on_commit = connector.told_of_commits().cloned();
        tokio::spawn(serve(batch, Session::new(connector), items, on_commit));
        Self { queue }
    }

    /// Puts an item into the next batch. Once in line it is sent even if the caller goes away.
    pub(super) async fn send(&self, item: B::Item) -> Result<B::Outcome, StoreError> {
        let (reply, outcome) = oneshot::channel();
        let closed = || StoreError::Unavailable(format!("{}: the store is closed", B::WHAT));
        self.queue.send(Queued { item, reply }).await.map_err(|_| closed())?;
        outcome.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl<B: Batch> Clone for Group<B> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<B: Batch> fmt::Debug for Group<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(B::WHAT).field("free", &self.queue.capacity()).finish()
    }
}

async fn serve<B: Batch>(
    batch: B,
    mut session: Session,
    mut items: mpsc::Receiver<Queued<B>>,
    on_commit: Option<OnCommit>,
) {
    let mut queued = Vec::with_capacity(BATCH_MAX);
    while items.recv_many(&mut queued, BATCH_MAX).await > 0 {
        let (items, replies): (Vec<_>, Vec<_>) =
            queued.drain(..).map(|queued| (queued.item, queued.reply)).unzip();
        let (changes, begun) = (replies.len(), Instant::now());
        let committed = send(&batch, &mut session, items, replies).await;
        if let Some(on_commit) = on_commit.as_ref().filter(|_| committed) {
            on_commit.tell(changes, begun.elapsed());
        }
    }
}

/// Sends a batch. When the server cannot take one of the items, each is sent on its own, so that
/// only that one fails. Says whether they shared a commit.
async fn send<B: Batch>(
    batch: &B,
    session: &mut Session,
    items: Vec<B::Item>,
    replies: Vec<Reply<B>>,
) -> bool {
    let work = Together { batch: batch.clone(), items };
    match session.run(&work).await {
        Ok(outcomes) => {
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                drop(reply.send(Ok(outcome)));
            }
            return true;
        }
        Err(StoreError::Unusable(_) | StoreError::Corrupt(_)) if work.items.len() > 1 => {
            for (item, reply) in work.items.into_iter().zip(replies) {
                let alone = Together { batch: batch.clone(), items: vec![item] };
                let outcome = session.run(&alone).await;
                drop(reply.send(outcome.and_then(|mut outcomes| {
                    outcomes
                        .pop()
                        .ok_or_else(|| StoreError::Corrupt(format!("{}: no outcome", B::WHAT)))
                })));
            }
        }
        Err(error) => {
            for reply in replies {
                drop(reply.send(Err(error.clone())));
            }
        }
    }
    false
}

struct Together<B: Batch> {
    batch: B,
    items: Vec<B::Item>,
}

#[async_trait]
impl<B: Batch> Work for Together<B> {
    type Outcome = Vec<B::Outcome>;

    fn what(&self) -> String {
        B::WHAT.to_owned()
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Vec<B::Outcome>, Error> {
        self.batch.run(db, &self.items).await
    }
}
