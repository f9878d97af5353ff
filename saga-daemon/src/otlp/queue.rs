//! Spans on their way out: a bounded queue, and the task that empties it.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Lost;
use super::sender::Sender;

/// Spans that may wait; further ones are dropped.
const QUEUE_MAX: usize = 8_192;
/// Most spans in one request.
const BATCH_MAX: usize = 512;
/// How long a span waits for others to come along.
const COMPANY: Duration = Duration::from_secs(1);
/// How long a request is tried again before its spans are dropped.
const PATIENCE: Duration = Duration::from_secs(30);
/// First pause between two tries; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// Takes the spans of the SDK.
#[derive(Debug)]
pub(super) struct SpanQueue {
    spans: mpsc::Sender<SpanData>,
    lost: Arc<Lost>,
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if let Err(error) = self.spans.try_send(span) {
            let why = match error {
                mpsc::error::TrySendError::Full(_) => "more spans came than could be sent",
                mpsc::error::TrySendError::Closed(_) => "the export had ended",
            };
            self.lost.spans(1, why);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Starts the task that sends what the processor takes; it ends some time after `ending` fires.
pub(super) fn start(
    sender: Sender,
    resource: &Resource,
    lost: Arc<Lost>,
    ending: CancellationToken,
) -> (SpanQueue, JoinHandle<()>) {
    let (spans, queue) = mpsc::channel(QUEUE_MAX);
    let outlet = Outlet {
        sender,
        resource: resource.into(),
        queue,
        batch: Vec::with_capacity(BATCH_MAX),
        lost: lost.clone(),
        ending,
    };
    (SpanQueue { spans, lost }, tokio::spawn(outlet.run()))
}

/// Empties the queue.
struct Outlet {
    sender: Sender,
    resource: ResourceAttributesWithSchema,
    queue: mpsc::Receiver<SpanData>,
    batch: Vec<SpanData>,
    lost: Arc<Lost>,
    ending: CancellationToken,
}

impl Outlet {
    async fn run(mut self) {
        let ending = self.ending.clone();
        while ending.run_until_cancelled(self.gather()).await.is_some_and(|more| more) {
            self.deliver().await;
        }
        // Nothing is awaited any more but the requests themselves.
        self.queue.close();
        loop {
            let room = BATCH_MAX - self.batch.len();
            self.batch.extend(std::iter::from_fn(|| self.queue.try_recv().ok()).take(room));
            if self.batch.is_empty() {
                return;
            }
            self.deliver().await;
        }
    }

    /// Waits for spans, and a little longer for company. Says whether there can be more. Whatever
    /// has been gathered stays gathered if this is broken off.
    async fn gather(&mut self) -> bool {
        if self.batch.is_empty() && self.queue.recv_many(&mut self.batch, BATCH_MAX).await == 0 {
            return false;
        }
        let until = Instant::now() + COMPANY;
        while self.batch.len() < BATCH_MAX {
            let room = BATCH_MAX - self.batch.len();
            match timeout_at(until, self.queue.recv_many(&mut self.batch, room)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
        true
    }

    /// Sends the batch, patiently unless the end has come.
    async fn deliver(&mut self) {
        let (begun, mut pause) = (Instant::now(), PAUSE_MIN);
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(self.batch.clone(), &self.resource),
        };
        let body = request.encode_to_vec();
        loop {
            let Err(not_taken) = self.sender.send(body.clone()).await else { break };
            let pausing = match not_taken.again {
                Some(asked) if begun.elapsed() < PATIENCE => sleep(asked.unwrap_or(pause)),
                _ => return self.drop_batch(&not_taken.why),
            };
            if self.ending.run_until_cancelled(pausing).await.is_none() {
                return self.drop_batch(&not_taken.why);
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.batch.clear();
    }

    fn drop_batch(&mut self, why: &str) {
        self.lost.spans(self.batch.len(), why);
        self.batch.clear();
    }
}

impl Drop for Outlet {
    /// Counts what it still held when it was broken off.
    fn drop(&mut self) {
        self.queue.close();
        let queued = std::iter::from_fn(|| self.queue.try_recv().ok()).count();
        if self.batch.len() + queued > 0 {
            self.lost.spans(self.batch.len() + queued, "the process ended before they were sent");
        }
    }
}
