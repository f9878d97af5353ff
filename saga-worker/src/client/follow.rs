//! Waiting for a saga: its verdict, its events as they come.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::try_unfold;
use saga_core::{Event, SagaId, SagaView, Transition, Verdict, Wait, WaitReason};
use tokio::time::{sleep, timeout};

use super::{Client, ClientError, Started, decode};
use crate::runtime::Runtime;
use crate::watchers::Watch;

/// First pause between looks at a saga that another process drives; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause between such looks.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Most log rows read at once.
const PAGE: u32 = 256;

impl Client {
    /// Waits for the verdict of a saga, however long it takes.
    ///
    /// That may be for ever: a saga that is stuck or paused has no verdict before a person has
    /// seen to it. [`Client::settled`] tells that apart, [`Client::verdict_within`] has a limit.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] for an unknown id, or the store's error.
    pub async fn verdict(&self, id: SagaId) -> Result<Verdict, ClientError> {
        let mut patience = Patience::new(self, id);
        loop {
            if let Some(verdict) = self.verdict_on_record(id).await? {
                return Ok(verdict);
            }
            let end = patience.end_or_pause().await;
            if let Some(verdict) = end.and_then(|end| end.verdict.clone()) {
                return Ok(verdict);
            }
        }
    }

    /// Waits for the verdict of a saga, at most for `limit`: `None` when there is none by then.
    /// The saga goes on, whoever stops waiting.
    ///
    /// # Errors
    /// As [`Client::verdict`].
    pub async fn verdict_within(
        &self,
        id: SagaId,
        limit: Duration,
    ) -> Result<Option<Verdict>, ClientError> {
        timeout(limit, self.verdict(id)).await.ok().transpose()
    }

    /// Waits until nothing happens to a saga any more without a person: it has its verdict, or it
    /// is stuck, or it was paused and no call is under way.
    ///
    /// # Errors
    /// As [`Client::verdict`].
    pub async fn settled(&self, id: SagaId) -> Result<Settled, ClientError> {
        let mut patience = Patience::new(self, id);
        loop {
            let row = self.store.row(id).await?.ok_or(ClientError::NotFound { id })?;
            match row.summary.wait {
                _ if !row.summary.status.is_alive() => {
                    return self.verdict(id).await.map(Settled::Ended);
                }
                Some(reason @ WaitReason::Stuck { .. }) if row.owner.is_none() => {
                    return Ok(Settled::Stuck(reason.into()));
                }
                Some(reason @ WaitReason::Paused { .. }) if row.owner.is_none() => {
                    return Ok(Settled::Paused(reason.into()));
                }
                _ => patience.wait().await,
            }
        }
    }

    async fn verdict_on_record(&self, id: SagaId) -> Result<Option<Verdict>, ClientError> {
        let row = self.store.row(id).await?.ok_or(ClientError::NotFound { id })?;
        if row.summary.status.is_alive() {
            return Ok(None);
        }
        let last = self.store.log(id, row.seq.saturating_sub(1), 1).await?;
        let last = last.first().map(|row| decode(id, row)).transpose()?;
        let events = last.map(|transition| transition.events).unwrap_or_default();
        let verdict = events.into_iter().rev().find_map(|event| match event {
            Event::SagaEnded { verdict } => Some(verdict),
            _ => None,
        });
        let why = "it has ended, but its last log row holds no verdict".to_owned();
        verdict.map(Some).ok_or(ClientError::Unreadable { id, why })
    }

    /// The transitions of a saga after position `after`, as they become durable, without gap or
    /// repetition. The stream ends after the one with the verdict.
    pub fn events(
        &self,
        id: SagaId,
        after: u64,
    ) -> impl Stream<Item = Result<Transition, ClientError>> + Send + use<> {
        let follow = Follow {
            client: self.clone(),
            id,
            after,
            buffer: VecDeque::new(),
            patience: Patience::new(self, id),
            ended: false,
        };
        try_unfold(follow, |mut follow| async move {
            let next = follow.next().await?;
            Ok(next.map(|transition| (transition, follow)))
        })
    }
}

/// How a saga stands when nothing happens to it any more without a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It has its verdict, for good.
    Ended(Verdict),
    /// It needs an operator; the reason says why and names the ways out.
    Stuck(Wait),
    /// It was paused, and waits to be resumed.
    Paused(Wait),
}

impl Started {
    /// Waits until the saga has ended or needs a person; see [`Client::settled`].
    ///
    /// # Errors
    /// As [`Client::verdict`].
    pub async fn settled(&self) -> Result<Settled, ClientError> {
        self.client.settled(self.id).await
    }

    /// Waits for the verdict, at most for `limit`; see [`Client::verdict_within`].
    ///
    /// # Errors
    /// As [`Client::verdict`].
    pub async fn verdict_within(&self, limit: Duration) -> Result<Option<Verdict>, ClientError> {
        timeout(limit, self.verdict()).await.ok().transpose()
    }

    /// Waits for the verdict, however long it takes; for ever while the saga is stuck or paused.
    /// [`Started::settled`] and [`Started::verdict_within`] come back from that.
    ///
    /// # Errors
    /// As [`Client::verdict`].
    pub async fn verdict(&self) -> Result<Verdict, ClientError> {
        match self.end_in_this_process().await.and_then(|end| end.verdict.clone()) {
            Some(verdict) => Ok(verdict),
            None => self.client.verdict(self.id).await,
        }
    }

    /// Waits for the verdict as [`Started::verdict`] does, and shows the saga as it ended, with what
    /// its steps have answered. Where it ends in this process, the store is not asked.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use saga_core::{Definition, Failure, Input, MemoryStore, Step, Verdict};
    /// # use saga_worker::{SystemClock, Worker};
    /// # async fn charge(Input(cents): Input<u32>) -> Result<u32, Failure> { Ok(cents) }
    /// # let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    /// # let pay = Definition::new("pay", [Step::pivot("capture-payment", charge)])?;
    /// # let worker = Worker::builder(store).register(pay).start().await?;
    /// let payment = worker.start("pay", &1_700).await?.ended().await?;
    /// assert_eq!(payment.verdict, Some(Verdict::Completed));
    /// assert_eq!(payment.steps[0].output.as_ref().map(|cents| cents.as_json()), Some("1700"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::verdict`] and [`Client::view`].
    pub async fn ended(&self) -> Result<SagaView, ClientError> {
        if let Some(end) = self.end_in_this_process().await {
            return Ok(Arc::unwrap_or_clone(end));
        }
        self.client.verdict(self.id).await?;
        let view = self.client.view(self.id).await?;
        view.ok_or(ClientError::NotFound { id: self.id })
    }

    /// Its end, if it runs here and was watched from the first.
    async fn end_in_this_process(&self) -> Option<Arc<SagaView>> {
        let watch = self.watch.clone()?;
        let mut patience = Patience::with(&self.client, self.id, watch, PAUSE_MAX);
        patience.end_or_pause().await
    }

    /// The saga's transitions from its start on; see [`Client::events`].
    pub fn events(&self) -> impl Stream<Item = Result<Transition, ClientError>> + Send + use<> {
        self.client.events(self.id, 0)
    }
}

struct Follow {
    client: Client,
    id: SagaId,
    after: u64,
    buffer: VecDeque<Transition>,
    patience: Patience,
    ended: bool,
}

impl Follow {
    async fn next(&mut self) -> Result<Option<Transition>, ClientError> {
        while self.buffer.is_empty() {
            if self.ended {
                return Ok(None);
            }
            let rows = self.client.store.log(self.id, self.after, PAGE).await?;
            for row in &rows {
                self.after = row.seq;
                self.buffer.push_back(decode(self.id, row)?);
            }
            if rows.is_empty() {
                let row = self.client.store.row(self.id).await?;
                let row = row.ok_or(ClientError::NotFound { id: self.id })?;
                if row.seq > self.after {
                    continue;
                }
                if !row.summary.status.is_alive() {
                    return Ok(None);
                }
                self.patience.wait().await;
            } else {
                self.patience.renew();
            }
        }
        let transition = self.buffer.pop_front();
        let ends = |event: &Event| matches!(event, Event::SagaEnded { .. });
        self.ended =
            transition.as_ref().is_some_and(|transition| transition.events.iter().any(ends));
        Ok(transition)
    }
}

/// Pauses between looks: cut short by news from this process, growing otherwise.
pub(super) struct Patience {
    id: SagaId,
    watch: Watch,
    pause: Duration,
    /// The worker of this process, if it has one.
    runtime: Weak<Runtime>,
}

impl Patience {
    /// Subscribes first, so that no news between a look and the next wait is missed.
    pub(super) fn new(client: &Client, id: SagaId) -> Self {
        Self::with(client, id, client.watchers.watch(id), PAUSE_MIN)
    }

    fn with(client: &Client, id: SagaId, watch: Watch, pause: Duration) -> Self {
        Self { id, watch, pause, runtime: client.runtime.clone() }
    }

    /// Waits for the end among the news of this process; `None` when it is time to look. While the
    /// saga is driven here there is nothing to look for: its end will be among the news.
    async fn end_or_pause(&mut self) -> Option<Arc<SagaView>> {
        loop {
            tokio::select! {
                biased;
                end = self.watch.ended() => return Some(end),
                () = sleep(self.pause) => self.pause = (self.pause * 2).min(PAUSE_MAX),
            }
            if !self.is_driven_here() {
                return None;
            }
        }
    }

    fn is_driven_here(&self) -> bool {
        let runtime = self.runtime.upgrade();
        runtime.is_some_and(|runtime| runtime.is_driven(self.id) && !runtime.is_barred(self.id))
    }

    pub(super) async fn wait(&mut self) {
        tokio::select! {
            biased;
            () = self.watch.changed() => self.renew(),
            () = sleep(self.pause) => self.pause = (self.pause * 2).min(PAUSE_MAX),
        }
    }

    fn renew(&mut self) {
        self.pause = PAUSE_MIN;
    }
}
