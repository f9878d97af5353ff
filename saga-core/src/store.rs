//! The port to durable storage: small traits that make up a [`Store`].
//!
//! Stores check lease and expected position, append, index and hand back. They
//! never look into events. What they have to guarantee is written at each
//! method and tested by the `conformance` suite, which every store must pass.

mod audit;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod feed;
mod memory;
mod registers;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use audit::{Audit, AuditEntry, AuditOutcome, AuditQuery};
pub use feed::{Cursor, CursorError, Feed, FeedEdge, FeedEntry, FeedError, FeedPage};
pub use memory::MemoryStore;
pub use registers::{Register, Registers};

use crate::command::{Command, Refusal};
use crate::definition::{DefinitionRef, DefinitionSpec};
use crate::digest::Digest;
use crate::id::{IdempotencyKey, SagaId, WorkerId};
use crate::log::LogRow;
use crate::saga::{Status, WaitReason};
use crate::time::Timestamp;

/// Everything the worker needs of a database.
///
/// The future of a store method may be dropped at any time: the work it began
/// is then either done completely or not at all, never in part.
pub trait Store: SagaLog + Leases + Inbox + Definitions + Feed + Registers + Audit {}

impl<T: SagaLog + Leases + Inbox + Definitions + Feed + Registers + Audit> Store for T {}

/// The saga log and the row of present state beside it.
#[async_trait]
pub trait SagaLog: Send + Sync + 'static {
    /// The number of buckets, fixed when the store was initialised.
    fn buckets(&self) -> u16;

    /// Starts a saga, once for every (definition name, idempotency key) and once for every id.
    ///
    /// Whatever races, exactly one caller is told [`StartOutcome::Created`]. A caller that never
    /// learnt the outcome may repeat the start as it was.
    async fn start(&self, saga: NewSaga) -> Result<StartOutcome, StoreError>;

    /// Appends one row and writes the state row, in one transaction, if the
    /// saga is at the expected position and epoch and owned by the given worker.
    ///
    /// Appending the very same row again succeeds without a change, so a caller
    /// that never learnt the outcome may repeat it.
    ///
    /// # Errors
    /// [`AppendError::Fenced`] when another worker owns the saga by now; nothing is changed.
    async fn append(&self, append: Append) -> Result<(), AppendError>;

    /// The state row and the whole log, from one snapshot.
    async fn load(&self, id: SagaId) -> Result<Option<(SagaRow, Vec<LogRow>)>, StoreError>;

    /// The state row alone.
    async fn row(&self, id: SagaId) -> Result<Option<SagaRow>, StoreError>;

    /// Log rows after position `after`, oldest first, at most `limit`.
    async fn log(&self, id: SagaId, after: u64, limit: u32) -> Result<Vec<LogRow>, StoreError>;

    /// State rows that match, newest first.
    async fn find(&self, query: &Query) -> Result<Vec<SagaRow>, StoreError>;

    /// How many sagas stand where. Statuses without sagas may be left out.
    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError>;

    /// What waits, and since when, by the store's own clock: for metrics, not for decisions.
    async fn backlog(&self) -> Result<Backlog, StoreError>;

    /// Deletes sagas that got their verdict longer than `age` ago by the store's own clock: the
    /// earliest ended first, at most `limit` of them, each with its whole log and all its
    /// commands, in one transaction. Answers how many left.
    ///
    /// It never touches a saga that is alive, stuck ones included. Any number of workers may ask
    /// at once: none waits for another, and each saga is counted by one of them. Fewer than
    /// `limit` may leave although more could, when their logs are long or others are at it; none
    /// leaves only when nothing is left for this caller. Afterwards the saga is unknown and its
    /// idempotency key is free: a start under it creates a new saga.
    async fn forget(&self, age: Duration, limit: u32) -> Result<u32, StoreError>;
}

/// Who drives which saga. Only the store's own clock decides about leases.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// Registers a worker that knows `definitions`, with a lease of `ttl` from now.
    async fn enlist(&self, worker: &WorkerCard, ttl: Duration) -> Result<(), StoreError>;

    /// Prolongs a lease to `ttl` from now. `false` when it has run out or is unknown: the
    /// worker has lost its sagas and must not go on under this id.
    async fn renew(&self, worker: WorkerId, ttl: Duration) -> Result<bool, StoreError>;

    /// Ends a lease and hands back all its sagas at once.
    async fn retire(&self, worker: WorkerId) -> Result<(), StoreError>;

    /// Takes over sagas that are due and owned by nobody, or owned by a worker whose lease
    /// has run out; at most `limit`, and only of the given definitions. However much of one
    /// definition is due, those of another have their turn within as many claims as there are
    /// definitions.
    ///
    /// Every saga taken has its epoch raised by one and its claims counted up;
    /// no two callers are ever given the same epoch of a saga.
    async fn claim(&self, claim: &Claim) -> Result<Vec<SagaRow>, StoreError>;

    /// All sagas this worker owns by the store's account, but those that cannot be read.
    ///
    /// A worker that never learnt the outcome of a claim or a start finds here what it has to
    /// drive, or has to let go of.
    async fn owned(&self, worker: WorkerId) -> Result<Vec<SagaRow>, StoreError>;

    /// Lets go of a saga without appending, to be taken up again at `next_wake_at`, or at
    /// once when it has an unanswered command.
    /// Does nothing when the worker no longer owns it at that epoch.
    async fn release(
        &self,
        id: SagaId,
        worker: WorkerId,
        epoch: u64,
        next_wake_at: Option<Timestamp>,
    ) -> Result<(), StoreError>;

    /// All workers on record, also those whose lease has run out and that nobody has cleared away.
    async fn workers(&self) -> Result<Vec<WorkerRow>, StoreError>;

    /// Resolves when there may be something to claim, as a hint. It may never
    /// resolve: polling is the floor.
    async fn hinted(&self);
}

/// Operator commands on their way to the worker that owns the saga.
#[async_trait]
pub trait Inbox: Send + Sync + 'static {
    /// Stores a command durably, once per (saga, request id), and makes the saga due.
    ///
    /// A saga that has ended stays as it is. No worker drives it, so its commands are answered by
    /// whoever sees them: see [`Inbox::pending`].
    async fn submit(&self, id: SagaId, command: &Command) -> Result<SubmitOutcome, StoreError>;

    /// Unanswered commands that this worker may answer, at most `limit`: for sagas it owns, and
    /// for any that have ended, whichever of command and end came first. A command that cannot be
    /// read is left out.
    async fn pending(
        &self,
        worker: WorkerId,
        limit: u32,
    ) -> Result<Vec<(SagaId, Command)>, StoreError>;

    /// Unanswered commands for one saga, oldest first.
    async fn commands(&self, id: SagaId) -> Result<Vec<Command>, StoreError>;

    /// Records what became of a command. A second answer is ignored.
    ///
    /// `by`: only while the saga is owned like this; otherwise nothing is recorded, and that is no
    /// error. A refusal holds for the state in which it was decided, so one that lands late must not
    /// hide what the next owner has decided. What the log says for good needs no owner.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails; the answer may have been recorded, or may yet be.
    async fn answer(
        &self,
        id: SagaId,
        request_id: &IdempotencyKey,
        answer: &CommandAnswer,
        by: Option<Owner>,
    ) -> Result<(), StoreError>;
}

/// Who drives a saga: a worker, since the claim that gave it this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The worker.
    pub worker: WorkerId,
    /// The epoch of the saga.
    pub epoch: u64,
}

/// Which definitions exist, as data, so that sagas can be read without their code.
#[async_trait]
pub trait Definitions: Send + Sync + 'static {
    /// Records a definition. Policies of a known version are brought up to date.
    ///
    /// # Errors
    /// [`PublishError::Changed`] when this version is on record with another structure.
    async fn publish(&self, spec: &DefinitionSpec) -> Result<(), PublishError>;

    /// The definition on record under this name and version.
    async fn definition(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Option<DefinitionSpec>, StoreError>;

    /// The versions on record under this name, oldest first.
    async fn versions(&self, name: &str) -> Result<Vec<u32>, StoreError>;

    /// The newest version on record under this name.
    async fn newest(&self, name: &str) -> Result<Option<DefinitionSpec>, StoreError>;
}

/// A saga about to be started.
#[derive(Clone, Debug)]
pub struct NewSaga {
    /// Its identity, made with the bucket of its key.
    pub id: SagaId,
    /// What it is a run of.
    pub definition: DefinitionRef,
    /// The key under which its start is idempotent.
    pub key: Option<IdempotencyKey>,
    /// Digest of its input, to tell a repeated start from a conflicting one.
    pub input_digest: Digest,
    /// Its first log row.
    pub first: LogRow,
    /// Its state after that row.
    pub summary: Summary,
    /// The worker that runs it at once; `None` leaves it to whoever claims it.
    pub owner: Option<WorkerId>,
}

/// What became of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartOutcome {
    /// This call created the saga.
    Created,
    /// A saga with this key exists.
    Existing {
        /// Its identity.
        id: SagaId,
        /// Whether it was started with the same input.
        same_input: bool,
    },
}

/// One append: a log row and the state it leads to.
#[derive(Clone, Debug)]
pub struct Append {
    /// The saga.
    pub id: SagaId,
    /// The worker that must own it, at the epoch of `row`.
    pub owner: WorkerId,
    /// The new row; the saga must stand at the position before it.
    pub row: LogRow,
    /// The state after it.
    pub summary: Summary,
    /// Let go of the saga in the same transaction. (One that has ended is always let go of.)
    /// A live saga with an unanswered command becomes due at once, because the command may
    /// have arrived after its owner last looked.
    pub release: bool,
}

/// The part of a state row that follows from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Where the saga stands.
    pub status: Status,
    /// When it has to be looked at again, if nobody owns it.
    pub next_wake_at: Option<Timestamp>,
    /// What it waits for, unless a worker is busy with it.
    pub wait: Option<WaitReason>,
    /// When it got its verdict.
    pub ended_at: Option<Timestamp>,
}

/// The state row of a saga: for scheduling and queries; it can be rebuilt from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaRow {
    /// Its identity.
    pub id: SagaId,
    /// What it is a run of.
    pub definition: DefinitionRef,
    /// The key under which it was started.
    pub key: Option<IdempotencyKey>,
    /// Position of its last log row.
    pub seq: u64,
    /// How often it was claimed: the fencing token.
    pub epoch: u64,
    /// Who drives it.
    pub owner: Option<WorkerId>,
    /// Claims since a worker last appended or let go: grows only when workers die before
    /// they get anywhere.
    pub claims: u32,
    /// When it was started.
    pub started_at: Timestamp,
    /// What follows from its log.
    pub summary: Summary,
}

/// What to look for. Empty fields match everything.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only these statuses.
    pub statuses: Vec<Status>,
    /// Only this definition.
    pub name: Option<String>,
    /// Only this idempotency key.
    pub key: Option<IdempotencyKey>,
    /// Only sagas with smaller ids than this one: the last of the page before.
    pub before: Option<SagaId>,
    /// At most this many; 0 means 100, and more than 500 is taken as 500.
    pub limit: u32,
}

impl Query {
    /// Largest page.
    pub const LIMIT_MAX: u32 = 500;

    /// The page size in force.
    pub fn page(&self) -> u32 {
        if self.limit == 0 { 100 } else { self.limit.min(Self::LIMIT_MAX) }
    }
}

/// What waits in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// When this was so, by the store's clock.
    pub at: Timestamp,
    /// Sagas that are due and that nobody owns, of definitions on record.
    pub due: u64,
    /// When the longest due of them became due.
    pub due_since: Option<Timestamp>,
    /// Stuck sagas by the code of the reason, in the order of the codes. A wait that cannot be read
    /// counts as `unreadable`.
    pub stuck: Vec<(String, u64)>,
    /// Commands without an answer.
    pub unanswered: u64,
    /// When the oldest of them was submitted.
    pub unanswered_since: Option<Timestamp>,
}

impl Backlog {
    /// How long the longest due saga has been due.
    pub fn due_for(&self) -> Duration {
        self.due_since.map_or(Duration::ZERO, |since| self.at.since(since))
    }

    /// How long the oldest command has waited.
    pub fn unanswered_for(&self) -> Duration {
        self.unanswered_since.map_or(Duration::ZERO, |since| self.at.since(since))
    }
}

/// A worker introducing itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCard {
    /// Its identity; a new one for every run of the process and after every lost lease.
    pub id: WorkerId,
    /// A name for people: host and process.
    pub name: String,
    /// The definitions it knows.
    pub definitions: Vec<DefinitionRef>,
}

/// A worker on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRow {
    /// What it said of itself.
    pub card: WorkerCard,
    /// When its lease runs out, by the store's clock.
    pub lease_until: Timestamp,
    /// Whether it has run out.
    pub expired: bool,
}

/// A request for work.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who asks.
    pub worker: WorkerId,
    /// The definitions it knows.
    pub definitions: Vec<DefinitionRef>,
    /// How many it has room for.
    pub limit: u32,
}

/// What became of a submitted command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// It is on record and waits for the saga's worker.
    Queued,
    /// It was submitted before and has this answer by now.
    Answered(CommandAnswer),
    /// Another command was submitted under this request id.
    Conflict,
    /// There is no such saga.
    NotFound,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandAnswer {
    /// It is an event in the log.
    Accepted,
    /// It makes no sense in the saga's state.
    Refused(Refusal),
}

/// The store could not do its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Not now; trying again may help.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What was read cannot be right; trying again will not help.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
    /// The database is not one this release can use.
    #[error("the store cannot be used: {0}")]
    Unusable(String),
}

/// An append did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another worker owns the saga by now, or it stands at another position.
    #[error("saga {id} is no longer ours at epoch {epoch}, position {seq}")]
    Fenced {
        /// The saga.
        id: SagaId,
        /// The epoch under which the append was tried.
        epoch: u64,
        /// The position it was meant for.
        seq: u64,
    },
    /// The store could not do its work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A definition could not be recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// This version exists with another structure.
    #[error(
        "definition {definition} was changed under the same version, but sagas may be running on the one on record: give it a new version.{}",
        bullets(stored.difference(offered))
    )]
    Changed {
        /// Which.
        definition: DefinitionRef,
        /// The one on record.
        stored: Box<DefinitionSpec>,
        /// The one offered.
        offered: Box<DefinitionSpec>,
    },
    /// The store could not do its work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn bullets(lines: Vec<String>) -> String {
    lines.iter().map(|line| format!("\n  {line}")).collect()
}
