//! Which traces are kept, and the way that kept ones leave the request path.
//!
//! A request whose trace is not kept costs one look at a header; one whose trace is kept puts its
//! record into a bounded queue. Spans are made of the record elsewhere (decision 0013).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::domain::prediction::Prediction;
use crate::domain::trace::{Parent, SpanId, Trace, TraceId, Wire};

/// `OpenTelemetry` traces of inferences; needs a build with the feature `otlp`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// Where spans go, as OTLP over gRPC: `http://HOST:PORT`. No traces where not given.
    pub endpoint: Option<String>,
    /// How many of the traces that begin here are kept, from 0.0 to 1.0. Where a caller sends a
    /// `traceparent`, the caller decides.
    pub ratio: Ratio,
    /// Our name in the traces.
    pub service_name: String,
}

impl Default for Traces {
    fn default() -> Self {
        // 0: whoever begins a trace decides how many are worth their price, and that is seldom us.
        Self { endpoint: None, ratio: Ratio(0.0), service_name: "tidegate".to_owned() }
    }
}

/// A share, from 0.0 to 1.0.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "f64")]
pub struct Ratio(f64);

// Never NaN.
impl Eq for Ratio {}

/// A number that is no share.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("ratio is {found}, expected a number from 0.0 to 1.0")]
pub struct NoRatio {
    /// The number.
    pub found: f64,
}

impl TryFrom<f64> for Ratio {
    type Error = NoRatio;

    fn try_from(found: f64) -> Result<Self, NoRatio> {
        if (0.0..=1.0).contains(&found) { Ok(Self(found)) } else { Err(NoRatio { found }) }
    }
}

/// Decides which traces are kept, and takes the records of those. Cloning shares the queue.
#[derive(Clone)]
pub struct Tracer {
    ratio: Ratio,
    queue: mpsc::Sender<Answered>,
    counts: Arc<TraceCounts>,
}

/// One answered request of a kept trace.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Its record.
    pub prediction: Arc<Prediction>,
    /// When it was over.
    pub ended: SystemTime,
}

/// What became of the requests whose trace is kept.
#[derive(Debug, Default)]
pub struct TraceCounts {
    exported: AtomicU64,
    queue_full: AtomicU64,
    failed: AtomicU64,
}

impl Tracer {
    /// A tracer that keeps this share of the traces that begin here, and the queue of what it keeps.
    pub fn new(ratio: Ratio, counts: Arc<TraceCounts>) -> (Self, mpsc::Receiver<Answered>) {
        let (queue, kept) = mpsc::channel(QUEUE);
        (Self { ratio, queue, counts }, kept)
    }

    /// A place in the trace that the caller's `traceparent` names, or in a new one; none if it is
    /// not kept. `state` is asked for the caller's `tracestate` only if it is.
    pub fn sample(
        &self,
        parent: Option<&str>,
        state: impl FnOnce() -> String,
        wire: &'static Wire,
    ) -> Option<Box<Trace>> {
        let trace = match parent.and_then(Parent::parse) {
            Some(parent) => parent.sampled.then(|| Trace {
                id: parent.trace_id,
                span_id: new_span_id(),
                parent: Some(parent.span_id),
                state: state(),
                wire,
            }),
            None => self.begins().then(|| Trace {
                id: new_trace_id(),
                span_id: new_span_id(),
                parent: None,
                state: String::new(),
                wire,
            }),
        };
        trace.map(Box::new)
    }

    /// Takes the record of a request whose trace is kept; drops and counts it if the queue is full.
    pub fn record(&self, prediction: &Arc<Prediction>, ended: SystemTime) {
        let answered = Answered { prediction: Arc::clone(prediction), ended };
        if self.queue.try_send(answered).is_err() {
            self.counts.queue_full.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn begins(&self) -> bool {
        let Ratio(ratio) = self.ratio;
        ratio > 0.0 && fastrand::f64() < ratio
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("ratio", &self.ratio).finish_non_exhaustive()
    }
}

impl TraceCounts {
    /// So many were taken by the collector.
    pub fn exported(&self, count: u64) {
        self.exported.fetch_add(count, Ordering::Relaxed);
    }

    /// So many were given up.
    pub fn failed(&self, count: u64) {
        self.failed.fetch_add(count, Ordering::Relaxed);
    }

    /// Every outcome with its count.
    pub fn named(&self) -> [(&'static str, u64); 3] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("exported", read(&self.exported)),
            ("queue_full", read(&self.queue_full)),
            ("failed", read(&self.failed)),
        ]
    }
}

/// A new id of a span, as random as it needs to be to be unique.
pub fn new_span_id() -> SpanId {
    loop {
        if let Some(id) = SpanId::new(fastrand::u64(..).to_be_bytes()) {
            return id;
        }
    }
}

fn new_trace_id() -> TraceId {
    loop {
        if let Some(id) = TraceId::new(fastrand::u128(..).to_be_bytes()) {
            return id;
        }
    }
}

/// Records that may wait for the exporter: what OpenTelemetry's own exporters take, about 1 MiB.
const QUEUE: usize = 2048;

#[cfg(test)]
mod tests {
    use super::{Ratio, TraceCounts, Tracer};
    use crate::domain::trace::{Status, Wire};
    use std::sync::Arc;

    static WIRE: Wire =
        Wire { attributes: &[], status_name: "s", status: |_, _| Status::Number(0) };
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

    fn tracer(ratio: f64) -> Tracer {
        Tracer::new(Ratio::try_from(ratio).unwrap(), Arc::<TraceCounts>::default()).0
    }

    #[test]
    fn a_caller_decides_about_its_own_trace_whatever_the_ratio() {
        for ratio in [0.0, 1.0] {
            let sample = |flags: &str| {
                let parent = format!("{PARENT}-{flags}");
                tracer(ratio).sample(Some(&parent), || "vendor=1".to_owned(), &WIRE)
            };
            let kept = sample("01").unwrap();
            assert_eq!(kept.id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_eq!(kept.parent.unwrap().to_string(), "00f067aa0ba902b7");
            assert_ne!(kept.parent, Some(kept.span_id));
            assert_eq!(kept.state, "vendor=1");
            assert!(sample("00").is_none());
        }
    }

    #[test]
    fn without_a_caller_who_decides_the_ratio_does() {
        let kept = |ratio: f64| {
            let tracer = tracer(ratio);
            let sample = |_: &i32| tracer.sample(Some("nonsense"), String::new, &WIRE).is_some();
            (0..1_000).filter(sample).count()
        };
        assert_eq!((kept(0.0), kept(1.0)), (0, 1_000));
        // Twelve standard deviations around the mean.
        assert!((310..690).contains(&kept(0.5)));
        assert!(tracer(1.0).sample(None, String::new, &WIRE).unwrap().parent.is_none());
    }

    #[test]
    fn a_ratio_outside_its_range_is_refused() {
        for found in [-0.1, 1.1, f64::NAN] {
            assert!(Ratio::try_from(found).is_err(), "{found}");
        }
    }
}
