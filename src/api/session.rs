//! What is known of a call before its content is read.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};
use ulid::Ulid;

use crate::domain::caller::Caller;
use crate::domain::inference::InferenceId;

/// Limits of what callers may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one body or message.
    pub message_bytes: usize,
    /// Bytes of the headers of one request; over HTTP/1.1 up to twice as many may pass.
    pub header_bytes: usize,
    /// Seconds from the first byte of a request until all its headers must have come.
    pub header_timeout_s: u64,
    /// Seconds that a kept-alive connection may be idle.
    pub idle_timeout_s: u64,
    /// Seconds that a caller may leave an answer unread.
    pub write_timeout_s: u64,
    /// Seconds until the body of a request must have come.
    pub body_timeout_s: u64,
    /// Seconds that any call but an inference may take; a load counts until it serves.
    pub cold_timeout_s: u64,
    /// Connections at once, on all ports of the data plane together.
    pub connections: usize,
    /// Streams at once on one HTTP/2 connection.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        // 64 MiB and 32 KiB: what Triton takes by default, and more header than any proxy sends.
        // 10 s: no honest client needs longer for its headers. 120 s idle: longer than clients
        // keep a connection they may want again. 30 s unread: a caller that slow is gone.
        // 120 s for a body: 64 MiB at 4 Mbit/s.
        // 600 s: a model of many gigabytes is read from a slow disk within it.
        // 10,000 connections at 16 KiB of buffers are 160 MiB.
        Self {
            message_bytes: 64 << 20,
            header_bytes: 32 << 10,
            header_timeout_s: 10,
            idle_timeout_s: 120,
            write_timeout_s: 30,
            body_timeout_s: 120,
            cold_timeout_s: 600,
            connections: 10_000,
            streams: 256,
        }
    }
}

/// A listener's own view of its callers.
#[derive(Clone, Debug)]
pub struct Access {
    caller: Caller,
}

impl Access {
    /// Callers of a listener: those on loopback may operate the server, others may infer.
    pub fn of_listener(loopback: bool) -> Self {
        Self { caller: if loopback { Caller::local() } else { Caller::anonymous() } }
    }

    /// Who is asking.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// A new inference id: sortable by time, unique without a lock.
pub fn new_id(wall: SystemTime) -> InferenceId {
    thread_local! {
        static RANDOM: RefCell<fastrand::Rng> = RefCell::new(fastrand::Rng::new());
    }
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let random = RANDOM.with_borrow_mut(|random| random.u128(..));
    InferenceId(Ulid::from_parts(millis, random))
}

/// The time that a gRPC caller allows (`grpc-timeout`, PROTOCOL-HTTP2 "Timeout"); none if the
/// header is not there or cannot be read.
pub fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (value, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = value.parse().ok().filter(|_| value.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

// A name in a constant is not parsed again for every request.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

#[cfg(test)]
mod tests {
    use super::{grpc_timeout, new_id};
    use http::HeaderMap;
    use std::collections::BTreeSet;
    use std::time::{Duration, SystemTime};

    #[test]
    fn timeouts_are_read_in_every_unit_and_nonsense_is_none() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            grpc_timeout(&headers)
        };
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("99999999H"), Some(Duration::from_hours(99_999_999)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("7u"), Some(Duration::from_micros(7)));
        for nonsense in ["", "S", "5", "-5S", "999999999S", "5s", "1.5S"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn ids_of_one_moment_differ() {
        let ids: BTreeSet<_> = (0..1_000).map(|_| new_id(SystemTime::UNIX_EPOCH)).collect();
        assert_eq!(ids.len(), 1_000);
    }
}
