//! An inference's place in a trace, and what each wire says of it there.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::api::status::{grpc_name, http_status};
use crate::domain::compat::Compat;
use crate::domain::failure::Kind;
use crate::domain::trace::{Status, Trace, Wire};
use crate::platform::telemetry::traces::Tracer;

/// An inference over HTTP, of the version that serves.
pub static HTTP: Wire = Wire {
    attributes: &[
        ("http.request.method", "POST"),
        ("http.route", "/v2/models/{model}/infer"),
        ("url.scheme", "http"),
    ],
    status_name: "http.response.status_code",
    status: over_http,
};

/// An inference over HTTP, of a version that the path names.
pub static HTTP_VERSION: Wire = Wire {
    attributes: &[
        ("http.request.method", "POST"),
        ("http.route", "/v2/models/{model}/versions/{version}/infer"),
        ("url.scheme", "http"),
    ],
    status_name: "http.response.status_code",
    status: over_http,
};

/// `:predict` over HTTP, of the version that serves.
pub static PREDICT: Wire = Wire {
    attributes: &[
        ("http.request.method", "POST"),
        ("http.route", "/v1/models/{model}:predict"),
        ("url.scheme", "http"),
    ],
    status_name: "http.response.status_code",
    status: over_http,
};

/// `:predict` over HTTP, of a version that the path names.
pub static PREDICT_VERSION: Wire = Wire {
    attributes: &[
        ("http.request.method", "POST"),
        ("http.route", "/v1/models/{model}/versions/{version}:predict"),
        ("url.scheme", "http"),
    ],
    status_name: "http.response.status_code",
    status: over_http,
};

/// `:predict` over HTTP, of a label that the path names.
pub static PREDICT_LABEL: Wire = Wire {
    attributes: &[
        ("http.request.method", "POST"),
        ("http.route", "/v1/models/{model}/labels/{label}:predict"),
        ("url.scheme", "http"),
    ],
    status_name: "http.response.status_code",
    status: over_http,
};

/// An inference over HTTP on a hosting platform's own route, which is known at the start only.
pub static PLATFORM: Wire = Wire {
    attributes: &[("http.request.method", "POST"), ("url.scheme", "http")],
    status_name: "http.response.status_code",
    status: over_http,
};

/// An inference over gRPC.
pub static GRPC: Wire = Wire {
    attributes: &[
        ("rpc.system.name", "grpc"),
        ("rpc.method", "inference.GRPCInferenceService/ModelInfer"),
    ],
    status_name: "rpc.response.status_code",
    status: over_grpc,
};

/// One message of a gRPC stream.
pub static GRPC_STREAM: Wire = Wire {
    attributes: &[
        ("rpc.system.name", "grpc"),
        ("rpc.method", "inference.GRPCInferenceService/ModelStreamInfer"),
    ],
    status_name: "rpc.response.status_code",
    status: over_grpc,
};

/// The place in a trace that the headers of a request ask for; none if the trace is not kept.
pub fn place(tracer: &Tracer, headers: &HeaderMap, wire: &'static Wire) -> Option<Box<Trace>> {
    let parent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    tracer.sample(parent, || state(headers), wire)
}

/// Tells the caller which span was ours.
pub fn respond(headers: &mut HeaderMap, trace: &Trace) {
    if let Ok(value) = HeaderValue::from_str(&trace.response()) {
        headers.insert(TRACERESPONSE, value);
    }
}

// Several headers are one list (W3C Trace Context 3.3.1.1); a list that is too long is left out.
fn state(headers: &HeaderMap) -> String {
    let lists = headers.get_all(TRACESTATE).iter().filter_map(|value| value.to_str().ok());
    let state = lists.collect::<Vec<_>>().join(",");
    if state.len() > MOST_STATE_BYTES { String::new() } else { state }
}

fn over_http(failure: Option<Kind>, compat: Compat) -> Status {
    Status::Number(failure.map_or(200, |kind| http_status(kind, compat).as_u16()))
}

fn over_grpc(failure: Option<Kind>, compat: Compat) -> Status {
    Status::Name(failure.map_or("OK", |kind| grpc_name(kind, compat)))
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// What the specification asks everybody to pass on at least; nobody sends more.
const MOST_STATE_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::{GRPC, HTTP};
    use crate::domain::compat::Compat;
    use crate::domain::failure::Kind;
    use crate::domain::trace::Status;

    #[test]
    fn a_span_has_the_status_that_the_caller_met() {
        let over =
            |compat| [&HTTP, &GRPC].map(|wire| (wire.status)(Some(Kind::Overloaded), compat));
        let met = [Status::Number(429), Status::Name("RESOURCE_EXHAUSTED")];
        assert_eq!(over(Compat::None), met);
        assert_eq!(over(Compat::Triton), [Status::Number(503), Status::Name("UNAVAILABLE")]);
        let answered = [&HTTP, &GRPC].map(|wire| (wire.status)(None, Compat::Triton));
        assert_eq!(answered, [Status::Number(200), Status::Name("OK")]);
    }
}
