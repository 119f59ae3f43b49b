//! SIGTERM ends the server politely: who was in is answered, nobody new comes in.

use std::net::TcpStream;
use std::thread;

use serde_json::json;
use tidegate::api::oip::pb::inference as pb;

use crate::harness::client::Client;
use crate::harness::iris;
use crate::harness::process::wait_until;
use crate::harness::repository::{Repository, odd};
use crate::harness::rpc::{self, Rpc};
use crate::harness::server::Server;

#[test]
fn a_request_whose_body_is_still_to_come_is_answered_after_sigterm() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    let body = iris::body();
    let mut client = Client::connect(server.addresses().http);
    client.send(&format!(
        "POST /v2/models/iris/infer HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    ));
    // The server says this when somebody reads the body: the request is inside.
    assert_eq!(client.answer().unwrap().status, 100);
    close(&server);
    client.send(&body);
    let reply = client.answer().expect("who was in is answered");
    assert_eq!(iris::read(&reply).unwrap().version, 2);
    assert!(reply.headers.contains("connection: close"), "{}", reply.headers);
    assert!(client.answer().is_none(), "the connection ends after its last answer");
    assert!(server.wait().success());
}

#[test]
fn runs_under_way_are_answered_on_both_protocols() {
    let repository = Repository::new();
    repository.put("loop", 1, &odd("loop"));
    let server = repository.serve_configured("[runtime]\ncores = 1");
    let (http, grpc) = (server.addresses().http, server.addresses().grpc);
    let rpc = Rpc::connect(grpc);
    let before = server.run_ticks();
    let by_grpc = thread::spawn(move || {
        let total = rpc.infer(request(ROUNDS)).unwrap().raw_output_contents[0].to_vec();
        i64::from_le_bytes(total.try_into().unwrap())
    });
    server.wait_for_run(before);
    let mut client = Client::connect(http);
    let input = json!({"name": "n", "datatype": "INT64", "shape": [1], "data": [ROUNDS]});
    let body = json!({"inputs": [input]}).to_string();
    client.send(&format!(
        "POST /v2/models/loop/infer HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    ));
    assert_eq!(client.answer().unwrap().status, 100);
    client.send(&body);
    close(&server);
    assert_eq!(by_grpc.join().unwrap(), ROUNDS + 20_000);
    let reply = client.answer().expect("who was in is answered");
    assert_eq!(reply.status, 200, "{}", reply.json());
    assert_eq!(reply.json()["outputs"][0]["data"], json!([ROUNDS + 20_000]));
    assert!(server.wait().success());
}

#[test]
fn idle_connections_do_not_keep_a_server_from_its_end() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    let mut client = Client::connect(server.addresses().http);
    let rpc = Rpc::connect(server.addresses().grpc);
    iris::read(&client.ask("POST", "/v2/models/iris/infer", &iris::body())).unwrap();
    iris::read_message(&rpc.infer(iris::request()).unwrap()).unwrap();
    assert!(server.terminate().success());
    assert!(client.answer().is_none());
}

#[test]
fn a_run_that_outlives_the_drain_timeout_is_cut_off() {
    let repository = Repository::new();
    repository.put("loop", 1, &odd("loop"));
    let server = repository.serve_configured("[server]\ndrain_timeout_s = 0");
    let rpc = Rpc::connect(server.addresses().grpc);
    let before = server.run_ticks();
    let caller = thread::spawn(move || rpc.infer(request(1 << 40)));
    server.wait_for_run(before);
    assert!(server.terminate().success());
    assert!(caller.join().unwrap().is_err());
}

/// Sends SIGTERM, and returns when nobody is let in any more.
fn close(server: &Server) {
    server.tell_to_stop();
    for address in [server.addresses().http, server.addresses().grpc] {
        wait_until("connections are refused", || TcpStream::connect(address).is_err());
    }
}

fn request(rounds: i64) -> pb::ModelInferRequest {
    rpc::request("loop", ("n", "INT64"), &[1], rounds.to_le_bytes().to_vec())
}

/// About half a second on a machine of today; the tests hold with any time.
const ROUNDS: i64 = 600_000;
