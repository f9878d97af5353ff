//! Sagas that really run, for the tests of this crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use saga_core::store::{Append, NewSaga, SagaRow, Summary, WorkerCard};
use saga_core::{
    Bucket, Definition, DefinitionSpec, Digest, Failure, LogRow, Next, Op, Payload, PlannedCall,
    Saga, SagaId, StartRequest, Step, StepIndex, Stimulus, Timestamp, WorkerId,
};

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

/// A moment that has passed for the clock of any store.
pub(crate) const PAST: Timestamp = Timestamp::from_micros(1);

/// A definition of four steps: eight transitions after the start.
pub(crate) fn order() -> Arc<DefinitionSpec> {
    async fn work() -> Result<(), Failure> {
        Ok(())
    }
    let steps = ["reserve-stock", "redeem-coupon", "freeze-points"];
    let steps = steps.into_iter().map(|step| Step::compensatable(step, work, work));
    let steps = steps.chain([Step::pivot("capture-payment", work)]);
    Definition::new("order", steps).expect("a sound definition").spec().clone()
}

/// A worker no other process is.
pub(crate) fn card() -> WorkerCard {
    let id = WorkerId::from_bytes(entropy().to_be_bytes());
    WorkerCard { id, name: "test".into(), definitions: vec![order().reference()] }
}

/// Different for every call in every process.
fn entropy() -> u128 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::SeqCst);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let digest = Digest::of(&[
        &call.to_be_bytes(),
        &std::process::id().to_be_bytes(),
        &now.as_nanos().to_be_bytes(),
    ]);
    u128::from_be_bytes(*digest.as_bytes())
}

/// A saga and the worker that drives it.
#[derive(Clone)]
pub(crate) struct Driven {
    pub(crate) id: SagaId,
    owner: WorkerId,
    epoch: u64,
    at: Timestamp,
    saga: Saga,
}

impl Driven {
    /// A saga about to be started by `owner`.
    pub(crate) fn start(owner: WorkerId) -> (Self, NewSaga) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        let id = SagaId::new(now.as_millis() as u64, entropy(), Bucket::of("", 1));
        let (at, spec, epoch) = (PAST, order(), 1);
        let request =
            StartRequest { input: Payload::null(), key: None, traceparent: None, by: None };
        let (mut saga, events) = Saga::start(id, spec.clone(), at, request);
        let first = saga.seal(epoch, at, &events);
        let driven = Self { id, owner, epoch, at, saga };
        let new = NewSaga {
            id,
            definition: spec.reference(),
            key: None,
            input_digest: Digest::of(&[]),
            first,
            summary: driven.summary(),
            owner: Some(owner),
        };
        (driven, new)
    }

    /// A saga as a claim found it.
    pub(crate) fn resume(row: &SagaRow, log: &[LogRow]) -> Self {
        let saga = replay(row, log);
        let (owner, at) = (row.owner.expect("a claimed saga"), log[log.len() - 1].at);
        Self { id: row.id, owner, epoch: row.epoch, at, saga }
    }

    /// The next transition, `None` once the saga has ended.
    pub(crate) fn advance(&mut self) -> Option<Append> {
        let stimulus = match self.saga.next(self.at) {
            Next::Done(_) => return None,
            Next::Call(calls) => Stimulus::Dispatch(calls[0]),
            _ => Stimulus::Answer { call: self.in_flight(), result: Ok(Payload::null()) },
        };
        self.at = self.at.after(Duration::from_micros(1));
        let events = self.saga.advance(self.at, stimulus).expect("a legal transition");
        let row = self.saga.seal(self.epoch, self.at, &events);
        let (id, owner, summary) = (self.id, self.owner, self.summary());
        Some(Append { id, owner, row, summary, release: false })
    }

    fn in_flight(&self) -> PlannedCall {
        let flying = self.saga.steps().iter().position(|step| step.in_flight());
        let step = u16::try_from(flying.expect("a call is in flight")).expect("few steps");
        PlannedCall { step: StepIndex(step), op: Op::Action }
    }

    fn summary(&self) -> Summary {
        Summary {
            status: self.saga.status(),
            next_wake_at: None,
            wait: self.saga.wait(self.at),
            ended_at: self.saga.ended().map(|(at, _)| *at),
        }
    }
}

/// The saga of a log, after checking the log, and that the state row says the same.
pub(crate) fn replay(row: &SagaRow, log: &[LogRow]) -> Saga {
    let saga = Saga::replay(row.id, order(), log);
    let saga = saga.unwrap_or_else(|error| panic!("the log of {}: {error}", row.id));
    assert_eq!((row.seq, row.summary.status), (saga.head().seq, saga.status()));
    assert_eq!(row.summary.ended_at, saga.ended().map(|(at, _)| *at));
    saga
}
