//! Around every cold call: its id, time limit, error body and trace.
//!
//! Handlers return a [`Refusal`]; the layer here writes it down, once, with the id of the request.
//! None of this is on the road of an inference.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::api::coding::accept::Coding;
use crate::api::coding::deflate::deflate;
use crate::api::coding::inflate::inflate;
use crate::api::session::{self, Limits};
use crate::api::status::{self, Refusal};
use crate::domain::compat::Compat;
use crate::domain::failure::{Code, excerpt};
use crate::platform::clock::{Clock, System};

/// Puts the layers around all routes of a router, and answers paths and methods it does not have.
pub fn around(router: Router, limits: Limits, compat: Compat) -> Router {
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(limits.message_bytes))
        .layer(middleware::from_fn_with_state((limits, compat), call))
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

// Handlers read bodies as they were before they were compressed.
async fn inflated(request: Request, most: usize) -> Result<Request, Refusal> {
    let Some(coding) = Coding::of_request(request.headers())? else { return Ok(request) };
    let (mut head, body) = request.into_parts();
    let whole = Limited::new(body, most).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return too_large(most);
        }
        Refusal::new(Code::Left, format!("body ended before it was whole: {error}"))
    })?;
    let body = inflate(coding, whole.to_bytes(), most).await?;
    head.headers.remove(header::CONTENT_ENCODING);
    head.headers.insert(header::CONTENT_LENGTH, body.len().into());
    Ok(Request::from_parts(head, body.into()))
}

// Answers of cold calls are whole in memory; what is not stays as it is.
async fn deflated(response: Response, coding: Coding) -> Response {
    if response.body().size_hint().exact().is_none() {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(whole) = body.collect().await.map(Collected::to_bytes) else {
        return Response::from_parts(head, Body::empty());
    };
    let coded = deflate(coding, std::slice::from_ref(&whole)).await;
    // Left alone, the length may be that of a body which a HEAD does not get.
    let Some(coded) = coded else { return Response::from_parts(head, whole.into()) };
    head.headers.insert(header::CONTENT_ENCODING, coding.value());
    head.headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    head.headers.insert(header::CONTENT_LENGTH, coded.len().into());
    Response::from_parts(head, coded.into())
}

fn too_large(most: usize) -> Refusal {
    Refusal::new(Code::Size, format!("body has more than {most} bytes, expected at most {most}"))
}

async fn call(
    State((limits, compat)): State<(Limits, Compat)>,
    request: Request,
    next: Next,
) -> Response {
    let (started, id) = (System.now(), session::new_id(System.wall()));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let accepted = Coding::of_answer(request.headers());
    let allowed = Duration::from_secs(limits.cold_timeout_s);
    let answer = async {
        match inflated(request, limits.message_bytes).await {
            Ok(request) => next.run(request).await,
            Err(refusal) => refusal.into_response(),
        }
    };
    let answered = tokio::time::timeout(allowed, answer).await;
    let mut response = answered.unwrap_or_else(|_| {
        let text = format!("the call took longer than {} s", limits.cold_timeout_s);
        Refusal::new(Code::Deadline, text).into_response()
    });
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        let written = refusal.response(id, compat).map(Body::new);
        let (mut head, body) = written.into_parts();
        // What the router said beside the status, such as `Allow`, stays.
        head.headers.extend(response.headers().clone());
        response = Response::from_parts(head, body);
    } else if response.status().is_client_error() && !response.body().is_end_stream() {
        response = rejection(response, &limits).await.response(id, compat).map(Body::new);
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if let Some(coding) = accepted {
        response = deflated(response, coding).await;
    }
    trace(&method, &path, response.status(), started);
    response
}

// What the router refuses before a handler is called, in its own words: a path or body it cannot read.
async fn rejection(response: Response, limits: &Limits) -> Refusal {
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large(limits.message_bytes);
    }
    let words = axum::body::to_bytes(response.into_body(), MOST_WORDS).await.unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    Refusal::new(Code::Malformed, format!("request cannot be read: {words}"))
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
        let mut response = status::http_status(self.code.kind(), Compat::None).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Bytes of the router's words that are repeated.
const MOST_WORDS: usize = 4096;

/// Header that carries the id of a cold call.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
