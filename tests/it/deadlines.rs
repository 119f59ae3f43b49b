//! Whoever leaves or may not wait any longer holds nothing: no place, no thread, no run.

use std::time::Duration;

use http::Request as HttpRequest;
use http_body_util::Full;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tidegate::api::oip::pb::inference as pb;
use tokio_stream::StreamExt;
use tonic::Request;

use crate::failures::after::{expected, outcomes};
use crate::harness::client::Client;
use crate::harness::grpc;
use crate::harness::process::wait_until;
use crate::harness::repository::{Repository, odd};
use crate::harness::rpc;
use crate::harness::server::{Reply, Server};

#[test]
fn a_caller_who_leaves_the_queue_is_never_run_and_counted() {
    let server = one_thread();
    let before = server.run_ticks();
    let mut running = Client::connect(server.addresses().http);
    running.send(&request(&body(ENDLESS, None)));
    server.wait_for_run(before);
    let mut waiting = Client::connect(server.addresses().http);
    waiting.send(&request(&body(ENDLESS, None)));
    // Behind both; there is one place beside the run, so a full queue says that it is taken.
    wait_until("the queue is full", || count(&server, 0, Some(1_000)).status == 429);
    waiting.handset().hang_up();
    wait_until("the place is free again", || count(&server, 0, Some(1_000)).status == 504);
    assert_eq!(cancelled(&server), 1);
    running.handset().hang_up();
    // Were the one who left first run after all, this would never be answered.
    wait_until("the thread is free", || count(&server, 0, None).status == 200);
    assert_eq!(cancelled(&server), 2);
    assert_eq!(outcomes(&server)["cancelled"], 2);
}

#[test]
fn a_queued_request_whose_time_is_over_is_never_run() {
    let server = one_thread();
    let before = server.run_ticks();
    let mut running = Client::connect(server.addresses().http);
    running.send(&request(&body(ENDLESS, None)));
    server.wait_for_run(before);
    let late = count(&server, ENDLESS, Some(20_000));
    assert_eq!((late.status, &late.json()["code"]), (504, &json!("timeout.deadline")));
    running.handset().hang_up();
    wait_until("the thread is free", || count(&server, 0, None).status == 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_stream_over_http_2_stops_its_run_and_leaves_the_others() {
    let server = one_thread();
    let client = HttpClient::builder(TokioExecutor::new()).http2_only(true).build_http();
    let uri = format!("http://{}{LOOP}", server.addresses().http);
    let ask = |rounds| {
        let body = Full::new(bytes::Bytes::from(body(rounds, None)));
        client.request(HttpRequest::post(&uri).body(body).expect("a request"))
    };
    let before = server.run_ticks();
    let running = tokio::spawn(ask(ENDLESS));
    tokio::task::block_in_place(|| server.wait_for_run(before));
    let behind = tokio::spawn(ask(0));
    running.abort();
    let answer = behind.await.unwrap().expect("an answer on the same connection");
    assert_eq!(answer.status(), 200);
    assert_eq!(cancelled(&server), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_stream_that_is_left_stops_its_run() {
    let server = one_thread();
    let before = server.run_ticks();
    let mut client = grpc::client(server.addresses().grpc);
    let messages = tokio_stream::once(message(ENDLESS));
    let answers = client.model_stream_infer(messages).await.expect("an open stream").into_inner();
    tokio::task::block_in_place(|| server.wait_for_run(before));
    drop(answers);
    assert_eq!(tokio::task::block_in_place(|| count(&server, 0, None)).status, 200);
    assert_eq!(cancelled(&server), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_deadline_stops_the_run_of_a_call_and_of_each_message_in_a_stream() {
    let server = one_thread();
    let late = expected("timeout.deadline", &["deadline passed"]);
    let mut client = grpc::client(server.addresses().grpc);
    let mut call = Request::new(message(ENDLESS));
    call.set_timeout(Duration::from_millis(30));
    late.check_status("a call", &client.model_infer(call).await.unwrap_err());
    assert_eq!(tokio::task::block_in_place(|| count(&server, 0, None)).status, 200);

    let messages = [message(0), message(ENDLESS), message(0)];
    let mut stream = Request::new(tokio_stream::iter(messages));
    stream.set_timeout(Duration::from_secs(2));
    let answers = client.model_stream_infer(stream).await.expect("an open stream").into_inner();
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    let errors: Vec<_> = answers.iter().map(|answer| answer.error_message.as_str()).collect();
    // What comes after the stream's deadline is late too, however little it asks for.
    let late = "the deadline passed before the model answered";
    assert_eq!(errors, ["", late, late]);
    assert_eq!(tokio::task::block_in_place(|| count(&server, 0, None)).status, 200);
}

fn one_thread() -> Server {
    let repository = Repository::new();
    repository.put("loop", 1, &odd("loop"));
    repository.serve_configured("[runtime]\ncores = 1\n[serving]\nqueue_capacity = 1")
}

/// How many inferences of the version were given up by their callers, as Triton's page counts them.
fn cancelled(server: &Server) -> u64 {
    let line = "nv_inference_request_failure{model=\"loop\",version=\"1\",reason=\"CANCELED\"} ";
    let page = server.metrics();
    let value = page.lines().find_map(|found| found.strip_prefix(line)).expect("a line");
    value.parse().expect("a number")
}

fn count(server: &Server, rounds: i64, timeout_us: Option<u64>) -> Reply {
    server.http("POST", LOOP, &body(rounds, timeout_us))
}

fn request(body: &str) -> String {
    let length = body.len();
    format!("POST {LOOP} HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn body(rounds: i64, timeout_us: Option<u64>) -> String {
    let parameters = timeout_us.map_or_else(|| json!({}), |us| json!({"timeout": us}));
    let input = json!({"name": "n", "datatype": "INT64", "shape": [1], "data": [rounds]});
    json!({"parameters": parameters, "inputs": [input]}).to_string()
}

fn message(rounds: i64) -> pb::ModelInferRequest {
    rpc::request("loop", ("n", "INT64"), &[1], rounds.to_le_bytes().to_vec())
}

const LOOP: &str = "/v2/models/loop/infer";

/// Rounds that take days.
const ENDLESS: i64 = 1 << 40;
