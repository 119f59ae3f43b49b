//! Accepts connections, spreads them over the cores, ends them politely.
//!
//! One acceptor, not one a core: with few connections the kernel's own spreading (`SO_REUSEPORT`)
//! may put all of them on one core.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderValue, Response, header};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use crate::api::oip::grpc::Grpc;
use crate::api::oip::rest::Rest;
use crate::api::patience::{Calls, Patient, Stage};
use crate::api::session::Limits;
use crate::platform::cores::CoreRuntimes;

/// What is spoken on a port.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// The protocol's HTTP half, over HTTP/1.1, and over HTTP/2 for those who begin with it.
    Http(Rest),
    /// The protocol's gRPC half, over HTTP/2.
    Grpc(Grpc),
}

/// The data plane's connections: how many there are, and whether they are to end.
#[derive(Debug)]
pub struct Connections {
    open: AtomicUsize,
    /// The same by what is spoken, in the order of [`PROTOCOLS`].
    by_protocol: [AtomicUsize; PROTOCOLS.len()],
    limits: Limits,
    /// Read for each answer, so it takes no lock.
    leaving: AtomicBool,
    stop: watch::Sender<bool>,
    ended: Notify,
}

/// One connection, counted until it is dropped.
#[derive(Debug)]
struct Counted {
    connections: Arc<Connections>,
    protocol: usize,
}

impl Connections {
    /// None yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        let (stop, _) = watch::channel(false);
        Arc::new(Self {
            open: AtomicUsize::new(0),
            by_protocol: Default::default(),
            limits,
            leaving: AtomicBool::new(false),
            stop,
            ended: Notify::new(),
        })
    }

    /// Accepts on that listener until [`Connections::stop`], and serves each connection on a core.
    pub async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        protocol: Protocol,
        cores: Arc<CoreRuntimes>,
    ) {
        // All ports share the counter, so that their connections spread together.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let mut stopped = self.stop.subscribe();
        loop {
            let accepted = tokio::select! {
                biased;
                () = told(&mut stopped) => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted.and_then(|(stream, _)| ready(stream)) {
                Ok(stream) => stream,
                Err(error) => {
                    // Out of descriptors, say: others must end first, so do not spin.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(counted) = self.count(&protocol) else {
                tracing::warn!(limit = self.limits.connections, "too many connections");
                continue;
            };
            let protocol = protocol.clone();
            cores.spawn(NEXT.fetch_add(1, Ordering::Relaxed), async move {
                if let Ok(stream) = TcpStream::from_std(stream) {
                    protocol.serve(stream, &counted.connections).await;
                }
                drop(counted);
            });
        }
    }

    /// Goes on accepting and answering, but each answer over HTTP/1.1 is the last of its connection
    /// and says so.
    ///
    /// HTTP/1.1 cannot say to an idle caller that the connection is about to end: one that sends
    /// just then loses its request. Who asks now is told in time.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Accepts nobody any more, and asks every connection to end after its present requests.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until every connection has ended.
    pub async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.open.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// How many are open, by what is spoken.
    pub fn open(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let counts = self.by_protocol.iter().map(|open| open.load(Ordering::Relaxed));
        PROTOCOLS.into_iter().zip(counts)
    }

    fn count(self: &Arc<Self>, protocol: &Protocol) -> Option<Counted> {
        let protocol = protocol.place();
        let counted = Counted { connections: Arc::clone(self), protocol };
        self.count_protocol(protocol, |open| open.fetch_add(1, Ordering::Relaxed));
        let before = self.open.fetch_add(1, Ordering::SeqCst);
        (before < self.limits.connections).then_some(counted)
    }

    fn count_protocol(&self, protocol: usize, count: impl FnOnce(&AtomicUsize) -> usize) {
        self.by_protocol.get(protocol).map(count);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Self { connections, protocol } = self;
        connections.count_protocol(*protocol, |open| open.fetch_sub(1, Ordering::Relaxed));
        if connections.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            connections.ended.notify_waiters();
        }
    }
}

impl Protocol {
    const fn place(&self) -> usize {
        match self {
            Self::Http(_) => 0,
            Self::Grpc(_) => 1,
        }
    }

    async fn serve(self, stream: TcpStream, connections: &Connections) {
        let (limits, mut stop) = (connections.limits, connections.stop.subscribe());
        let stage = Stage::default();
        let mut stream = Patient::new(stream, stage.clone(), limits);
        match self {
            Self::Http(rest) => {
                let http2 = tokio::select! {
                    biased;
                    () = told(&mut stop) => return,
                    http2 = stream.speaks_http2() => http2,
                };
                match http2 {
                    Ok(false) => serve_http1(rest, stream, stage, connections).await,
                    Ok(true) => serve_http2(rest, stream, (stage, limits), stop).await,
                    Err(error) => tracing::debug!(%error, "a connection broke"),
                }
            }
            Self::Grpc(grpc) => {
                // Idle HTTP/2 connections are found by pings; only slow readers are timed here.
                stage.called();
                let grpc = Arc::new(grpc);
                let service = service_fn(move |request| Arc::clone(&grpc).call(request));
                let connection = http2(limits).serve_connection(TokioIo::new(stream), service);
                let mut connection = std::pin::pin!(connection);
                let until = told_to_end(&mut stop);
                let shut_down = http2::Connection::graceful_shutdown;
                until_ended(connection.as_mut(), until, shut_down).await;
            }
        }
    }
}

async fn serve_http1(rest: Rest, stream: Patient, stage: Stage, connections: &Connections) {
    let (limits, mut stop) = (connections.limits, connections.stop.subscribe());
    let rest = Arc::new(rest);
    let service = service_fn(move |request| {
        let (rest, stage) = (Arc::clone(&rest), stage.clone());
        stage.called();
        answer(async move {
            let mut response = rest.call(request).await;
            stage.answered();
            if connections.leaving.load(Ordering::Relaxed) {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            response
        })
    });
    // Heads are timed by the connection itself, which knows when it is idle.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes.max(SMALLEST_BUFFER))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let until = told_to_end(&mut stop);
    until_ended(connection.as_mut(), until, http1::Connection::graceful_shutdown).await;
}

// HTTP/2 in clear text, for callers who know that it is spoken here.
async fn serve_http2(
    rest: Rest,
    stream: Patient,
    (stage, limits): (Stage, Limits),
    mut stop: watch::Receiver<bool>,
) {
    // Calls are counted here, so only slow readers are timed by their bytes.
    stage.called();
    let (rest, calls) = (Arc::new(rest), Calls::default());
    let idle = Duration::from_secs(limits.idle_timeout_s);
    let counted = calls.clone();
    let service = service_fn(move |request| {
        let (rest, under_way) = (Arc::clone(&rest), counted.begin());
        answer(async move {
            let response = rest.call(request).await;
            drop(under_way);
            response
        })
    });
    let connection = http2(limits).serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let until = async {
        tokio::select! {
            rest = told_to_end(&mut stop) => rest,
            // Answers that nobody reads do not keep the connection for ever.
            () = calls.quiet(idle) => idle,
        }
    };
    until_ended(connection.as_mut(), until, http2::Connection::graceful_shutdown).await;
}

fn http2(limits: Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        // For callers far away: a 1 MiB window at 100 ms is 10 MiB a second at most.
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .keep_alive_interval(KEEP_ALIVE);
    builder
}

// `until` says when to end, and how long what is under way may take then. A caller that breaks off
// or talks nonsense is its own affair: seen at debug level only.
async fn until_ended<C>(
    mut connection: Pin<&mut C>,
    until: impl Future<Output = Duration>,
    shut_down: impl Fn(Pin<&mut C>),
) where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let ended = tokio::select! {
        // First, so that an answer written after the stop says that it is the last.
        biased;
        rest = until => Err(rest),
        ended = connection.as_mut() => Ok(ended),
    };
    let ended = match ended {
        Ok(ended) => ended,
        Err(rest) => {
            shut_down(connection.as_mut());
            // Cut off when the time is over.
            tokio::time::timeout(rest, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

// Returns when connections are to end, also when nobody is left to say so.
async fn told(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|&stop| stop).await);
}

// The same for what answers requests: they are cut off by the drain, not here.
async fn told_to_end(stop: &mut watch::Receiver<bool>) -> Duration {
    told(stop).await;
    Duration::MAX
}

async fn answer<B>(response: impl Future<Output = Response<B>>) -> Result<Response<B>, Infallible> {
    Ok(response.await)
}

fn ready(stream: TcpStream) -> io::Result<std::net::TcpStream> {
    stream.set_nodelay(true)?;
    stream.into_std()
}

/// What is spoken, as metrics name it.
const PROTOCOLS: [&str; 2] = ["http", "grpc"];

/// How long to wait after a failed accept.
const PAUSE: Duration = Duration::from_millis(50);

/// hyper's least for HTTP/1 buffers.
const SMALLEST_BUFFER: usize = 8192;

const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
const FRAME: u32 = 1 << 20;

/// A peer that does not answer a ping within hyper's 20 s after this is gone.
const KEEP_ALIVE: Duration = Duration::from_mins(2);
