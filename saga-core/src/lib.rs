//! The pure heart of the Saga engine.
//!
//! A **saga** is a business transaction across services: steps with an action
//! and a compensation, run so that each saga ends with an honest verdict. This
//! crate holds the thinking and none of the doing: [`Definition`] says what a
//! saga of one kind consists of, [`Event`] what can happen to it, [`Saga`] is
//! the state machine, and [`Store`] the port through which events become
//! durable. It reads no clock, rolls no dice and opens no socket.
//!
//! A whole saga by hand, as the worker drives it:
//!
//! ```
//! use saga_core::*;
//!
//! async fn reserve() -> Result<u32, Failure> { Ok(7) }
//! async fn release(_: Option<Output<u32>>) -> Result<(), Failure> { Ok(()) }
//! async fn capture() -> Result<(), Failure> { Err(Failure::rejected("card declined")) }
//!
//! let order = Definition::new("order", [
//!     Step::compensatable("reserve", reserve, release),
//!     Step::pivot("capture", capture),
//! ])?;
//! let now = Timestamp::from_micros(0);
//! let request = StartRequest { input: Payload::null(), key: None, traceparent: None, by: None };
//! let id = SagaId::new(0, 0, Bucket::of("order-1", 1));
//! let (mut saga, mut events) = Saga::start(id, order.spec().clone(), now, request);
//!
//! while let Next::Call(calls) = saga.next(now) {
//!     for call in calls {
//!         events.extend(saga.advance(now, Stimulus::Dispatch(call))?); // intent first
//!         let result = match (call.step, call.op) {
//!             (StepIndex(0), _) => Ok(Payload::null()),
//!             _ => Err(Failure::rejected_for_good("card declined")),
//!         };
//!         events.extend(saga.advance(now, Stimulus::Answer { call, result })?);
//!     }
//! }
//! assert_eq!(saga.next(now), Next::Done(Verdict::Compensated));
//!
//! // The log is the truth: it rebuilds the same saga.
//! let row = saga.seal(1, now, &events);
//! assert_eq!(Saga::replay(id, order.spec().clone(), &[row])?, saga);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod command;
mod context;
mod definition;
mod digest;
mod event;
mod failure;
mod id;
mod log;
mod payload;
mod policy;
mod saga;
mod step;
pub mod store;
mod time;
mod verdict;
mod view;

pub use command::{Assume, Command, CommandAction, Refusal};
pub use context::{
    BoxFuture, CancelSignal, Cancellation, FromContext, Input, InputCheck, Op, Output, Read,
    StepContext, StepOutput, TypeKey,
};
pub use definition::{
    Definition, DefinitionBuilder, DefinitionError, DefinitionRef, DefinitionSpec, Fault, Stage,
    StepKind, StepSpec, parallel,
};
pub use digest::Digest;
pub use event::{Event, RecoveryCause, SagaStarted, StuckReason};
pub use failure::{FAILURE_TEXT_BYTES_MAX, Failure, Rejection, Transient, TransientCause};
pub use id::{AuditId, BUCKETS_MAX, Bucket, IdError, IdempotencyKey, SagaId, StepIndex, WorkerId};
pub use log::{LOG_TRANSITIONS_MAX, LogError, LogHead, LogRow, Transition};
pub use payload::{PAYLOAD_BYTES_MAX, Payload, PayloadError};
pub use policy::breaker::{Admission, Breaker, BreakerPolicy, BreakerState, CallResult, Permit};
pub use policy::retry::RetryPolicy;
pub use policy::rollout::{Rollout, RolloutFault, RolloutFaults, Share};
pub use saga::{
    HandleError, IllegalTransition, Next, Phase, PlannedCall, ReplayError, Saga, StartRequest,
    Status, StepLedger, StepState, Stimulus, WaitReason,
};
pub use step::{Call, Handler, Step, StepCalls};
pub use store::{MemoryStore, Store};
pub use time::{Clock, ManualClock, Timestamp};
pub use verdict::{Effect, Remaining, Verdict};
pub use view::{SagaView, StepView, Wait};
