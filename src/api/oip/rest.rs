//! Inference over HTTP: bodies and headers, without a layer between.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Either, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use smallvec::SmallVec;
use tower::ServiceExt;

use crate::api::body::Body;
use crate::api::coding::accept::Coding;
use crate::api::coding::deflate::deflate;
use crate::api::coding::inflate::inflate;
use crate::api::oip::binary::{JSON_LENGTH, Parts};
use crate::api::oip::cold;
use crate::api::oip::infer_json::{self, AnswerBody, InferBody};
use crate::api::oip::raw;
use crate::api::oip::service::{Call, Service};
use crate::api::platform::PlatformRoutes;
use crate::api::predict::answer;
use crate::api::predict::csv;
use crate::api::predict::request::{self, Form};
use crate::api::predict::target::predict_target;
use crate::api::status::Refusal;
use crate::api::traced;
use crate::domain::failure::Code;
use crate::domain::inference::Answer;
use crate::domain::trace::Wire;
use crate::serving::gateway::infer::Ticket;

/// The HTTP calls, for one listener. Cloning shares what is behind them.
#[derive(Clone, Debug)]
pub struct Rest {
    service: Service,
    cold: Router,
    platform: Option<PlatformRoutes>,
}

/// Whom an inference's path asks; an empty version asks for none in particular.
struct Target {
    model: String,
    version: String,
    dialect: Dialect,
    wire: &'static Wire,
}

/// In which words a body is written.
#[derive(Clone, Copy)]
enum Dialect {
    OpenInference,
    Predict,
    /// A hosting platform's own route: the body says it.
    Any,
}

impl Dialect {
    // What a trace says of the path; names of models have no slash.
    fn wire(self, path: &str) -> &'static Wire {
        match self {
            Self::OpenInference if path.contains("/versions/") => &traced::HTTP_VERSION,
            Self::OpenInference => &traced::HTTP,
            Self::Predict if path.contains("/versions/") => &traced::PREDICT_VERSION,
            Self::Predict if path.contains("/labels/") => &traced::PREDICT_LABEL,
            Self::Predict => &traced::PREDICT,
            Self::Any => &traced::PLATFORM,
        }
    }
}

/// How an answer is to be written.
enum Wording {
    OpenInference(InferBody),
    Predict(Form),
}

/// The body of a response: an inference's own, or any other call's.
pub type Answered = Either<Body, axum::body::Body>;

impl Rest {
    /// Calls of that service, and those of a hosting platform.
    pub fn new(service: Service, platform: Option<PlatformRoutes>) -> Self {
        Self { cold: cold::router(service.clone()), service, platform }
    }

    /// Answers one request: inferences here, all other calls on the cold road.
    pub async fn call(&self, request: Request<Incoming>) -> Response<Answered> {
        let path = request.uri().path();
        if request.method() == Method::POST
            && let Some(target) = self.target(path)
        {
            let arrived = self.service.now();
            return self.infer(request, arrived, target).await.map(Either::Left);
        }
        let health = self.platform.as_ref().filter(|platform| platform.is_health(path));
        let request = request.map(axum::body::Body::new);
        if let Some(platform) = health {
            return platform.health(request).await.map(Either::Right);
        }
        let Ok(response) = self.cold.clone().oneshot(request).await;
        response.map(Either::Right)
    }

    fn target(&self, path: &str) -> Option<Target> {
        let ((model, version), dialect) =
            if self.platform.as_ref().is_some_and(|platform| platform.is_predict(path)) {
                (("", ""), Dialect::Any)
            } else if let Some(target) = infer_target(path) {
                (target, Dialect::OpenInference)
            } else {
                (predict_target(path)?, Dialect::Predict)
            };
        let wire = dialect.wire(path);
        // Copied out of the path, because the request goes on without it.
        Some(Target { model: model.to_owned(), version: version.to_owned(), dialect, wire })
    }

    async fn infer(
        &self,
        request: Request<Incoming>,
        arrived: Instant,
        target: Target,
    ) -> Response<Body> {
        let accepted = Coding::of_answer(request.headers());
        let trace = self.service.trace(request.headers(), target.wire);
        let mut ticket = self.service.open(arrived, trace);
        let answered = match self.try_infer(request, arrived, target, &mut ticket).await {
            Ok((answer, wording)) => respond(&answer, &wording, accepted).await,
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
        target: Target,
        ticket: &mut Ticket,
    ) -> Result<(Answer, Wording), Refusal> {
        let (head, body) = request.into_parts();
        let coding = Coding::of_request(&head.headers)?;
        let mut bytes = self.read(body).await?;
        if let Some(coding) = coding {
            // Boxed, so that all other requests need not carry its state.
            bytes = Box::pin(inflate(coding, bytes, self.service.limits().message_bytes)).await?;
        }
        let (call, wording) = match target.dialect {
            Dialect::OpenInference => self.decode_open(&head.headers, bytes, target)?,
            Dialect::Predict => self.decode_predict(&head.headers, &bytes, target)?,
            Dialect::Any => self.decode_any(&head.headers, bytes, target)?,
        };
        let answer = self.service.infer(call, arrived, ticket).await?;
        Ok((answer, wording))
    }

    fn decode_open(
        &self,
        headers: &HeaderMap,
        bytes: Bytes,
        target: Target,
    ) -> Result<(Call, Wording), Refusal> {
        let parts = Parts::cut(headers, bytes)?;
        let mut body = if parts.is_raw() {
            let loaded = self.service.loaded(&target.model, &target.version)?;
            let mut body = InferBody::default();
            body.inputs.push(raw::read(loaded.signature(), parts.into_raw())?);
            body.form.all_binary = true;
            body
        } else {
            infer_json::read(parts)?
        };
        let call = Call {
            model: target.model,
            version: target.version,
            inputs: std::mem::take(&mut body.inputs),
            requested: std::mem::take(&mut body.requested),
            timeout: body.timeout,
        };
        Ok((call, Wording::OpenInference(body)))
    }

    fn decode_predict(
        &self,
        headers: &HeaderMap,
        bytes: &Bytes,
        Target { model, version, dialect, .. }: Target,
    ) -> Result<(Call, Wording), Refusal> {
        let loaded = self.service.loaded(&model, &version)?;
        let body = if matches!(dialect, Dialect::Any) && is_csv(headers) {
            csv::read(loaded.signature(), bytes)?
        } else {
            request::read(loaded.signature(), bytes)?
        };
        let (inputs, requested) = (body.inputs, Vec::new());
        let call = Call { model, version, inputs, requested, timeout: None };
        Ok((call, Wording::Predict(body.form)))
    }

    fn decode_any(
        &self,
        headers: &HeaderMap,
        bytes: Bytes,
        mut target: Target,
    ) -> Result<(Call, Wording), Refusal> {
        if let Some(platform) = &self.platform {
            target.model = platform.model()?;
        }
        let binary = headers.contains_key(JSON_LENGTH);
        if binary || !is_csv(headers) && request::is_open_inference(&bytes) {
            return self.decode_open(headers, bytes, target);
        }
        self.decode_predict(headers, &bytes, target)
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

fn is_csv(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "text/csv"))
}

async fn respond(
    answer: &Answer,
    wording: &Wording,
    accepted: Option<Coding>,
) -> Result<Response<Body>, Refusal> {
    let written = match wording {
        Wording::OpenInference(body) => infer_json::write(answer, body)
            .map_err(|error| Refusal::new(Code::Output, error.to_string()))?,
        Wording::Predict(form) => {
            let json = Bytes::from(answer::write(answer, *form)?);
            AnswerBody { chunks: SmallVec::from_iter([json]), json_length: None }
        }
    };
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
