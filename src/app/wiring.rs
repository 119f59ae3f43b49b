//! Builds every part once, ground floor first; knows all of them.

use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::{Handle, Runtime};

use crate::api::admin;
use crate::api::listen::Connections;
use crate::api::oip::grpc::Grpc;
use crate::api::oip::rest::Rest;
use crate::api::oip::service::Service;
use crate::api::platform::PlatformRoutes;
use crate::api::probes;
use crate::api::session::Access;
use crate::app::config::Config;
use crate::app::traces::TraceExport;
use crate::control::change::{Changes, Road};
use crate::control::versions::Board;
use crate::domain::model::ModelName;
use crate::platform::clock::{Clock, System};
use crate::platform::cores;
use crate::platform::quiet::{Crew, QuietThreads};
use crate::platform::store::memory::Memory;
use crate::platform::telemetry::catalog;
use crate::platform::telemetry::page::{Metrics, Sample};
use crate::serving::batching::scheduler::InferenceThreads;
use crate::serving::gateway::admission::Admission;
use crate::serving::gateway::infer::{Gateway, Parts};
use crate::serving::registry::footprint::{Footprints, Unreturned};
use crate::serving::registry::prepare::Loader;
use crate::serving::registry::reaper::Reaper;
use crate::serving::registry::snapshot::Published;
use crate::serving::registry::state::State;
use crate::serving::repository::layout::Repository;
use crate::serving::runtime::onnx::library::Library;

/// The parts of a server, built and joined, before any of them listens.
#[derive(Debug)]
pub struct House {
    /// How models are changed.
    pub changes: Changes,
    /// Models on disk at the start.
    pub repository: Repository,
    /// The library that runs them.
    pub library: Library,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The door.
    pub admission: Arc<Admission>,
    /// Processors to use.
    pub cores: usize,
    loader: Loader,
    gateway: Gateway,
    metrics: Metrics,
    threads: InferenceThreads,
    // Ends with the house.
    _quiet: Crew,
    traces: TraceExport,
}

impl House {
    /// Builds the parts; changes do their work on `control`.
    ///
    /// # Errors
    ///
    /// A missing library, an unreadable repository, or no threads, with what to do.
    pub fn build(config: &Config, control: Handle) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(System);
        let cores = if config.runtime.cores > 0 { config.runtime.cores } else { cores::usable() };
        let library = Library::open(&config.libraries())?;
        let repository = repository(config)?;
        let metrics = Metrics::new(library.version().to_owned());
        let traces =
            TraceExport::start((&config.traces, config.compat), metrics.traces(), &control)?;
        let threads = InferenceThreads::start(cores).context("inference threads")?;
        let published = Arc::new(Published::default());
        let board = Arc::new(Board::new(Arc::clone(&published), config.server.strict_readiness));
        let footprints = Arc::new(Footprints::default());
        let reaper = reaper(&board, &footprints, metrics.clone())?;
        let loader = Loader {
            repository: repository.clone(),
            library: library.clone(),
            serving: config.serving,
            concurrency: cores,
            devices: config.devices(),
            engine_cache: config.runtime.engine_cache.clone(),
            compat: config.compat,
            ring: threads.ring(),
            metrics: metrics.clone(),
            bell: reaper.bell().clone(),
            footprints,
            clock: Arc::clone(&clock),
        };
        let quiet = QuietThreads::start(cores).context("quiet threads")?;
        let road = Road {
            board,
            loader: loader.clone(),
            quiet: quiet.threads(),
            reaper,
            store: Arc::new(Memory::default()),
            clock: Arc::clone(&clock),
        };
        let changes = Changes::new(road, control);
        let admission = Arc::new(Admission::default());
        watch(&metrics, &published, &admission);
        let gateway = Gateway::new(Parts {
            published,
            admission: Arc::clone(&admission),
            observers: Vec::new(),
            metrics: metrics.clone(),
            tracer: traces.tracer.clone(),
            clock: Arc::clone(&clock),
        });
        Ok(Self {
            changes,
            repository,
            library,
            clock,
            admission,
            cores,
            loader,
            gateway,
            metrics,
            threads,
            _quiet: quiet,
            traces,
        })
    }

    /// Makes versions of files.
    pub fn loader(&self) -> &Loader {
        &self.loader
    }

    /// The protocol's HTTP half, for callers of a listener.
    pub fn rest(&self, config: &Config, loopback: bool) -> Rest {
        let service = self.service(config, loopback);
        let platform = &config.platform;
        let routes = platform.health_route.is_some() || platform.predict_route.is_some();
        let routes = routes.then(|| PlatformRoutes::new(platform.clone(), service.clone()));
        Rest::new(service, routes)
    }

    /// The protocol's gRPC half, for callers of a listener.
    ///
    /// # Errors
    ///
    /// If the protocol's own description cannot be read.
    pub fn grpc(&self, config: &Config, loopback: bool) -> anyhow::Result<Grpc> {
        Grpc::new(self.service(config, loopback)).context("gRPC reflection")
    }

    /// The operators' routes.
    pub fn admin(&self, config: &Config) -> axum::Router {
        admin::versions::router(self.changes.clone(), config.limits)
    }

    /// Metrics and probes.
    pub fn probes(&self) -> axum::Router {
        probes::router(self.metrics.clone(), self.changes.clone())
    }

    /// Shows the data plane's connections on the metrics page.
    pub fn watch_connections(&self, connections: &Arc<Connections>) {
        let connections = Arc::clone(connections);
        self.metrics.watch(&catalog::CONNECTIONS, move || {
            let by_protocol = connections.open().map(|(protocol, open)| {
                let labels = vec![("protocol", protocol.to_owned())];
                Sample { labels, value: open as u64 }
            });
            by_protocol.collect()
        });
    }

    /// Ends the inference threads and sends the last traces, after everybody who asks has gone.
    pub fn stop(self, control: &Runtime) {
        self.threads.stop();
        control.block_on(self.traces.finish());
    }

    fn service(&self, config: &Config, loopback: bool) -> Service {
        let access = Access::of_listener(loopback);
        let (gateway, changes) = (self.gateway.clone(), self.changes.clone());
        Service::new(gateway, changes, access, config.limits, config.compat)
    }
}

fn repository(config: &Config) -> anyhow::Result<Repository> {
    let name = config.repository.model_name.as_deref().map(ModelName::parse).transpose()?;
    Repository::open(&config.repository.path, name)
        .context("set --models DIR, or repository.path in the configuration")
}

// Gauges whose values others hold.
fn watch(metrics: &Metrics, published: &Arc<Published>, admission: &Arc<Admission>) {
    let admission = Arc::clone(admission);
    metrics.watch(&catalog::IN_FLIGHT, move || {
        vec![Sample { labels: Vec::new(), value: admission.inside() as u64 }]
    });
    let published = Arc::clone(published);
    metrics.watch(&catalog::STATE, move || states(&published));
}

// What lies on disk unasked and what is gone are left out: neither can be said to be in a state
// that anybody waits for or warns of, and their number only grows.
fn states(published: &Published) -> Vec<Sample> {
    let mut samples = Vec::new();
    for entry in published.snapshot().entries() {
        for (number, state) in &entry.listed {
            if !matches!(state, State::Found | State::Retired) {
                let (model, version) = (entry.name.to_string(), number.to_string());
                let state = state.name().to_owned();
                let labels = vec![("model", model), ("version", version), ("state", state)];
                samples.push(Sample { labels, value: 1 });
            }
        }
    }
    samples
}

fn reaper(
    board: &Arc<Board>,
    footprints: &Arc<Footprints>,
    metrics: Metrics,
) -> anyhow::Result<Reaper> {
    let board = Arc::clone(board);
    Reaper::start(Arc::clone(footprints), move |freed| {
        let (before_bytes, after_bytes) = (freed.before_bytes, freed.after_bytes);
        tracing::info!(version = %freed.key, before_bytes, after_bytes, "retired");
        metrics.record_retire(before_bytes, after_bytes);
        if let Some(Unreturned { taken_bytes, returned_bytes }) = freed.unreturned {
            tracing::warn!(version = %freed.key, taken_bytes, returned_bytes, "memory was not given back");
            metrics.record_unreturned();
        }
        board.freed(&freed.key);
    })
    .context("reaper thread")
}
