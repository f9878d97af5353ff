//! Metrics on their way out.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use prost::Message as _;
use tokio::runtime::Handle;

use super::Lost;
use super::sender::Sender;

/// Sends each round of metrics once; a round that is lost is made good by the next.
#[derive(Debug)]
pub(crate) struct MetricsExporter {
    sender: Sender,
    lost: Arc<Lost>,
    /// The SDK reads metrics on a thread of its own, where no request can be made.
    runtime: Handle,
}

impl MetricsExporter {
    pub(super) fn new(sender: Sender, lost: Arc<Lost>) -> Self {
        Self { sender, lost, runtime: Handle::current() }
    }
}

impl PushMetricExporter for MetricsExporter {
    fn export(&self, metrics: &ResourceMetrics) -> impl Future<Output = OTelSdkResult> + Send {
        let body = ExportMetricsServiceRequest::from(metrics).encode_to_vec();
        let sender = self.sender.clone();
        let sending = self.runtime.spawn(async move { sender.send(body).await });
        async move {
            let why = match sending.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(not_taken)) => not_taken.why,
                Err(_) => "the process ended before they were sent".to_owned(),
            };
            self.lost.metrics(&why);
            Err(OTelSdkError::InternalFailure(why))
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}
