//! A request's place in a distributed trace, as W3C Trace Context writes it.

use std::fmt;

use crate::domain::compat::Compat;
use crate::domain::failure::Kind;

/// Identity of a trace, shared by every service that takes part; never all zeros.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TraceId([u8; 16]);

/// Identity of one span of a trace; never all zeros.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SpanId([u8; 8]);

/// What a caller's `traceparent` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Parent {
    /// The trace that the caller is in.
    pub trace_id: TraceId,
    /// The caller's own span.
    pub span_id: SpanId,
    /// Whether the caller keeps this trace.
    pub sampled: bool,
}

/// A request whose trace is kept. One that is not kept has none of this.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The trace it belongs to.
    pub id: TraceId,
    /// Our span.
    pub span_id: SpanId,
    /// The caller's span; none where the trace begins here.
    pub parent: Option<SpanId>,
    /// The caller's `tracestate`, as it came; empty for none.
    pub state: String,
    /// What the request was spoken in.
    pub wire: &'static Wire,
}

/// What a protocol says of an inference in a trace, after the semantic conventions.
#[derive(Debug)]
pub struct Wire {
    /// Attributes that every inference has.
    pub attributes: &'static [(&'static str, &'static str)],
    /// Name of the attribute that holds the status.
    pub status_name: &'static str,
    /// The status of an answer, or of a kind of failure, as callers met it.
    pub status: fn(Option<Kind>, Compat) -> Status,
}

/// A status as the wire's own conventions write it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// HTTP's.
    Number(u16),
    /// gRPC's.
    Name(&'static str),
}

impl TraceId {
    /// An id of these bytes; none if all are zero.
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Its bytes, as they go over the wire.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl SpanId {
    /// An id of these bytes; none if all are zero.
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// Its bytes, as they go over the wire.
    pub const fn bytes(self) -> [u8; 8] {
        self.0
    }
}

impl Parent {
    /// Reads a `traceparent` (W3C Trace Context 3.2); none if it is not one, which begins a new
    /// trace. Versions to come may add fields at the end, which are not looked at.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.trim_ascii().split('-');
        let [version] = hex(fields.next()?)?;
        let trace_id = TraceId::new(hex(fields.next()?)?)?;
        let span_id = SpanId::new(hex(fields.next()?)?)?;
        let [flags] = hex(fields.next()?)?;
        let fits = version != INVALID_VERSION && (version > 0 || fields.next().is_none());
        fits.then_some(Self { trace_id, span_id, sampled: flags & SAMPLED != 0 })
    }
}

impl Trace {
    /// Our span as the header `traceresponse` tells the caller of it.
    pub fn response(&self) -> String {
        format!("00-{}-{}-{SAMPLED:02x}", self.id, self.span_id)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

// Lower case only and of exactly that length, as the specification asks.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

const fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

/// The one version that the specification forbids.
const INVALID_VERSION: u8 = 0xff;

/// The flag of a trace that is kept.
const SAMPLED: u8 = 1;

#[cfg(test)]
mod tests {
    use super::Parent;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_traceparent_is_read_and_written_as_the_specification_says() {
        let read = Parent::parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        assert_eq!(
            (read.trace_id.to_string(), read.span_id.to_string()),
            (TRACE.into(), SPAN.into())
        );
        assert!(read.sampled);
        // Flags that we do not know do not hide the one we do.
        assert!(Parent::parse(&format!("00-{TRACE}-{SPAN}-03")).unwrap().sampled);
        assert!(!Parent::parse(&format!("00-{TRACE}-{SPAN}-02")).unwrap().sampled);
        // A later version may say more.
        assert!(Parent::parse(&format!("01-{TRACE}-{SPAN}-01-more")).is_some());
    }

    #[test]
    fn what_is_no_traceparent_begins_a_new_trace() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}0-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-ü"),
        ] {
            assert_eq!(Parent::parse(&text), None, "{text}");
        }
    }
}
