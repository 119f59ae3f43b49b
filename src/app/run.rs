//! Starts, serves, drains, stops.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use crate::api::listen::{Connections, Protocol};
use crate::api::oip::health::Health;
use crate::app::config::{Config, Log, LogFormat, Server};
use crate::app::screen::{self, Addresses};
use crate::app::start::Start;
use crate::app::wiring::House;
use crate::domain::model::ModelName;
use crate::platform::cores::CoreRuntimes;

struct Listeners {
    http: TcpListener,
    grpc: TcpListener,
    metrics: TcpListener,
    admin: TcpListener,
}

/// What tells us to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Runs a server until SIGTERM or SIGINT, and through its drain.
///
/// # Errors
///
/// Whatever keeps it from starting.
pub fn run(config: &Config, ready_fd: Option<i32>) -> anyhow::Result<()> {
    start_log(&config.log)?;
    let control = Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .context("control runtime")?;
    let house = House::build(config, control.handle().clone())?;
    let cores = Arc::new(CoreRuntimes::start("core", house.cores).context("core runtimes")?);
    let served = control.block_on(serve(config, &house, &cores, ready_fd));
    stop(house, cores, control);
    served
}

async fn serve(
    config: &Config,
    house: &House,
    cores: &Arc<CoreRuntimes>,
    ready_fd: Option<i32>,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let (listeners, addresses) = Listeners::bind(config).await?;
    let connections = Connections::new(config.limits);
    house.watch_connections(&connections);
    let (stop, stopped) = watch::channel(false);
    let (health, acceptors) = listeners.serve(config, house, (&connections, cores), &stopped)?;
    let mut start = look(config, house).await?;
    let first = std::mem::take(&mut start.first);
    let progress = screen::progress(first.len());
    let tick = {
        let progress = progress.clone();
        move |model: &ModelName| {
            progress.set_message(model.to_string());
            progress.inc(1);
        }
    };
    let started = tokio::select! {
        () = house.changes.start_up(first, tick) => true,
        () = signals.next() => false,
    };
    progress.finish_and_clear();
    let watching = start.go_on(&house.changes)?;
    if started {
        announce(house, &addresses, ready_fd)?;
        signals.next().await;
    }
    connections.leave();
    tracing::info!(in_flight = house.admission.inside(), "stopping");
    house.changes.shut_down();
    drop(watching);
    linger(&config.server, &mut signals).await;
    health.end();
    connections.stop();
    drain(&config.server, house, (connections, acceptors), &mut signals).await;
    house.admission.close();
    stop.send_replace(true);
    Ok(())
}

// The folder may be large, or slow.
async fn look(config: &Config, house: &House) -> anyhow::Result<Start> {
    let (section, repository) = (config.repository.clone(), house.repository.clone());
    let clock = Arc::clone(&house.clock);
    let look = move || Start::look(&section, repository, clock);
    tokio::task::spawn_blocking(look).await.context("the first look")?
}

/// Goes on serving until balancers had time to notice; a second signal cuts it short.
async fn linger(server: &Server, signals: &mut Signals) {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(server.drain_delay_s)) => {}
        () = signals.next() => tracing::warn!("second signal: connections are told to go at once"),
    }
}

/// Waits until the last answer of connections that were told to end is written; another signal cuts
/// it short.
async fn drain(
    server: &Server,
    house: &House,
    (connections, mut acceptors): (Arc<Connections>, JoinSet<()>),
    signals: &mut Signals,
) {
    // They hold the cores, which can be stopped, and with them what is cut off, only by their last
    // owner.
    while acceptors.join_next().await.is_some() {}
    let timeout = Duration::from_secs(server.drain_timeout_s);
    tokio::select! {
        ended = tokio::time::timeout(timeout, connections.ended()) => {
            if ended.is_err() {
                tracing::warn!(in_flight = house.admission.inside(), "drain timeout: requests were cut off");
            }
        }
        () = signals.next() => tracing::warn!("another signal: requests were cut off"),
    }
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signal handler");
        let (terminate, interrupt) =
            (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Listeners {
    async fn bind(config: &Config) -> anyhow::Result<(Self, Addresses)> {
        let server = &config.server;
        let listeners = Self {
            http: bind("http", server.http).await?,
            grpc: bind("grpc", server.grpc).await?,
            metrics: bind("metrics", server.metrics).await?,
            admin: bind("admin", server.admin).await?,
        };
        let addresses = Addresses {
            http: listeners.http.local_addr()?,
            grpc: listeners.grpc.local_addr()?,
            metrics: listeners.metrics.local_addr()?,
            admin: listeners.admin.local_addr()?,
        };
        Ok((listeners, addresses))
    }

    fn serve(
        self,
        config: &Config,
        house: &House,
        (connections, cores): (&Arc<Connections>, &Arc<CoreRuntimes>),
        stopped: &watch::Receiver<bool>,
    ) -> anyhow::Result<(Health, JoinSet<()>)> {
        let mut acceptors = JoinSet::new();
        let http = Protocol::Http(house.rest(config, config.server.http.ip().is_loopback()));
        let grpc = house.grpc(config, config.server.grpc.ip().is_loopback())?;
        let health = grpc.health().clone();
        let grpc = Protocol::Grpc(grpc);
        for (listener, protocol) in [(self.http, http), (self.grpc, grpc)] {
            let (connections, cores) = (Arc::clone(connections), Arc::clone(cores));
            acceptors.spawn(connections.accept(listener, protocol, cores));
        }
        for (listener, router) in
            [(self.metrics, house.probes()), (self.admin, house.admin(config))]
        {
            let mut stopped = stopped.clone();
            let until = async move { drop(stopped.wait_for(|&stop| stop).await) };
            let server = axum::serve(listener, router).with_graceful_shutdown(until);
            drop(tokio::spawn(async move { server.await.ok() }));
        }
        Ok((health, acceptors))
    }
}

async fn bind(name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{name} address {address} cannot be taken; choose another with --{name} ADDR:PORT")
    })
}

fn announce(house: &House, addresses: &Addresses, ready_fd: Option<i32>) -> anyhow::Result<()> {
    let screen = screen::draw(&house.changes.snapshot(), addresses, &house.library);
    show(&screen);
    let line = serde_json::to_string(addresses)?;
    tracing::info!(addresses = %line, "ready");
    if let Some(fd) = ready_fd {
        tell(fd, &line).context("--ready-fd")?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the screen that greets whoever started us")]
fn show(screen: &str) {
    print!("{screen}");
}

fn tell(fd: i32, line: &str) -> std::io::Result<()> {
    // Through /proc, because taking a raw descriptor over is unsafe and this happens once.
    let mut file = std::fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{fd}"))?;
    writeln!(file, "{line}")
}

fn start_log(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).with_context(|| {
        format!("log.filter is '{}', expected a level such as info", log.filter)
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second server in one process (a test) keeps the first one's log.
    let set = match log.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    drop(set);
    Ok(())
}

fn stop(house: House, cores: Arc<CoreRuntimes>, control: Runtime) {
    if let Some(cores) = Arc::into_inner(cores) {
        cores.stop();
    }
    house.stop(&control);
    control.shutdown_timeout(Duration::from_secs(1));
}

/// Control work waits for disks and clients, seldom for processors.
const CONTROL_THREADS: usize = 2;
