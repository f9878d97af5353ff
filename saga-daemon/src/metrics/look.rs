//! How the store and the daemon look from outside: what nobody counts as it happens.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use saga_core::Status;
use saga_worker::telemetry::{
    FEED_LAG, FEED_SUBSCRIBERS, Metric, READY, SAGA_STATUS, SAGAS, STORE_REACHABLE,
};

use crate::service::App;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    ready: bool,
    /// `None` when the store did not answer.
    counts: Option<Vec<(Status, u64)>>,
    subscribers: u64,
    /// Whole seconds.
    lag: u64,
}

impl Look {
    pub(super) async fn at(app: &App) -> Self {
        let counts = app.client().counts().await;
        if let Err(error) = &counts {
            tracing::warn!(%error, "the metrics lack what only the store knows");
        }
        let (subscribers, lag) = (app.feed().subscribers() as u64, app.feed().lag().as_secs());
        Self { ready: app.is_ready(), counts: counts.ok(), subscribers, lag }
    }
}

/// Makes the gauges that show what was seen last.
pub(super) fn observe(meter: &Meter, seen: &Arc<Mutex<Look>>) {
    gauge(meter, seen, READY, |look, observer| observer.observe(look.ready.into(), &[]));
    gauge(meter, seen, STORE_REACHABLE, |look, observer| {
        observer.observe(look.counts.is_some().into(), &[]);
    });
    gauge(meter, seen, FEED_SUBSCRIBERS, |look, observer| observer.observe(look.subscribers, &[]));
    gauge(meter, seen, FEED_LAG, |look, observer| observer.observe(look.lag, &[]));
    gauge(meter, seen, SAGAS, |look, observer| {
        for (status, count) in look.counts.iter().flatten() {
            observer.observe(*count, &[KeyValue::new(SAGA_STATUS, status.as_str())]);
        }
    });
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
