//! The page that scrapers read, and the list of who is counted on it.
//!
//! Unknown model names never become labels, and a version that is gone drops out: cardinality is
//! bounded by what is loaded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::domain::failure::Kind;
use crate::platform::telemetry::catalog::{self, Metric};
use crate::platform::telemetry::text::{Format, Labels, Text};
use crate::platform::telemetry::traces::TraceCounts;
use crate::platform::telemetry::versions::{Outcomes, Totals, VersionMetrics};
use crate::platform::{memory, process};

/// All counters of the process. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
}

struct Shared {
    versions: Mutex<Vec<Weak<VersionMetrics>>>,
    unrouted: Outcomes,
    /// By model and outcome: models that have files, so their number is bounded.
    loads: Mutex<BTreeMap<(String, &'static str), u64>>,
    retires: Retires,
    traces: Arc<TraceCounts>,
    watched: Mutex<Vec<(&'static Metric, Watch)>>,
    runtime_version: String,
}

/// Versions that were freed, and resident memory around the last time.
#[derive(Debug, Default)]
struct Retires {
    versions: AtomicU64,
    before_bytes: AtomicU64,
    after_bytes: AtomicU64,
    unreturned: AtomicU64,
}

/// A value that somebody else holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sample {
    /// Names and values of its labels.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: u64,
}

/// Reads all values of a gauge that somebody else holds.
pub type Watch = Box<dyn Fn() -> Vec<Sample> + Send + Sync>;

impl Metrics {
    /// Nothing counted yet; `runtime_version` is that of the loaded ONNX Runtime.
    pub fn new(runtime_version: String) -> Self {
        let shared = Shared {
            versions: Mutex::default(),
            unrouted: Outcomes::default(),
            loads: Mutex::default(),
            retires: Retires::default(),
            traces: Arc::default(),
            watched: Mutex::default(),
            runtime_version,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Counters for a version; they are written out for as long as somebody holds them.
    ///
    /// A version that is loaded again while its old copy drains goes on counting in the same place.
    pub fn version(&self, model: &str, version: &str) -> Arc<VersionMetrics> {
        let mut versions = self.shared.versions.lock();
        versions.retain(|known| known.strong_count() > 0);
        let labels = [("model", model), ("version", version)];
        let mut known = versions.iter().filter_map(Weak::upgrade);
        if let Some(known) = known.find(|known| known.labels() == labels) {
            return known;
        }
        let metrics = Arc::new(VersionMetrics::new(model, version));
        versions.push(Arc::downgrade(&metrics));
        metrics
    }

    /// Shows a gauge that somebody else holds; `read` is called at each scrape.
    pub fn watch(
        &self,
        metric: &'static Metric,
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.shared.watched.lock().push((metric, Box::new(read)));
    }

    /// Where what becomes of kept traces is counted.
    pub fn traces(&self) -> &Arc<TraceCounts> {
        &self.shared.traces
    }

    /// Counts an inference that failed before a version was found for it.
    pub fn record_unrouted(&self, kind: Kind) {
        self.shared.unrouted.count(Some(kind));
    }

    /// Counts a load of a version of a model that has files: `ok`, `failed` or `rejected`.
    pub fn record_load(&self, model: &str, outcome: &'static str) {
        *self.shared.loads.lock().entry((model.to_owned(), outcome)).or_default() += 1;
    }

    /// Counts a version that was freed, with resident memory of the process around it.
    pub fn record_retire(&self, before_bytes: u64, after_bytes: u64) {
        let retires = &self.shared.retires;
        retires.before_bytes.store(before_bytes, Ordering::Relaxed);
        retires.after_bytes.store(after_bytes, Ordering::Relaxed);
        retires.versions.fetch_add(1, Ordering::Release);
    }

    /// Counts a version that was freed and did not give its memory back.
    pub fn record_unreturned(&self) {
        self.shared.retires.unreturned.fetch_add(1, Ordering::Relaxed);
    }

    /// The page in that format.
    pub fn page(&self, format: Format) -> String {
        let shared = &*self.shared;
        let held: Vec<Arc<VersionMetrics>> =
            shared.versions.lock().iter().filter_map(Weak::upgrade).collect();
        let mut text = Text::new(format);
        write_durations(&mut text, &held);
        shared.write_outcomes(&mut text, &held);
        write_gauge(&mut text, &catalog::QUEUED, &held, VersionMetrics::waiting);
        write_gauge(&mut text, &catalog::SERVING, &held, |version| version.is_serving().into());
        write_nodes(&mut text, &held);
        for (metric, read) in &*shared.watched.lock() {
            write_watched(&mut text, metric, &read());
        }
        shared.write_changes(&mut text);
        shared.write_process(&mut text);
        write_aliases(&mut text, &held);
        text.finish()
    }
}

type Held = [Arc<VersionMetrics>];

/// Takes one sum out of all.
type Total = fn(&Totals) -> u64;

impl Shared {
    fn write_outcomes(&self, text: &mut Text, held: &Held) {
        let mut family = text.family(&catalog::REQUESTS);
        let unrouted = [("model", ""), ("version", "")];
        let all = held.iter().map(|version| (version.labels(), version.outcomes()));
        for (labels, outcomes) in all.chain([(unrouted, &self.unrouted)]) {
            for (outcome, count) in outcomes.named().filter(|&(_, count)| count > 0) {
                family.value(&with(labels, ("outcome", outcome)), count);
            }
        }
    }

    fn write_changes(&self, text: &mut Text) {
        let mut loads = text.family(&catalog::LOADS);
        for ((model, outcome), count) in &*self.loads.lock() {
            loads.value(&[("model", model), ("outcome", outcome)], count);
        }
        let retired = self.retires.versions.load(Ordering::Acquire);
        text.family(&catalog::RETIRED).value(&[], retired);
        let mut resident = text.family(&catalog::RETIRE_RESIDENT);
        if retired > 0 {
            for (moment, bytes) in
                [("before", &self.retires.before_bytes), ("after", &self.retires.after_bytes)]
            {
                resident.value(&[("moment", moment)], bytes.load(Ordering::Relaxed));
            }
        }
        let unreturned = self.retires.unreturned.load(Ordering::Relaxed);
        text.family(&catalog::UNRETURNED).value(&[], unreturned);
        let mut traces = text.family(&catalog::TRACES);
        for (outcome, count) in self.traces.named() {
            traces.value(&[("outcome", outcome)], count);
        }
    }

    fn write_process(&self, text: &mut Text) {
        let version = env!("CARGO_PKG_VERSION");
        let labels = [("version", version), ("onnxruntime", self.runtime_version.as_str())];
        text.family(&catalog::BUILD).value(&labels, 1);
        if let Some(bytes) = memory::resident_bytes() {
            text.family(&catalog::RESIDENT).value(&[], bytes);
        }
        let Some(process) = process::read() else { return };
        text.family(&catalog::CPU).value(&[], process.cpu_seconds);
        text.family(&catalog::VIRTUAL).value(&[], process.virtual_bytes);
        text.family(&catalog::OPEN_FDS).value(&[], process.open_fds);
        if let Some(most) = process.max_fds {
            text.family(&catalog::MAX_FDS).value(&[], most);
        }
        text.family(&catalog::THREADS).value(&[], process.threads);
        text.family(&catalog::START).value(&[], process.start_seconds);
    }
}

fn write_durations(text: &mut Text, held: &Held) {
    let mut family = text.family(&catalog::REQUEST_DURATION);
    for version in held {
        let exemplars = version.exemplars().read();
        family.histogram(&version.labels(), &version.total().read(), &exemplars);
    }
    let mut family = text.family(&catalog::PHASE_DURATION);
    for version in held {
        for (phase, histogram) in version.phases() {
            let labels = with(version.labels(), ("phase", phase.name()));
            family.histogram(&labels, &histogram.read(), &[]);
        }
    }
}

fn write_nodes(text: &mut Text, held: &Held) {
    let mut family = text.family(&catalog::NODES);
    for version in held {
        for (provider, nodes) in version.nodes() {
            family.value(&with(version.labels(), ("provider", &provider)), nodes);
        }
    }
}

// The names that Triton's boards, alerts and autoscalers ask for: counters, but without the suffix
// that OpenMetrics asks of counters, so they are written as of unknown type.
fn write_aliases(text: &mut Text, held: &Held) {
    let each: [(&'static Metric, Total); 8] = [
        (&catalog::NV_SUCCESS, |totals| totals.success_count),
        (&catalog::NV_COUNT, |totals| totals.rows),
        (&catalog::NV_EXEC, |totals| totals.runs),
        (&catalog::NV_REQUEST_US, |totals| totals.success_ns / 1_000),
        (&catalog::NV_QUEUE_US, |totals| totals.queue_ns / 1_000),
        (&catalog::NV_INPUT_US, |totals| totals.decode_ns / 1_000),
        (&catalog::NV_INFER_US, |totals| totals.run_ns / 1_000),
        (&catalog::NV_OUTPUT_US, |totals| totals.encode_ns / 1_000),
    ];
    for (metric, value) in each {
        write_gauge(text, metric, held, |version| value(&version.totals()));
    }
    let mut family = text.family(&catalog::NV_FAILURE);
    for version in held {
        for (reason, kinds) in NV_REASONS {
            let count: u64 = kinds.iter().map(|&kind| version.outcomes().of(kind)).sum();
            family.value(&with(version.labels(), ("reason", reason)), count);
        }
    }
}

fn write_gauge(
    text: &mut Text,
    metric: &'static Metric,
    held: &Held,
    value: impl Fn(&VersionMetrics) -> u64,
) {
    let mut family = text.family(metric);
    for version in held {
        family.value(&version.labels(), value(version));
    }
}

fn write_watched(text: &mut Text, metric: &'static Metric, samples: &[Sample]) {
    let mut family = text.family(metric);
    for Sample { labels, value } in samples {
        let labels: Vec<_> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        family.value(&labels as Labels<'_>, value);
    }
}

fn with<'a>(labels: [(&'a str, &'a str); 2], more: (&'a str, &'a str)) -> [(&'a str, &'a str); 3] {
    let [model, version] = labels;
    [model, version, more]
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Triton's reasons of failure, and the kinds that each stands for.
const NV_REASONS: [(&str, &[Kind]); 4] = [
    ("REJECTED", &[Kind::Overloaded, Kind::Timeout]),
    ("CANCELED", &[Kind::Cancelled]),
    ("BACKEND", &[Kind::Internal]),
    ("OTHER", &[Kind::Invalid, Kind::NotFound, Kind::Denied, Kind::Unavailable, Kind::TooLarge]),
];

#[cfg(test)]
mod tests {
    use super::{Metrics, Sample};
    use crate::domain::failure::Kind;
    use crate::domain::phase::{Phase, Timeline};
    use crate::domain::trace::TraceId;
    use crate::platform::clock::{Clock, Manual};
    use crate::platform::telemetry::catalog;
    use crate::platform::telemetry::text::Format;
    use crate::platform::telemetry::versions::Ended;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn a_version_that_is_gone_drops_out_of_the_page() {
        let (metrics, clock) = (Metrics::new("1.32.0".into()), Manual::new());
        let version = metrics.version("iris", "1");
        version.set_serving(true);
        version.set_nodes(vec![("cuda".into(), 0), ("cpu".into(), 12)]);
        let waiting = Arc::new(AtomicUsize::new(2));
        version.watch_queue(&waiting);
        let mut timeline = Timeline::start(clock.now());
        timeline.enter(Phase::Run, clock.now());
        clock.advance(Duration::from_micros(40));
        timeline.enter(Phase::Encode, clock.now());
        let trace = TraceId::new([7; 16]);
        for failure in [None, Some(Kind::Overloaded)] {
            let (timeline, run_of) = (&timeline, Some(5));
            version.record(&Ended { timeline, failure, rows: 3, run_of, at_ms: 7, trace });
        }
        metrics.record_unrouted(Kind::NotFound);
        metrics.record_retire(20, 10);
        let page = metrics.page(Format::OpenMetrics);
        for line in [
            "tidegate_requests_total{model=\"iris\",version=\"1\",outcome=\"ok\"} 1",
            "tidegate_requests_total{model=\"iris\",version=\"1\",outcome=\"overloaded\"} 1",
            "tidegate_requests_total{model=\"\",version=\"\",outcome=\"not_found\"} 1",
            "tidegate_version_serving{model=\"iris\",version=\"1\"} 1",
            "tidegate_queue_requests{model=\"iris\",version=\"1\"} 2",
            "tidegate_request_duration_seconds_count{model=\"iris\",version=\"1\"} 2",
            "tidegate_model_nodes{model=\"iris\",version=\"1\",provider=\"cuda\"} 0",
            "tidegate_model_nodes{model=\"iris\",version=\"1\",provider=\"cpu\"} 12",
            "version=\"1\",le=\"0.00005\"} 2 # {trace_id=\"07070707070707070707070707070707\"} 0.00004 0.007",
            "tidegate_retire_resident_bytes{moment=\"before\"} 20",
            "tidegate_retire_resident_bytes{moment=\"after\"} 10",
            "nv_inference_count{model=\"iris\",version=\"1\"} 3",
            "nv_inference_compute_infer_duration_us{model=\"iris\",version=\"1\"} 40",
            "nv_inference_request_failure{model=\"iris\",version=\"1\",reason=\"REJECTED\"} 1",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
        drop(version);
        assert!(!metrics.page(Format::Plain).contains("iris"));
    }

    #[test]
    fn what_others_hold_is_read_at_each_scrape() {
        let (metrics, inside) = (Metrics::new(String::new()), Arc::new(AtomicUsize::new(1)));
        let read = Arc::clone(&inside);
        metrics.watch(&catalog::CONNECTIONS, move || {
            let value = read.load(Ordering::Relaxed) as u64;
            vec![Sample { labels: vec![("protocol", "http".to_owned())], value }]
        });
        for expected in [1, 5] {
            inside.store(expected, Ordering::Relaxed);
            let line = format!("tidegate_connections{{protocol=\"http\"}} {expected}\n");
            assert!(metrics.page(Format::Plain).contains(&line));
        }
    }

    #[test]
    fn every_metric_of_the_page_is_in_the_catalogue_once() {
        let metrics = Metrics::new(String::new());
        for metric in [&catalog::STATE, &catalog::IN_FLIGHT, &catalog::CONNECTIONS] {
            metrics.watch(metric, Vec::new);
        }
        let page = metrics.page(Format::OpenMetrics);
        let mut written: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let mut listed: Vec<&str> = catalog::ALL.iter().map(|metric| metric.name).collect();
        written.sort_unstable();
        listed.sort_unstable();
        assert_eq!(written, listed);
    }
}
