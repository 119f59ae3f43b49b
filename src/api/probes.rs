//! Metrics and probes on their own port, read only.

use std::fmt::Write;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::control::change::Changes;
use crate::platform::telemetry::page::Metrics;

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

async fn page(State(shown): State<Shown>) -> Response {
    match shown.metrics.page() {
        Ok(page) => {
            let kind = HeaderValue::from_static(OPEN_METRICS);
            ([(header::CONTENT_TYPE, kind)], page).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
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

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
