//! The pure core: rebuilding a saga from its log, and the price of one transition.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use saga_core::{
    Bucket, Definition, DefinitionSpec, Event, Failure, LogRow, Next, Output, Payload, PlannedCall,
    RetryPolicy, Saga, SagaId, StartRequest, Step, Stimulus, Timestamp,
};

/// Between two attempts. The clock of these sagas jumps over it.
const DELAY: Duration = Duration::from_secs(2);

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    replay(&mut criterion);
    transitions(&mut criterion);
    whole_saga(&mut criterion);
    criterion.final_summary();
}

fn replay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay");
    for events in [10, 100, 1_000] {
        let written = Written::with_retries(events);
        let Written { saga, log, .. } = &written;
        group.throughput(Throughput::Elements(events as u64));
        group.bench_function(BenchmarkId::from_parameter(events), |bencher| {
            bencher.iter(|| {
                Saga::replay(saga.id(), saga.spec().clone(), black_box(log))
                    .expect("the machine wrote this log itself")
            });
        });
    }
    group.finish();
}

/// `handle` and `apply` in one, as the executor uses them: one event of a saga with a short log and
/// of one with a long log.
fn transitions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("advance");
    group.throughput(Throughput::Elements(1));
    for events in [10, 1_000] {
        let Written { saga, now, call, .. } = Written::with_retries(events);
        let name = BenchmarkId::new("failed attempt after events", events);
        let result = Err(Failure::transient("no connection"));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (saga.clone(), Stimulus::Answer { call, result: result.clone() }),
                |(mut saga, answer)| (saga.advance(now, answer), saga),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// All that the machine does for an order of three steps, with the rows of its log.
fn whole_saga(criterion: &mut Criterion) {
    let spec = order(3);
    let mut written = Written::start(spec.clone());
    written.finish();
    let events = written.events as u64;
    let mut group = criterion.benchmark_group("whole saga");
    group.throughput(Throughput::Elements(events));
    group.bench_function(BenchmarkId::new("events", events), |bencher| {
        bencher.iter(|| {
            let mut written = Written::start(black_box(&spec).clone());
            written.finish();
            written
        });
    });
    group.finish();
}

/// A saga and all that it has written.
struct Written {
    saga: Saga,
    log: Vec<LogRow>,
    events: usize,
    now: Timestamp,
    /// The call in flight.
    call: PlannedCall,
}

impl Written {
    /// A saga whose first call is in flight.
    fn start(spec: Arc<DefinitionSpec>) -> Self {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let id = SagaId::new(1_700_000_000_000, 17, Bucket::of("order-17", 256));
        let input = Payload::from_json(format!(r#"{{"number":"{}"}}"#, "7".repeat(180)))
            .expect("this is JSON");
        let request = StartRequest { input, key: None, traceparent: None, by: None };
        let (saga, events) = Saga::start(id, spec, now, request);
        let call = call_of(&saga, now);
        let mut written = Self { saga, log: Vec::new(), events: 0, now, call };
        written.dispatch(events);
        written
    }

    /// A saga with a log of so many events, an even number: the start and the first intent, then
    /// attempts that failed, each with the next intent. The last call is in flight.
    fn with_retries(events: usize) -> Self {
        let mut written = Self::start(order(u32::MAX));
        while written.events < events {
            let failed = written.answer(Err(Failure::transient("no connection")));
            written.seal(&failed);
            written.now = written.now.after(DELAY);
            written.dispatch(Vec::new());
        }
        assert_eq!(written.events, events, "an event more or less than one per row");
        written
    }

    /// Lets every step succeed.
    fn finish(&mut self) {
        while self.saga.ended().is_none() {
            let events = self.answer(Ok(Payload::null()));
            if self.saga.ended().is_none() {
                self.dispatch(events);
            } else {
                self.seal(&events);
            }
        }
    }

    fn answer(&mut self, result: Result<Payload, Failure>) -> Vec<Event> {
        let answer = Stimulus::Answer { call: self.call, result };
        self.saga.advance(self.now, answer).expect("this call is in flight")
    }

    /// Hands the next call out. The intent shares a row with `events`.
    fn dispatch(&mut self, mut events: Vec<Event>) {
        self.call = call_of(&self.saga, self.now);
        let intent = self.saga.advance(self.now, Stimulus::Dispatch(self.call));
        events.extend(intent.expect("this call is due"));
        self.seal(&events);
    }

    fn seal(&mut self, events: &[Event]) {
        self.events += events.len();
        self.log.push(self.saga.seal(0, self.now, events));
    }
}

fn call_of(saga: &Saga, now: Timestamp) -> PlannedCall {
    match saga.next(now) {
        Next::Call(calls) => calls[0],
        other => panic!("a saga between two calls wants {other:?}"),
    }
}

/// Three steps with so many attempts each, after the same delay every time.
fn order(attempts: u32) -> Arc<DefinitionSpec> {
    let retry = RetryPolicy::new(attempts, DELAY).capped(DELAY);
    let step =
        |name| Step::compensatable(name, async || Ok::<_, Failure>(()), undo).retry(retry.clone());
    let steps = [step("reserve"), step("freeze"), step("capture")];
    Definition::new("bench-order", steps).expect("this definition is well-formed").spec().clone()
}

async fn undo(_: Option<Output<()>>) -> Result<(), Failure> {
    Ok(())
}
