//! The floor of PostgreSQL: one connection for starts and some for appends, each with one
//! multi-row statement at a time. All of them are served by one thread, which costs least.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use anyhow::ensure;
use saga_store::PostgresOptions;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::rows::{Flight, Row, Sagas, micros};
use super::{Run, Samples, StoreKind, Window};

/// Who owns the sagas.
const OWNER: [u8; 16] = [7; 16];

pub(super) async fn run(run: Run, url: &str, window: Window) -> anyhow::Result<Samples> {
    let appenders = usize::from(run.batching.appenders);
    let [starting, appending] = PostgresOptions::from_url(url)?.for_batches();
    let mut db = starting.connect().await?;
    let buckets: i64 = sqlx::query_scalar("SELECT value FROM saga_meta WHERE name = 'buckets'")
        .fetch_one(&mut db)
        .await?;
    let mut connections = vec![db];
    for _ in 0..appenders {
        connections.push(appending.connect().await?);
    }
    let desk = Desk {
        lanes: connections.iter().map(|_| Lane::default()).collect(),
        sagas: RefCell::new(Sagas::new(u16::try_from(buckets)?)),
        samples: RefCell::new(Samples::new(window)),
        under_way: Cell::new(run.concurrency),
        window,
        run,
    };
    for _ in 0..desk.run.concurrency {
        desk.start(Instant::now());
    }
    let desk = Rc::new(desk);
    let lanes = LocalSet::new();
    let mut serving = tokio::task::JoinSet::new();
    for (lane, db) in connections.into_iter().enumerate() {
        serving.spawn_local_on(serve(desk.clone(), lane, db), &lanes);
    }
    let served = async {
        while let Some(served) = serving.join_next().await {
            served??;
        }
        anyhow::Ok(())
    };
    lanes.run_until(served).await?;
    let samples = Samples::new(window);
    Ok(desk.samples.replace(samples))
}

/// All that the lanes share: the first one starts, the others append.
struct Desk {
    lanes: Vec<Lane>,
    sagas: RefCell<Sagas>,
    samples: RefCell<Samples>,
    under_way: Cell<usize>,
    window: Window,
    run: Run,
}

/// Sagas whose next row is to be written on one connection.
#[derive(Default)]
struct Lane {
    ready: RefCell<Vec<Flight>>,
    bell: Notify,
}

impl Lane {
    fn push(&self, flight: Flight) {
        self.ready.borrow_mut().push(flight);
        self.bell.notify_one();
    }
}

impl Desk {
    fn start(&self, now: Instant) {
        self.lanes[0].push(self.sagas.borrow_mut().start(now));
    }

    /// One saga less; with the last, every lane may go home.
    fn leave(&self) {
        self.under_way.set(self.under_way.get() - 1);
        if self.under_way.get() == 0 {
            self.lanes.iter().for_each(|lane| lane.bell.notify_one());
        }
    }

    /// The row has become durable, so the next one may be written.
    fn go_on(&self, mut flight: Flight, now: Instant) {
        flight.next += 1;
        if flight.next == self.run.rows.all.len() {
            self.samples.borrow_mut().note(flight.begun, now);
            match now < self.window.closes {
                true => self.start(now),
                false => self.leave(),
            }
        } else {
            // A saga always uses the same connection, as in the store.
            let appenders = self.lanes.len() as u64 - 1;
            self.lanes[1 + (flight.id.seed() % appenders) as usize].push(flight);
        }
    }
}

async fn serve(desk: Rc<Desk>, lane: usize, mut db: PgConnection) -> anyhow::Result<()> {
    let batch_max = desk.run.batch_max(StoreKind::Postgres);
    let Lane { ready, bell } = &desk.lanes[lane];
    // Those that began in time are seen to their ends.
    while desk.under_way.get() > 0 {
        let gives_up = desk.window.gives_up();
        ensure!(Instant::now() < gives_up, "sagas of the floor were never written");
        let batch: Vec<Flight> = {
            let mut ready = ready.borrow_mut();
            let batch = ready.len().min(batch_max);
            ready.drain(..batch).collect()
        };
        if batch.is_empty() {
            let _ = tokio::time::timeout_at(gives_up.into(), bell.notified()).await;
            continue;
        }
        let written = match lane {
            0 => start_all(&desk.run, &mut db, &batch).await?,
            _ => append_all(&desk.run, &mut db, &batch).await?,
        };
        ensure!(written == batch.len(), "{written} of {} rows were written", batch.len());
        let now = Instant::now();
        batch.into_iter().for_each(|flight| desk.go_on(flight, now));
    }
    db.close().await?;
    Ok(())
}

async fn start_all(run: &Run, db: &mut PgConnection, batch: &[Flight]) -> sqlx::Result<usize> {
    let (at, count, definition) = (micros(), batch.len(), &run.rows.definition);
    let first = &run.rows.all[0];
    let none: Vec<Option<i64>> = vec![None; count];
    let created: Vec<Vec<u8>> =
        sqlx::query_scalar(include_str!("../../../saga-store/src/postgres/start.sql"))
            .bind(column(batch, |flight| flight.id.bucket().number()))
            .bind(column(batch, |flight| flight.id.to_bytes()))
            .bind(vec![definition.name.as_str(); count])
            .bind(vec![i64::from(definition.version); count])
            .bind(vec![*definition.digest.as_bytes(); count])
            .bind(column(batch, |flight| flight.key.as_str()))
            .bind(column(batch, Flight::digest))
            .bind(column(batch, Flight::seq))
            .bind(vec![0_i64; count])
            .bind(vec![OWNER; count])
            .bind(vec![at; count])
            .bind(vec![first.status.as_str(); count])
            .bind(&none)
            .bind(vec![None::<&str>; count])
            .bind(&none)
            .bind(vec![first.body.as_str(); count])
            .bind(column(batch, Flight::digest))
            .fetch_all(db)
            .await?;
    Ok(created.len())
}

async fn append_all(run: &Run, db: &mut PgConnection, batch: &[Flight]) -> sqlx::Result<usize> {
    let (at, count) = (micros(), batch.len());
    let row = |flight: &Flight| -> &Row { &run.rows.all[flight.next] };
    let moved: Vec<i64> =
        sqlx::query_scalar(include_str!("../../../saga-store/src/postgres/append.sql"))
            .bind(column(batch, |flight| flight.id.bucket().number()))
            .bind(column(batch, |flight| flight.id.to_bytes()))
            .bind(vec![OWNER; count])
            .bind(vec![0_i64; count])
            .bind(column(batch, Flight::seq))
            .bind(vec![at; count])
            .bind(column(batch, |flight| run.rows.all[flight.next].body.as_str()))
            .bind(column(batch, Flight::digest))
            .bind(column(batch, |flight| row(flight).status.as_str()))
            .bind(vec![None::<i64>; count])
            .bind(vec![None::<&str>; count])
            .bind(column(batch, |flight| row(flight).ends().then_some(at)))
            .bind(column(batch, |flight| row(flight).ends()))
            .fetch_all(db)
            .await?;
    Ok(moved.len())
}

fn column<'a, T>(batch: &'a [Flight], of: impl Fn(&'a Flight) -> T) -> Vec<T> {
    batch.iter().map(of).collect()
}
