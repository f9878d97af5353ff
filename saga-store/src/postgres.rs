//! A store in PostgreSQL, shared by any number of worker processes.

mod audit;
mod connect;
mod definitions;
mod distributed;
mod failure;
mod feed;
mod group;
mod inbox;
mod lane;
mod leases;
mod listen;
mod registers;
mod retention;
mod sagas;
mod schema;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use saga_core::store::{NewSaga, StartOutcome, StoreError};
use sqlx::postgres::PgConnection;

pub use connect::PostgresOptions;

use connect::Connector;
use group::Group;
use lane::Lanes;
use listen::Hint;
use sagas::{Appends, Starts};

/// Lanes that append, each with a connection of its own. Two beat one and three (measured with
/// the database on the same two cores); a saga always uses the same one.
const APPENDERS: usize = 2;

/// Lanes that start and lanes that append where each bucket takes a statement of its own: what the
/// statements do not share, connections have to.
const DISTRIBUTED_LANES: (usize, usize) = (4, 16);

/// Lanes for everything that is neither a start, an append nor a heartbeat.
const LANES: usize = 4;

/// Lanes of the heartbeat: a renewal that finds no answer on one is sent again on the other.
const HEARTBEATS: usize = 2;

/// Lanes that read the feed, so that readers who catch up keep nobody from anything else.
const FEEDERS: usize = 2;

/// A durable store in PostgreSQL 15 or newer. Cheap to clone; clones share their connections.
///
/// Any number of processes may use one database. Opening it brings its schema up to date. It
/// needs a tokio runtime, on which its connections live until the last clone is dropped.
///
/// # Durability
/// A change is answered after the statement that holds it was committed, with
/// `synchronous_commit` as the server is set up; a server that has it `off` is refused. Each
/// start and each append is part of a single statement that commits by itself, so no commit can
/// be misreported. What was not answered is there completely or not at all; repeating it is safe.
///
/// # Connections
/// Two for heartbeats, one for starts, two for appends, four for the rest, one that listens for
/// wake-ups, one for retention once there is some, and two for the feed once somebody reads it. Each
/// belongs to a task that uses it for one thing at a time and replaces it when the server does not
/// answer within ten seconds, or for heartbeats within a third of the lease.
///
/// # Spread over machines
/// The tables can be distributed by `bucket`, as Citus does it. [`PostgresOptions::distributed`]
/// then keeps every statement of the hot path within one bucket: starts, appends, claims, releases,
/// commands, deletions and reads by id name it as a constant. Claims look over all buckets first
/// and then compare and set bucket by bucket; `SKIP LOCKED` is used within a bucket only. It takes
/// four connections for starts and sixteen for appends. It is written to the rules of such
/// databases, and verified on plain PostgreSQL with the switch on.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    lanes: Lanes,
    heartbeat: Lanes,
    retention: Lanes,
    feed: Lanes,
    starts: Arc<[Group<Starts>]>,
    appends: Arc<[Group<Appends>]>,
    hint: Arc<Hint>,
    buckets: u16,
    /// Whether every statement of the hot path stays within one bucket.
    distributed: bool,
    /// Counts claims, to let each definition be the first to be served in turn.
    turn: Arc<AtomicUsize>,
}

impl PostgresStore {
    /// Opens a database, given by [`PostgresOptions`] or a URL such as
    /// `postgres://saga@localhost/saga`.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when the URL, the server or the schema cannot be used by this
    /// release, [`StoreError::Unavailable`] when the server cannot be reached.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        let distributed = options.is_distributed();
        let (starters, appenders) = if distributed { DISTRIBUTED_LANES } else { (1, APPENDERS) };
        let upgrade = options.may_upgrade();
        let connector = Connector::new(options);
        let buckets = schema::prepare(&connector, upgrade).await?;
        let hint = Hint::start(connector.clone());
        let pinned = connector.pinned();
        Ok(Self {
            lanes: Lanes::start(LANES, &connector),
            heartbeat: Lanes::start(HEARTBEATS, &connector),
            retention: Lanes::start(1, &pinned),
            feed: Lanes::start(FEEDERS, &connector.ordered()),
            starts: (0..starters)
                .map(|_| Group::start(Starts { distributed }, connector.clone()))
                .collect(),
            appends: (0..appenders)
                .map(|_| Group::start(Appends { distributed }, pinned.clone()))
                .collect(),
            hint,
            buckets,
            distributed,
            turn: Arc::default(),
        })
    }

    /// Starts a saga inside the caller's own transaction: what the caller writes and the saga
    /// appear together at the commit, or not at all. The tables of the sagas have to be in the
    /// caller's database. Workers are told at the commit.
    ///
    /// `saga` comes from `prepare()` on a start. The transaction has to be `READ COMMITTED`, which
    /// is the default.
    ///
    /// # Errors
    /// [`StoreError`] when a statement failed; PostgreSQL then takes no further statement in this
    /// transaction but its rollback.
    pub async fn start_in(
        &self,
        transaction: &mut PgConnection,
        saga: &NewSaga,
    ) -> Result<StartOutcome, StoreError> {
        let outcome = sagas::start_in(&mut *transaction, saga, self.distributed).await?;
        listen::tell_at_commit(transaction).await?;
        Ok(outcome)
    }
}
