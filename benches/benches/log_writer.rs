//! The log writer of the SQLite store: appends of sagas that come at the same moment, and share
//! transactions, until all of them are durable.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use futures_util::future::join_all;
use saga_core::store::{Append, NewSaga, SagaLog as _, StartOutcome, Summary};
use saga_core::{
    Bucket, DefinitionRef, Digest, Event, LogHead, SagaId, Status, StepIndex, Timestamp, WorkerId,
};
use saga_store::SqliteStore;
use tokio::runtime::{Builder, Runtime};

const OWNER: WorkerId = WorkerId::from_bytes([7; 16]);
const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    appends(&mut criterion);
    criterion.final_summary();
}

fn appends(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    let mut group = criterion.benchmark_group("sqlite appends at once");
    for count in [1, 16, 256] {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let path = folder.path().join("saga.db");
        let mut logs = Logs::start(&runtime, count, &path);
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| runtime.block_on(logs.append_to_all()));
        });
    }
    group.finish();
}

/// Sagas of one store, each with the end of its log.
struct Logs {
    store: Arc<SqliteStore>,
    ends: Vec<(SagaId, LogHead)>,
}

impl Logs {
    fn start(runtime: &Runtime, count: u64, path: &std::path::Path) -> Self {
        runtime.block_on(async {
            let store = Arc::new(SqliteStore::open(path).await.expect("the store opens"));
            let mut ends = Vec::new();
            for number in 0..count {
                let id = SagaId::new(number, u128::from(number) << 64, Bucket::of("", 1));
                let first = LogHead::default().seal(0, NOW, &[Event::WorkerLost]);
                ends.push((id, first.head()));
                let digest = Digest::of(&[]);
                let definition = DefinitionRef { name: "bench".into(), version: 1, digest };
                let (key, input_digest, owner) = (None, digest, Some(OWNER));
                let summary = summary();
                let new = NewSaga { id, definition, key, input_digest, first, summary, owner };
                assert_eq!(store.start(new).await, Ok(StartOutcome::Created));
            }
            Self { store, ends }
        })
    }

    /// One row for each of them, all handed over before any is durable.
    async fn append_to_all(&mut self) {
        let appends = self.ends.iter_mut().map(|(id, end)| {
            let step = StepIndex(0);
            let row = end.seal(0, NOW, &[Event::StepReceived { step, attempt: 1 }]);
            *end = row.head();
            let append = Append { id: *id, owner: OWNER, row, summary: summary(), release: false };
            self.store.append(append)
        });
        for appended in join_all(appends).await {
            assert_eq!(appended, Ok(()));
        }
    }
}

fn summary() -> Summary {
    Summary { status: Status::Running, next_wake_at: None, wait: None, ended_at: None }
}
