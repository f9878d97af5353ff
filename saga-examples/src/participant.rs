//! What the participants have in common: their flags, their tables and their routes.

use std::process::ExitCode;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use saga_participant::{Barrier, GroupedBarrier, headers};
use sqlx::{Pool, Postgres, Sqlite};

use crate::books::{self, Title};
use crate::database::{self, Database};
use crate::guard::Guarded;
use crate::misbehave::{self, SwitchBoard};
use crate::service::{self, ServiceError, ServiceFlags};
use crate::sql::{Grouped, Home, Schema};
use crate::switches::{Faults, Switches};

/// The flags of a participant.
#[derive(Debug, Clone, clap::Args)]
pub struct ParticipantFlags {
    /// What every service has
    #[command(flatten)]
    pub service: ServiceFlags,

    /// How often calls go wrong, in every way a network and a service know
    #[arg(long, value_enum, default_value_t = Faults::Off)]
    pub faults: Faults,

    /// Which calls go wrong; the same seed breaks the same calls of the same orders
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl ParticipantFlags {
    /// Runs a participant from its flags to its exit code.
    pub fn run<P: Participant>(self) -> ExitCode {
        service::run(async {
            let stop = service::stop_signal(self.service.stop)?;
            let database = Database::open(&self.service.database, P::TITLE.service).await?;
            let switches = Switches { faults: self.faults, seed: self.seed, ..Switches::default() };
            let router = router::<P>(database, switches).await?;
            let listener = service::listen(self.service.listen).await?;
            service::serve(listener, router, stop).await
        })
    }
}

/// A business that takes part in sagas: its books, its tables and its endpoints.
pub trait Participant {
    /// Whose books they are.
    const TITLE: Title;
    /// Its own tables, beside those of the books and the barrier.
    const SCHEMA: Schema;

    /// The endpoints that sagas call.
    fn calls<DB: Guarded>() -> Router<DB::Barrier>;
}

/// The whole service: the participant's calls behind the switches, and beside them `/healthz`,
/// `/books` and `/switches`, which never misbehave. Creates the tables where they are missing, and
/// fills the accounts of a new database.
///
/// # Errors
/// When the database cannot be prepared.
pub async fn router<P: Participant>(
    database: Database,
    switches: Switches,
) -> Result<Router, ServiceError> {
    match database {
        Database::Sqlite(pool) => {
            prepare(pool.clone(), P::SCHEMA).await?;
            let barrier = GroupedBarrier::start(database::connect_to_write(&pool)?)?;
            Ok(routes::<P, Grouped, Sqlite>(barrier, pool, switches))
        }
        Database::Postgres(pool) => {
            // Every order moves the same accounts, so calls share transactions here too.
            let barrier = prepare(pool.clone(), P::SCHEMA).await?.grouped();
            Ok(routes::<P, Postgres, Postgres>(barrier, pool, switches))
        }
    }
}

/// Creates the tables of the books, of the barrier and those of `schema` where they are missing.
///
/// # Errors
/// When the database cannot be written.
pub async fn prepare<DB: Home>(
    pool: Pool<DB>,
    schema: Schema,
) -> Result<Barrier<DB>, ServiceError> {
    let barrier = Barrier::new(pool);
    barrier.migrate().await?;
    let mut tx = barrier.pool().begin_with(DB::BEGIN).await?;
    DB::run(&mut tx, DB::words(books::SCHEMA)).await?;
    DB::run(&mut tx, DB::words(schema)).await?;
    tx.commit().await?;
    Ok(barrier)
}

/// The routes: calls go through the barrier, the books are read through the pool.
fn routes<P: Participant, DB: Guarded, H: Home>(
    barrier: DB::Barrier,
    pool: Pool<H>,
    switches: Switches,
) -> Router {
    let books = (pool, P::TITLE);
    let board = SwitchBoard::new(switches);
    let misbehaving = (board.clone(), barrier.clone());
    let calls = P::calls::<DB>()
        .with_state(barrier)
        .layer(from_fn_with_state(misbehaving, misbehave::misbehave::<DB>))
        .layer(from_fn(log_call));
    let switches = get(misbehave::show).put(misbehave::set);
    Router::new()
        .route("/healthz", get(async || "ok"))
        .merge(Router::new().route("/books", get(books::show::<H>)).with_state(books))
        .merge(Router::new().route("/switches", switches).with_state(board))
        .merge(calls)
}

/// Logs a call of a saga with its answer. An answer that a switch keeps from the engine is logged as
/// well: it is what the service knows.
async fn log_call(request: Request, next: Next) -> Response {
    let named = [headers::SAGA_ID, headers::SAGA_STEP, headers::SAGA_OP, headers::SAGA_ATTEMPT];
    let [saga_id, step, op, attempt] = named.map(|name| text(request.headers(), name));
    let begun = Instant::now();
    let answer = next.run(request).await;
    let (status, took) = (answer.status().as_u16(), begun.elapsed());
    tracing::info!(saga_id, step, op, attempt, status, ?took, "answered");
    answer
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or("-").to_owned()
}
