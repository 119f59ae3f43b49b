//! The page that scrapers read, and the list of who is counted on it.
//!
//! Unknown model names never become labels, and a version that is gone drops out: cardinality is
//! bounded by what is loaded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::registry::Registry;

use crate::domain::failure::Kind;
use crate::platform::memory;
use crate::platform::telemetry::catalog::{self, Metric};
use crate::platform::telemetry::histogram::Histogram;
use crate::platform::telemetry::versions::{Outcomes, Totals, VersionMetrics};

/// All counters of the process. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    versions: Mutex<Vec<Weak<VersionMetrics>>>,
    unrouted: Outcomes,
    /// By model and outcome: models that have files, so their number is bounded.
    loads: Mutex<BTreeMap<(String, &'static str), u64>>,
    runtime_version: String,
}

impl Metrics {
    /// Nothing counted yet; `runtime_version` is that of the loaded ONNX Runtime.
    pub fn new(runtime_version: String) -> Self {
        let shared = Shared {
            versions: Mutex::default(),
            unrouted: Outcomes::default(),
            loads: Mutex::default(),
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

    /// Counts an inference that failed before a version was found for it.
    pub fn record_unrouted(&self, kind: Kind) {
        self.shared.unrouted.count(Some(kind));
    }

    /// Counts a load of a version of a model that has files: `ok`, `failed` or `rejected`.
    pub fn record_load(&self, model: &str, outcome: &'static str) {
        *self.shared.loads.lock().entry((model.to_owned(), outcome)).or_default() += 1;
    }

    /// The page, as `OpenMetrics` text.
    ///
    /// # Errors
    ///
    /// Formatting into memory does not fail; the signature is the encoder's.
    pub fn page(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Page(Arc::clone(&self.shared))));
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry)?;
        Ok(page)
    }
}

#[derive(Debug)]
struct Page(Arc<Shared>);

type Held = [Arc<VersionMetrics>];

/// Takes one sum out of all.
type Total = fn(&Totals) -> u64;

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let held: Vec<Arc<VersionMetrics>> =
            self.0.versions.lock().iter().filter_map(Weak::upgrade).collect();
        encode_durations(&mut encoder, &held)?;
        self.encode_outcomes(&mut encoder, &held)?;
        let mut loads = describe(&mut encoder, catalog::LOADS)?;
        for ((model, outcome), count) in &*self.0.loads.lock() {
            encode_count(&mut loads, &[("model", model), ("outcome", outcome)], *count)?;
        }
        encode_gauge(&mut encoder, catalog::SERVING, &held, |version| {
            i64::from(version.is_serving())
        })?;
        encode_nodes(&mut encoder, &held)?;
        encode_aliases(&mut encoder, &held)?;
        self.encode_process(&mut encoder)
    }
}

impl Page {
    fn encode_outcomes(&self, encoder: &mut DescriptorEncoder<'_>, held: &Held) -> fmt::Result {
        let mut family = describe(encoder, catalog::REQUESTS)?;
        let unrouted = [("model", ""), ("version", "")];
        let all = held.iter().map(|version| (version.labels(), version.outcomes()));
        for (labels, outcomes) in all.chain([(unrouted, &self.0.unrouted)]) {
            for (outcome, count) in outcomes.named().filter(|&(_, count)| count > 0) {
                encode_count(&mut family, &with(labels, ("outcome", outcome)), count)?;
            }
        }
        Ok(())
    }

    fn encode_process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(bytes) = memory::resident_bytes() {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            describe(encoder, catalog::RESIDENT)?.encode_gauge(&bytes)?;
        }
        let version = env!("CARGO_PKG_VERSION");
        let labels = [("version", version), ("onnxruntime", self.0.runtime_version.as_str())];
        let mut family = describe(encoder, catalog::BUILD)?;
        family.encode_family(&labels.as_slice())?.encode_gauge(&1_i64)
    }
}

fn encode_durations(encoder: &mut DescriptorEncoder<'_>, held: &Held) -> fmt::Result {
    let mut family = describe(encoder, catalog::REQUEST_DURATION)?;
    for version in held {
        encode_histogram(&mut family, &version.labels(), version.total())?;
    }
    let mut family = describe(encoder, catalog::PHASE_DURATION)?;
    for version in held {
        for (phase, histogram) in version.phases() {
            let labels = with(version.labels(), ("phase", phase.name()));
            encode_histogram(&mut family, &labels, histogram)?;
        }
    }
    Ok(())
}

fn encode_nodes(encoder: &mut DescriptorEncoder<'_>, held: &Held) -> fmt::Result {
    let mut family = describe(encoder, catalog::NODES)?;
    for version in held {
        for (provider, nodes) in version.nodes() {
            encode_plain(&mut family, &with(version.labels(), ("provider", &provider)), nodes)?;
        }
    }
    Ok(())
}

// The names that Triton's boards, alerts and autoscalers ask for: counters, but without the suffix
// that OpenMetrics asks of counters, so they are written as of unknown type.
fn encode_aliases(encoder: &mut DescriptorEncoder<'_>, held: &Held) -> fmt::Result {
    let each: [(Metric, Total); 8] = [
        (catalog::NV_SUCCESS, |totals| totals.success_count),
        (catalog::NV_COUNT, |totals| totals.rows),
        (catalog::NV_EXEC, |totals| totals.runs),
        (catalog::NV_REQUEST_US, |totals| totals.success_ns / 1_000),
        (catalog::NV_QUEUE_US, |totals| totals.queue_ns / 1_000),
        (catalog::NV_INPUT_US, |totals| totals.decode_ns / 1_000),
        (catalog::NV_INFER_US, |totals| totals.run_ns / 1_000),
        (catalog::NV_OUTPUT_US, |totals| totals.encode_ns / 1_000),
    ];
    for (metric, value) in each {
        let mut family = describe(encoder, metric)?;
        for version in held {
            encode_plain(&mut family, &version.labels(), value(&version.totals()))?;
        }
    }
    let mut family = describe(encoder, catalog::NV_FAILURE)?;
    for version in held {
        for (reason, kinds) in NV_REASONS {
            let count = kinds.iter().map(|&kind| version.outcomes().of(kind)).sum();
            encode_plain(&mut family, &with(version.labels(), ("reason", reason)), count)?;
        }
    }
    Ok(())
}

fn describe<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    metric: Metric,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    // The unit is part of our names already; OpenMetrics would append it once more.
    encoder.encode_descriptor(metric.name, metric.help, None, metric.kind)
}

fn encode_histogram(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str)],
    histogram: &Histogram,
) -> fmt::Result {
    let reading = histogram.read();
    family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
        reading.sum,
        reading.count,
        &reading.buckets,
        None,
    )
}

fn encode_count(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str)],
    count: u64,
) -> fmt::Result {
    family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
}

fn encode_plain(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str)],
    count: u64,
) -> fmt::Result {
    family.encode_family(&labels)?.encode_gauge(&i64::try_from(count).unwrap_or(i64::MAX))
}

fn encode_gauge(
    encoder: &mut DescriptorEncoder<'_>,
    metric: Metric,
    held: &Held,
    value: impl Fn(&VersionMetrics) -> i64,
) -> fmt::Result {
    let mut family = describe(encoder, metric)?;
    for version in held {
        family.encode_family(&version.labels().as_slice())?.encode_gauge(&value(version))?;
    }
    Ok(())
}

fn with<'a>(labels: [(&'a str, &'a str); 2], more: (&'a str, &'a str)) -> [(&'a str, &'a str); 3] {
    let [model, version] = labels;
    [model, version, more]
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
    use super::Metrics;
    use crate::domain::failure::Kind;
    use crate::domain::phase::{Phase, Timeline};
    use crate::platform::clock::{Clock, Manual};
    use crate::platform::telemetry::versions::Ended;
    use std::time::Duration;

    #[test]
    fn a_version_that_is_gone_drops_out_of_the_page() {
        let (metrics, clock) = (Metrics::new("1.32.0".into()), Manual::new());
        let version = metrics.version("iris", "1");
        version.set_serving(true);
        version.set_nodes(vec![("cuda".into(), 0), ("cpu".into(), 12)]);
        let mut timeline = Timeline::start(clock.now());
        timeline.enter(Phase::Run, clock.now());
        clock.advance(Duration::from_micros(40));
        timeline.enter(Phase::Encode, clock.now());
        for failure in [None, Some(Kind::Overloaded)] {
            version.record(&Ended { timeline: &timeline, failure, rows: 3, at_ms: 7 });
        }
        metrics.record_unrouted(Kind::NotFound);
        let page = metrics.page().unwrap();
        for line in [
            "tidegate_requests_total{model=\"iris\",version=\"1\",outcome=\"ok\"} 1",
            "tidegate_requests_total{model=\"iris\",version=\"1\",outcome=\"overloaded\"} 1",
            "tidegate_requests_total{model=\"\",version=\"\",outcome=\"not_found\"} 1",
            "tidegate_version_serving{model=\"iris\",version=\"1\"} 1",
            "tidegate_request_duration_seconds_count{model=\"iris\",version=\"1\"} 2",
            "tidegate_model_nodes{model=\"iris\",version=\"1\",provider=\"cuda\"} 0",
            "tidegate_model_nodes{model=\"iris\",version=\"1\",provider=\"cpu\"} 12",
            "nv_inference_count{model=\"iris\",version=\"1\"} 3",
            "nv_inference_compute_infer_duration_us{model=\"iris\",version=\"1\"} 40",
            "nv_inference_request_failure{model=\"iris\",version=\"1\",reason=\"REJECTED\"} 1",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
        drop(version);
        assert!(!metrics.page().unwrap().contains("iris"));
    }
}
