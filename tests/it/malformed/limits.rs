//! Requests that are too large or too slow, on a server with small limits.

use std::sync::mpsc::channel;
use std::time::Duration;

use super::ask::{Asker, RIGHT, right};
use super::row::{Answer, Body, Row, Sent};
use crate::harness::client::Client;
use crate::harness::process::wait_until;

#[test]
fn requests_that_are_too_large_or_too_slow_are_refused() {
    Asker::new(CONFIG).ask_all(ROWS);
}

#[test]
fn a_caller_that_does_not_read_is_left_and_the_others_are_served() {
    let config = "schema = 1\n[limits]\nwrite_timeout_s = 1\n[log]\nfilter = \"info,tidegate::api::listen=debug\"\n";
    let asker = Asker::new(config);
    let mut client =
        Client::connect_within(asker.server().addresses().http, Duration::from_secs(20));
    // More than the sockets' buffers hold: the server stops in the middle of its answer.
    let text = vec![b'a'; 32 << 20];
    let json = r#"{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":33554436}}],"parameters":{"binary_data_output":true}}"#;
    let head = format!(
        "POST /v2/models/text/infer HTTP/1.1\r\nhost: x\r\ninference-header-content-length: {}\r\ncontent-length: {}\r\n\r\n{json}",
        json.len(),
        json.len() + 4 + text.len()
    );
    assert!(client.try_send(&[head.as_bytes(), &(32_u32 << 20).to_le_bytes(), &text].concat()));
    wait_until("the connection was given up", || {
        asker.server().log().contains("a connection broke")
    });
    let came = client.rest().map_or(0, |rest| rest.len());
    assert!(came < text.len(), "all {came} bytes came");
    let reply = asker.server().http("POST", "/v2/models/iris/infer", RIGHT);
    assert_eq!(reply.status, 200);
}

#[test]
fn a_hundred_half_heads_keep_nobody_from_being_served() {
    let asker = Asker::new(CONFIG);
    let to = asker.server().addresses().http;
    let half = b"POST /v2/models/iris/infer HTTP/1.1\r\nhost: x\r\n";
    let mut half_heads: Vec<Client> = Vec::new();
    for _ in 0..100 {
        let mut client = Client::connect_within(to, Duration::from_secs(20));
        client.try_send(half);
        half_heads.push(client);
    }
    let (told, heard) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let reply = asker.server().http("POST", "/v2/models/iris/infer", RIGHT);
            told.send(reply.status).ok();
        });
        assert_eq!(heard.recv_timeout(Duration::from_secs(20)), Ok(200));
    });
    for client in &mut half_heads {
        let reply = client.answer().expect("an answer to half a head");
        assert_eq!((reply.status, &reply.json()["code"]), (408, &"header_timeout.head".into()));
    }
}

/// The limits that the rows are about.
pub const CONFIG: &str = "schema = 1\n[limits]\nmessage_bytes = 1000\nheader_bytes = 9000\n\
    header_timeout_s = 1\nbody_timeout_s = 1\n";

/// The rows.
pub const ROWS: &[Row] = &[
    Row::made("a body of one byte more", || vec![b' '; 1_001], TOO_LARGE),
    Row::made("a body of a million bytes", || vec![b' '; 1_000_000], TOO_LARGE),
    Row::new(
        "a body that is announced only",
        Sent::Stalled(Body::Text(
            "POST /v2/models/iris/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n",
        )),
        TOO_LARGE,
    ),
    Row::new("chunks of one byte more", Sent::Stalled(Body::Made(chunks)), TOO_LARGE),
    Row::new("an index of one byte more", Sent::Call("POST", INDEX, Body::Made(spaces)), MORE),
    Row::new("a load of one byte more", Sent::Call("POST", LOAD, Body::Made(spaces)), MORE),
    Row::new(
        "a head of 30,000 bytes",
        Sent::Raw(Body::Made(|| {
            format!("GET /v2 HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(30_000)).into()
        })),
        Answer::Http(431, "header_too_large.head", "at most 9000 bytes"),
    ),
    Row::new(
        "a head that never ends",
        Sent::Stalled(Body::Made(|| {
            format!("GET /v2 HTTP/1.1\r\nx: {}", "y".repeat(10_000)).into()
        })),
        Answer::Http(431, "header_too_large.head", "at most 9000 bytes"),
    ),
    Row::new(
        "a head that stops",
        Sent::Stalled(Body::Text("POST /v2/models/iris/infer HTTP/1.1\r\nhost: x\r\n")),
        SLOW_HEAD,
    ),
    Row::new("one byte", Sent::Stalled(Body::Text("P")), SLOW_HEAD),
    Row::new("a line end", Sent::Stalled(Body::Text("\r\n")), SLOW_HEAD),
    Row::new(
        "a body that stops",
        Sent::Stalled(Body::Text(
            "POST /v2/models/iris/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 90\r\n\r\n{\"inputs\":",
        )),
        SLOW_BODY,
    ),
    Row::new(
        "a chunk that stops",
        Sent::Stalled(Body::Text(
            "POST /v2/models/iris/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{",
        )),
        SLOW_BODY,
    ),
    Row::new(
        "a body that never begins",
        Sent::Stalled(Body::Text(
            "POST /v2/models/iris/infer HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n",
        )),
        Answer::Continue(408, "header_timeout.body"),
    ),
    Row::grpc(
        "a message of one byte more",
        |message| message.id = "i".repeat(1_001),
        GRPC_TOO_LARGE,
    ),
    Row::new(
        "a call of one byte more",
        Sent::GrpcCall("ModelReady", Body::Made(spaces)),
        GRPC_TOO_LARGE,
    ),
    Row::new(
        "a message announced as of 4 GiB",
        Sent::GrpcHttp(INFER, GRPC, Body::Raw(b"\0\xff\xff\xff\xff")),
        GRPC_TOO_LARGE,
    ),
];

const INDEX: &str = "/v2/repository/index";
const LOAD: &str = "/v2/repository/models/iris/load";
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];
const TOO_LARGE: Answer = Answer::Http(413, "too_large.message", "expected at most 1000");
const MORE: Answer = Answer::Http(413, "too_large.message", "more than 1000 bytes");
const SLOW_HEAD: Answer = Answer::Http(408, "header_timeout.head", "did not come within 1 s");
const SLOW_BODY: Answer = Answer::Http(408, "header_timeout.body", "did not come within 1 s");
const GRPC_TOO_LARGE: Answer =
    Answer::Grpc(tonic::Code::ResourceExhausted, "too_large.message", "1000 bytes");

fn spaces() -> Vec<u8> {
    vec![b' '; 1_001]
}

fn chunks() -> Vec<u8> {
    let head =
        "POST /v2/models/iris/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    [head.as_bytes(), b"3e9\r\n", &spaces()].concat()
}

#[test]
fn the_right_request_is_within_the_small_limits() {
    let asker = Asker::new(CONFIG);
    assert_eq!(asker.server().http("POST", "/v2/models/iris/infer", RIGHT).status, 200);
    assert!(asker.ask(&Row::grpc("right", |message| *message = right(), Answer::Fine)).is_none());
}
