//! Inference over HTTP: bodies and headers, without a layer between.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use axum::Router;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Either, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tower::ServiceExt;

use crate::api::body::Body;
use crate::api::coding::accept::Coding;
use crate::api::coding::deflate::deflate;
use crate::api::coding::inflate::inflate;
use crate::api::oip::binary::{JSON_LENGTH, Parts};
use crate::api::oip::cold;
use crate::api::oip::infer_json::{self, InferBody};
use crate::api::oip::raw;
use crate::api::oip::service::{Call, Service};
use crate::api::status::Refusal;
use crate::api::traced;
use crate::domain::failure::Code;
use crate::domain::inference::Answer;
use crate::serving::gateway::infer::Ticket;

/// The HTTP calls, for one listener. Cloning shares what is behind them.
#[derive(Clone, Debug)]
pub struct Rest {
    service: Service,
    cold: Router,
}

/// The body of a response: an inference's own, or any other call's.
pub type Answered = Either<Body, axum::body::Body>;

impl Rest {
    /// Calls of that service.
    pub fn new(service: Service) -> Self {
        Self { cold: cold::router(service.clone()), service }
    }

    /// Answers one request: inferences here, all other calls on the cold road.
    pub async fn call(&self, request: Request<Incoming>) -> Response<Answered> {
        if request.method() == Method::POST {
            // Copied out of the path, because the request goes on without it.
            let target = infer_target(request.uri().path())
                .map(|(model, version)| (model.to_owned(), version.to_owned()));
            if let Some(target) = target {
                let arrived = self.service.now();
                return self.infer(request, arrived, target).await.map(Either::Left);
            }
        }
        let cold = self.cold.clone();
        let Ok(response) = cold.oneshot(request.map(axum::body::Body::new)).await;
        response.map(Either::Right)
    }

    async fn infer(
        &self,
        request: Request<Incoming>,
        arrived: Instant,
        target: (String, String),
    ) -> Response<Body> {
        let accepted = Coding::of_answer(request.headers());
        let wire = if target.1.is_empty() { &traced::HTTP } else { &traced::HTTP_VERSION };
        let trace = self.service.trace(request.headers(), wire);
        let mut ticket = self.service.open(arrived, trace);
        let answered = match self.try_infer(request, arrived, target, &mut ticket).await {
            Ok((answer, body)) => respond(&answer, &body, accepted).await,
            Err(refusal) => Err(refusal),
        };
        let mut response = answered.unwrap_or_else(|refusal| {
            ticket.fail(refusal.code);
            refusal.response(ticket.id(), self.service.compat())
        });
        if let Some(trace) = ticket.trace() {
            traced::respond(response.headers_mut(), trace);
        }
        response.map(|body| body.with_ticket(ticket))
    }

    async fn try_infer(
        &self,
        request: Request<Incoming>,
        arrived: Instant,
        (model, version): (String, String),
        ticket: &mut Ticket,
    ) -> Result<(Answer, InferBody), Refusal> {
        let (head, body) = request.into_parts();
        let coding = Coding::of_request(&head.headers)?;
        let mut bytes = self.read(body).await?;
        if let Some(coding) = coding {
            // Boxed, so that all other requests need not carry its state.
            bytes = Box::pin(inflate(coding, bytes, self.service.limits().message_bytes)).await?;
        }
        let parts = Parts::cut(&head.headers, bytes)?;
        let mut body = if parts.is_raw() {
            let loaded = self.service.loaded(&model, &version)?;
            let mut body = InferBody::default();
            body.inputs.push(raw::read(loaded.signature(), parts.into_raw())?);
            body.form.all_binary = true;
            body
        } else {
            infer_json::read(parts)?
        };
        let call = Call {
            model,
            version,
            inputs: std::mem::take(&mut body.inputs),
            requested: std::mem::take(&mut body.requested),
            timeout: body.timeout,
        };
        let answer = self.service.infer(call, arrived, ticket).await?;
        Ok((answer, body))
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
            Ok(Err(error)) => Err(unread(&*error)),
            Err(_) => {
                let text = format!("body did not come within {} s", limits.body_timeout_s);
                Err(Refusal::new(Code::SlowBody, text))
            }
        }
    }
}

// A body that breaks off is of a caller who left; one that breaks the rules is the caller's to mend.
fn unread(error: &(dyn Error + 'static)) -> Refusal {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(ErrorKind::InvalidInput | ErrorKind::InvalidData)) {
            return Refusal::new(Code::Malformed, format!("body is broken: {error}"));
        }
        cause = error.source();
    }
    Refusal::new(Code::Left, format!("body ended before it was whole: {error}"))
}

// Model and version of an inference's path; an empty version asks for none in particular.
fn infer_target(path: &str) -> Option<(&str, &str)> {
    let target = path.strip_prefix("/v2/models/")?.strip_suffix("/infer")?;
    let (model, version) = target.split_once("/versions/").unwrap_or((target, ""));
    (!model.contains('/') && !version.contains('/')).then_some((model, version))
}

async fn respond(
    answer: &Answer,
    body: &InferBody,
    accepted: Option<Coding>,
) -> Result<Response<Body>, Refusal> {
    let written = infer_json::write(answer, body)
        .map_err(|error| Refusal::new(Code::Output, error.to_string()))?;
    let coded = match accepted {
        Some(coding) => Box::pin(deflate(coding, &written.chunks)).await.zip(accepted),
        None => None,
    };
    let mut response = Response::new(Body::default());
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
    *response.body_mut() = match coded {
        Some((coded, coding)) => {
            headers.insert(header::CONTENT_ENCODING, coding.value());
            Body::of(coded)
        }
        None => Body::chunks(written.chunks),
    };
    Ok(response)
}
