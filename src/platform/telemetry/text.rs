//! Writes metrics as Prometheus' text format or as `OpenMetrics` text.
//!
//! The two differ in little: where `_total` stands, the word for an unknown type, exemplars, and
//! the end (`OpenMetrics` 1.0.0; Prometheus' text format 0.0.4).

use std::fmt::Display;

use crate::platform::telemetry::catalog::{Metric, MetricKind};
use crate::platform::telemetry::exemplars::Exemplar;
use crate::platform::telemetry::histogram::Reading;

/// How a page is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Prometheus' own text format, which everybody reads.
    Plain,
    /// The format that has exemplars.
    OpenMetrics,
}

/// A page under way.
#[derive(Debug)]
pub struct Text {
    format: Format,
    written: String,
}

/// One metric's samples under way.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut Text,
    metric: &'static Metric,
}

/// Names and values of labels.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Format {
    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Text {
    /// An empty page.
    pub fn new(format: Format) -> Self {
        Self { format, written: String::new() }
    }

    /// Begins the samples of a metric.
    pub fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        let (name, kind) = match (self.format, metric.kind) {
            (Format::Plain, MetricKind::Counter) => (format!("{}_total", metric.name), "counter"),
            (Format::Plain, MetricKind::Unknown) => (metric.name.to_owned(), "untyped"),
            (_, kind) => (metric.name.to_owned(), kind.name()),
        };
        self.push(&["# HELP ", &name, " ", metric.help, ".\n# TYPE ", &name, " ", kind, "\n"]);
        Family { text: self, metric }
    }

    /// The whole page.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.written.push_str("# EOF\n");
        }
        self.written
    }

    fn push(&mut self, parts: &[&str]) {
        self.written.extend(parts.iter().copied());
    }

    fn push_labels(&mut self, labels: Labels<'_>, more: Option<(&str, &str)>) {
        let mut before = "{";
        for &(name, value) in labels.iter().chain(&more) {
            self.push(&[before, name, "=\"", &escaped(value), "\""]);
            before = ",";
        }
        self.written.push_str(if before == "{" { " " } else { "} " });
    }
}

impl Family<'_> {
    /// Writes the one value that these labels have.
    pub fn value(&mut self, labels: Labels<'_>, value: impl Display) {
        let suffix = if self.metric.kind == MetricKind::Counter { "_total" } else { "" };
        self.sample(suffix, (labels, None), &value.to_string());
        self.text.written.push('\n');
    }

    /// Writes a histogram; `exemplars` in the order of its buckets, as far as there are any.
    pub fn histogram(
        &mut self,
        labels: Labels<'_>,
        reading: &Reading,
        exemplars: &[Option<Exemplar>],
    ) {
        let mut cumulative = 0;
        for (place, &(bound, count)) in reading.buckets.iter().enumerate() {
            cumulative += count;
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { float(bound) };
            self.sample("_bucket", (labels, Some(("le", &bound))), &cumulative.to_string());
            if let (Format::OpenMetrics, Some(Some(exemplar))) =
                (self.text.format, exemplars.get(place))
            {
                let (trace, value) = (exemplar.trace_id.to_string(), float(exemplar.seconds));
                let at = format!("{:.3}", exemplar.at_seconds);
                self.text.push(&[" # {trace_id=\"", &trace, "\"} ", &value, " ", &at]);
            }
            self.text.written.push('\n');
        }
        for (suffix, value) in [("_sum", float(reading.sum)), ("_count", reading.count.to_string())]
        {
            self.sample(suffix, (labels, None), &value);
            self.text.written.push('\n');
        }
    }

    fn sample(
        &mut self,
        suffix: &str,
        (labels, more): (Labels<'_>, Option<(&str, &str)>),
        value: &str,
    ) {
        self.text.push(&[self.metric.name, suffix]);
        self.text.push_labels(labels, more);
        self.text.written.push_str(value);
    }
}

// With a point, so that the bound of a bucket is the same label in both formats.
fn float(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.1}") } else { value.to_string() }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::{Format, Text};
    use crate::domain::trace::TraceId;
    use crate::platform::telemetry::catalog;
    use crate::platform::telemetry::exemplars::Exemplar;
    use crate::platform::telemetry::histogram::Reading;

    fn page(format: Format) -> String {
        let mut text = Text::new(format);
        text.family(&catalog::REQUESTS).value(&[("model", "a\"b\\c\nd"), ("version", "1")], 3);
        text.family(&catalog::NV_COUNT).value(&[], 4);
        let reading = Reading {
            sum: 2.0,
            count: 3,
            buckets: vec![(0.000_01, 1), (30.0, 1), (f64::INFINITY, 1)],
        };
        let trace_id = TraceId::new([0xab; 16]).unwrap();
        let exemplar = Exemplar { trace_id, seconds: 0.5, at_seconds: 7.25 };
        let labels = [("model", "m")];
        text.family(&catalog::REQUEST_DURATION).histogram(
            &labels,
            &reading,
            &[None, Some(exemplar)],
        );
        let lines = text.finish();
        lines.lines().filter(|line| !line.starts_with("# HELP")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn plain_text_has_no_exemplars_and_whole_names() {
        let expected = r#"# TYPE tidegate_requests_total counter
tidegate_requests_total{model="a\"b\\c\nd",version="1"} 3
# TYPE nv_inference_count untyped
nv_inference_count 4
# TYPE tidegate_request_duration_seconds histogram
tidegate_request_duration_seconds_bucket{model="m",le="0.00001"} 1
tidegate_request_duration_seconds_bucket{model="m",le="30.0"} 2
tidegate_request_duration_seconds_bucket{model="m",le="+Inf"} 3
tidegate_request_duration_seconds_sum{model="m"} 2.0
tidegate_request_duration_seconds_count{model="m"} 3"#;
        assert_eq!(page(Format::Plain), expected);
    }

    #[test]
    fn openmetrics_has_exemplars_and_an_end() {
        let page = page(Format::OpenMetrics);
        let trace = "ab".repeat(16);
        for line in [
            "# TYPE tidegate_requests counter",
            "# TYPE nv_inference_count unknown",
            &format!(
                "tidegate_request_duration_seconds_bucket{{model=\"m\",le=\"30.0\"}} 2 \
                 # {{trace_id=\"{trace}\"}} 0.5 7.250"
            ),
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        assert!(page.ends_with("\n# EOF"), "{page}");
    }
}
