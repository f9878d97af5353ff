//! The task of a daemon that carries bulks out.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use saga_core::store::{SagaRow, Store, StoreError};
use saga_core::{Command, IdempotencyKey};
use saga_worker::CommandError;
use tokio::time::{Instant, sleep, sleep_until};

use super::state::{self, Bulk, Change, Phase, find, save};
use crate::register::{Lease, now_ms};
use crate::service::App;

/// How often to look for bulks that nobody carries out.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the right to carry one out holds.
const LEASE: Duration = Duration::from_secs(60);
/// Sagas between two notes of the progress.
const PAGE: u32 = 25;
/// Commands under way at the same time.
const AT_ONCE: usize = 16;

/// Carries out whatever bulks there are, one after the other, until the daemon ends.
pub(crate) async fn carry_out_all(app: App) {
    let me = uuid::Uuid::new_v4().to_string();
    let working = async {
        loop {
            if let Err(error) = turn(&app, &me).await {
                tracing::warn!(%error, "bulks wait for the store");
            }
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        biased;
        () = app.closing().cancelled() => {}
        () = working => {}
    }
    if let Err(error) = hand_back(&app, &me).await {
        tracing::warn!(%error, "a bulk waits for the end of our lease");
    }
}

async fn hand_back(app: &App, me: &str) -> Result<(), StoreError> {
    let store = app.client().store();
    for bulk in state::list(&**store).await? {
        if bulk.lease.is_some_and(|lease| lease.by == me) {
            state::change(&**store, &bulk.id, &Change::Release { by: me.to_owned() }).await?;
        }
    }
    Ok(())
}

async fn turn(app: &App, me: &str) -> Result<(), StoreError> {
    let store: &Arc<dyn Store> = app.client().store();
    for bulk in state::list(&**store).await? {
        let is_held = bulk.lease.as_ref().is_some_and(|lease| lease.excludes(me));
        if bulk.phase == Phase::Running && !is_held {
            carry_out(app, me, &bulk.id).await?;
        }
    }
    Ok(())
}

/// Goes on with a bulk to its end, or until somebody else has changed it.
async fn carry_out(app: &App, me: &str, id: &str) -> Result<(), StoreError> {
    let store: &Arc<dyn Store> = app.client().store();
    loop {
        let Some((version, mut bulk)) = find(&**store, id).await? else { return Ok(()) };
        if bulk.phase != Phase::Running {
            return Ok(());
        }
        bulk.lease = Some(Lease::new(me, LEASE));
        // The lease first: what follows takes its time.
        if !save(&**store, version, &bulk).await? {
            return Ok(());
        }
        let found = app.client().search(&bulk.filter.search(bulk.before, PAGE)).await?;
        give(app, &mut bulk, found.rows).await?;
        match found.next {
            Some(next) => bulk.before = next,
            None => (bulk.phase, bulk.ended_ms) = (Phase::Done, Some(now_ms())),
        }
        // Whoever came before has cancelled it, or taken it over: then that stands, and what was given
        // here is given again under the same request ids.
        if !save(&**store, version + 1, &bulk).await? {
            return Ok(());
        }
        if bulk.phase == Phase::Done {
            tracing::info!(bulk = bulk.id, matched = bulk.counts.matched, "bulk done");
            return Ok(());
        }
    }
}

/// Gives its command to some sagas, at the pace that was asked for.
async fn give(app: &App, bulk: &mut Bulk, rows: Vec<SagaRow>) -> Result<(), StoreError> {
    let (begun, each) = (Instant::now(), Duration::from_secs(1) / bulk.rate.max(1));
    let giving = rows.into_iter().zip(0_u32..).map(|(row, nth)| {
        let command = command(bulk, &row);
        async move {
            sleep_until(begun + each * nth).await;
            app.client().command(row.id, command).await
        }
    });
    let giving: Vec<_> = giving.collect();
    let count = u32::try_from(giving.len()).unwrap_or(u32::MAX);
    let mut given = stream::iter(giving).buffer_unordered(AT_ONCE);
    while let Some(outcome) = given.next().await {
        bulk.counts.matched += 1;
        match outcome {
            Ok(()) => bulk.counts.accepted += 1,
            Err(CommandError::Unanswered { .. }) => bulk.counts.unanswered += 1,
            Err(CommandError::Store(error)) => return Err(error),
            Err(CommandError::NotFound { .. }) => bulk.counts.refuse("the saga is gone".to_owned()),
            Err(CommandError::Refused(refusal)) => bulk.counts.refuse(refusal.to_string()),
            Err(error @ CommandError::Conflict { .. }) => bulk.counts.refuse(error.to_string()),
        }
    }
    sleep_until(begun + each * count).await;
    Ok(())
}

fn command(bulk: &Bulk, row: &SagaRow) -> Command {
    let request_id = IdempotencyKey::new(format!("bulk-{}-{}", bulk.id, row.id));
    Command {
        request_id: request_id.expect("two ids are short and printable"),
        actor: bulk.actor.clone(),
        reason: bulk.reason.clone(),
        action: bulk.action.clone(),
        expected_seq: None,
    }
}
