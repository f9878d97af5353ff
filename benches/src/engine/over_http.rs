//! The same sagas over HTTP: a daemon as a process, its clients and its participants in this one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::cost::Meter;
use crate::daemon::Daemon;
use crate::database::Database;
use crate::figures::Samples;
use crate::load::{Load, Window};
use crate::on_record;
use crate::open::target::http;
use crate::process;
use crate::workload::{self, ORDER, Order, Shape};

/// The steps of the order saga, behind HTTP.
fn definition(participant: &str) -> String {
    format!(
        "name: {ORDER}\n\
         version: 1\n\
         allow_hosts: [127.0.0.1]\n\
         participants:\n  shop: {participant}\n\
         steps:\n  \
         - {{ name: reserve, participant: shop, action: reserve, compensation: release }}\n  \
         - {{ name: freeze, participant: shop, action: freeze, compensation: unfreeze }}\n  \
         - {{ name: capture, participant: shop, pivot: capture }}\n"
    )
}

/// Participants that answer at once and keep nothing, at the URL that is returned.
async fn participants(fail_last: bool) -> anyhow::Result<String> {
    let done = || async { axum::Json(1) };
    let capture =
        move || async move { if fail_last { StatusCode::CONFLICT } else { StatusCode::OK } };
    let mut router = Router::new().route("/capture", post(capture));
    for path in ["/reserve", "/release", "/freeze", "/unfreeze"] {
        router = router.route(path, post(done));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

/// One run on this database.
pub(super) async fn drive(
    load: &Load,
    concurrency: u32,
    database: Database,
) -> anyhow::Result<(Samples, Meter)> {
    process::raise_limit_for(concurrency)?;
    let programs = process::programs()?;
    let definition = definition(&participants(load.fail_last).await?);
    let daemon = Daemon::start(&programs, database, concurrency, &definition).await?;
    let (window, numbers) = (load.window(), Arc::new(AtomicU64::new(0)));
    let pid = daemon.process.pid().context("the daemon has ended")?;
    let meter = Meter::start(&daemon.database, Some(pid), window);
    let client = Client {
        http: http::client()?,
        url: format!("{}/v1/sagas/{ORDER}?wait=60s", daemon.url).into(),
        numbers: numbers.clone(),
        window,
        expected: workload::verdict(load.fail_last).to_string().into(),
    };
    let mut clients = JoinSet::new();
    for _ in 0..concurrency {
        clients.spawn(client.clone().place_orders());
    }
    let mut samples = Samples::new(window);
    while let Some(client) = clients.join_next().await {
        samples.extend(client??);
    }
    let started = numbers.load(Ordering::Relaxed);
    on_record::check(&daemon.store, started, load.fail_last, Shape::default()).await?;
    Ok((samples, meter))
}

/// A client of the daemon.
#[derive(Clone, Debug)]
struct Client {
    http: reqwest::Client,
    url: Arc<str>,
    numbers: Arc<AtomicU64>,
    window: Window,
    expected: Arc<str>,
}

#[derive(Deserialize)]
struct Saga {
    status: String,
}

impl Client {
    async fn place_orders(self) -> anyhow::Result<Samples> {
        let mut samples = Samples::new(self.window);
        loop {
            let begun = Instant::now();
            if begun >= self.window.closes {
                return Ok(samples);
            }
            let status = self.place(self.numbers.fetch_add(1, Ordering::Relaxed)).await?;
            samples.note(begun, Instant::now());
            ensure!(status == *self.expected, "a saga ended {status}, expected {}", self.expected);
        }
    }

    async fn place(&self, number: u64) -> anyhow::Result<String> {
        let order = serde_json::to_vec(&Order::new(number))?;
        let request = self.http.post(&*self.url).body(order);
        let request = request.header("Content-Type", "application/json");
        let answer = request.header("Idempotency-Key", format!("order-{number}")).send().await?;
        let (status, body) = (answer.status(), answer.bytes().await?);
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        let saga: Saga = serde_json::from_slice(&body).context("an answer that is no saga")?;
        Ok(saga.status)
    }
}
