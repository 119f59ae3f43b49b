//! A caller's trace goes on in ours, in both protocols, and only where it is kept.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request};

use crate::harness::collector::{Receiver, Span};
use crate::harness::otelcol::Collector;
use crate::harness::repository::Repository;
use crate::harness::rpc::Rpc;
use crate::harness::server::{Reply, Server, request};
use crate::harness::tools::{run_client, there_are};
use crate::harness::{grpc, iris};

#[test]
fn a_callers_trace_goes_on_in_both_protocols_and_only_if_it_is_kept() {
    let receiver = Receiver::refusing(0);
    let repository = Repository::of(&["iris"]);
    let server = repository.serve_configured(&receiver.section(1.0));
    let asked = ask_from_spans(&server, &receiver.address().to_string());
    // What is kept is sent before the server ends.
    assert!(server.terminate().success());
    let spans = receiver.finish();
    check_traces(&asked, &spans);
    for (protocol, status) in [("http", json!(200)), ("grpc", json!("OK"))] {
        let question = asked.iter().find(|asked| asked.protocol == protocol && asked.kept);
        let (server, phases) = answer_of(question.expect("a question"), &spans);
        let told = &server.attributes;
        assert_eq!(
            (&told["ml.model.name"], &told["ml.model.version"]),
            (&json!("iris"), &json!("2"))
        );
        assert_eq!(told["ml.model.variant"], "default");
        assert_eq!(told["ml.model.digest"].as_str().map(str::len), Some(12));
        assert_eq!(told["tidegate.inference_id"].as_str().map(str::len), Some(26));
        let name = if protocol == "http" { "http.response" } else { "rpc.response" };
        assert_eq!(told[format!("{name}.status_code")], status, "{told}");
        // Each phase begins where the one before it ended, and together they are the whole.
        let times: Vec<_> = phases.iter().map(|span| (span.start, span.end)).collect();
        assert!(times.windows(2).all(|pair| pair[0].1 == pair[1].0), "{times:?}");
        let last = times.last().expect("phases");
        assert_eq!((times[0].0, last.1), (server.start, server.end));
    }
}

#[test]
fn without_a_caller_who_decides_the_ratio_does_and_the_answer_names_our_span() {
    let receiver = Receiver::refusing(0);
    let repository = Repository::of(&["iris"]);
    let server = repository.serve_configured(&receiver.section(1.0));
    let rpc = Rpc::connect(server.addresses().grpc);
    let misshapen = iris::body_of("input", &json!([1.0]), &[1, 1]);
    let over_http = [
        post(&server, "/v2/models/iris/infer", "", &iris::body()),
        post(&server, "/v2/models/iris/versions/2/infer", "traceparent: none\r\n", &iris::body()),
        post(&server, "/v2/models/iris/infer", "", &misshapen),
        post(&server, "/v2/models/nobody/infer", "", &iris::body()),
    ];
    let statuses = over_http.iter().map(|reply| reply.status).collect::<Vec<_>>();
    assert_eq!(statuses, [200, 200, 400, 404]);
    let mut told: Vec<String> = over_http.iter().map(response_header).collect();
    let mut client = rpc.client();
    let answer = rpc.block_on(client.model_infer(iris::request())).expect("an answer");
    told.push(response_of(answer.metadata()));
    let mut unnamed = iris::request();
    unnamed.model_name = "nobody".to_owned();
    let refused = rpc.infer(unnamed).expect_err("a refusal");
    assert_eq!(refused.code(), Code::NotFound);
    told.push(response_of(refused.metadata()));
    let undecodable = grpc::call(server.addresses().grpc, "ModelInfer", &b"\xff"[..]);
    let undecodable = rpc.block_on(undecodable).expect_err("a refusal");
    told.push(response_of(undecodable.metadata()));

    assert!(server.terminate().success());
    let spans = receiver.finish();
    let servers: Vec<&Span> = spans.iter().filter(|span| span.name == "infer").collect();
    assert_eq!(servers.len(), told.len());
    for response in &told {
        let found = servers.iter().find(|span| {
            span.parent.is_empty() && *response == format!("00-{}-{}-01", span.trace_id, span.id)
        });
        assert!(found.is_some(), "{response} is none of {servers:#?}");
    }
    let traces: BTreeSet<&str> = servers.iter().map(|span| span.trace_id.as_str()).collect();
    assert_eq!(traces.len(), told.len(), "each request began a trace of its own");
    assert_eq!(servers[1].attributes["http.route"], "/v2/models/{model}/versions/{version}/infer");
    let types: Vec<&Value> = servers.iter().map(|span| &span.attributes["error.type"]).collect();
    assert_eq!(types[2..4], [&json!("invalid.input"), &json!("not_found.model")]);
    assert_eq!(servers[6].attributes["rpc.response.status_code"], "INVALID_ARGUMENT");
    // None of it was the server's fault.
    assert!(spans.iter().all(|span| span.status == "STATUS_CODE_UNSET"));
}

#[test]
fn each_message_of_a_stream_is_a_span_below_the_callers() {
    let receiver = Receiver::refusing(0);
    let repository = Repository::of(&["iris"]);
    let server = repository.serve_configured(&receiver.section(0.0));
    let rpc = Rpc::connect(server.addresses().grpc);
    let mut stream = Request::new(tokio_stream::iter([iris::request(), iris::request()]));
    stream.metadata_mut().insert("traceparent", PARENT.parse().expect("ASCII"));
    stream.metadata_mut().insert("tracestate", "vendor=7".parse().expect("ASCII"));
    rpc.block_on(async {
        let answers = rpc.client().model_stream_infer(stream).await.expect("a stream");
        let mut answers = answers.into_inner();
        while let Some(answer) = answers.message().await.expect("an answer") {
            assert_eq!(answer.error_message, "");
        }
    });
    assert!(server.terminate().success());
    let spans = receiver.finish();
    let servers: Vec<&Span> = spans.iter().filter(|span| span.name == "infer").collect();
    assert_eq!(servers.len(), 2);
    assert_ne!(servers[0].id, servers[1].id);
    for span in servers {
        assert!(PARENT.contains(&span.trace_id) && PARENT.contains(&span.parent), "{span:?}");
        assert_eq!(span.state, "vendor=7");
        assert_eq!(
            span.attributes["rpc.method"],
            "inference.GRPCInferenceService/ModelStreamInfer"
        );
    }
}

#[test]
fn what_a_collector_does_not_take_at_once_is_sent_again() {
    let mut receiver = Receiver::refusing(1);
    let repository = Repository::of(&["iris"]);
    let server = repository.serve_configured(&receiver.section(0.0));
    let headers = format!("traceparent: {PARENT}\r\n");
    assert_eq!(post(&server, "/v2/models/iris/infer", &headers, &iris::body()).status, 200);
    assert_eq!(receiver.next().name, "infer");
    server.wait_for_metric("tidegate_traces_total{outcome=\"exported\"} 1");
}

#[test]
fn a_collector_that_is_away_keeps_neither_answers_nor_the_end_from_coming() {
    let receiver = Receiver::refusing(0);
    let section = receiver.section(1.0);
    drop(receiver);
    let repository = Repository::of(&["iris"]);
    let server = repository.serve_configured(&section);
    for _ in 0..10 {
        iris::ask(&server);
    }
    assert!(server.terminate().success());
}

#[test]
fn a_kept_trace_is_the_example_of_its_bucket() {
    let receiver = Receiver::refusing(0);
    let repository = Repository::of(&["iris"]);
    let server = repository.serve_configured(&receiver.section(0.0));
    let headers = format!("traceparent: {PARENT}\r\n");
    assert_eq!(post(&server, "/v2/models/iris/infer", &headers, &iris::body()).status, 200);
    iris::ask(&server);
    let accept = "accept: application/openmetrics-text\r\n";
    let page = request(server.addresses().metrics, "GET", "/metrics", accept, b"");
    let page = String::from_utf8(page.body).expect("metrics are text");
    let examples: Vec<&str> = page.lines().filter(|line| line.contains(" # {")).collect();
    assert_eq!(examples.len(), 1, "{examples:?}");
    assert!(examples[0].starts_with("tidegate_request_duration_seconds_bucket{model=\"iris\""));
    assert!(examples[0].contains("# {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} "));
    assert!(!server.metrics().contains("# {"), "plain text has no examples");
}

#[test]
#[ignore = "builds the OpenTelemetry Collector; make soak"]
fn the_real_collector_joins_a_callers_spans_and_ours() {
    if !there_are(&["go"]) {
        return;
    }
    let collector = Collector::start();
    let repository = Repository::of(&["iris"]);
    let section = format!("[traces]\nendpoint = \"http://{}\"", collector.address());
    let server = repository.serve_configured(&section);
    let asked = ask_from_spans(&server, &collector.address().to_string());
    assert!(server.terminate().success());
    check_traces(&asked, &collector.finish());
}

/// One question of `tests/clients/traced.py`.
#[derive(Debug, serde::Deserialize)]
struct Asked {
    protocol: String,
    kept: bool,
    trace_id: String,
    span_id: String,
}

fn ask_from_spans(server: &Server, collector: &str) -> Vec<Asked> {
    let (http, grpc) = (server.addresses().http.to_string(), server.addresses().grpc.to_string());
    let said = run_client("traced.py", &[&http, &grpc, collector]);
    said.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

// The caller's own span and ours with its phases where the trace is kept, and nothing where not.
fn check_traces(asked: &[Asked], spans: &[Span]) {
    assert_eq!(asked.len(), 4);
    for question in asked {
        let of_it = spans.iter().filter(|span| span.trace_id == question.trace_id);
        if !question.kept {
            assert_eq!(of_it.count(), 0, "{question:?}");
            continue;
        }
        assert_eq!(of_it.count(), 10, "the caller's span, ours and eight phases: {question:?}");
        let (server, phases) = answer_of(question, spans);
        assert_eq!((server.service.as_str(), server.name.as_str()), ("tidegate", "infer"));
        let names: Vec<&str> = phases.iter().map(|span| span.name.as_str()).collect();
        let words = ["decode", "admit", "choose", "lease", "queue", "run", "encode", "observe"];
        assert_eq!(names, words);
    }
    assert_eq!(spans.len(), 20, "and no others: {spans:#?}");
}

// The server's span below the caller's, and the phases below that, as they came.
fn answer_of<'a>(asked: &Asked, spans: &'a [Span]) -> (&'a Span, Vec<&'a Span>) {
    assert!(spans.iter().any(|span| span.id == asked.span_id && span.parent.is_empty()));
    let mut below = spans.iter().filter(|span| span.parent == asked.span_id);
    let server = below.next().expect("a span of ours below the caller's");
    assert!(below.next().is_none(), "one span of ours below the caller's");
    assert_eq!(server.kind, "SPAN_KIND_SERVER");
    let phases = spans.iter().filter(|span| span.parent == server.id);
    (server, phases.collect())
}

fn post(server: &Server, path: &str, headers: &str, body: &str) -> Reply {
    request(server.addresses().http, "POST", path, headers, body.as_bytes())
}

fn response_header(reply: &Reply) -> String {
    let line = reply.headers.lines().find_map(|line| line.strip_prefix("traceresponse: "));
    line.unwrap_or_else(|| panic!("no traceresponse in {}", reply.headers)).to_owned()
}

fn response_of(metadata: &MetadataMap) -> String {
    let value = metadata.get("traceresponse").and_then(|value| value.to_str().ok());
    value.unwrap_or_else(|| panic!("no traceresponse in {metadata:?}")).to_owned()
}

/// The example of the specification.
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
