//! How long a connection may keep us waiting, and for what.
//!
//! hyper knows one limit for reading a head, which also runs while a kept-alive connection is idle.
//! Here an idle connection has its own, longer limit, a head its short one, and a caller who does
//! not read its answer a third. Limits are looked at lazily: a request costs a reading of the
//! clock, not a timer.
//!
//! Over HTTP/2 bytes do not tell: a peer that only answers pings is idle. There the calls are
//! counted.
//!
//! Bytes that are written although no handler answered, while nothing else is left to write, are
//! hyper's own answer to a head it could not read: `unheard` says it better.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::api::session::Limits;
use crate::api::unheard;

/// A connection that is given up when its peer keeps us waiting too long.
#[derive(Debug)]
pub struct Patient {
    stream: TcpStream,
    /// Read already, to be read again.
    held: Bytes,
    stage: Stage,
    read: Alarm,
    write: Alarm,
    limits: Limits,
    /// Whether all that was to be written is written.
    flushed: bool,
    /// What is written in place of an answer that no handler gave.
    instead: Bytes,
}

/// Where a connection is between requests, as the service tells it.
#[derive(Clone, Debug, Default)]
pub struct Stage(Arc<AtomicU8>);

/// The calls of one HTTP/2 connection.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    open: AtomicUsize,
}

/// A call, under way until this is dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<Counts>);

/// Fires when a limit has passed since the last progress.
#[derive(Debug)]
struct Alarm {
    since: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    /// Watches a connection; `stage` is what its service tells.
    pub fn new(stream: TcpStream, stage: Stage, limits: Limits) -> Self {
        let alarm = || Alarm { since: Instant::now(), sleep: None };
        let (read, write, held, instead) = (alarm(), alarm(), Bytes::new(), Bytes::new());
        Self { stream, held, stage, read, write, limits, flushed: true, instead }
    }

    /// Whether the peer begins with the preface of HTTP/2 (RFC 9113, 3.4). Reads as much as it
    /// takes to know, which whoever reads next gets again.
    ///
    /// # Errors
    ///
    /// The connection's, and its limits.
    pub async fn speaks_http2(&mut self) -> io::Result<bool> {
        let (mut first, mut known) = ([0; PREFACE.len()], 0);
        while let Some(space) = first.get_mut(known..).filter(|space| !space.is_empty()) {
            let read = self.read(space).await?;
            known += read;
            if read == 0 || !PREFACE.starts_with(first.get(..known).unwrap_or_default()) {
                self.held = Bytes::copy_from_slice(first.get(..known).unwrap_or_default());
                return Ok(false);
            }
        }
        self.held = Bytes::from_static(PREFACE);
        Ok(true)
    }
}

impl Stage {
    /// A head was read: from here on the handler has limits of its own.
    pub fn called(&self) {
        self.set(CALLED);
    }

    /// The handler has answered: with the first byte written, the connection is idle again.
    pub fn answered(&self) {
        self.set(ANSWERED);
    }

    fn set(&self, stage: u8) {
        self.0.store(stage, Ordering::Relaxed);
    }

    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Calls {
    /// Counts a call that begins.
    pub fn begin(&self) -> UnderWay {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.open.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(&self.0))
    }

    /// Returns when nobody called for that long, or for up to twice as long.
    pub async fn quiet(&self, limit: Duration) {
        loop {
            let begun = self.0.begun.load(Ordering::Relaxed);
            tokio::time::sleep(limit).await;
            let open = self.0.open.load(Ordering::Relaxed);
            if open == 0 && self.0.begun.load(Ordering::Relaxed) == begun {
                return;
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Alarm {
    fn progress(&mut self) {
        self.since = Instant::now();
    }

    // Ready when nothing happened for so long; otherwise the task is woken to look again.
    fn poll(&mut self, limit: Duration, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.since + limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        // Set for an earlier limit or progress: it may only be moved, and is, when it has fired.
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(context));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.held.is_empty() {
            let taken = this.held.split_to(this.held.remaining().min(buffer.remaining()));
            buffer.put_slice(&taken);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let stage = this.stage.get();
        if read.is_ready() {
            if stage == IDLE && buffer.filled().len() > before {
                this.stage.set(HEAD);
                this.read.progress();
            }
            return read;
        }
        match stage {
            IDLE => {
                let limit = Duration::from_secs(this.limits.idle_timeout_s);
                // As if the peer had closed: there is nothing to answer.
                this.read.poll(limit, context).map(Ok)
            }
            HEAD => {
                let limit = Duration::from_secs(this.limits.header_timeout_s);
                ready!(this.read.poll(limit, context));
                if this.flushed {
                    // There is room for it, or a caller who does not read.
                    this.stream.try_write(&unheard::slow_head(&this.limits)).ok();
                }
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            _ => Poll::Pending,
        }
    }
}

impl Patient {
    fn written(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_pending() {
            let limit = Duration::from_secs(self.limits.write_timeout_s);
            return self.write.poll(limit, context).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        self.flushed = false;
        self.write.progress();
        // An answer that is still being written is no idle time.
        self.read.progress();
        if self.stage.get() == ANSWERED {
            self.stage.set(IDLE);
        }
        written
    }

    // Says it better, if these bytes are an answer that no handler gave.
    fn write_instead(
        &mut self,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Option<Poll<io::Result<usize>>> {
        if self.instead.is_empty() {
            if !self.flushed || !matches!(self.stage.get(), IDLE | HEAD) {
                return None;
            }
            self.instead = unheard::in_place_of(bytes, &self.limits)?;
        }
        while !self.instead.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(context, &self.instead);
            match self.written(written, context) {
                Poll::Ready(Ok(count)) if count > 0 => self.instead.advance(count),
                end @ (Poll::Ready(_) | Poll::Pending) => return Some(end),
            }
        }
        Some(Poll::Ready(Ok(bytes.len())))
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(said) = self.write_instead(bytes, context) {
            return said;
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices
            && let Some(said) = self.write_instead(only, context)
        {
            return said;
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // hyper flushes when it has handed over all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushed = true;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Stages of a connection: nothing asked; a head has begun; a handler works; it has answered.
const IDLE: u8 = 0;
const HEAD: u8 = 1;
const CALLED: u8 = 2;
const ANSWERED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::{Calls, PREFACE, Patient, Stage};
    use crate::api::session::Limits;
    use std::io::ErrorKind;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (Patient, Stage, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (near, _) = listener.accept().await.unwrap();
        let stage = Stage::default();
        (Patient::new(near, stage.clone(), Limits::default()), stage, far)
    }

    // Time stands still but for waits, so `waited` is what the limit was.
    async fn waited<T>(wait: impl Future<Output = T>) -> (T, Duration) {
        let start = tokio::time::Instant::now();
        (wait.await, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_quietly_and_late() {
        let (mut near, _, _far) = pair().await;
        let (read, took) = waited(near.read(&mut [0; 8])).await;
        assert_eq!(read.unwrap(), 0);
        assert!(took >= Duration::from_mins(2), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_is_given_up_early() {
        let (mut near, stage, mut far) = pair().await;
        far.write_all(b"GET").await.unwrap();
        near.read_exact(&mut [0; 3]).await.unwrap();
        let (read, took) = waited(near.read(&mut [0; 8])).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(took < Duration::from_secs(11), "{took:?}");
        // A handler that works has all the time it wants.
        stage.called();
        let quiet = tokio::time::timeout(Duration::from_hours(1), near.read(&mut [0; 8])).await;
        assert!(quiet.is_err());
    }

    #[tokio::test]
    async fn the_first_bytes_tell_the_protocol_and_are_read_again() {
        for (sent, http2) in [
            (&PREFACE[..], true),
            (b"PRI * HTTP/2.0\r\n\r\nXX and more than that", false),
            (b"POST /v2/models/iris/infer HTTP/1.1\r\n", false),
            (b"PR", false),
            (b"", false),
        ] {
            let (mut near, _, mut far) = pair().await;
            let end = far.write_all(sent).await;
            drop(far);
            end.unwrap();
            assert_eq!(near.speaks_http2().await.unwrap(), http2);
            let mut read = Vec::new();
            near.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, sent);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_quiet_only_when_no_call_began_or_runs() {
        let (calls, limit) = (Calls::default(), Duration::from_secs(10));
        let ((), took) = waited(calls.quiet(limit)).await;
        assert_eq!(took, limit);
        let call = calls.begin();
        let busy = tokio::time::timeout(Duration::from_hours(1), calls.quiet(limit)).await;
        assert!(busy.is_err());
        drop(call);
        let ((), took) = waited(calls.quiet(limit)).await;
        assert_eq!(took, limit);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answered_connection_is_idle_again() {
        let (mut near, stage, mut far) = pair().await;
        far.write_all(b"GET").await.unwrap();
        near.read_exact(&mut [0; 3]).await.unwrap();
        stage.called();
        stage.answered();
        near.write_all(b"200").await.unwrap();
        let (read, took) = waited(near.read(&mut [0; 8])).await;
        assert_eq!(read.unwrap(), 0);
        assert!(took >= Duration::from_mins(2), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_does_not_read_is_given_up() {
        let (mut near, _, _far) = pair().await;
        let (written, took) = waited(near.write_all(&vec![0; 64 << 20])).await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(took < Duration::from_mins(1), "{took:?}");
    }
}
