//! What lies in deploy/ is what the systems it is for take, and what the server does.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::server::{Server, request};
use crate::harness::tools::{command, project, run_client};

/// Documents of deploy/ of that kind, valid where Kubernetes has a schema for them.
fn documents(kind: &str) -> Vec<Value> {
    let deploy = project().join("deploy");
    let said = run_client("manifests.py", &[deploy.to_str().expect("a path in UTF-8")]);
    let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON lines"));
    let documents = lines.filter_map(|line| line.get("document").cloned());
    documents.filter(|document| document.get("kind").is_some_and(|found| found == kind)).collect()
}

fn only(kind: &str) -> Value {
    let mut all = documents(kind);
    assert_eq!(all.len(), 1, "documents of kind {kind}");
    all.remove(0)
}

/// A variable of a container that is a number of seconds.
fn seconds_of(container: &Value, variable: &str) -> Option<u64> {
    let mut variables = container.get("env")?.as_array()?.iter();
    let found = variables.find(|found| found.get("name").is_some_and(|name| name == variable))?;
    found.get("value")?.as_str()?.parse().ok()
}

#[test]
fn kubernetes_takes_the_manifests_and_probes_ask_what_the_server_answers() {
    let deployment = only("Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let server = Server::start();
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["port"], "metrics", "{probe}");
        let path = get["path"].as_str().expect("a path");
        let reply = request(server.addresses().metrics, "GET", path, "", b"");
        assert_eq!(reply.status, 200, "{probe} {path}");
    }
    // The image's own ports.
    let image = fs::read_to_string(project().join("deploy/image/tidegate.toml")).unwrap();
    for port in container["ports"].as_array().expect("ports") {
        let line = format!(":{}\"", port["containerPort"]);
        assert!(image.contains(&line), "the image does not listen on {port}");
    }
    let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("seconds");
    let delay = seconds_of(container, "TIDEGATE_SERVER_DRAIN_DELAY_S").expect("a delay");
    // A pod that is not ready leaves the endpoints within one period.
    let period = container["readinessProbe"]["periodSeconds"].as_u64().expect("seconds");
    assert!(delay > period, "{delay} s are over before anybody notices");
    assert!(grace > delay + DRAIN_S, "{grace} s are not enough to drain");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"], *labels);
    assert_eq!(only("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"], "tidegate");
    for service in documents("Service") {
        assert_eq!(service["spec"]["selector"], *labels, "{service}");
    }
}

#[test]
fn kserves_runtime_serves_one_model_by_the_name_of_its_service() {
    let runtime = only("ClusterServingRuntime");
    let spec = &runtime["spec"];
    assert_eq!(spec["protocolVersions"], json!(["v1", "v2", "grpc-v2"]));
    assert_eq!(spec["supportedModelFormats"][0]["name"], "onnx");
    let container = &spec["containers"][0];
    assert_eq!(container["name"], "kserve-container");
    let delay = seconds_of(container, "TIDEGATE_SERVER_DRAIN_DELAY_S").expect("a delay");
    let drain = seconds_of(container, "TIDEGATE_SERVER_DRAIN_TIMEOUT_S").expect("a timeout");
    assert!(delay > 0 && delay + drain < GRACE_S, "{delay} s and {drain} s");
    for service in documents("InferenceService") {
        assert_eq!(service["spec"]["predictor"]["model"]["runtime"], runtime["metadata"]["name"]);
    }
    // What KServe does: the model's files at /mnt/models, the service's name in the template.
    let mount = tempfile::tempdir().unwrap();
    let model = project().join("models/iris/2/model.onnx");
    fs::copy(model, mount.path().join("model.onnx")).unwrap();
    let mount = mount.path().to_str().expect("a path in UTF-8");
    let filled = |text: &Value| {
        let text = text.as_str().expect("text").replace("{{.Name}}", "flowers");
        text.replace("/mnt/models", mount).replace(":8080", ":0").replace(":9000", ":0")
    };
    assert_eq!(container["args"], json!(["serve"]));
    let variables = container["env"].as_array().expect("variables").iter();
    let variables: Vec<(String, String)> =
        variables.map(|one| (filled(&one["name"]), filled(&one["value"]))).collect();
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let server = Server::hosted(&[], &variables);
    let mut http = server.addresses().http;
    http.set_ip([127, 0, 0, 1].into());
    let probe = filled(&container["readinessProbe"]["httpGet"]["path"]);
    assert_eq!(request(http, "GET", &probe, "", b"").status, 200, "{probe}");
    let rows = br#"{"instances": [[4.9, 2.5, 4.5, 1.7]]}"#;
    let reply = request(http, "POST", "/v1/models/flowers:predict", "", rows);
    assert_eq!(reply.json()["predictions"][0]["label"], 2, "{}", reply.json());
}

#[test]
fn systemd_takes_the_unit() {
    let unit = project().join("deploy/systemd/tidegate.service");
    let text = fs::read_to_string(unit).unwrap();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("the unit has no {key}")).to_owned()
    };
    // With room for the delay that its comment speaks of.
    assert!(value("TimeoutStopSec").parse::<u64>().unwrap() > 5 + DRAIN_S);
    assert!(value("LimitNOFILE").parse::<u64>().unwrap() > CONNECTIONS);
    let verify = Path::new("/usr/bin/systemd-analyze");
    if !verify.exists() {
        println!("skipped: systemd-analyze is not installed");
        return;
    }
    // It looks for the program too, which is here under another name.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("tidegate.service");
    let program = env!("CARGO_BIN_EXE_tidegate");
    fs::write(&copy, text.replace("/opt/tidegate/tidegate", program)).unwrap();
    let verified = command(verify).args(["verify", "--man=no"]).arg(&copy).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    // It may also complain about units of the machine that it reads on the way.
    let about_ours: Vec<&str> = said.lines().filter(|line| line.contains("tidegate")).collect();
    assert!(about_ours.is_empty(), "{about_ours:?}");
}

/// `server.drain_timeout_s` by default.
const DRAIN_S: u64 = 30;

/// What Kubernetes leaves a pod between SIGTERM and SIGKILL by default.
const GRACE_S: u64 = 30;

/// `limits.connections` by default.
const CONNECTIONS: u64 = 10_000;
