//! How the store and the daemon look from outside: what nobody counts as it happens.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use saga_core::store::{Backlog, StoreError};
use saga_core::{Status, StuckReason};
use saga_worker::telemetry::{
    DUE, DUE_AGE, FEED_LAG, FEED_SUBSCRIBERS, INBOX, INBOX_AGE, Metric, READY, REASON, SAGA_STATUS,
    SAGAS, SAGAS_STUCK, STORE_REACHABLE, WEBHOOK, WEBHOOK_AGE, WEBHOOK_OFF, WEBHOOK_WAITING,
};

use crate::service::App;
use crate::webhooks;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    ready: bool,
    /// `None` when the store did not answer.
    known: Option<Known>,
    subscribers: u64,
    /// Whole seconds.
    lag: u64,
}

/// What the store knows.
#[derive(Clone, Debug)]
struct Known {
    counts: Vec<(Status, u64)>,
    backlog: Backlog,
    webhooks: Vec<Standing>,
}

/// How a webhook of this daemon stands.
#[derive(Clone, Debug)]
struct Standing {
    name: String,
    state: webhooks::State,
    /// Seconds; `None` when there is no telling.
    age: Option<u64>,
}

impl Look {
    pub(super) async fn at(app: &App) -> Self {
        let known = async {
            let counts = app.client().counts().await?;
            let (store, hooks) = (app.client().store(), app.webhooks().borrow().clone());
            let backlog = store.backlog().await?;
            let mut webhooks = Vec::new();
            if !hooks.is_empty() {
                for (name, state) in webhooks::list(&**store).await? {
                    if hooks.iter().any(|hook| hook.name == name) {
                        let age = webhooks::age(&**store, &state).await;
                        webhooks.push(Standing { name, state, age: age.map(|age| age.as_secs()) });
                    }
                }
            }
            Ok::<_, StoreError>(Known { counts, backlog, webhooks })
        };
        let known = known.await;
        if let Err(error) = &known {
            tracing::warn!(%error, "the metrics lack what only the store knows");
        }
        let (subscribers, lag) = (app.feed().subscribers() as u64, app.feed().lag().as_secs());
        Self { ready: app.is_ready(), known: known.ok(), subscribers, lag }
    }
}

/// Makes the gauges that show what was seen last.
pub(super) fn observe(meter: &Meter, seen: &Arc<Mutex<Look>>) {
    gauge(meter, seen, READY, |look, observer| observer.observe(look.ready.into(), &[]));
    gauge(meter, seen, STORE_REACHABLE, |look, observer| {
        observer.observe(look.known.is_some().into(), &[]);
    });
    gauge(meter, seen, FEED_SUBSCRIBERS, |look, observer| observer.observe(look.subscribers, &[]));
    gauge(meter, seen, FEED_LAG, |look, observer| observer.observe(look.lag, &[]));
    gauge(meter, seen, SAGAS, |look, observer| {
        for (status, count) in look.known.iter().flat_map(|known| &known.counts) {
            observer.observe(*count, &[KeyValue::new(SAGA_STATUS, status.as_str())]);
        }
    });
    gauge(meter, seen, SAGAS_STUCK, |look, observer| {
        let Some(known) = &look.known else { return };
        for code in StuckReason::CODES {
            // A reason without sagas shows as zero, so that an alert can end.
            let found = known.backlog.stuck.iter().find(|(known, _)| known == code);
            let count = found.map_or(0, |(_, count)| *count);
            observer.observe(count, &[KeyValue::new(REASON, code)]);
        }
        let unknown = |code: &str| !StuckReason::CODES.contains(&code);
        for (code, count) in known.backlog.stuck.iter().filter(|(code, _)| unknown(code)) {
            observer.observe(*count, &[KeyValue::new(REASON, code.clone())]);
        }
    });
    of_webhooks(meter, seen, WEBHOOK_WAITING, |hook| Some(hook.state.retries.len() as u64));
    of_webhooks(meter, seen, WEBHOOK_AGE, |hook| hook.age);
    of_webhooks(meter, seen, WEBHOOK_OFF, |hook| Some(hook.state.off.is_some().into()));
    of_backlog(meter, seen, DUE, |backlog| backlog.due as f64);
    of_backlog(meter, seen, DUE_AGE, |backlog| backlog.due_for().as_secs_f64());
    of_backlog(meter, seen, INBOX, |backlog| backlog.unanswered as f64);
    of_backlog(meter, seen, INBOX_AGE, |backlog| backlog.unanswered_for().as_secs_f64());
}

fn of_webhooks(
    meter: &Meter,
    seen: &Arc<Mutex<Look>>,
    metric: Metric,
    figure: impl Fn(&Standing) -> Option<u64> + Send + Sync + 'static,
) {
    gauge(meter, seen, metric, move |look, observer| {
        for hook in look.known.iter().flat_map(|known| &known.webhooks) {
            if let Some(figure) = figure(hook) {
                observer.observe(figure, &[KeyValue::new(WEBHOOK, hook.name.clone())]);
            }
        }
    });
}

fn of_backlog(
    meter: &Meter,
    seen: &Arc<Mutex<Look>>,
    metric: Metric,
    figure: impl Fn(&Backlog) -> f64 + Send + Sync + 'static,
) {
    let gauge = meter.f64_observable_gauge(metric.name).with_unit(metric.unit);
    let (gauge, seen) = (gauge.with_description(metric.about), seen.clone());
    let gauge = gauge.with_callback(move |observer| {
        let look = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &look.known {
            observer.observe(figure(&known.backlog), &[]);
        }
    });
    // The provider keeps the callback; the instrument itself is not needed again.
    let _ = gauge.build();
}

fn gauge(
    meter: &Meter,
    seen: &Arc<Mutex<Look>>,
    metric: Metric,
    show: impl Fn(&Look, &dyn AsyncInstrument<u64>) + Send + Sync + 'static,
) {
    let gauge = meter.u64_observable_gauge(metric.name).with_unit(metric.unit);
    let (gauge, seen) = (gauge.with_description(metric.about), seen.clone());
    let gauge = gauge.with_callback(move |observer| {
        show(&seen.lock().unwrap_or_else(PoisonError::into_inner), observer);
    });
    // The provider keeps the callback; the instrument itself is not needed again.
    let _ = gauge.build();
}
