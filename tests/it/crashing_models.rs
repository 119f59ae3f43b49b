//! Models that crash ONNX Runtime, while they are opened or run, do not end the server.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::failures::after::expected;
use crate::harness::iris;
use crate::harness::repository::{Repository, demo};
use crate::harness::server::library;
use crate::harness::tools::{command, run_client};

#[test]
fn a_model_that_crashes_a_trial_fails_with_its_reason_and_the_others_serve() {
    let repository = Repository::of(&["iris"]);
    repository.put("crashing", 1, &model("deep_tree"));
    let server = repository.serve_configured(CONFIG);
    assert_eq!(iris::ask(&server).version, 2);
    let view = server.admin("GET", "/admin/v1/models/crashing/versions/1", "").1;
    let reason = view["reason"].as_str().unwrap_or_default();
    assert_eq!(view["state"], "failed", "{view}");
    assert!(reason.starts_with(CRASHED) && reason.contains("overflowed its stack"), "{reason}");

    // A version that crashes while others serve.
    repository.put("iris", 3, &model("deep_tree"));
    let refused = server.http("POST", "/v2/repository/models/iris/load", "");
    assert_eq!((refused.status, &refused.json()["code"]), (400, &Value::from("invalid.load")));
    let text = refused.json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(text.contains(CRASHED), "{text}");
    assert_eq!(iris::ask(&server).version, 2);

    // What is merely refused has ONNX Runtime's own reason, as without a trial.
    repository.put("iris", 4, b"broken");
    let refused = server.http("POST", "/v2/repository/models/iris/load", "").json();
    assert!(
        refused["error"].as_str().unwrap_or_default().contains("refused the model"),
        "{refused}"
    );

    repository.put("iris", 5, &demo("iris", 1));
    assert_eq!(server.http("POST", "/v2/repository/models/iris/load", "").status, 200);
    assert_eq!(server.admin("GET", "/admin/v1/models/iris", "").1["serving"], 5);
}

#[test]
fn a_trial_that_takes_too_long_is_ended_and_said() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve_configured(&format!("{CONFIG}trial_timeout_s = 0\n"));
    let view = server.admin("GET", "/admin/v1/models/iris/versions/2", "").1;
    let reason = view["reason"].as_str().unwrap_or_default();
    assert_eq!(reason, "the trial process did not open the model within 0 s");
}

#[test]
fn check_outlives_a_model_that_crashes() {
    let repository = Repository::of(&["iris"]);
    let file = repository.put("crashing", 1, &model("deep_tree")).join("model.onnx");
    for path in [repository.path(), &file] {
        let output = command(Path::new(env!("CARGO_BIN_EXE_tidegate")))
            .arg("check")
            .arg(path)
            .env("ORT_DYLIB_PATH", library())
            .output()
            .expect("tidegate starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("problem    {CRASHED}")), "{said}");
    }
}

#[test]
fn a_division_that_has_no_quotient_wraps_around_and_ends_no_server() {
    let repository = Repository::new();
    repository.put("division", 1, &model("division"));
    repository.put("constant", 1, &model("constant_division"));
    let server = repository.serve();
    let ask = |model: &str, inputs: &[(&str, i64)]| {
        let input = |(name, value): &(&str, i64)| json!({"name": name, "datatype": "INT64", "shape": [1], "data": [value]});
        let inputs: Vec<Value> = inputs.iter().map(input).collect();
        let body = json!({ "inputs": inputs }).to_string();
        server.http("POST", &format!("/v2/models/{model}/infer"), &body)
    };
    let answer = ask("division", &[("a", i64::MIN), ("b", -1)]).json();
    assert_eq!(answer["outputs"][0]["data"], json!([i64::MIN]), "{answer}");
    let answer = ask("division", &[("a", 7), ("b", -2)]).json();
    assert_eq!(answer["outputs"][0]["data"], json!([-3]), "{answer}");
    let answer = ask("constant", &[("x", 1)]).json();
    assert_eq!(answer["outputs"][0]["data"], json!([i64::MIN + 1]), "{answer}");
    // Division by 0 is no trap: the model refuses it, as it does other values that it cannot take.
    let refused = expected("invalid.rejected_by_model", &["the model refused", "division by zero"]);
    refused.check_reply("division by zero", &ask("division", &[("a", 7), ("b", 0)]));
}

fn model(name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run_client("make_crashing_models.py", &[folder.path().to_str().expect("a path in UTF-8")]);
    fs::read(folder.path().join(name).with_extension("onnx")).expect("a model")
}

const CONFIG: &str = "schema = 1\n[serving]\ntrial_load = true\n";

const CRASHED: &str =
    "ONNX Runtime crashed (signal 6) while it opened the model in a trial process";
