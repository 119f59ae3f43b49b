//! How long a connection may keep us waiting, and for what.
//!
//! hyper knows one limit for reading a head, which also runs while a kept-alive connection is idle.
//! Here an idle connection has its own, longer limit, a head its short one, and a caller who does
//! not read its answer a third. Limits are looked at lazily: a request costs a reading of the
//! clock, not a timer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::api::session::Limits;

/// A connection that is given up when its peer keeps us waiting too long.
#[derive(Debug)]
pub struct Patient {
    stream: TcpStream,
    stage: Stage,
    read: Alarm,
    write: Alarm,
    limits: Limits,
}

/// Where a connection is between requests, as the service tells it.
#[derive(Clone, Debug, Default)]
pub struct Stage(Arc<AtomicU8>);

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
        Self { stream, stage, read: alarm(), write: alarm(), limits }
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
                this.read.poll(limit, context).map(|()| Err(io::ErrorKind::TimedOut.into()))
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
        self.write.progress();
        // An answer that is still being written is no idle time.
        self.read.progress();
        if self.stage.get() == ANSWERED {
            self.stage.set(IDLE);
        }
        written
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

// Stages of a connection: nothing asked; a head has begun; a handler works; it has answered.
const IDLE: u8 = 0;
const HEAD: u8 = 1;
const CALLED: u8 = 2;
const ANSWERED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::{Patient, Stage};
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
