//! Sends spans to a collector in batches, off the request path.
//!
//! A collector that is away costs memory for one queue and one batch, and a line in the log when it
//! goes and when it comes back; requests never wait for it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use ulid::Ulid;

use crate::domain::compat::Compat;
use crate::platform::telemetry::otlp::messages::{
    ExportRequest, ExportResponse, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span,
};
use crate::platform::telemetry::otlp::spans;
use crate::platform::telemetry::traces::{Answered, TraceCounts, Traces};

/// The task that exports, until it is told to finish.
#[derive(Debug)]
pub struct Exporter {
    finish: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// An address that spans cannot go to.
#[derive(Debug, thiserror::Error)]
#[error("traces.endpoint is '{found}', expected http://HOST:PORT")]
pub struct EndpointError {
    /// The address.
    pub found: String,
}

struct Export {
    kept: mpsc::Receiver<Answered>,
    finish: oneshot::Receiver<()>,
    finishing: bool,
    collector: Grpc<Channel>,
    resource: Resource,
    compat: Compat,
    counts: Arc<TraceCounts>,
    /// Whether the last batch was lost: said once, not for each.
    away: bool,
}

impl Exporter {
    /// Starts the task on the current runtime; it connects when the first batch is sent.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] for anything but `http://HOST:PORT`: there is no TLS to a collector, which
    /// stands beside us.
    pub fn start(
        (section, compat): (&Traces, Compat),
        endpoint: &str,
        kept: mpsc::Receiver<Answered>,
        counts: Arc<TraceCounts>,
    ) -> Result<Self, EndpointError> {
        let wrong = || EndpointError { found: endpoint.to_owned() };
        if !endpoint.starts_with("http://") {
            return Err(wrong());
        }
        let channel = Endpoint::from_shared(endpoint.to_owned()).map_err(|_| wrong())?;
        let channel = channel.connect_timeout(TRY).timeout(TRY).connect_lazy();
        let (finish, told) = oneshot::channel();
        let export = Export {
            kept,
            finish: told,
            finishing: false,
            collector: Grpc::new(channel),
            resource: resource(&section.service_name),
            compat,
            counts,
            away: false,
        };
        Ok(Self { finish, task: tokio::spawn(export.run()) })
    }

    /// Sends what is kept and ends; what is not sent within a few seconds is given up.
    pub async fn finish(self) {
        // Fails only if the task is gone already.
        self.finish.send(()).ok();
        let abort = self.task.abort_handle();
        if tokio::time::timeout(LAST, self.task).await.is_err() {
            abort.abort();
            tracing::warn!("the collector of traces did not take the last ones in time");
        }
    }
}

impl Export {
    async fn run(mut self) {
        loop {
            let batch = self.next_batch().await;
            if batch.is_empty() {
                return;
            }
            self.send(&batch).await;
        }
    }

    // Waits for the first record, then a little for more; empty at the end.
    async fn next_batch(&mut self) -> Vec<Answered> {
        let mut batch = Vec::new();
        let mut full = None;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            tokio::select! {
                biased;
                _ = &mut self.finish, if !self.finishing => {
                    self.finishing = true;
                    self.kept.close();
                }
                () = until(full) => break,
                count = self.kept.recv_many(&mut batch, room) => {
                    if count == 0 {
                        break;
                    }
                    full.get_or_insert_with(|| tokio::time::Instant::now() + GATHER);
                }
            }
        }
        batch
    }

    async fn send(&mut self, batch: &[Answered]) {
        let count = batch.len() as u64;
        let request = self
            .request(batch.iter().flat_map(|answered| spans::of(answered, self.compat)).collect());
        match self.try_often(&request).await {
            Ok(response) => {
                let refused = response.partial_success.unwrap_or_default();
                if refused.rejected_spans > 0 {
                    let (spans, why) = (refused.rejected_spans, refused.error_message);
                    tracing::warn!(spans, why, "the collector of traces refused spans");
                }
                if std::mem::take(&mut self.away) {
                    tracing::info!("the collector of traces takes them again");
                }
                self.counts.exported(count);
            }
            Err(status) => {
                if !std::mem::replace(&mut self.away, true) {
                    let error = reason(&status);
                    tracing::warn!(error, "traces are lost: the collector does not take them");
                }
                self.counts.failed(count);
            }
        }
    }

    async fn try_often(&mut self, request: &ExportRequest) -> Result<ExportResponse, Status> {
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            match self.try_once(request.clone()).await {
                Err(status) if is_passing(status.code()) => {
                    // Up to half as long again, so that many servers do not come back at once.
                    let pause = wait.mul_f64(1.0 + fastrand::f64() / 2.0);
                    tokio::time::sleep(pause).await;
                    wait *= 2;
                }
                answer => return answer,
            }
        }
        self.try_once(request.clone()).await
    }

    async fn try_once(&mut self, request: ExportRequest) -> Result<ExportResponse, Status> {
        let ready = self.collector.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = http::uri::PathAndQuery::from_static(EXPORT);
        let codec: ProstCodec<ExportRequest, ExportResponse> = ProstCodec::default();
        let answer = self.collector.unary(Request::new(request), path, codec).await?;
        Ok(answer.into_inner())
    }

    fn request(&self, spans: Vec<Span>) -> ExportRequest {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let scope = Some(Scope { name: "tidegate".to_owned(), version });
        let scope_spans = vec![ScopeSpans { scope, spans }];
        let resource = Some(self.resource.clone());
        ExportRequest { resource_spans: vec![ResourceSpans { resource, scope_spans }] }
    }
}

fn resource(service_name: &str) -> Resource {
    Resource {
        attributes: vec![
            KeyValue::text("service.name", service_name),
            KeyValue::text("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::text("service.instance.id", instance()),
        ],
    }
}

// Another one at each start, as the semantic conventions advise.
fn instance() -> String {
    Ulid(fastrand::u128(..)).to_string()
}

async fn until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

// What the OTLP specification calls retryable.
const fn is_passing(code: Code) -> bool {
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

// tonic says `transport error`, and why in the causes.
fn reason(status: &Status) -> String {
    let mut text = format!("{}: {}", status.code(), status.message());
    let mut source = status.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Requests in one message: nine spans each, some 2 MiB at most, half of what collectors take.
const BATCH: usize = 512;

/// How long the first record waits for others.
const GATHER: Duration = Duration::from_secs(1);

/// How long one try may take.
const TRY: Duration = Duration::from_secs(10);

/// How often a batch is tried, with waits of 0.5, 1, 2 and 4 s and up to half as long again.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// How long the stop waits for the last batch.
const LAST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::Exporter;
    use crate::domain::compat::Compat;
    use crate::platform::telemetry::traces::{TraceCounts, Tracer, Traces};
    use std::sync::Arc;

    #[tokio::test]
    async fn an_endpoint_that_spans_cannot_go_to_is_refused() {
        let section = Traces::default();
        let start = |endpoint: &str| {
            let counts = Arc::<TraceCounts>::default();
            let (_, kept) = Tracer::new(section.ratio, Arc::clone(&counts));
            Exporter::start((&section, Compat::None), endpoint, kept, counts)
        };
        for endpoint in ["https://collector:4317", "collector:4317", "http://", "http://a b"] {
            let error = start(endpoint).expect_err(endpoint).to_string();
            assert_eq!(
                error,
                format!("traces.endpoint is '{endpoint}', expected http://HOST:PORT")
            );
        }
        start("http://127.0.0.1:4317").unwrap().finish().await;
    }
}
