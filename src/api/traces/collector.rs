//! Where spans go: to a collector of OpenTelemetry, in batches, by OTLP over gRPC without encryption, as etcd sends them.
//!
//! Invariants: one batch is under way at a time, and nobody waits for it; one that was not taken by the second try is given
//! up, as are spans for which there is no room meanwhile; what was given up is told, seldom.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::api::seldom::Seldom;
use crate::api::traces::operations::{Attributes, words};
use crate::api::traces::tracer::Tracer;
use crate::base::limits;
use crate::wire::otlp::{self, ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span};
use crate::wire::trace_service::trace_service_client::TraceServiceClient;

/// What flags say of traces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tracing {
    /// `host:port` of the collector.
    pub address: String,
    pub service_name: String,
    /// Empty is none.
    pub instance_id: String,
    /// Of a million traces that no client began, so many are told.
    pub per_million: u32,
}

/// The collector at `host:port`, which is not looked for before there is something to send.
///
/// # Errors
/// It is no such address.
fn endpoint(address: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok();
    let is_whole = |endpoint: &Endpoint| {
        let uri = endpoint.uri();
        let authority = uri.authority().map(|authority| authority.as_str());
        authority == Some(address) && uri.port().is_some() && uri.host().is_some_and(|host| !host.is_empty())
    };
    endpoint.filter(is_whole).ok_or_else(|| format!("{address:?} is not in the format \"host:port\""))
}

/// The spans of one server on their way.
#[derive(Debug)]
pub struct Collector {
    tracer: Arc<Tracer>,
    stop: watch::Sender<bool>,
    sending: JoinHandle<()>,
}

impl Tracing {
    /// Refuses an address that is none, saying so.
    pub fn check(self) -> Result<Self, String> {
        endpoint(&self.address).map(|_| self)
    }
}

impl Collector {
    /// Begins to send. Ids of spans follow from the seeds. Must be called inside a runtime.
    ///
    /// # Errors
    /// The address is none.
    pub fn begin(tracing: &Tracing, seeds: [u64; 2]) -> Result<Self, String> {
        let endpoint = endpoint(&tracing.address)?;
        let tracer = Arc::new(Tracer::new(tracing.per_million, seeds));
        let (stop, stopping) = watch::channel(false);
        let sending = Sending {
            tracer: tracer.clone(),
            client: TraceServiceClient::new(endpoint.connect_lazy()),
            resource: resource(tracing),
            failed: Seldom::default(),
            dropped: Seldom::default(),
        };
        tracing::info!(
            address = tracing.address,
            service_name = tracing.service_name,
            service_instance_id = tracing.instance_id,
            sampling_rate = tracing.per_million,
            "distributed tracing setup enabled"
        );
        Ok(Self { tracer, stop, sending: tokio::spawn(sending.run(stopping)) })
    }

    /// What makes spans for it.
    pub fn tracer(&self) -> Arc<Tracer> {
        self.tracer.clone()
    }

    /// Sends what is left, for a moment.
    pub async fn end(mut self) {
        // It listens for this as long as it runs.
        let _ = self.stop.send(true);
        let moment = Duration::from_millis(limits::LAST_SPANS_MS);
        if tokio::time::timeout(moment, &mut self.sending).await.is_err() {
            self.sending.abort();
            tracing::warn!("the last spans were not sent: the collector takes too long");
        }
    }
}

fn resource(tracing: &Tracing) -> otlp::Resource {
    let mut attributes = Attributes::new();
    if !tracing.instance_id.is_empty() {
        attributes.push(words("service.instance.id", &tracing.instance_id));
    }
    attributes.push(words("service.name", &tracing.service_name));
    otlp::Resource { attributes }
}

struct Sending {
    tracer: Arc<Tracer>,
    client: TraceServiceClient<Channel>,
    resource: otlp::Resource,
    failed: Seldom,
    dropped: Seldom,
}

impl Sending {
    async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            let stopping = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => true,
                () = self.gathered() => false,
            };
            let batch = self.tracer.batch();
            if batch.is_empty() && stopping {
                return;
            }
            self.send(batch, &mut stop).await;
            let dropped = self.tracer.take_dropped();
            if dropped > 0
                && let Some(times) = self.dropped.one_more(Instant::now())
            {
                tracing::warn!(spans = dropped, times, "spans found no room and were dropped");
            }
        }
    }

    /// Completes when there is something to send, and nothing more to wait for.
    async fn gathered(&self) {
        self.tracer.wait_for(1).await;
        let enough = self.tracer.wait_for(limits::SPANS_BATCH);
        // Few that came long ago are as good as many.
        let _ = tokio::time::timeout(Duration::from_millis(limits::SPANS_BATCH_MS), enough).await;
    }

    /// Sends a batch, a second time where that may help and nobody stops.
    async fn send(&self, batch: Vec<Span>, stop: &mut watch::Receiver<bool>) {
        let spans = batch.len();
        let scope = otlp::InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: batch }];
        let of_us = ResourceSpans { resource: Some(self.resource.clone()), scope_spans };
        let request = ExportTraceServiceRequest { resource_spans: vec![of_us] };
        let sent = async {
            match self.try_to_send(request.clone()).await {
                Err(status) if may_help(status.code()) => {
                    let pause = Duration::from_millis(limits::SPANS_RETRY_MS);
                    if tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
                        return Err(status);
                    }
                    self.try_to_send(request.clone()).await
                }
                sent => sent,
            }
        };
        let time = Duration::from_millis(limits::SPANS_SEND_MS);
        let sent = tokio::time::timeout(time, sent).await;
        let sent = sent.unwrap_or_else(|_| Err(Status::deadline_exceeded("the collector takes too long")));
        if let Err(status) = sent
            && let Some(times) = self.failed.one_more(Instant::now())
        {
            tracing::warn!(error = %status, spans, times, "spans were not sent to the collector");
        }
    }

    async fn try_to_send(&self, request: ExportTraceServiceRequest) -> Result<(), Status> {
        let answer = self.client.clone().export(request).await?.into_inner();
        match answer.partial_success.filter(|part| part.rejected_spans > 0) {
            None => Ok(()),
            Some(part) => {
                let text = format!("the collector refused {} of them: {}", part.rejected_spans, part.error_message);
                Err(Status::invalid_argument(text))
            }
        }
    }
}

/// Whether a second try may help, as OTLP has it.
fn may_help(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for fine in ["localhost:4317", "127.0.0.1:1", "[::1]:4317", "a-b.example:80"] {
            assert!(endpoint(fine).is_ok(), "{fine}");
        }
        for wrong in ["", "localhost", "http://localhost:4317", "a b:1", ":4317", "h:port", "h:1/path", "u@h:1x"] {
            let text = endpoint(wrong).expect_err(wrong);
            assert_eq!(text, format!("{wrong:?} is not in the format \"host:port\""));
        }
    }
}
