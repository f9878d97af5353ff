//! What the four participants have in common: their flags, their tables and their routes.

use std::process::ExitCode;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use saga_participant::Barrier;
use sqlx::{Sqlite, SqlitePool};

use crate::books::{self, Title};
use crate::misbehave::{self, SwitchBoard};
use crate::service::{self, ServiceError, ServiceFlags};
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
    /// Runs a participant from its flags to its exit code; `router` makes it over its database.
    pub fn run<R>(self, router: R) -> ExitCode
    where
        R: AsyncFnOnce(SqlitePool, Switches) -> Result<Router, ServiceError>,
    {
        service::run(async {
            let stop = service::stop_signal(self.service.stop)?;
            let pool = service::open_database(&self.service.database).await?;
            let switches = Switches { faults: self.faults, seed: self.seed, ..Switches::default() };
            let router = router(pool, switches).await?;
            let listener = service::listen(self.service.listen).await?;
            service::serve(listener, router, stop).await
        })
    }
}

/// Creates the tables of the books, of the barrier and those of `schema` where they are missing,
/// and fills the accounts of a new database.
///
/// # Errors
/// When the database cannot be written.
pub async fn prepare(
    pool: &SqlitePool,
    schema: &'static str,
) -> Result<Barrier<Sqlite>, ServiceError> {
    let barrier = Barrier::new(pool.clone());
    barrier.migrate().await?;
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(books::SCHEMA).execute(&mut *tx).await?;
    sqlx::raw_sql(schema).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(barrier)
}

/// The whole participant: its `calls` behind the switches, and beside them `/healthz`, `/books`
/// and `/switches`, which never misbehave.
pub fn router(
    title: Title,
    calls: Router<Barrier<Sqlite>>,
    barrier: Barrier<Sqlite>,
    switches: Switches,
) -> Router {
    let books = (barrier.pool().clone(), title);
    let board = SwitchBoard::new(switches, barrier.clone());
    let calls =
        calls.with_state(barrier).layer(from_fn_with_state(board.clone(), misbehave::misbehave));
    Router::new()
        .route("/healthz", get(async || "ok"))
        .merge(Router::new().route("/books", get(books::show)).with_state(books))
        .merge(
            Router::new()
                .route("/switches", get(misbehave::show).put(misbehave::set))
                .with_state(board),
        )
        .merge(calls)
}
