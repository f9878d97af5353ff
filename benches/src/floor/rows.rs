//! The rows of a saga, taken from the engine itself.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use saga_core::store::SagaLog as _;
use saga_core::{Bucket, DefinitionRef, MemoryStore, Saga, SagaId, Status};
use saga_worker::{SystemClock, Worker};

use crate::workload::{self, ORDER, Order, Shape};

/// What the engine writes for one saga: the row that starts it, and each append. Every saga of
/// the floor writes these bodies under an id and a key of its own.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(super) definition: DefinitionRef,
    pub(crate) all: Vec<Row>,
}

/// One row of the log and the status it leads to.
#[derive(Debug)]
pub(crate) struct Row {
    pub(super) body: String,
    pub(super) status: Status,
}

impl Row {
    pub(super) fn ends(&self) -> bool {
        !self.status.is_alive()
    }
}

impl Rows {
    /// Runs one saga through a worker on the store in memory and keeps what was written.
    pub(super) async fn of_one_saga(fail_last: bool) -> anyhow::Result<Self> {
        Self::of_one_saga_of(Shape::default(), fail_last).await
    }

    /// The same for a saga of another shape.
    pub(crate) async fn of_one_saga_of(shape: Shape, fail_last: bool) -> anyhow::Result<Self> {
        let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let definition = workload::definition_of(shape, fail_last)?;
        let spec = definition.spec().clone();
        let worker = Worker::builder(store.clone()).register(definition).start().await?;
        let saga = worker.client().start(ORDER, &Order::of_shape(0, shape)).key(key(0)).await?;
        let verdict = saga.verdict().await?;
        worker.shutdown().await;
        ensure!(verdict == workload::verdict(fail_last), "the saga to copy ended {verdict}");
        let (_, log) = store.load(saga.id).await?.context("the saga to copy has no log")?;
        let mut all = Vec::with_capacity(log.len());
        for (nth, row) in log.iter().enumerate() {
            let status = Saga::replay(saga.id, spec.clone(), &log[..=nth])?.status();
            all.push(Row { body: row.body.clone(), status });
        }
        Ok(Self { definition: spec.reference(), all })
    }
}

/// One saga under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: SagaId,
    pub(super) key: String,
    pub(super) begun: Instant,
    /// The row to be written next, counted from 0.
    pub(super) next: usize,
}

impl Flight {
    pub(super) fn seq(&self) -> i64 {
        self.next as i64 + 1
    }

    /// As good as a digest: sixteen bytes that no other row has.
    pub(super) fn digest(&self) -> [u8; 16] {
        let mut bytes = self.id.to_bytes();
        bytes.reverse();
        bytes[0] = self.next as u8;
        bytes
    }
}

/// Makes sagas, with ids as the engine makes them: by time, then random, then the bucket.
#[derive(Debug)]
pub(super) struct Sagas {
    buckets: u16,
    count: u64,
    random: u64,
}

impl Sagas {
    pub(super) fn new(buckets: u16) -> Self {
        Self { buckets, count: 0, random: 0x5eed }
    }

    pub(super) fn start(&mut self, now: Instant) -> Flight {
        let key = key(self.count);
        self.count += 1;
        let entropy = u128::from(self.random()) << 64 | u128::from(self.random());
        let unix_ms = micros().unsigned_abs() / 1_000;
        let id = SagaId::new(unix_ms, entropy, Bucket::of(&key, self.buckets));
        Flight { id, key, begun: now, next: 0 }
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The present moment as the tables have it.
pub(super) fn micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn key(number: u64) -> String {
    format!("order-{number}")
}
