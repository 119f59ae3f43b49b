//! The metrics page adds up: every inference is counted once, where it belongs.

use std::fs;

use serde_json::{Value, json};
use tidegate::api::oip::pb::inference as pb;
use tonic::Code;

use crate::harness::client::Client;
use crate::harness::iris;
use crate::harness::repository::Repository;
use crate::harness::rpc::Rpc;
use crate::harness::server::Server;

#[test]
fn every_inference_is_counted_once_by_outcome_and_phase() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    let rpc = Rpc::connect(server.addresses().grpc);
    for _ in 0..7 {
        assert_eq!(iris::ask(&server).version, 2);
    }
    for _ in 0..5 {
        iris::read_message(&rpc.infer(iris::request()).unwrap()).unwrap();
    }
    let misshapen = iris::body_of("input", &json!([1.0, 2.0]), &[1, 2]);
    for _ in 0..3 {
        assert_eq!(server.http("POST", "/v2/models/iris/infer", &misshapen).status, 400);
    }
    let mut unnamed = iris::request();
    unnamed.inputs[0].name = "other".to_owned();
    assert_eq!(rpc.infer(unnamed).unwrap_err().code(), Code::InvalidArgument);

    assert_eq!(outcome(&server, ("iris", "2"), "ok"), 12);
    assert_eq!(outcome(&server, ("iris", "2"), "invalid"), 4);
    let page = server.metrics();
    assert!(!page.contains("# EOF"), "plain text for who does not ask for more\n{page}");
    let labels = r#"model="iris",version="2""#;
    let total = format!("tidegate_request_duration_seconds_count{{{labels}}}");
    assert_eq!(value(&page, &total), 16);
    for phase in ["decode", "admit", "choose", "lease", "queue", "run", "encode", "observe"] {
        let line = format!("tidegate_phase_duration_seconds_count{{{labels},phase=\"{phase}\"}}");
        assert_eq!(value(&page, &line), 16, "{phase}");
    }
    assert!(value(&page, "process_resident_memory_bytes") > 0);
    assert!(page.contains("onnxruntime=\"1.32.0\"} 1"), "{page}");
}

#[test]
fn the_page_says_what_an_operator_asks_first() {
    let repository = Repository::of(&["iris"]);
    fs::create_dir_all(repository.folder("broken", 1)).expect("a new folder");
    repository.put("broken", 1, b"no model");
    let server = repository.serve();
    let mut client = Client::connect(server.addresses().http);
    client.ask("POST", "/v2/models/iris/infer", &iris::body());
    server.wait_for_metric("tidegate_requests_in_flight 0");
    let page = server.metrics();
    for line in [
        "tidegate_connections{protocol=\"http\"} 1",
        "tidegate_connections{protocol=\"grpc\"} 0",
        "tidegate_version_state{model=\"iris\",version=\"2\",state=\"serving\"} 1",
        "tidegate_version_state{model=\"broken\",version=\"1\",state=\"failed\"} 1",
        "tidegate_queue_requests{model=\"iris\",version=\"2\"} 0",
        "tidegate_retired_versions_total 0",
    ] {
        assert!(page.lines().any(|found| found == line), "no {line} in\n{page}");
    }
    // What lies on disk and nobody asked for is in no state to speak of.
    assert!(!page.contains("tidegate_version_state{model=\"iris\",version=\"1\""), "{page}");
    let open = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("a process").count();
    let told = value(&page, "process_open_fds");
    assert!(told.abs_diff(open as u64) <= 3, "{told} descriptors, and {open} a moment later");
    assert!(value(&page, "process_threads") > 4, "{page}");
    server.http("POST", "/v2/repository/models/iris/unload", "");
    server.wait_for_state("iris", 2, "retired");
    server.wait_for_metric("tidegate_retired_versions_total 1");
    let page = server.metrics();
    for moment in ["before", "after"] {
        let line = format!("tidegate_retire_resident_bytes{{moment=\"{moment}\"}}");
        assert!(value(&page, &line) > 1 << 20, "{page}");
    }
    assert!(!page.contains("model=\"iris\",version=\"2\""), "{page}");
}

#[test]
fn statistics_add_up_in_both_protocols() {
    let server = Repository::of(&["iris"]).serve();
    let rpc = Rpc::connect(server.addresses().grpc);
    let started = server.http("GET", "/v2/models/iris/stats", "").json();
    assert_eq!(started["model_stats"][0]["last_inference"], 0);
    for rows in [1_i64, 1, 3, 17] {
        let body = iris::body_of(
            "input",
            &json!([[1.5; 4]].repeat(usize::try_from(rows).unwrap())),
            &[rows, 4],
        );
        assert_eq!(server.http("POST", "/v2/models/iris/infer", &body).status, 200);
    }
    let misshapen = iris::body_of("input", &json!([1.0]), &[1, 1]);
    assert_eq!(server.http("POST", "/v2/models/iris/infer", &misshapen).status, 400);
    let over_http = server.http("GET", "/v2/models/iris/stats", "").json();
    let stats = &over_http["model_stats"][0];
    let count = |path: &str| stats.pointer(path).and_then(Value::as_u64);
    assert_eq!((count("/inference_count"), count("/execution_count")), (Some(22), Some(4)));
    for (statistic, expected) in [
        ("success", 4),
        ("fail", 1),
        ("queue", 4),
        ("compute_input", 4),
        ("compute_infer", 4),
        ("compute_output", 4),
        ("cache_hit", 0),
        ("cache_miss", 0),
    ] {
        let path = format!("/inference_stats/{statistic}/count");
        assert_eq!(count(&path), Some(expected), "{statistic}");
    }
    // Milliseconds of this century: neither seconds nor nanoseconds.
    let last = count("/last_inference").unwrap();
    assert!((1_700_000_000_000..5_000_000_000_000).contains(&last), "{last}");
    let batches = stats["batch_stats"].as_array().unwrap();
    let sizes: Vec<_> = batches
        .iter()
        .map(|batch| (batch["batch_size"].as_u64(), batch["compute_infer"]["count"].as_u64()))
        .collect();
    assert_eq!(sizes, [(Some(1), Some(2)), (Some(3), Some(1))]);

    let name = "iris".to_owned();
    let asked = pb::ModelStatisticsRequest { name, version: String::new() };
    let over_grpc = rpc.wait(rpc.client().model_statistics(asked)).unwrap().model_stats.remove(0);
    assert_eq!((over_grpc.last_inference, over_grpc.inference_count), (last, 22));
    let durations = over_grpc.inference_stats.unwrap();
    let ns = durations.compute_infer.map(|duration| duration.ns);
    assert_eq!(ns, count("/inference_stats/compute_infer/ns"));
    let sizes: Vec<_> = over_grpc.batch_stats.iter().map(|batch| batch.batch_size).collect();
    assert_eq!(sizes, [1, 3]);
}

#[test]
fn what_reached_no_version_is_counted_without_a_name() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    let rpc = Rpc::connect(server.addresses().grpc);
    for name in ["nobody", "somebody"] {
        let path = format!("/v2/models/{name}/infer");
        assert_eq!(server.http("POST", &path, &iris::body()).status, 404);
    }
    let mut request = iris::request();
    request.model_name = "nobody".to_owned();
    assert_eq!(rpc.infer(request).unwrap_err().code(), Code::NotFound);
    assert_eq!(server.http("POST", "/v2/models/iris/infer", "{").status, 400);
    // A version that is known, but not ready.
    let path = "/v2/models/iris/versions/1/infer";
    assert_eq!(server.http("POST", path, &iris::body()).status, 503);

    assert_eq!(outcome(&server, ("", ""), "not_found"), 3);
    assert_eq!(outcome(&server, ("", ""), "invalid"), 1);
    assert_eq!(outcome(&server, ("", ""), "unavailable"), 1);
    let page = server.metrics();
    assert!(!page.contains("nobody") && !page.contains("somebody"), "{page}");
    // Questions that are no inference are not counted as one.
    assert_eq!(server.http("GET", "/v2/models/nobody", "").status, 404);
    assert_eq!(outcome(&server, ("", ""), "not_found"), 3);
}

#[test]
fn a_version_that_is_freed_drops_out_of_the_page() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    iris::ask(&server);
    assert_eq!(server.admin("POST", "/admin/v1/models/iris/versions/1:load", "").0, 200);
    let serving = |version: &str| {
        let line = format!("tidegate_version_serving{{model=\"iris\",version=\"{version}\"}}");
        value(&server.metrics(), &line)
    };
    assert_eq!((serving("1"), serving("2")), (0, 1));
    assert_eq!(server.admin("POST", "/admin/v1/models/iris/versions/1:promote", "").0, 200);
    assert_eq!(serving("1"), 1);
    server.wait_for_state("iris", 2, "retired");
    let page = server.metrics();
    assert!(!page.contains("model=\"iris\",version=\"2\""), "{page}");
    iris::ask(&server);
    assert_eq!(outcome(&server, ("iris", "1"), "ok"), 1);
}

fn outcome(server: &Server, (model, version): (&str, &str), outcome: &str) -> u64 {
    let labels = format!("model=\"{model}\",version=\"{version}\",outcome=\"{outcome}\"");
    value(&server.metrics(), &format!("tidegate_requests_total{{{labels}}}"))
}

/// The value of a line, given up to the space before it.
fn value(page: &str, name: &str) -> u64 {
    let mut lines = page.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("no {name} in\n{page}"));
    found.parse().unwrap_or_else(|_| panic!("{name} is {found}"))
}
