//! A response's body: chunks of bytes, and the account they close.
//!
//! Tensors are chunks of their own, so that large outputs are handed to the transport without a
//! copy. The account (and with it the lease on the version) is closed when the last byte was
//! handed over, or when the transport drops the body because the caller left.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use smallvec::SmallVec;

use crate::serving::gateway::infer::Ticket;

/// Chunks of a response, in order.
#[derive(Debug, Default)]
pub struct Body {
    chunks: SmallVec<[Bytes; 4]>,
    next: usize,
    left: u64,
    ticket: Option<Ticket>,
}

/// Another body, and the account of the request it answers.
#[derive(Debug)]
pub struct Accounted<B> {
    inner: B,
    ticket: Option<Ticket>,
}

impl Body {
    /// A body of one chunk.
    pub fn of(chunk: impl Into<Bytes>) -> Self {
        Self::chunks(SmallVec::from_iter([chunk.into()]))
    }

    /// A body of these chunks; empty ones are left out.
    pub fn chunks(mut chunks: SmallVec<[Bytes; 4]>) -> Self {
        chunks.retain(|chunk| !chunk.is_empty());
        let left = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self { chunks, next: 0, left, ticket: None }
    }

    /// The same, closing that account when its last byte is handed over.
    #[must_use]
    pub fn with_ticket(mut self, ticket: Ticket) -> Self {
        self.ticket = Some(ticket);
        self
    }
}

impl<B> Accounted<B> {
    /// A body that closes the account, if there is one, when its last byte is handed over.
    pub fn new(inner: B, ticket: Option<Ticket>) -> Self {
        Self { inner, ticket }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.next;
        let chunk = self.chunks.get_mut(next).map(std::mem::take);
        if let Some(chunk) = &chunk {
            self.next += 1;
            self.left -= chunk.len() as u64;
        }
        if self.left == 0 {
            close(&mut self.ticket);
        }
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl<B: http_body::Body + Unpin> http_body::Body for Accounted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        let last = match &frame {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || self.inner.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if last {
            close(&mut self.ticket);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn close(ticket: &mut Option<Ticket>) {
    if let Some(mut ticket) = ticket.take() {
        ticket.sent();
    }
}
