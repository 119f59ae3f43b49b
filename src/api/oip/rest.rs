//! The HTTP half of the protocol: routes, bodies, headers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use serde::Serialize;

use crate::api::body::Body;
use crate::api::oip::binary::{JSON_LENGTH, Parts};
use crate::api::oip::infer_json::{self, InferBody};
use crate::api::oip::service::{Call, Service};
use crate::api::status::Refusal;
use crate::domain::failure::Code;
use crate::domain::inference::Answer;
use crate::serving::gateway::infer::Ticket;

/// The HTTP calls, for one listener. Cloning shares what is behind them.
#[derive(Clone, Debug)]
pub struct Rest {
    service: Service,
}

/// What a path asks for.
enum Route<'a> {
    Server,
    Live,
    Ready,
    Model { model: &'a str, version: &'a str },
    ModelReady { model: &'a str, version: &'a str },
    Infer { model: &'a str, version: &'a str },
    Index,
    Load { model: &'a str },
    Unload { model: &'a str },
}

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    ready: bool,
}

#[derive(Default, serde::Deserialize)]
struct IndexBody {
    #[serde(default)]
    ready: bool,
}

#[derive(Default, serde::Deserialize)]
struct LoadBody {
    #[serde(default)]
    parameters: serde_json::Map<String, serde_json::Value>,
}

impl Rest {
    /// Calls of that service.
    pub fn new(service: Service) -> Self {
        Self { service }
    }

    /// Answers one request.
    pub async fn call(self, request: Request<Incoming>) -> Response<Body> {
        let arrived = self.service.now();
        let path = request.uri().path().to_owned();
        let answer = match route(&path) {
            None => {
                Err(Refusal::new(Code::Path, format!("path '{}' is not found", excerpt(&path))))
            }
            Some(route) if route.method() != *request.method() => {
                return self.wrong_method(&route, request.method());
            }
            Some(Route::Infer { model, version }) => {
                return self.infer(request, arrived, (model, version)).await;
            }
            Some(route) => self.cold(request, route).await,
        };
        answer.unwrap_or_else(|refusal| refusal.response(self.service.new_id()))
    }

    async fn cold(
        &self,
        request: Request<Incoming>,
        route: Route<'_>,
    ) -> Result<Response<Body>, Refusal> {
        match route {
            Route::Server => Ok(json(&self.service.metadata())),
            Route::Live => Ok(json(&Live { live: true })),
            Route::Ready => Ok(self.ready()),
            Route::Model { model, version } => {
                Ok(json(&self.service.model_metadata(model, version)?))
            }
            Route::ModelReady { model, version } => {
                self.service.model_ready(model, version)?;
                Ok(json(&Ready { name: Some(model), ready: true }))
            }
            Route::Index => {
                let body: IndexBody = self.small_body(request).await?;
                Ok(json(&self.service.index(body.ready)))
            }
            Route::Load { model } => {
                let body: LoadBody = self.small_body(request).await?;
                if let Some(name) = body.parameters.keys().next() {
                    let text = format!("load parameter '{}' is not offered", excerpt(name));
                    return Err(Refusal::new(Code::NotOffered, text));
                }
                self.service.load(model).await?;
                Ok(Response::new(Body::default()))
            }
            Route::Unload { model } => {
                self.service.unload(model).await?;
                Ok(Response::new(Body::default()))
            }
            // Answered before, with an account of its own.
            Route::Infer { .. } => Err(Refusal::new(Code::Bug, "inference took the cold road")),
        }
    }

    async fn infer(
        &self,
        request: Request<Incoming>,
        arrived: Instant,
        target: (&str, &str),
    ) -> Response<Body> {
        let mut ticket = self.service.open(arrived);
        match self.try_infer(request, arrived, target, &mut ticket).await {
            Ok((answer, body)) => match respond(&answer, &body) {
                Ok(response) => response.map(|body| body.with_ticket(ticket)),
                Err(refusal) => refuse(&refusal, ticket),
            },
            Err(refusal) => refuse(&refusal, ticket),
        }
    }

    async fn try_infer(
        &self,
        request: Request<Incoming>,
        arrived: Instant,
        (model, version): (&str, &str),
        ticket: &mut Ticket,
    ) -> Result<(Answer, InferBody), Refusal> {
        let (head, body) = request.into_parts();
        uncompressed(&head.headers)?;
        let bytes = self.read(body).await?;
        let mut body = infer_json::read(Parts::cut(&head.headers, bytes)?)?;
        let call = Call {
            model: model.to_owned(),
            version: version.to_owned(),
            inputs: std::mem::take(&mut body.inputs),
            requested: std::mem::take(&mut body.requested),
            timeout: body.timeout_us.map(Duration::from_micros),
        };
        let answer = self.service.infer(call, arrived, ticket).await?;
        Ok((answer, body))
    }

    async fn small_body<T: Default + serde::de::DeserializeOwned>(
        &self,
        request: Request<Incoming>,
    ) -> Result<T, Refusal> {
        uncompressed(request.headers())?;
        let bytes = self.read(request.into_body()).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(T::default());
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            Refusal::new(Code::Malformed, format!("request body is not valid JSON: {error}"))
        })
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, Refusal> {
        let limits = self.service.limits();
        let most = limits.message_bytes;
        let too_large = |found: String| {
            Refusal::new(Code::Size, format!("body has {found} bytes, expected at most {most}"))
        };
        if let Some(announced) = body.size_hint().exact().filter(|&bytes| bytes > most as u64) {
            return Err(too_large(announced.to_string()));
        }
        let whole = Limited::new(body, most).collect();
        let in_time = tokio::time::timeout(Duration::from_secs(limits.body_timeout_s), whole);
        match in_time.await {
            Ok(Ok(whole)) => Ok(whole.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(too_large(format!("more than {most}")))
            }
            Ok(Err(error)) => {
                Err(Refusal::new(Code::Left, format!("body ended before it was whole: {error}")))
            }
            Err(_) => {
                let text = format!("body did not come within {} s", limits.body_timeout_s);
                Err(Refusal::new(Code::SlowBody, text))
            }
        }
    }

    fn ready(&self) -> Response<Body> {
        let ready = self.service.is_ready();
        let mut response = json(&Ready { name: None, ready });
        if !ready {
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }

    fn wrong_method(&self, route: &Route<'_>, found: &Method) -> Response<Body> {
        let expected = route.method();
        let text = format!("method {found} is not allowed here, expected {expected}");
        let mut response = Refusal::new(Code::Method, text).response(self.service.new_id());
        if let Ok(value) = HeaderValue::from_str(expected.as_str()) {
            response.headers_mut().insert(header::ALLOW, value);
        }
        response
    }
}

impl Route<'_> {
    fn method(&self) -> Method {
        match self {
            Self::Server
            | Self::Live
            | Self::Ready
            | Self::Model { .. }
            | Self::ModelReady { .. } => Method::GET,
            Self::Infer { .. } | Self::Index | Self::Load { .. } | Self::Unload { .. } => {
                Method::POST
            }
        }
    }
}

fn route(path: &str) -> Option<Route<'_>> {
    let mut parts = [""; 7];
    let mut count = 0;
    for part in path.strip_prefix('/')?.trim_end_matches('/').split('/') {
        *parts.get_mut(count)? = part;
        count += 1;
    }
    Some(match *parts.get(..count)? {
        ["v2"] => Route::Server,
        ["v2", "health", "live"] => Route::Live,
        ["v2", "health", "ready"] => Route::Ready,
        ["v2", "models", model] => Route::Model { model, version: "" },
        ["v2", "models", model, "ready"] => Route::ModelReady { model, version: "" },
        ["v2", "models", model, "infer"] => Route::Infer { model, version: "" },
        ["v2", "models", model, "versions", version] => Route::Model { model, version },
        ["v2", "models", model, "versions", version, "ready"] => {
            Route::ModelReady { model, version }
        }
        ["v2", "models", model, "versions", version, "infer"] => Route::Infer { model, version },
        ["v2", "repository", "index"] => Route::Index,
        ["v2", "repository", "models", model, "load"] => Route::Load { model },
        ["v2", "repository", "models", model, "unload"] => Route::Unload { model },
        _ => return None,
    })
}

fn respond(answer: &Answer, body: &InferBody) -> Result<Response<Body>, Refusal> {
    let written = infer_json::write(answer, body.id.as_deref(), &body.form)
        .map_err(|error| Refusal::new(Code::Output, error.to_string()))?;
    let mut response = Response::new(Body::chunks(written.chunks));
    let headers = response.headers_mut();
    let kind = match written.json_length {
        Some(length) => {
            headers.insert(JSON_LENGTH, HeaderValue::from(length));
            "application/octet-stream"
        }
        None => "application/json",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let labels = &answer.origin.labels;
    for (name, value) in [
        ("x-tidegate-inference-id", answer.id.to_string().as_str()),
        ("x-tidegate-version", &labels.version),
        ("x-tidegate-variant", answer.variant),
        ("x-tidegate-digest", &labels.digest),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

fn refuse(refusal: &Refusal, mut ticket: Ticket) -> Response<Body> {
    ticket.fail(refusal.code);
    refusal.response(ticket.id()).map(|body| body.with_ticket(ticket))
}

fn uncompressed(headers: &HeaderMap) -> Result<(), Refusal> {
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

fn json<T: Serialize>(value: &T) -> Response<Body> {
    // Plain values into memory: nothing there can fail.
    let mut response = Response::new(Body::of(serde_json::to_vec(value).unwrap_or_default()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}
