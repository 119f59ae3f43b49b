//! What is counted of one version's requests.
//!
//! A version holds its own counters, so a request finds them without a look-up.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::failure::Kind;
use crate::domain::phase::{Phase, Timeline};
use crate::domain::trace::TraceId;
use crate::platform::telemetry::batches::{BatchTotals, Batches};
use crate::platform::telemetry::exemplars::{Exemplar, Exemplars};
use crate::platform::telemetry::histogram::{BUCKETS, Histogram};
use crate::platform::telemetry::sharded::Sharded;

/// Counters of one version.
#[derive(Debug)]
pub struct VersionMetrics {
    model: String,
    version: String,
    total: Histogram,
    phases: [Histogram; Phase::ALL.len()],
    outcomes: Outcomes,
    totals: Sharded<TOTALS>,
    batches: Batches,
    serving: AtomicBool,
    /// By execution provider; written at loads, read at scrapes.
    nodes: Mutex<Vec<(String, u64)>>,
    exemplars: Exemplars<BUCKETS>,
    /// How many wait in each queue of the version: two while its old copy drains.
    queues: Mutex<Vec<Weak<AtomicUsize>>>,
}

/// How inferences ended: one count for success, then one a kind of failure.
#[derive(Debug, Default)]
pub struct Outcomes(Sharded<{ Kind::ALL.len() + 1 }>);

/// One inference that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Its time in each phase.
    pub timeline: &'a Timeline,
    /// How it failed, if it did.
    pub failure: Option<Kind>,
    /// Rows of its batch; 1 for a model without a batch dimension.
    pub rows: u64,
    /// Rows of the model's run, if it is this inference that counts the run; others may share it.
    pub run_of: Option<u64>,
    /// When it came, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Its trace, if that is kept.
    pub trace: Option<TraceId>,
}

/// Sums since the version was loaded; durations are of successes, but for `fail_ns`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Inferences that were answered.
    pub success_count: u64,
    /// Their time.
    pub success_ns: u64,
    /// Inferences that failed.
    pub fail_count: u64,
    /// Their time.
    pub fail_ns: u64,
    /// Time that requests became tensors.
    pub decode_ns: u64,
    /// Time in the queue.
    pub queue_ns: u64,
    /// Time that the model ran.
    pub run_ns: u64,
    /// Time that tensors became answers.
    pub encode_ns: u64,
    /// Rows answered.
    pub rows: u64,
    /// Runs of the model.
    pub runs: u64,
    /// When the last inference came, in milliseconds since the Unix epoch; 0 before the first.
    pub last_ms: u64,
}

impl VersionMetrics {
    /// Nothing counted yet.
    pub fn new(model: &str, version: &str) -> Self {
        Self {
            model: model.to_owned(),
            version: version.to_owned(),
            total: Histogram::default(),
            phases: Default::default(),
            outcomes: Outcomes::default(),
            totals: Sharded::default(),
            batches: Batches::default(),
            serving: AtomicBool::new(false),
            nodes: Mutex::default(),
            exemplars: Exemplars::default(),
            queues: Mutex::default(),
        }
    }

    /// Counts one inference: its time by phase, and how it ended.
    pub fn record(&self, ended: &Ended<'_>) {
        let timeline = ended.timeline;
        for (phase, histogram) in Phase::ALL.into_iter().zip(&self.phases) {
            histogram.observe(timeline.spent(phase));
        }
        let bucket = self.total.observe(timeline.total());
        if let Some(trace_id) = ended.trace {
            self.exemplify(bucket, trace_id, ended);
        }
        self.outcomes.count(ended.failure);
        self.totals.raise(LAST, ended.at_ms);
        let nanos = |phase| u64::try_from(timeline.spent(phase).as_nanos()).unwrap_or(u64::MAX);
        let total = u64::try_from(timeline.total().as_nanos()).unwrap_or(u64::MAX);
        if ended.failure.is_some() {
            self.totals.add(FAIL, total);
            return;
        }
        let (decode_ns, encode_ns) = (nanos(Phase::Decode), nanos(Phase::Encode));
        let run_ns = nanos(Phase::Run);
        for (counter, value) in [
            (SUCCESS, total),
            (QUEUE, nanos(Phase::Queue)),
            (ROWS, ended.rows),
            (DECODE, decode_ns),
            (RUN, run_ns),
            (ENCODE, encode_ns),
        ] {
            self.totals.add(counter, value);
        }
        if let Some(rows) = ended.run_of {
            self.batches.add(rows, BatchTotals { runs: 1, decode_ns, run_ns, encode_ns });
        }
    }

    /// Sums since the version was loaded.
    pub fn totals(&self) -> Totals {
        let sum = |counter| self.totals.sum(counter);
        Totals {
            success_count: self.outcomes.succeeded(),
            success_ns: sum(SUCCESS),
            fail_count: self.outcomes.failed(),
            fail_ns: sum(FAIL),
            decode_ns: sum(DECODE),
            queue_ns: sum(QUEUE),
            run_ns: sum(RUN),
            encode_ns: sum(ENCODE),
            rows: sum(ROWS),
            runs: self.batches.all().runs,
            last_ms: self.totals.max(LAST),
        }
    }

    /// Its runs by the size of their batch.
    pub fn batches(&self) -> &Batches {
        &self.batches
    }

    /// Says whether the version takes requests that name no version.
    pub fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }

    /// Whether the version takes requests that name no version.
    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    /// Notes how many nodes of its graph each execution provider runs.
    pub fn set_nodes(&self, nodes: Vec<(String, u64)>) {
        *self.nodes.lock() = nodes;
    }

    /// Nodes of its graph by execution provider.
    pub fn nodes(&self) -> Vec<(String, u64)> {
        self.nodes.lock().clone()
    }

    /// Counts those who wait in a queue among the version's, for as long as the queue lives.
    pub fn watch_queue(&self, waiting: &Arc<AtomicUsize>) {
        let mut queues = self.queues.lock();
        queues.retain(|known| known.strong_count() > 0);
        queues.push(Arc::downgrade(waiting));
    }

    /// How many wait in the version's queues.
    pub fn waiting(&self) -> u64 {
        let queues = self.queues.lock();
        let known = queues.iter().filter_map(Weak::upgrade);
        known.map(|waiting| waiting.load(Ordering::Relaxed) as u64).sum()
    }

    /// Its labels: model and version.
    pub fn labels(&self) -> [(&str, &str); 2] {
        [("model", &self.model), ("version", &self.version)]
    }

    /// Time from first byte to last.
    pub fn total(&self) -> &Histogram {
        &self.total
    }

    /// Kept traces as examples of [`VersionMetrics::total`].
    pub fn exemplars(&self) -> &Exemplars<BUCKETS> {
        &self.exemplars
    }

    /// Time in each phase.
    pub fn phases(&self) -> impl Iterator<Item = (Phase, &Histogram)> {
        Phase::ALL.into_iter().zip(&self.phases)
    }

    /// How its inferences ended.
    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    fn exemplify(&self, bucket: usize, trace_id: TraceId, ended: &Ended<'_>) {
        let took = ended.timeline.total();
        let at_seconds = (Duration::from_millis(ended.at_ms) + took).as_secs_f64();
        let exemplar = Exemplar { trace_id, seconds: took.as_secs_f64(), at_seconds };
        self.exemplars.put(bucket, exemplar);
    }
}

impl Outcomes {
    /// Counts one end.
    pub fn count(&self, failure: Option<Kind>) {
        self.0.add(failure.map_or(0, |kind| kind as usize + 1), 1);
    }

    /// Every outcome with its count.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = std::iter::once("ok").chain(Kind::ALL.into_iter().map(Kind::name));
        names.enumerate().map(|(index, name)| (name, self.0.sum(index)))
    }

    /// How many ended with that kind of failure.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0.sum(kind as usize + 1)
    }

    fn succeeded(&self) -> u64 {
        self.0.sum(0)
    }

    fn failed(&self) -> u64 {
        Kind::ALL.into_iter().map(|kind| self.of(kind)).sum()
    }
}

// Places of the totals.
const SUCCESS: usize = 0;
const FAIL: usize = 1;
const QUEUE: usize = 2;
const ROWS: usize = 3;
const LAST: usize = 4;
const DECODE: usize = 5;
const RUN: usize = 6;
const ENCODE: usize = 7;
const TOTALS: usize = 8;
