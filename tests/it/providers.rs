//! A provider that was asked for is there, or its model says why not: nothing falls back silently.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::iris;
use crate::harness::repository::Repository;
use crate::harness::server::{Server, library};
use crate::harness::tools::command;

#[test]
fn a_model_whose_provider_cannot_be_had_says_why_and_the_others_serve() {
    let repository = Repository::of(&["iris", "wine"]);
    says(&repository, "wine", "providers = [\"cpu\"]\n");
    let server = repository.serve_configured("[runtime]\nproviders = [\"cuda\", \"cpu\"]\n");
    let view = server.admin("GET", "/admin/v1/models/iris/versions/2", "").1;
    assert_eq!(view["state"], "failed", "{view}");
    let reason = view["reason"].as_str().unwrap();
    assert_eq!(reason, REFUSAL);
    assert_eq!(server.index_line("iris", 2), ("UNAVAILABLE".into(), format!("failed: {reason}")));
    assert!(server.log().contains(reason), "{}", server.log());
    let refused = server.http("POST", "/v2/models/iris/infer", &iris::body());
    assert_eq!(refused.status, 503, "{}", refused.json());
    let load = server.http("POST", "/v2/repository/models/iris/load", "");
    assert_eq!(load.status, 400);
    assert!(load.json()["error"].as_str().unwrap().ends_with(REFUSAL), "{}", load.json());

    // Another owner asked for the processor, and has it.
    assert_eq!(server.http("GET", "/v2/models/wine/ready", "").status, 200);
    assert_eq!(properties(&server, "wine")["providers"], "cpu");
    assert!(!server.metrics().contains("tidegate_model_nodes{model=\"iris\""));
}

#[test]
fn what_was_asked_what_is_active_and_what_runs_where_can_be_seen() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    let said = properties(&server, "iris");
    assert_eq!((&said["providers"], &said["active"]), (&"cpu".into(), &"cpu".into()), "{said}");
    // How many they must be is compared with ONNX Runtime's own graph in tests/clients/parity.py.
    let nodes = said["nodes"].as_str().unwrap().strip_prefix("cpu=").unwrap();
    let line = "tidegate_model_nodes{model=\"iris\",version=\"2\",provider=\"cpu\"} ";
    assert!(server.metrics().contains(&format!("{line}{nodes}\n")), "{}", server.metrics());
    let (good, said) = check(&repository.path().join("iris/2"), "");
    assert!(good, "{said}");
    assert!(said.contains(&format!("providers  cpu, nodes cpu={nodes}\n")), "{said}");

    server.http("POST", "/v2/repository/models/iris/unload", "");
    server.wait_for_state("iris", 2, "retired");
    assert!(!server.metrics().contains("tidegate_model_nodes{model=\"iris\""));
}

#[test]
fn check_prints_the_refusal_and_fails() {
    let repository = Repository::of(&["iris"]);
    for (list, provider) in [
        ("\"cuda\", \"cpu\"", "cuda"),
        ("\"tensorrt\", \"cuda\"", "tensorrt"),
        ("\"openvino\"", "openvino"),
    ] {
        let (good, said) =
            check(&repository.path().join("iris/2"), &format!("[runtime]\nproviders = [{list}]\n"));
        assert!(!good, "{said}");
        assert!(
            said.contains(&format!("problem    provider '{provider}' cannot be had: ")),
            "{said}"
        );
        assert!(said.contains("this ONNX Runtime offers AzureExecutionProvider, cpu: "), "{said}");
    }
}

#[test]
fn settings_of_providers_that_cannot_act_are_refused() {
    let repository = Repository::of(&["iris"]);
    for (text, refusal) in [
        (
            "[runtime]\nproviders = [\"gpu\"]",
            "unknown variant `gpu`, expected one of `cpu`, `cuda`, `tensorrt`, `openvino`",
        ),
        ("[runtime]\nproviders = []", "providers is empty, expected at least one of cpu, cuda"),
        ("[runtime]\nproviders = [\"cuda\", \"cuda\"]", "providers names 'cuda' twice"),
        (
            "[runtime]\nproviders = [\"cpu\", \"cuda\"]",
            "names 'cuda' after 'cpu', expected 'cpu' last",
        ),
        ("[cuda]\nmemory = 1", "unknown field `memory`, expected one of `device`"),
        ("[openvino]\ndevice = \"TPU\"", "device is 'TPU', expected CPU, GPU or NPU"),
    ] {
        let (good, said) = start(repository.path(), text);
        assert!(!good && said.contains(refusal), "{said}");
    }
}

#[test]
fn options_in_model_toml_are_read_and_never_idle() {
    let repository = Repository::of(&["iris", "wine", "digits"]);
    says(&repository, "iris", "[cuda]\ndevice = 1\n");
    says(&repository, "wine", "providers = [\"cuda\"]\n[cuda]\ndevise = 1\n");
    says(&repository, "digits", "providers = [\"cuda\"]\n[cuda]\ndevice = 1\n");
    let server = repository.serve();
    for (model, version, expected) in [
        ("iris", 2, "model.toml has [cuda], but the model's providers are cpu: add 'cuda'"),
        ("wine", 1, "unknown field `devise`"),
        ("digits", 1, "provider 'cuda' cannot be had: "),
    ] {
        let path = format!("/admin/v1/models/{model}/versions/{version}");
        let view = server.admin("GET", &path, "").1;
        assert!(view["reason"].as_str().unwrap().contains(expected), "{view}");
    }
}

fn says(repository: &Repository, model: &str, manifest: &str) {
    fs::write(repository.path().join(model).join("model.toml"), manifest).expect("a new file");
}

fn properties(server: &Server, model: &str) -> Value {
    let metadata = server.http("GET", &format!("/v2/models/{model}"), "").json();
    metadata.get("properties").expect("metadata has properties").clone()
}

fn check(path: &Path, configuration: &str) -> (bool, String) {
    run(&["check", path.to_str().expect("a path in UTF-8")], configuration)
}

fn start(models: &Path, configuration: &str) -> (bool, String) {
    run(&["serve", "--models", models.to_str().expect("a path in UTF-8")], configuration)
}

fn run(arguments: &[&str], configuration: &str) -> (bool, String) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), configuration).expect("a writable file");
    let output = command(Path::new(env!("CARGO_BIN_EXE_tidegate")))
        .args(arguments)
        .arg("--config")
        .arg(file.path())
        .env("ORT_DYLIB_PATH", library())
        .output()
        .expect("tidegate starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// What the library without GPUs says, and what we say around it.
const REFUSAL: &str = "provider 'cuda' cannot be had: CUDA execution provider is not enabled in this \
                       build; this ONNX Runtime offers AzureExecutionProvider, cpu: name a library \
                       that offers it by `runtime.library` or ORT_DYLIB_PATH, or leave 'cuda' out of \
                       `providers`";
