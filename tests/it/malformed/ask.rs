//! Sends a row, compares what comes back, and looks whether everything still works after it.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tidegate::api::oip::pb::inference as pb;
use tokio::runtime::{Builder, Runtime};
use tonic::{Code, Status};

use super::row::{Answer, Row, Sent};
use crate::harness::client::Client;
use crate::harness::grpc;
use crate::harness::repository::{Repository, odd};
use crate::harness::server::{Reply, Server};

/// Whoever sends rows to a server, over HTTP and gRPC.
#[derive(Debug)]
pub struct Asker {
    server: Server,
    runtime: Runtime,
    grpc: grpc::Client,
}

/// What was wrong with an answer.
pub type Complaint = String;

impl Asker {
    /// One for a server with the demo models and a model that gives back text.
    pub fn new(config: &str) -> Self {
        let repository = Repository::of(&["iris", "wine", "topics", "digits"]);
        repository.put("text", 1, &odd("text"));
        let server = repository.serve_configured(config);
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _inside = runtime.enter();
        let grpc = grpc::client(server.addresses().grpc);
        Self { server, runtime, grpc }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Sends all rows, and fails with every complaint there was.
    pub fn ask_all(&self, rows: &[Row]) {
        let complaints: Vec<Complaint> = rows.iter().filter_map(|row| self.ask(row)).collect();
        assert!(!self.server.log().contains("panicked"), "{}", self.server.log());
        let (bad, all) = (complaints.len(), rows.len());
        assert_eq!(bad, 0, "{bad} of {all} rows:\n{}", complaints.join("\n"));
    }

    /// Sends one row, and a request that is right after it.
    pub fn ask(&self, row: &Row) -> Option<Complaint> {
        let found = match &row.sent {
            Sent::Grpc(_) | Sent::GrpcCall(..) | Sent::GrpcHttp(..) => self.over_grpc(row),
            Sent::Infer(..)
            | Sent::Call(..)
            | Sent::Value(..)
            | Sent::Shape(_)
            | Sent::Binary(..)
            | Sent::Sized(..)
            | Sent::Raw(_)
            | Sent::Stalled(_) => self.over_http(row),
        };
        found.err().map(|complaint| format!("{}: {complaint}", row.what))
    }

    fn over_http(&self, row: &Row) -> Result<(), Complaint> {
        let to = self.server.addresses().http;
        let mut client = Client::connect_within(to, WAIT);
        client.try_send(&written(&row.sent));
        if let Sent::Raw(_) = row.sent {
            client.end();
        }
        let reply = client.answer();
        match (row.answer, reply) {
            (Answer::Closed, None) => client.rest().map_err(|error| error.to_string()).map(drop)?,
            (Answer::Fine, Some(reply)) if reply.status == 200 => {}
            (Answer::Http(status, code, says), Some(reply)) => {
                compare(&reply, status, code, says)?;
                goes_on(client, &row.sent, &reply)?;
            }
            (Answer::Continue(status, code), Some(first)) if first.status == 100 => {
                let reply = client.answer().ok_or("no answer after 100")?;
                compare(&reply, status, code, "")?;
                goes_on(client, &row.sent, &reply)?;
            }
            (expected, reply) => return Err(format!("expected {expected:?}, got {reply:?}")),
        }
        let mut fresh = Client::connect_within(to, WAIT);
        is_right(fresh.try_ask("POST", "/v2/models/iris/infer", RIGHT))
    }

    fn over_grpc(&self, row: &Row) -> Result<(), Complaint> {
        let waited = self.runtime.block_on(async {
            tokio::time::timeout(WAIT, self.compare_grpc(row)).await.map_err(|_| "hangs")
        });
        waited??;
        let waited = self.runtime.block_on(async {
            let mut grpc = self.grpc.clone();
            let asked = grpc.model_infer(right());
            tokio::time::timeout(WAIT, asked).await.map_err(|_| "hangs after it")
        });
        waited?.map(drop).map_err(|status| format!("a right call after it: {status:?}"))
    }

    async fn compare_grpc(&self, row: &Row) -> Result<(), Complaint> {
        let to = self.server.addresses().grpc;
        let called: Result<(), Status> = match &row.sent {
            Sent::Grpc(change) => {
                let mut message = right();
                change(&mut message);
                self.grpc.clone().model_infer(message).await.map(drop)
            }
            Sent::GrpcCall(method, body) => grpc::call(to, method, body.bytes()).await.map(drop),
            Sent::GrpcHttp(path, headers, body) => {
                return compare_bare(to, (path, headers, body.bytes()), row.answer).await;
            }
            Sent::Infer(..)
            | Sent::Call(..)
            | Sent::Value(..)
            | Sent::Shape(_)
            | Sent::Sized(..)
            | Sent::Binary(..)
            | Sent::Raw(_)
            | Sent::Stalled(_) => return Err("no gRPC".to_owned()),
        };
        match (row.answer, called) {
            (Answer::Fine, Ok(())) => Ok(()),
            (Answer::Invalid, Err(status)) => {
                let is_callers = [Code::InvalidArgument, Code::NotFound].contains(&status.code());
                is_callers.then_some(()).ok_or_else(|| format!("no caller's error: {status:?}"))
            }
            (Answer::Grpc(grpc_code, code, says), Err(status)) => {
                let found = trailer(status.metadata().as_ref(), CODE);
                let sentence = status.message();
                if (status.code(), found) != (grpc_code, code) || !sentence.contains(says) {
                    return Err(format!("expected {:?}, got {status:?}", row.answer));
                }
                let id = trailer(status.metadata().as_ref(), ID);
                if id.len() == 26 { Ok(()) } else { Err(format!("no id: {status:?}")) }
            }
            (expected, called) => Err(format!("expected {expected:?}, got {called:?}")),
        }
    }
}

/// What a row sends on its HTTP connection.
pub fn written(sent: &Sent) -> Bytes {
    match sent {
        Sent::Infer(path, headers, body) => {
            request("POST", &format!("/v2/models/{path}"), headers, &body.bytes())
        }
        Sent::Call(method, path, body) => request(method, path, "", &body.bytes()),
        Sent::Value(dtype, data) => tensor(dtype, "[1]", data),
        Sent::Shape(shape) => tensor("FP32", shape, "[1]"),
        Sent::Binary(json, data, length) => binary(json, &data.bytes(), length),
        Sent::Sized(dtype, size, data) => {
            let json = format!(
                r#"{{"inputs":[{{"name":"input","datatype":"{dtype}","shape":[1,4],"parameters":{{"binary_data_size":{size}}}}}]}}"#
            );
            binary(&json, data, "")
        }
        Sent::Raw(body) | Sent::Stalled(body) => body.bytes(),
        Sent::Grpc(_) | Sent::GrpcCall(..) | Sent::GrpcHttp(..) => Bytes::new(),
    }
}

fn binary(json: &str, data: &[u8], length: &str) -> Bytes {
    let own = json.len().to_string();
    let length = if length.is_empty() { &own } else { length };
    let header = format!("inference-header-content-length: {length}\r\n");
    request("POST", "/v2/models/iris/infer", &header, &[json.as_bytes(), data].concat())
}

fn tensor(dtype: &str, shape: &str, data: &str) -> Bytes {
    let body = format!(
        r#"{{"inputs":[{{"name":"input","datatype":"{dtype}","shape":{shape},"data":{data}}}]}}"#
    );
    request("POST", "/v2/models/iris/infer", "", body.as_bytes())
}

fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Bytes {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat().into()
}

// Status, the three members of the body, and the headers that every error has.
fn compare(reply: &Reply, status: u16, code: &str, says: &str) -> Result<(), Complaint> {
    let body = String::from_utf8_lossy(&reply.body);
    let seen = || Err(format!("expected {status} {code} '{says}', got {} {body}", reply.status));
    let Ok(json) = serde_json::from_slice::<Value>(&reply.body) else { return seen() };
    let member = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default();
    let sentence = member("error");
    if (reply.status, member("code")) != (status, code) || !sentence.contains(says) {
        return seen();
    }
    let id = member("request_id").to_lowercase();
    let says_id = reply.headers.contains(&format!("x-tidegate-inference-id: {id}\r\n"));
    let three = json.as_object().is_some_and(|json| json.len() == 3);
    if id.len() != 26 || !says_id || !three || sentence.len() > 2_003 {
        return Err(format!("no error as promised: {}\n{body}", reply.headers));
    }
    if status == 405 && !reply.headers.contains("\r\nallow: ") {
        return Err(format!("405 without Allow: {}", reply.headers));
    }
    Ok(())
}

// A connection that the answer does not end answers the next request; another one ends.
fn goes_on(mut client: Client, sent: &Sent, reply: &Reply) -> Result<(), Complaint> {
    let ends = reply.headers.contains("connection: close");
    let whole = !matches!(sent, Sent::Raw(_) | Sent::Stalled(_));
    if whole && !ends {
        return is_right(client.try_ask("POST", "/v2/models/iris/infer", RIGHT));
    }
    if !ends {
        client.end();
    }
    match client.rest() {
        // Reset: the server closed while more was on its way.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(format!("the connection does not end: {error}")),
        Ok(rest) if rest.is_empty() => Ok(()),
        Ok(rest) => Err(format!("more than one answer: {}", String::from_utf8_lossy(&rest))),
    }
}

async fn compare_bare(
    to: SocketAddr,
    (path, headers, body): (&str, &[(&str, &str)], Bytes),
    answer: Answer,
) -> Result<(), Complaint> {
    let head = grpc::post(to, path, headers, body).await;
    let head = head.map_err(|error| format!("expected {answer:?}, got {error}"))?;
    let (status, code) = (head.status().as_u16(), trailer(head.headers(), CODE));
    let says = trailer(head.headers(), "grpc-message");
    let as_expected = match answer {
        Answer::GrpcHttp(expected, expected_code) => (status, code) == (expected, expected_code),
        Answer::Grpc(grpc_code, expected, _) => {
            let grpc = trailer(head.headers(), "grpc-status");
            (status, code) == (200, expected) && grpc == (grpc_code as i32).to_string()
        }
        Answer::Fine => status == 200 && code.is_empty(),
        Answer::Http(..) | Answer::Closed | Answer::Invalid | Answer::Continue(..) => false,
    };
    let found = || format!("expected {answer:?}, got {status} {code} {says}");
    as_expected.then_some(()).ok_or_else(found)
}

fn trailer<'a>(headers: &'a http::HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn is_right(reply: Option<Reply>) -> Result<(), Complaint> {
    match reply {
        Some(reply) if reply.status == 200 => Ok(()),
        other => Err(format!("a right request after it: {other:?}")),
    }
}

/// A message that iris answers.
pub fn right() -> pb::ModelInferRequest {
    static RIGHT: OnceLock<pb::ModelInferRequest> = OnceLock::new();
    RIGHT.get_or_init(make_right).clone()
}

fn make_right() -> pb::ModelInferRequest {
    let values = pb::InferTensorContents { fp32_contents: vec![1.0; 4], ..Default::default() };
    let input = pb::model_infer_request::InferInputTensor {
        name: "input".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![1, 4],
        contents: Some(values),
        ..Default::default()
    };
    let inputs = vec![input];
    pb::ModelInferRequest { model_name: "iris".to_owned(), inputs, ..Default::default() }
}

/// A body that iris answers.
pub const RIGHT: &str =
    r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,4],"data":[4.9,2.5,4.5,1.7]}]}"#;

/// What counts as a hang; the longest limit of `limits.rs` is a second.
const WAIT: Duration = Duration::from_secs(20);

const CODE: &str = "x-tidegate-code";
const ID: &str = "x-tidegate-inference-id";
