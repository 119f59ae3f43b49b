//! What holds after every refusal: its form, the count of it, and that the server still answers.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tonic::Status;

use crate::harness::server::{Reply, Server};

/// Counts of `tidegate_requests_total` by outcome.
pub type Outcomes = BTreeMap<String, u64>;

/// A request that iris answers.
pub const IRIS: &str =
    r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,4],"data":[4.9,2.5,4.5,1.7]}]}"#;

/// A refusal in either protocol: its code, and what its sentence says.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// HTTP status, for refusals over HTTP.
    pub status: u16,
    /// gRPC code, for refusals over gRPC.
    pub grpc: tonic::Code,
    /// `<kind>.<detail>`.
    pub code: &'static str,
    /// Parts of the sentence: what was found, what was expected.
    pub says: &'static [&'static str],
}

/// What is expected for a code of the table of failures.
pub fn expected(code: &'static str, says: &'static [&'static str]) -> Expected {
    let (kind, _) = code.split_once('.').expect("<kind>.<detail>");
    let (status, grpc) = match kind {
        "invalid" => (400, tonic::Code::InvalidArgument),
        "not_found" => (404, tonic::Code::NotFound),
        "method_not_allowed" => (405, tonic::Code::Unimplemented),
        "too_large" => (413, tonic::Code::ResourceExhausted),
        "unsupported_media" => (415, tonic::Code::InvalidArgument),
        "unsupported" => (501, tonic::Code::Unimplemented),
        "unavailable" => (503, tonic::Code::Unavailable),
        "timeout" => (504, tonic::Code::DeadlineExceeded),
        kind => panic!("{kind} is not in this table"),
    };
    Expected { status, grpc, code, says }
}

impl Expected {
    /// The kind, as outcomes are counted.
    pub fn kind(&self) -> &'static str {
        self.code.split('.').next().unwrap_or_default()
    }

    /// Checks an HTTP answer: status, and a body of exactly three members.
    pub fn check_reply(&self, what: &str, reply: &Reply) {
        let body = reply.json();
        assert_eq!(reply.status, self.status, "{what}: {body}");
        assert_eq!(body.as_object().map(Map::len), Some(3), "{what}: {body}");
        let member = |name| body.get(name).and_then(Value::as_str).unwrap_or_default();
        self.check(what, member("code"), member("error"), member("request_id"));
        let id = member("request_id").to_lowercase();
        assert!(reply.headers.contains(&format!("x-tidegate-inference-id: {id}\r\n")), "{what}");
        assert!(reply.headers.contains("content-type: application/json\r\n"), "{what}");
    }

    /// Checks a gRPC status and its trailers.
    pub fn check_status(&self, what: &str, status: &Status) {
        assert_eq!(status.code(), self.grpc, "{what}: {status:?}");
        let trailer =
            |name| status.metadata().get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let (code, id) = (trailer("x-tidegate-code"), trailer("x-tidegate-inference-id"));
        self.check(what, code, status.message(), id);
    }

    fn check(&self, what: &str, code: &str, sentence: &str, id: &str) {
        assert_eq!(code, self.code, "{what}: {sentence}");
        for part in self.says {
            assert!(sentence.contains(part), "{what}: '{sentence}' does not say '{part}'");
        }
        assert!(sentence.len() < 4096, "{what}: a sentence of {} bytes", sentence.len());
        assert_eq!(id.len(), 26, "{what}: '{id}' is no id");
    }
}

/// Asks for an inference, then checks that since `before` it and those of `refused` were counted.
pub fn still_answers(server: &Server, before: &Outcomes, refused: &[Expected]) {
    let reply = server.http("POST", "/v2/models/iris/infer", IRIS);
    assert_eq!(reply.status, 200, "{}", reply.json());
    let mut counted = before.clone();
    for kind in refused.iter().map(Expected::kind).chain(["ok"]) {
        *counted.entry(kind.to_owned()).or_default() += 1;
    }
    assert_eq!(outcomes(server), counted);
}

/// How many inferences ended how, whatever model they were for.
pub fn outcomes(server: &Server) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let page = server.metrics();
    for line in page.lines().filter(|line| line.starts_with("tidegate_requests_total{")) {
        let (_, rest) = line.split_once("outcome=\"").expect("a label");
        let (outcome, count) = rest.split_once("\"} ").expect("a value");
        *outcomes.entry(outcome.to_owned()).or_default() += count.parse::<u64>().expect("a count");
    }
    outcomes
}
