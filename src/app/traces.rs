//! Joins the tracer to its exporter, if they are asked for and built in.

use std::sync::Arc;

#[cfg(feature = "otlp")]
use anyhow::Context;
use tokio::runtime::Handle;

use crate::domain::compat::Compat;
#[cfg(feature = "otlp")]
use crate::platform::telemetry::otlp::exporter::Exporter;
use crate::platform::telemetry::traces::{TraceCounts, Tracer, Traces};

/// The way of traces out of the process, if there is one.
#[derive(Debug, Default)]
pub struct TraceExport {
    /// Decides which traces are kept.
    pub tracer: Option<Tracer>,
    #[cfg(feature = "otlp")]
    exporter: Option<Exporter>,
}

impl TraceExport {
    /// Starts the export on that runtime; none without an endpoint.
    ///
    /// # Errors
    ///
    /// An endpoint that spans cannot go to.
    #[cfg(feature = "otlp")]
    pub fn start(
        (section, compat): (&Traces, Compat),
        counts: &Arc<TraceCounts>,
        runtime: &Handle,
    ) -> anyhow::Result<Self> {
        let Some(endpoint) = section.endpoint.as_deref() else { return Ok(Self::default()) };
        let _inside = runtime.enter();
        let (tracer, kept) = Tracer::new(section.ratio, Arc::clone(counts));
        let exporter = Exporter::start((section, compat), endpoint, kept, Arc::clone(counts));
        let exporter = exporter.context("in section [traces]")?;
        Ok(Self { tracer: Some(tracer), exporter: Some(exporter) })
    }

    /// None: [`Config::check`](crate::app::config::Config::check) refuses an endpoint in this build.
    ///
    /// # Errors
    ///
    /// None.
    #[cfg(not(feature = "otlp"))]
    pub fn start(_: (&Traces, Compat), _: &Arc<TraceCounts>, _: &Handle) -> anyhow::Result<Self> {
        Ok(Self::default())
    }

    /// Sends what is still to be sent, for a few seconds at most.
    #[cfg_attr(
        not(feature = "otlp"),
        expect(clippy::unused_async, reason = "without an exporter there is nothing to wait for")
    )]
    pub async fn finish(self) {
        #[cfg(feature = "otlp")]
        if let Some(exporter) = self.exporter {
            exporter.finish().await;
        }
    }
}
