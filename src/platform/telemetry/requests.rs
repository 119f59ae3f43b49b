//! Request metrics of every version in memory, and the page that scrapers read.
//!
//! A version holds its own counters, so a request finds them without a look-up. Unknown model
//! names never become labels, and a version that is gone drops out: cardinality is bounded by what
//! is loaded.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::registry::Registry;

use crate::domain::failure::Kind;
use crate::domain::phase::{Phase, Timeline};
use crate::platform::memory;
use crate::platform::telemetry::catalog::{self, Metric};
use crate::platform::telemetry::histogram::Histogram;

/// Counters of one version.
#[derive(Debug)]
pub struct VersionMetrics {
    model: String,
    version: String,
    total: Histogram,
    phases: [Histogram; Phase::ALL.len()],
    outcomes: Outcomes,
    serving: AtomicU64,
}

/// All counters of the process.
#[derive(Clone, Debug)]
pub struct Metrics {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    versions: Mutex<Vec<Weak<VersionMetrics>>>,
    unrouted: Outcomes,
    runtime_version: String,
}

// One count for success, then one a kind of failure.
#[derive(Debug, Default)]
struct Outcomes([AtomicU64; Kind::ALL.len() + 1]);

impl VersionMetrics {
    /// Counts one inference: its time by phase, and how it ended.
    pub fn record(&self, timeline: &Timeline, outcome: Option<Kind>) {
        for (phase, histogram) in Phase::ALL.into_iter().zip(&self.phases) {
            histogram.observe(timeline.spent(phase));
        }
        self.total.observe(timeline.total());
        self.outcomes.count(outcome);
    }

    /// Says whether the version takes requests that name no version.
    pub fn set_serving(&self, serving: bool) {
        self.serving.store(u64::from(serving), Ordering::Relaxed);
    }

    fn names(&self, model: &str, version: &str) -> bool {
        self.model == model && self.version == version
    }

    fn labels(&self) -> [(&str, &str); 2] {
        [("model", &self.model), ("version", &self.version)]
    }
}

impl Outcomes {
    fn count(&self, outcome: Option<Kind>) {
        let index = outcome.map_or(0, |kind| kind as usize + 1);
        if let Some(count) = self.0.get(index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = std::iter::once("ok").chain(Kind::ALL.into_iter().map(Kind::name));
        names.zip(&self.0).map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

impl Metrics {
    /// Nothing counted yet; `runtime_version` is that of the loaded ONNX Runtime.
    pub fn new(runtime_version: String) -> Self {
        let shared =
            Shared { versions: Mutex::default(), unrouted: Outcomes::default(), runtime_version };
        Self { shared: Arc::new(shared) }
    }

    /// Counters for a version; they are written out for as long as somebody holds them.
    ///
    /// A version that is loaded again while its old copy drains goes on counting in the same place.
    pub fn version(&self, model: &str, version: &str) -> Arc<VersionMetrics> {
        let mut versions = self.shared.versions.lock();
        versions.retain(|known| known.strong_count() > 0);
        let mut known = versions.iter().filter_map(Weak::upgrade);
        if let Some(known) = known.find(|known| known.names(model, version)) {
            return known;
        }
        let metrics = Arc::new(VersionMetrics {
            model: model.to_owned(),
            version: version.to_owned(),
            total: Histogram::default(),
            phases: Default::default(),
            outcomes: Outcomes::default(),
            serving: AtomicU64::new(0),
        });
        versions.push(Arc::downgrade(&metrics));
        metrics
    }

    /// Counts an inference that failed before a version was found for it.
    pub fn record_unrouted(&self, kind: Kind) {
        self.shared.unrouted.count(Some(kind));
    }

    /// The page that scrapers read, as `OpenMetrics` text.
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

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let held: Vec<Arc<VersionMetrics>> =
            self.0.versions.lock().iter().filter_map(Weak::upgrade).collect();
        encode_versions(&mut encoder, &held)?;
        self.encode_outcomes(&mut encoder, &held)?;
        self.encode_process(&mut encoder)
    }
}

impl Page {
    fn encode_outcomes(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        held: &[Arc<VersionMetrics>],
    ) -> fmt::Result {
        let mut family = describe(encoder, catalog::REQUESTS)?;
        let unrouted = [("model", ""), ("version", "")];
        let all = held.iter().map(|version| (version.labels(), &version.outcomes));
        for (labels, outcomes) in all.chain([(unrouted, &self.0.unrouted)]) {
            for (outcome, count) in outcomes.named().filter(|&(_, count)| count > 0) {
                let labels = [labels.as_slice(), &[("outcome", outcome)]].concat();
                family
                    .encode_family(&labels.as_slice())?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
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

fn encode_versions(
    encoder: &mut DescriptorEncoder<'_>,
    held: &[Arc<VersionMetrics>],
) -> fmt::Result {
    let mut family = describe(encoder, catalog::REQUEST_DURATION)?;
    for version in held {
        encode_histogram(&mut family, &version.labels(), &version.total)?;
    }
    let mut family = describe(encoder, catalog::PHASE_DURATION)?;
    for version in held {
        for (phase, histogram) in Phase::ALL.into_iter().zip(&version.phases) {
            let labels = [version.labels().as_slice(), &[("phase", phase.name())]].concat();
            encode_histogram(&mut family, &labels, histogram)?;
        }
    }
    let mut family = describe(encoder, catalog::SERVING)?;
    for version in held {
        let serving = i64::from(version.serving.load(Ordering::Relaxed) > 0);
        family.encode_family(&version.labels().as_slice())?.encode_gauge(&serving)?;
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

#[cfg(test)]
mod tests {
    use super::Metrics;
    use crate::domain::failure::Kind;
    use crate::domain::phase::Timeline;
    use crate::platform::clock::{Clock, Manual};

    #[test]
    fn a_version_that_is_gone_drops_out_of_the_page() {
        let metrics = Metrics::new("1.32.0".into());
        let version = metrics.version("iris", "1");
        version.set_serving(true);
        version.record(&Timeline::start(Manual::new().now()), None);
        version.record(&Timeline::start(Manual::new().now()), Some(Kind::Invalid));
        metrics.record_unrouted(Kind::NotFound);
        let page = metrics.page().unwrap();
        for line in [
            "tidegate_requests_total{model=\"iris\",version=\"1\",outcome=\"ok\"} 1",
            "tidegate_requests_total{model=\"iris\",version=\"1\",outcome=\"invalid\"} 1",
            "tidegate_requests_total{model=\"\",version=\"\",outcome=\"not_found\"} 1",
            "tidegate_version_serving{model=\"iris\",version=\"1\"} 1",
            "tidegate_request_duration_seconds_count{model=\"iris\",version=\"1\"} 2",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
        drop(version);
        assert!(!metrics.page().unwrap().contains("iris"));
    }
}
