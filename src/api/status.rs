//! The only table from kinds of failure to HTTP and gRPC.

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::api::body::Body;
use crate::domain::compat::Compat;
use crate::domain::failure::{Code, Failure, Kind};
use crate::domain::inference::InferenceId;

/// A failure on its way to a caller: what a program can act on, and a sentence for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The code.
    pub code: Code,
    /// One sentence: what was found and what was expected.
    pub message: String,
    /// What decides the status: the code's own kind, but for a few calls of another server's.
    kind: Kind,
}

/// The body of every HTTP error.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    /// One sentence.
    pub error: &'a str,
    /// `<kind>.<detail>`.
    pub code: String,
    /// The inference's or request's id.
    pub request_id: String,
}

impl Refusal {
    /// A refusal in our own words.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: shortened(message.into()), kind: code.kind() }
    }

    /// The refusal of a load: a model that is not there is the server's fault to Triton.
    #[must_use]
    pub fn of_load(self, compat: Compat) -> Self {
        match (compat, self.kind) {
            (Compat::Triton, Kind::NotFound) => Self { kind: Kind::Internal, ..self },
            _ => self,
        }
    }

    /// The refusal of a question whether a model is ready: to Triton, one that is not is the
    /// caller's fault, over HTTP.
    #[must_use]
    pub fn of_readiness(self, compat: Compat) -> Self {
        match (compat, self.kind) {
            (Compat::Triton, Kind::Unavailable) => Self { kind: Kind::Invalid, ..self },
            _ => self,
        }
    }

    /// The HTTP response.
    pub fn response(&self, id: InferenceId, compat: Compat) -> Response<Body> {
        let mut response = Response::new(Body::of(self.body(id)));
        *response.status_mut() = http_status(self.kind, compat);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.code.kind() == Kind::Overloaded {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        if self.code == Code::Encoding {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
        }
        if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
            headers.insert(INFERENCE_ID, value);
        }
        // The body was not read to its end: what follows on the connection is no request.
        if matches!(self.code.kind(), Kind::TooLarge | Kind::HeaderTimeout | Kind::Cancelled) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The body of the HTTP response.
    pub fn body(&self, id: InferenceId) -> Vec<u8> {
        let body = ErrorBody {
            error: &self.message,
            code: self.code.to_string(),
            request_id: id.to_string(),
        };
        // Three strings into memory: nothing there can fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// The gRPC status, with code and id in its trailers.
    pub fn status(&self, id: InferenceId, compat: Compat) -> Status {
        let mut metadata = MetadataMap::new();
        if let Ok(value) = MetadataValue::try_from(id.to_string()) {
            metadata.insert("x-tidegate-inference-id", value);
        }
        if let Ok(value) = MetadataValue::try_from(self.code.to_string()) {
            metadata.insert("x-tidegate-code", value);
        }
        Status::with_metadata(grpc_code(self.kind, compat), self.message.clone(), metadata)
    }
}

impl<F: Failure> From<F> for Refusal {
    // The chain of causes is printed here, once, and nowhere below.
    fn from(failure: F) -> Self {
        let mut message = failure.to_string();
        let mut source = failure.source();
        while let Some(error) = source {
            let cause = error.to_string();
            if !message.contains(&cause) {
                message = format!("{message}: {cause}");
            }
            source = error.source();
        }
        Self::new(failure.code(), message)
    }
}

/// The HTTP status of a kind of failure; Triton's, where its clients are to meet it.
pub const fn http_status(kind: Kind, compat: Compat) -> StatusCode {
    if let Some((status, _)) = as_triton(kind, compat) {
        return status;
    }
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::HeaderTimeout => StatusCode::REQUEST_TIMEOUT,
        Kind::Conflict | Kind::Vetoed => StatusCode::CONFLICT,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        Kind::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Kind::Cancelled => CLIENT_CLOSED_REQUEST,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// The gRPC code of a kind of failure; Triton's, where its clients are to meet it.
pub const fn grpc_code(kind: Kind, compat: Compat) -> tonic::Code {
    if let Some((_, code)) = as_triton(kind, compat) {
        return code;
    }
    match kind {
        Kind::Invalid | Kind::UnsupportedMedia => tonic::Code::InvalidArgument,
        Kind::Unauthenticated => tonic::Code::Unauthenticated,
        Kind::Denied => tonic::Code::PermissionDenied,
        Kind::NotFound => tonic::Code::NotFound,
        Kind::MethodNotAllowed | Kind::Unsupported => tonic::Code::Unimplemented,
        Kind::Conflict => tonic::Code::Aborted,
        Kind::Vetoed => tonic::Code::FailedPrecondition,
        Kind::TooLarge | Kind::Overloaded | Kind::HeaderTooLarge => tonic::Code::ResourceExhausted,
        Kind::Cancelled => tonic::Code::Cancelled,
        Kind::Internal => tonic::Code::Internal,
        Kind::Unavailable => tonic::Code::Unavailable,
        Kind::HeaderTimeout | Kind::Timeout => tonic::Code::DeadlineExceeded,
    }
}

/// The gRPC code of a kind of failure, as gRPC spells it: `INVALID_ARGUMENT`.
pub const fn grpc_name(kind: Kind, compat: Compat) -> &'static str {
    match grpc_code(kind, compat) {
        tonic::Code::Ok => "OK",
        tonic::Code::Cancelled => "CANCELLED",
        tonic::Code::Unknown => "UNKNOWN",
        tonic::Code::InvalidArgument => "INVALID_ARGUMENT",
        tonic::Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        tonic::Code::NotFound => "NOT_FOUND",
        tonic::Code::AlreadyExists => "ALREADY_EXISTS",
        tonic::Code::PermissionDenied => "PERMISSION_DENIED",
        tonic::Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        tonic::Code::FailedPrecondition => "FAILED_PRECONDITION",
        tonic::Code::Aborted => "ABORTED",
        tonic::Code::OutOfRange => "OUT_OF_RANGE",
        tonic::Code::Unimplemented => "UNIMPLEMENTED",
        tonic::Code::Internal => "INTERNAL",
        tonic::Code::Unavailable => "UNAVAILABLE",
        tonic::Code::DataLoss => "DATA_LOSS",
        tonic::Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

// The second column of the table: kinds for which Triton has other words.
const fn as_triton(kind: Kind, compat: Compat) -> Option<(StatusCode, tonic::Code)> {
    match (compat, kind) {
        (Compat::Triton, Kind::Overloaded | Kind::Timeout) => {
            Some((StatusCode::SERVICE_UNAVAILABLE, tonic::Code::Unavailable))
        }
        (Compat::Triton, Kind::TooLarge) => {
            Some((StatusCode::BAD_REQUEST, tonic::Code::ResourceExhausted))
        }
        (Compat::Triton, Kind::Cancelled) => {
            Some((StatusCode::BAD_REQUEST, tonic::Code::Cancelled))
        }
        (Compat::Triton, Kind::Conflict) => {
            Some((StatusCode::INTERNAL_SERVER_ERROR, tonic::Code::Internal))
        }
        _ => None,
    }
}

// Callers' own names and shapes stand in messages; cut, the rest still says what went wrong.
fn shortened(mut message: String) -> String {
    if message.len() > MOST_BYTES {
        message.truncate(message.floor_char_boundary(MOST_BYTES));
        message.push_str("...");
    }
    message
}

/// Header that carries the inference's id.
pub const INFERENCE_ID: HeaderName = HeaderName::from_static("x-tidegate-inference-id");

/// Bytes of a message, thrice that when escaped for a trailer: gRPC clients take 8 KiB of trailers.
const MOST_BYTES: usize = 2000;

/// Seconds after which an overloaded server may be asked again.
const RETRY_AFTER_S: &str = "1";

/// 499, as nginx introduced it: the caller left. Seen in logs and metrics only.
const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

#[cfg(test)]
mod tests {
    use super::{MOST_BYTES, Refusal, grpc_code, http_status};
    use crate::domain::compat::Compat;
    use crate::domain::failure::{Code, Kind};

    #[test]
    fn the_table_of_failures_is_as_published() {
        let table = table(Compat::None);
        // Numbers of gRPC codes: google/rpc/code.proto.
        let published = [
            ("invalid", 400, 3),
            ("unauthenticated", 401, 16),
            ("denied", 403, 7),
            ("not_found", 404, 5),
            ("method_not_allowed", 405, 12),
            ("header_timeout", 408, 4),
            ("conflict", 409, 10),
            ("vetoed", 409, 9),
            ("too_large", 413, 8),
            ("unsupported_media", 415, 3),
            ("overloaded", 429, 8),
            ("header_too_large", 431, 8),
            ("cancelled", 499, 1),
            ("internal", 500, 13),
            ("unsupported", 501, 12),
            ("unavailable", 503, 14),
            ("timeout", 504, 4),
        ];
        assert_eq!(table, published);
    }

    fn table(compat: Compat) -> Vec<(&'static str, u16, i32)> {
        let row = |kind: Kind| {
            (kind.name(), http_status(kind, compat).as_u16(), grpc_code(kind, compat) as i32)
        };
        Kind::ALL.into_iter().map(row).collect()
    }

    #[test]
    fn as_triton_a_few_kinds_have_other_numbers() {
        let ours = table(Compat::None);
        let others: Vec<_> =
            table(Compat::Triton).into_iter().filter(|row| !ours.contains(row)).collect();
        let published = [
            ("conflict", 500, 13),
            ("too_large", 400, 8),
            ("overloaded", 503, 14),
            ("cancelled", 400, 1),
            ("timeout", 503, 14),
        ];
        assert_eq!(others, published);
    }

    #[test]
    fn a_fault_is_what_http_says_is_the_servers() {
        for kind in Kind::ALL {
            assert_eq!(
                kind.is_fault(),
                http_status(kind, Compat::None).is_server_error(),
                "{}",
                kind.name()
            );
        }
    }

    #[test]
    fn a_message_fits_a_trailer_whatever_the_caller_named() {
        let refusal = Refusal::new(Code::Input, format!("x{}", "ä".repeat(100_000)));
        assert!(refusal.message.len() <= MOST_BYTES + 3, "{}", refusal.message.len());
        assert!(refusal.message.ends_with("ä..."));
        assert_eq!(Refusal::new(Code::Input, "short").message, "short");
    }
}
