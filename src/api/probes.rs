//! Metrics and probes on their own port, read only.

use std::fmt::Write;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::control::change::Changes;
use crate::platform::telemetry::page::Metrics;
use crate::platform::telemetry::text::Format;

/// What the port shows.
#[derive(Clone, Debug)]
struct Shown {
    metrics: Metrics,
    changes: Changes,
}

/// The routes of the port.
pub fn router(metrics: Metrics, changes: Changes) -> Router {
    Router::new()
        .route("/metrics", get(page))
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .route("/startupz", get(started))
        .with_state(Shown { metrics, changes })
}

async fn page(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = accepted(accept.unwrap_or_default());
    let kind = HeaderValue::from_static(format.media_type());
    ([(header::CONTENT_TYPE, kind)], shown.metrics.page(format)).into_response()
}

// OpenMetrics for those who ask for it and do not prefer the plain format: Prometheus does.
fn accepted(accept: &str) -> Format {
    let quality = |wanted: &str| {
        let ranges = accept.split(',').map(|range| range.split(';').map(str::trim_ascii));
        let qualities = ranges.filter_map(|mut range| {
            let is_wanted = range.next()?.eq_ignore_ascii_case(wanted);
            let quality = range.find_map(|parameter| parameter.strip_prefix("q="));
            is_wanted.then(|| quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0)))
        });
        qualities.fold(0.0, f64::max)
    };
    let open = quality("application/openmetrics-text");
    if open > 0.0 && open >= quality("text/plain") { Format::OpenMetrics } else { Format::Plain }
}

async fn alive() -> &'static str {
    "alive\n"
}

async fn started(State(shown): State<Shown>) -> (StatusCode, &'static str) {
    if shown.changes.snapshot().started {
        (StatusCode::OK, "started\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not started\n")
    }
}

// One line for whoever probes, then one for each model that an operator should look at.
async fn ready(State(shown): State<Shown>) -> (StatusCode, String) {
    let snapshot = shown.changes.snapshot();
    let (status, first) = if snapshot.ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let mut text = format!("{first}\n");
    for entry in snapshot.entries() {
        if let Some(reason) = &entry.degraded {
            // Failing to write to a text cannot happen.
            writeln!(text, "degraded {}: {reason}", entry.name).ok();
        }
    }
    (status, text)
}

#[cfg(test)]
mod tests {
    use super::accepted;
    use crate::platform::telemetry::text::Format;

    #[test]
    fn who_asks_for_openmetrics_gets_it_and_everybody_else_plain_text() {
        // What Prometheus 2.42 and 3 send.
        for accept in [
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1\
             ;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,\
             text/plain;version=0.0.4;q=0.3, */*;q=0.2",
        ] {
            assert_eq!(accepted(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html,*/*;q=0.8",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.2, text/plain;q=0.9",
        ] {
            assert_eq!(accepted(accept), Format::Plain, "{accept}");
        }
    }
}
