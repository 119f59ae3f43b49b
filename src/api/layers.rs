//! Around every cold call: its id, time limit, error body and trace.
//!
//! Handlers return a [`Refusal`]; the layer here writes it down, once, with the id of the request.
//! None of this is on the road of an inference.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde::de::DeserializeOwned;

use crate::api::session::{self, Limits};
use crate::api::status::{self, Refusal};
use crate::domain::failure::{Code, excerpt};
use crate::platform::clock::{Clock, System};

/// Puts the layers around all routes of a router, and answers paths and methods it does not have.
pub fn around(router: Router, limits: Limits) -> Router {
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(limits.message_bytes))
        .layer(middleware::from_fn_with_state(limits, call))
}

/// Reads a small JSON body; the default where there is none.
///
/// # Errors
///
/// A [`Refusal`] with the place where reading stopped.
pub fn json_or_default<T: Default + DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| {
        Refusal::new(Code::Malformed, format!("request body is not valid JSON: {error}"))
    })
}

/// Refuses a body that is compressed: nothing here inflates one.
///
/// # Errors
///
/// A [`Refusal`] that names the encoding.
pub fn uncompressed(headers: &HeaderMap) -> Result<(), Refusal> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    match encoding.filter(|&value| value != HeaderValue::from_static("identity")) {
        None => Ok(()),
        Some(value) => {
            let found = String::from_utf8_lossy(value.as_bytes());
            let text = format!("content encoding '{}', expected none", excerpt(&found));
            Err(Refusal::new(Code::Encoding, text))
        }
    }
}

async fn call(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let (started, id) = (System.now(), session::new_id(System.wall()));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let allowed = Duration::from_secs(limits.cold_timeout_s);
    let answer = async {
        match uncompressed(request.headers()) {
            Ok(()) => next.run(request).await,
            Err(refusal) => refusal.into_response(),
        }
    };
    let answered = tokio::time::timeout(allowed, answer).await;
    let mut response = answered.unwrap_or_else(|_| {
        let text = format!("the call took longer than {} s", limits.cold_timeout_s);
        Refusal::new(Code::Deadline, text).into_response()
    });
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        let written = refusal.response(id).map(axum::body::Body::new);
        let (mut head, body) = written.into_parts();
        // What the router said beside the status, such as `Allow`, stays.
        head.headers.extend(response.headers().clone());
        response = Response::from_parts(head, body);
    } else if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let text = {
            let most = limits.message_bytes;
            format!("body has more than {most} bytes, expected at most {most}")
        };
        response = Refusal::new(Code::Size, text).response(id).map(axum::body::Body::new);
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    trace(&method, &path, response.status(), started);
    response
}

fn trace(method: &Method, path: &str, status: StatusCode, started: Instant) {
    let took_us = System.now().saturating_duration_since(started).as_micros();
    let status = status.as_u16();
    tracing::debug!(%method, path, status, took_us, "called");
}

async fn unknown_path(uri: Uri) -> Refusal {
    let path = excerpt(uri.path());
    Refusal::new(Code::Path, format!("path '{path}' is not found"))
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    let path = excerpt(uri.path());
    Refusal::new(Code::Method, format!("method {method} is not allowed for '{path}'"))
}

impl IntoResponse for Refusal {
    // Only the status and the refusal itself: the layer knows the id, and writes the body.
    fn into_response(self) -> Response {
        let mut response = status::http_status(self.code.kind()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Header that carries the id of a cold call.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
