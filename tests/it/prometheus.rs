//! A real Prometheus reads the metrics page: every series of it, and none of what is gone.

use tidegate::platform::telemetry::catalog;

use crate::harness::debian;
use crate::harness::iris;
use crate::harness::prometheus::{self, Prometheus};
use crate::harness::repository::Repository;
use crate::harness::server::{Server, request};

#[test]
fn prometheus_reads_the_page_and_forgets_a_version_that_is_unloaded() {
    let Some(tools) = debian::program("prometheus") else { return };
    let repository = Repository::of(&["iris"]);
    // Nobody listens there: a trace that is kept is an example also if it is never sent.
    let server = repository.serve_configured("[traces]\nendpoint = \"http://127.0.0.1:9\"");
    let mut prometheus = Prometheus::scraping(&tools, server.addresses().metrics);
    ask_in_trace(&server);
    iris::ask(&server);
    assert_eq!(server.http("POST", "/v2/models/nobody/infer", &iris::body()).status, 404);

    prometheus.wait_for_values("tidegate_requests_total{model=\"iris\",outcome=\"ok\"}", &["2"]);
    prometheus.wait_for_values("tidegate_requests_total{model=\"\",outcome=\"not_found\"}", &["1"]);
    prometheus.wait_for_values("tidegate_request_duration_seconds_count{version=\"2\"}", &["2"]);
    prometheus.wait_for_values("sum(nv_inference_count)", &["2"]);
    prometheus.wait_for_values("up", &["1"]);
    check_descriptions(&prometheus);
    let example = prometheus.wait_for("an example", example);
    assert_eq!(example, TRACE);

    assert_eq!(server.http("POST", "/v2/repository/models/iris/unload", "").status, 200);
    server.wait_for_state("iris", 2, "retired");
    // Series of the version end with the first scrape without them, not five minutes later.
    let of_it = "{model=\"iris\",version=\"2\"}";
    let gone = format!("tidegate_retired_versions_total unless on() count({of_it})");
    prometheus.wait_for_values(&gone, &["1"]);
    // What is counted of the model stays.
    prometheus.wait_for_values("tidegate_loads_total{model=\"iris\",outcome=\"ok\"}", &["1"]);
}

#[test]
fn promtool_has_nothing_against_the_page_but_the_names_that_triton_chose() {
    let Some(tools) = debian::program("prometheus") else { return };
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    iris::ask(&server);
    let checked = prometheus::check_metrics(&tools, &server.metrics());
    // 3 is for advice, 1 for a page that cannot be read.
    let said = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(3), "{said}");
    let ours: Vec<&str> = said.lines().filter(|line| !line.starts_with("nv_")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

// What Prometheus took every metric for is what the catalogue says of it.
fn check_descriptions(prometheus: &Prometheus) {
    let found = prometheus.get("targets/metadata", &[]);
    let found = found.as_array().expect("a list");
    for metric in catalog::ALL {
        let is_it = |one: &&serde_json::Value| one["metric"] == metric.name;
        let one = found.iter().find(is_it);
        let one = one.unwrap_or_else(|| panic!("no {} in {found:#?}", metric.name));
        assert_eq!(one["type"], metric.kind.name(), "{}", metric.name);
        assert_eq!(one["help"], format!("{}.", metric.help));
    }
}

fn ask_in_trace(server: &Server) {
    let headers = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n");
    let body = iris::body();
    let path = "/v2/models/iris/infer";
    let reply = request(server.addresses().http, "POST", path, &headers, body.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.json());
}

fn example(prometheus: &Prometheus) -> Option<String> {
    let query = "tidegate_request_duration_seconds_bucket{model=\"iris\"}";
    // All times there are: the examples of a test are few.
    let (start, end) = ("0", "4102444800");
    let data =
        prometheus.get("query_exemplars", &[("query", query), ("start", start), ("end", end)]);
    let trace = data.pointer("/0/exemplars/0/labels/trace_id")?;
    trace.as_str().map(str::to_owned)
}

/// The example of the W3C's specification.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
