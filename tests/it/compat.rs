//! With `compat = "triton"`, Triton's clients meet Triton's codes, shapes and defaults.
//!
//! Each row of the table in `docs/migrating-from-triton.md` is here, with what is so without it.

use std::fs;
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use tidegate::api::oip::pb::inference as pb;
use tonic::Code;

use crate::harness::client::{Client, Handset};
use crate::harness::iris;
use crate::harness::process::wait_until;
use crate::harness::repository::{Repository, demo, odd};
use crate::harness::rpc::{self, Rpc};
use crate::harness::server::{Reply, Server};
use crate::harness::tools::{project, run_client};

const TRITON: &str = "compat = \"triton\"\n[runtime]\ncores = 1\n[serving]\nqueue_capacity = 1\n\
                      [limits]\nmessage_bytes = 4000\n";

fn both(repository: &Repository) -> [Server; 2] {
    let plain = TRITON.replace("triton", "none");
    [repository.serve_configured(&plain), repository.serve_configured(TRITON)]
}

fn looping() -> Repository {
    let repository = Repository::of(&["iris"]);
    repository.put("loop", 1, &odd("loop"));
    repository
}

#[test]
fn a_full_queue_and_a_passed_deadline_are_unavailable() {
    let repository = looping();
    for (server, queue, deadline) in zip(
        both(&repository),
        [(429, Code::ResourceExhausted), (503, Code::Unavailable)],
        [(504, Code::DeadlineExceeded), (503, Code::Unavailable)],
    ) {
        let http = server.http("POST", LOOP, &body_of_loop(ENDLESS, 20_000));
        assert_eq!((http.status, &http.json()["code"]), (deadline.0, &json!("timeout.deadline")));
        let rpc = Rpc::connect(server.addresses().grpc);
        let mut late = message_of_loop();
        let timeout = pb::infer_parameter::ParameterChoice::Int64Param(20_000);
        let timeout = pb::InferParameter { parameter_choice: Some(timeout) };
        late.parameters.insert("timeout".to_owned(), timeout);
        assert_eq!(rpc.infer(late).unwrap_err().code(), deadline.1);

        // One runs, one of two waits, and the other finds the queue full.
        let before = server.run_ticks();
        let mut handsets = Vec::new();
        let mut callers = vec![ask_forever(&server, &mut handsets)];
        server.wait_for_run(before);
        let (told, news) = channel();
        for _ in 0..2 {
            let mut client = Client::connect(server.addresses().http);
            handsets.push(client.handset());
            let told = told.clone();
            callers.push(thread::spawn(move || {
                if let Some(reply) = client.try_ask("POST", LOOP, &body_of_loop(ENDLESS, 0)) {
                    told.send(reply.status).ok();
                }
            }));
        }
        assert_eq!(news.recv().unwrap(), queue.0);
        assert_eq!(rpc.infer(message_of_loop()).unwrap_err().code(), queue.1);
        for handset in handsets {
            handset.hang_up();
        }
        for caller in callers {
            caller.join().unwrap();
        }
    }
}

#[test]
fn a_body_over_the_limit_is_a_bad_request() {
    let repository = Repository::of(&["iris"]);
    for (server, status) in both(&repository).into_iter().zip([413, 400]) {
        let reply = server.http("POST", "/v2/models/iris/infer", &" ".repeat(4001));
        assert_eq!((reply.status, &reply.json()["code"]), (status, &json!("too_large.message")));
        assert_eq!(server.http("POST", "/v2/repository/index", &" ".repeat(4001)).status, status);
        let rpc = Rpc::connect(server.addresses().grpc);
        let large = rpc::request("iris", ("input", "FP32"), &[500, 4], vec![0; 8000]);
        assert_eq!(rpc.infer(large).unwrap_err().code(), Code::ResourceExhausted);
    }
}

#[test]
fn a_load_that_cannot_be_is_the_servers_fault() {
    let repository = Repository::of(&["iris"]);
    for (server, missing, busy) in zip(
        both(&repository),
        [(404, Code::NotFound), (500, Code::Internal)],
        [(409, Code::Aborted), (500, Code::Internal)],
    ) {
        let rpc = Rpc::connect(server.addresses().grpc);
        let load = |name: &str| {
            let model_name = name.to_owned();
            let request = pb::RepositoryModelLoadRequest { model_name, ..Default::default() };
            let status = rpc.wait(rpc.client().repository_model_load(request)).unwrap_err();
            let reply = server.http("POST", &format!("/v2/repository/models/{name}/load"), "");
            ((reply.status, status.code()), reply.json()["code"].clone())
        };
        assert_eq!(load("nope"), (missing, json!("not_found.model")));
        // An inference of an unknown model is not found, to everybody.
        assert_eq!(server.http("POST", "/v2/models/nope/infer", &iris::body()).status, 404);

        // Reading this one would take an hour; it has no bytes on disk.
        let notes = repository.put("iris", 3, &demo("iris", 1)).join("notes");
        fs::File::create(&notes).unwrap().set_len(1 << 42).unwrap();
        thread::scope(|scope| {
            let first = scope.spawn(|| server.http("POST", "/v2/repository/models/iris/load", ""));
            server.wait_until_it_reads(&notes);
            assert_eq!(load("iris"), (busy, json!("conflict.busy")));
            fs::File::create(&notes).unwrap();
            assert_eq!(first.join().unwrap().status, busy.0);
        });
        fs::remove_dir_all(repository.folder("iris", 3)).unwrap();
    }
}

#[test]
fn health_is_said_by_the_status_alone() {
    let repository = Repository::of(&["iris"]);
    repository.put("broken", 1, b"no model");
    for (server, is_triton) in both(&repository).into_iter().zip([false, true]) {
        let said = |path: &str| {
            let reply = server.http("GET", path, "");
            (reply.status, reply.body.is_empty())
        };
        for path in ["/v2/health/live", "/v2/health/ready", "/v2/models/iris/ready"] {
            assert_eq!(said(path), (200, is_triton), "{path}");
        }
        assert_eq!(said("/v2/models/iris/versions/2/ready"), (200, is_triton));
        let not_ready = if is_triton { 400 } else { 503 };
        assert_eq!(said("/v2/models/broken/ready"), (not_ready, false));
        assert_eq!(said("/v2/models/nope/ready"), (404, false));

        // A connection that is kept asks a server that stops.
        let mut client = Client::connect(server.addresses().http);
        let body = iris::body();
        let length = body.len();
        client.send(&format!(
            "POST /v2/models/iris/infer HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\n\
             content-length: {length}\r\n\r\n"
        ));
        assert_eq!(client.answer().unwrap().status, 100);
        let mut other = Client::connect(server.addresses().http);
        other.send("GET /v2/health/ready HTTP/1.1\r\nhost: t");
        server.tell_to_stop();
        wait_until_closed(&server);
        other.send("\r\n\r\n");
        let ready = other.answer().expect("a request that had begun is answered");
        assert_eq!((ready.status, ready.body.is_empty()), (not_ready, is_triton));
        client.send(&body);
        assert_eq!(client.answer().unwrap().status, 200);
    }
}

#[test]
fn a_model_of_which_nothing_is_said_takes_four_rows() {
    let repository = Repository::of(&["iris"]);
    for (server, most) in both(&repository).into_iter().zip([i32::MAX, 4]) {
        let config = server.http("GET", "/v2/models/iris/config", "").json();
        assert_eq!(config["max_batch_size"], most);
        assert_eq!(rows(&server, 4).status, 200);
        let five = rows(&server, 5);
        let (status, text) = (five.status, five.json()["error"].to_string());
        if most == 4 {
            assert!(status == 400 && text.contains("batch-size must be <= 4"), "{text}");
        } else {
            assert_eq!(status, 200, "{text}");
        }
    }
    let said = Repository::of(&["iris"]);
    fs::write(said.path().join("iris/model.toml"), "batching = { max_rows = 9 }").unwrap();
    let server = said.serve_configured(TRITON);
    assert_eq!((rows(&server, 9).status, rows(&server, 10).status), (200, 400));
}

#[test]
fn a_value_of_a_row_is_a_dimension_of_one() {
    let repository = Repository::of(&["wine"]);
    for (server, is_triton) in both(&repository).into_iter().zip([false, true]) {
        let shape = if is_triton { json!([-1, 1]) } else { json!([-1]) };
        let metadata = server.http("GET", "/v2/models/wine", "").json();
        assert_eq!(metadata["inputs"][2]["shape"], shape, "{metadata}");
        assert_eq!(metadata["outputs"][0]["shape"], shape, "{metadata}");
        let config = server.http("GET", "/v2/models/wine/config", "").json();
        let ash = &config["input"][2];
        if is_triton {
            assert_eq!((&ash["dims"], &ash["reshape"]), (&json!([1]), &json!({"shape": []})));
        } else {
            assert_eq!((&ash["dims"], &ash["reshape"]), (&json!([]), &Value::Null));
        }
        // The model's own golden case, with the shapes that callers see.
        let cases = fs::read(project().join("models/wine/1/golden.json")).unwrap();
        let cases: Value = serde_json::from_slice(&cases).unwrap();
        let mut body = json!({"inputs": cases[0]["inputs"].clone()});
        for input in body["inputs"].as_array_mut().unwrap() {
            if is_triton {
                input["shape"] = json!([1, 1]);
            }
        }
        let answer = server.http("POST", "/v2/models/wine/infer", &body.to_string());
        assert_eq!(answer.status, 200, "{}", answer.json());
        let label = &answer.json()["outputs"][0];
        let expected = if is_triton { json!([1, 1]) } else { json!([1]) };
        assert_eq!((&label["shape"], &label["data"]), (&expected, &json!(["class_0"])));
    }
}

#[test]
fn tritons_own_client_sends_what_the_configuration_says() {
    let repository = Repository::of(&["iris", "digits", "wine", "topics"]);
    let server = Server::with(repository.path(), &["--compat", "triton"]);
    let (http, grpc) = (server.addresses().http, server.addresses().grpc);
    let said = run_client("as_configured.py", &[&http.to_string(), &grpc.to_string()]);
    assert!(said.contains("4 models answered over both protocols"), "{said}");
}

fn zip<A, B, C>(servers: [A; 2], second: [B; 2], third: [C; 2]) -> impl Iterator<Item = (A, B, C)> {
    servers.into_iter().zip(second).zip(third).map(|((a, b), c)| (a, b, c))
}

fn rows(server: &Server, rows: usize) -> Reply {
    let data = json!(vec![1.0; rows * 4]);
    let body = iris::body_of("input", &data, &[i64::try_from(rows).expect("a few"), 4]);
    server.http("POST", "/v2/models/iris/infer", &body)
}

fn ask_forever(server: &Server, handsets: &mut Vec<Handset>) -> JoinHandle<()> {
    let mut client = Client::connect(server.addresses().http);
    handsets.push(client.handset());
    thread::spawn(move || drop(client.try_ask("POST", LOOP, &body_of_loop(ENDLESS, 0))))
}

fn wait_until_closed(server: &Server) {
    wait_until("connections are refused", || TcpStream::connect(server.addresses().http).is_err());
}

fn body_of_loop(rounds: i64, timeout_us: u64) -> String {
    let input = json!({"name": "n", "datatype": "INT64", "shape": [1], "data": [rounds]});
    json!({"parameters": {"timeout": timeout_us}, "inputs": [input]}).to_string()
}

fn message_of_loop() -> pb::ModelInferRequest {
    rpc::request("loop", ("n", "INT64"), &[1], ENDLESS.to_le_bytes().to_vec())
}

const LOOP: &str = "/v2/models/loop/infer";

/// Rounds that take days.
const ENDLESS: i64 = 1 << 40;
