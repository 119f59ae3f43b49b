//! Heavy models leave the I/O threads: they wait bounded, can be stopped, and delay no light one.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use serde_json::json;
use tidegate::api::oip::pb::inference as pb;
use tonic::Code;

use crate::harness::client::{Client, Handset};
use crate::harness::iris;
use crate::harness::process::wait_until;
use crate::harness::repository::{Repository, odd};
use crate::harness::rpc::{self, Rpc};
use crate::harness::server::{Reply, Server};

#[test]
fn a_heavy_model_runs_on_threads_and_a_light_one_in_place() {
    let repository = models();
    repository.put("heavy", 1, &odd("heavy"));
    let server = repository.serve();
    for (model, version, placement) in
        [("iris", 2, "in_place"), ("heavy", 1, "threads"), ("loop", 1, "threads")]
    {
        let view = server.admin("GET", &format!("/admin/v1/models/{model}/versions/{version}"), "");
        assert_eq!(view.1["placement"], placement, "{view:?}");
    }
    let body = iris::body_of("x", &json!([0.5, 1.0, -1.0, 2.0]), &[1, 4]);
    let heavy = server.http("POST", "/v2/models/heavy/infer", &body);
    assert_eq!(heavy.status, 200, "{}", heavy.json());
    assert_eq!(heavy.json()["outputs"][0]["shape"], json!([1, 4]));
    let counted = count(&server, &body_of_loop(5, None));
    assert_eq!(counted.json()["outputs"][0]["data"], json!([20_005]), "{}", counted.json());
}

#[test]
fn a_model_that_turns_out_heavy_leaves_the_io_threads() {
    let repository = Repository::new();
    repository.put("batches", 1, &odd("batches"));
    let server = repository.serve();
    let placement = || {
        let view = server.admin("GET", "/admin/v1/models/batches/versions/1", "");
        view.1["placement"].as_str().map(str::to_owned)
    };
    assert_eq!(placement().as_deref(), Some("in_place"));
    let rows = 32_768;
    let body = iris::body_of("x", &json!(vec![0; 4 * rows]), &[32_768, 4]);
    // The first long run makes it suspect, the second one is timed by the processor's clock.
    for _ in 0..2 {
        let reply = server.http("POST", "/v2/models/batches/infer", &body);
        assert_eq!(reply.status, 200, "{}", reply.json());
    }
    assert_eq!(placement().as_deref(), Some("threads"));
}

#[test]
fn a_deadline_stops_the_run_and_frees_its_thread() {
    let server = models().serve_configured("[runtime]\ncores = 1");
    let late = count(&server, &body_of_loop(ENDLESS, Some(30_000)));
    assert_eq!((late.status, &late.json()["code"]), (504, &json!("timeout.deadline")));
    // The only inference thread is free again, or this would never be answered.
    assert_eq!(count(&server, &body_of_loop(0, None)).status, 200);

    let rpc = Rpc::connect(server.addresses().grpc);
    let timeout = pb::infer_parameter::ParameterChoice::Int64Param(30_000);
    let timeout = pb::InferParameter { parameter_choice: Some(timeout) };
    let mut request = message_of_loop(ENDLESS);
    request.parameters.insert("timeout".to_owned(), timeout);
    assert_eq!(rpc.infer(request).unwrap_err().code(), Code::DeadlineExceeded);
    assert!(rpc.infer(message_of_loop(0)).is_ok());
}

#[test]
fn a_full_queue_is_overload_and_a_caller_that_leaves_frees_its_place() {
    let server = models().serve_configured("[runtime]\ncores = 1\n[serving]\nqueue_capacity = 1");
    let (told, news) = channel();
    let before = server.run_ticks();
    let running = Caller::ask_forever(&server, 0, &told);
    server.wait_for_run(before);
    // One of two may wait beside the run, the other is refused: from here on the queue is full.
    let mut waiting = [1, 2].map(|name| Caller::ask_forever(&server, name, &told));
    let (refused, reply) = news.recv().unwrap();
    assert_eq!((reply.status, &reply.json()["code"]), (429, &json!("overloaded.queue")));
    assert!(reply.headers.contains("\r\nretry-after: 1"), "{}", reply.headers);
    let rpc = Rpc::connect(server.addresses().grpc);
    let status = rpc.infer(message_of_loop(0)).unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    server.wait_for_metric("tidegate_queue_requests{model=\"loop\",version=\"1\"} 1");
    server.wait_for_metric("tidegate_requests_in_flight 2");

    // Light models go on answering on both protocols.
    for _ in 0..100 {
        assert_eq!(iris::ask(&server).version, 2);
        iris::read_message(&rpc.infer(iris::request()).unwrap()).unwrap();
    }

    // A caller that waits leaves: another may wait, in vain, because the run goes on.
    waiting.rotate_left(refused % 2);
    waiting[0].handset.hang_up();
    wait_until("a place in the queue is free", || {
        count(&server, &body_of_loop(0, Some(1_000))).status == 504
    });
    // The caller whose run it is leaves: the run stops, and others get answers.
    running.handset.hang_up();
    wait_until("the thread is free", || count(&server, &body_of_loop(0, None)).status == 200);
    for caller in waiting.into_iter().chain([running]) {
        caller.thread.join().unwrap();
    }
    server.wait_for_metric("tidegate_queue_requests{model=\"loop\",version=\"1\"} 0");
    server.wait_for_metric("tidegate_requests_in_flight 0");
}

#[test]
fn a_grpc_caller_that_leaves_stops_its_run() {
    let server = models().serve_configured("[runtime]\ncores = 1");
    let before = server.run_ticks();
    let address = server.addresses().grpc;
    let (leave, left) = tokio::sync::oneshot::channel::<()>();
    let caller = thread::spawn(move || {
        let rpc = Rpc::connect(address);
        let mut client = rpc.client();
        let call = async {
            tokio::select! {
                answer = client.model_infer(message_of_loop(ENDLESS)) => answer,
                _ = left => Err(tonic::Status::cancelled("left")),
            }
        };
        rpc.wait(call)
    });
    server.wait_for_run(before);
    leave.send(()).unwrap();
    assert_eq!(caller.join().unwrap().unwrap_err().code(), Code::Cancelled);
    assert_eq!(count(&server, &body_of_loop(0, None)).status, 200);
}

/// Somebody on a thread of their own who waits for an answer that never comes.
#[derive(Debug)]
struct Caller {
    handset: Handset,
    thread: thread::JoinHandle<()>,
}

impl Caller {
    fn ask_forever(server: &Server, name: usize, told: &Sender<(usize, Reply)>) -> Self {
        let mut client = Client::connect(server.addresses().http);
        let (handset, told) = (client.handset(), told.clone());
        let thread = thread::spawn(move || {
            if let Some(reply) = client.try_ask("POST", LOOP, &body_of_loop(ENDLESS, None)) {
                told.send((name, reply)).ok();
            }
        });
        Self { handset, thread }
    }
}

fn models() -> Repository {
    let repository = Repository::of(&["iris"]);
    repository.put("loop", 1, &odd("loop"));
    repository
}

fn count(server: &Server, body: &str) -> Reply {
    server.http("POST", LOOP, body)
}

fn body_of_loop(rounds: i64, timeout_us: Option<u64>) -> String {
    let parameters = timeout_us.map_or_else(|| json!({}), |us| json!({"timeout": us}));
    let input = json!({"name": "n", "datatype": "INT64", "shape": [1], "data": [rounds]});
    json!({"parameters": parameters, "inputs": [input]}).to_string()
}

fn message_of_loop(rounds: i64) -> pb::ModelInferRequest {
    rpc::request("loop", ("n", "INT64"), &[1], rounds.to_le_bytes().to_vec())
}

const LOOP: &str = "/v2/models/loop/infer";

/// Rounds that take days.
const ENDLESS: i64 = 1 << 40;
