//! What a model's owner says acts, in our words or in Triton's, or is refused with its reason.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::iris;
use crate::harness::process::wait_until;
use crate::harness::repository::{Repository, demo, odd};
use crate::harness::server::{Server, library};
use crate::harness::tools::{command, project};

fn say(repository: &Repository, path: &str, text: impl AsRef<[u8]>) {
    let path = repository.path().join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a new folder");
    fs::write(path, text).expect("a writable folder");
}

fn versions(server: &Server, model: &str) -> Vec<Value> {
    let view = server.admin("GET", &format!("/admin/v1/models/{model}"), "").1;
    view.get("versions").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn reason(server: &Server, model: &str) -> String {
    let newest = versions(server, model).pop().unwrap_or_default();
    newest.get("reason").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn serving(server: &Server, model: &str) -> Vec<u64> {
    let serves = |version: &Value| version.get("state").is_some_and(|state| state == "serving");
    let versions = versions(server, model).into_iter().filter(serves);
    versions.filter_map(|version| version.get("version")?.as_u64()).collect()
}

fn load(server: &Server, model: &str) -> (u16, Value) {
    let reply = server.http("POST", &format!("/v2/repository/models/{model}/load"), "");
    (reply.status, reply.json())
}

fn check(path: &Path) -> (bool, String) {
    let output = command(Path::new(env!("CARGO_BIN_EXE_tidegate")))
        .arg("check")
        .arg(path)
        .env("ORT_DYLIB_PATH", library())
        .output()
        .expect("tidegate starts");
    let (said, wrong) = (output.stdout, output.stderr);
    let said = format!("{}{}", String::from_utf8_lossy(&said), String::from_utf8_lossy(&wrong));
    (output.status.success(), said)
}

#[test]
fn the_example_with_every_key_loads_and_acts() {
    let repository = Repository::of(&["iris"]);
    let example = fs::read_to_string(project().join("tests/data/model.toml")).unwrap();
    let flower: Vec<u8> = [4.9_f32, 2.5, 4.5, 1.7].iter().flat_map(|v| v.to_le_bytes()).collect();
    say(&repository, "iris/model.toml", &example);
    say(&repository, "iris/labels.txt", "setosa\nversicolor\nvirginica\n");
    say(&repository, "iris/warmup/flower.bin", &flower);
    let server = repository.serve();
    assert_eq!(serving(&server, "iris"), [1, 2], "{}", reason(&server, "iris"));

    let metadata = server.http("GET", "/v2/models/iris", "").json();
    let properties = &metadata["properties"];
    let features = "sepal length,sepal width,petal length,petal width";
    assert_eq!(properties["features.input"], features, "{metadata}");
    assert_eq!(properties["config_sha256"].as_str().map(str::len), Some(64), "{metadata}");
    assert_eq!(metadata["outputs"][0]["shape"], json!([-1, 1]));
    let config = server.http("GET", "/v2/models/iris/config", "").json();
    assert_eq!(config["max_batch_size"], 64);
    assert_eq!(config["output"][0]["reshape"], json!({"shape": []}));

    let answer = server.http("POST", "/v2/models/iris/infer", &iris::body()).json();
    assert_eq!(answer["outputs"][0]["shape"], json!([1, 1]), "{answer}");
    let mut body: Value = serde_json::from_str(&iris::body()).unwrap();
    body["outputs"] = json!([{"name": "probabilities", "parameters": {"classification": 3}}]);
    let classes = server.http("POST", "/v2/models/iris/infer", &body.to_string()).json();
    let classes = classes["outputs"][0]["data"].as_array().unwrap().clone();
    let mut names: Vec<_> = classes.iter().map(last_part).collect();
    names.sort_unstable();
    assert_eq!(names, ["setosa", "versicolor", "virginica"], "{classes:?}");

    let rows = |rows: usize| {
        let data = vec![1.0; rows * 4];
        let rows = i64::try_from(rows).unwrap();
        let body = iris::body_of("input", &json!(data), &[rows, 4]);
        server.http("POST", "/v2/models/iris/infer", &body)
    };
    assert_eq!(rows(64).status, 200);
    let refused = rows(65).json();
    assert_eq!(refused["code"], "invalid.input");
    let text = "inference request batch-size must be <= 64, but the request has 65 rows";
    assert_eq!(refused["error"], text);
}

// Of `value:index:label`.
fn last_part(class: &Value) -> &str {
    class.as_str().and_then(|class| class.split(':').next_back()).expect("a class")
}

#[test]
fn configurations_of_triton_load_and_answer() {
    let repository = Repository::of(&["iris", "digits", "topics", "wine"]);
    for (model, config) in CONFIGURATIONS {
        say(&repository, &format!("{model}/config.pbtxt"), config);
    }
    repository.put("heavy", 1, &odd("heavy"));
    say(&repository, "digits/warmup/image", vec![0; 64 * 4]);
    say(&repository, "digits/digits.txt", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9");
    let server = repository.serve();
    for (model, _) in CONFIGURATIONS {
        assert!(!serving(&server, model).is_empty(), "{model}: {}", reason(&server, model));
    }
    assert_eq!(serving(&server, "iris"), [1, 2]);
    assert_eq!(iris::ask(&server).version, 2);
    let wine = server.http("GET", "/v2/models/wine", "").json();
    let ash = &wine["inputs"].as_array().unwrap()[2];
    assert_eq!((&ash["name"], &ash["shape"]), (&json!("ash"), &json!([-1, 1])), "{wine}");
    let config = server.http("GET", "/v2/models/digits/config", "").json();
    assert_eq!(
        (&config["max_batch_size"], &config["input"][0]["dims"]),
        (&json!(32), &json!([1, 8, 8]))
    );
    let text = json!({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1, 1],
        "data": ["chemical analysis of wine"]}]});
    let topics = server.http("POST", "/v2/models/topics/infer", &text.to_string());
    assert_eq!(topics.status, 200, "{}", topics.json());
    let heavy = iris::body_of("x", &json!([0.5, 1.0, -1.0, 2.0]), &[1, 4]);
    assert_eq!(server.http("POST", "/v2/models/heavy/infer", &heavy).status, 200);
    let three = iris::body_of("x", &json!(vec![0.0; 12]), &[3, 4]);
    let refused = server.http("POST", "/v2/models/heavy/infer", &three).json();
    assert!(refused["error"].as_str().unwrap().contains("batch-size must be <= 2"), "{refused}");
}

#[test]
fn check_prints_a_model_toml_that_may_take_the_place_of_a_config_pbtxt() {
    for (model, config) in CONFIGURATIONS.iter().filter(|(model, _)| *model != "heavy") {
        let repository = Repository::of(&[model]);
        say(&repository, "digits/warmup/image", vec![0; 64 * 4]);
        say(&repository, "digits/digits.txt", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9");
        let folder = repository.path().join(model);
        say(&repository, &format!("{model}/config.pbtxt"), config);
        let (good, said) = check(&folder);
        assert!(good, "{said}");
        let (_, rest) = said.split_once("as this model.toml").expect("a translation");
        let lines = rest
            .lines()
            .skip(1)
            .take_while(|line| line.starts_with("             ") || line.is_empty());
        let toml: Vec<&str> = lines.map(str::trim_start).collect();
        fs::remove_file(folder.join("config.pbtxt")).unwrap();
        say(&repository, &format!("{model}/model.toml"), toml.join("\n"));
        let (good, said) = check(&folder);
        assert!(good && said.contains("declares   model.toml, "), "{said}");
    }
}

#[test]
fn what_does_not_fit_the_file_is_the_reason_why_it_does_not_serve() {
    let text = odd("loop");
    for (file, says, problem) in [
        ("config.pbtxt", "max_batch_size: 8", "does not support batching"),
        ("config.pbtxt", "name: 'other'", "config.pbtxt:1:1: 'name' is \"other\", expected 'loop'"),
        ("config.pbtxt", "backend: 'python'", "only ONNX models are served"),
        (
            "config.pbtxt",
            "input { name: 'm' }",
            "input 'm' is said something of, but the model's are ['n']",
        ),
        (
            "config.pbtxt",
            "input { name: 'n' data_type: TYPE_INT32 }",
            "said to be INT32, but the model's file has INT64",
        ),
        (
            "config.pbtxt",
            "input { name: 'n' dims: [ 2 ] }",
            "said to have shape [2], but the model's file has [1]",
        ),
        (
            "config.pbtxt",
            "output { name: 'total' label_filename: 'no.txt' }",
            "no.txt cannot be read",
        ),
        (
            "config.pbtxt",
            "output { name: 'total' label_filename: '../x' }",
            "../x leads out of the model's folder",
        ),
        (
            "config.pbtxt",
            "output { name: 'total' label_filename: 'link' }",
            "link leads out of the model's folder",
        ),
        (
            "model.toml",
            "labels.total = ['a', 'b']",
            "labels of 'total' are 2, but a row of it has 1 values",
        ),
        (
            "model.toml",
            "[[warmup.samples]]\nname = 'w'\ninputs.n = { datatype = 'INT64', shape = [2], data = 'zeros' }",
            "warm-up sample 'w': input 'n' has shape [2], but the model expects [1]",
        ),
    ] {
        let repository = Repository::new();
        repository.put("loop", 1, &text);
        symlink("/etc/hostname", repository.path().join("loop/link")).unwrap();
        say(&repository, &format!("loop/{file}"), says);
        let server = repository.serve();
        assert!(reason(&server, "loop").contains(problem), "{says}: {}", reason(&server, "loop"));
    }
    let repository = Repository::of(&["iris"]);
    say(&repository, "iris/config.pbtxt", "");
    say(&repository, "iris/model.toml", "");
    let both = "there are both model.toml and config.pbtxt, expected one: remove the other";
    assert_eq!(reason(&repository.serve(), "iris"), both);
}

#[test]
fn what_an_operator_sets_wins_over_the_owners_policy_until_it_is_taken_back() {
    let repository = Repository::of(&["iris"]);
    say(&repository, "iris/model.toml", "versions = { all = true }");
    let server = repository.serve();
    assert_eq!(serving(&server, "iris"), [1, 2]);
    assert_eq!(server.admin("POST", "/admin/v1/models/iris/versions/1:promote", "").0, 200);
    assert_eq!(load(&server, "iris").0, 200);
    assert_eq!(serving(&server, "iris"), [1]);
    assert_eq!(server.admin("POST", "/admin/v1/models/iris:unpin", "").0, 200);
    assert_eq!(load(&server, "iris").0, 200);
    assert_eq!(serving(&server, "iris"), [1, 2]);
}

#[test]
fn a_load_takes_up_a_changed_declaration_and_a_broken_one_changes_nothing() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    let most = || server.http("GET", "/v2/models/iris/config", "").json()["max_batch_size"].clone();
    assert_eq!(most(), i32::MAX);
    say(&repository, "iris/model.toml", "batching = { max_rows = 7 }");
    assert_eq!(load(&server, "iris").0, 200);
    assert_eq!(most(), 7);
    say(&repository, "iris/model.toml", "batching = { max_rows = 0 }");
    let (status, refused) = load(&server, "iris");
    let text = "model.toml: batching.max_rows is 0, expected 1 or more";
    assert!(status == 400 && refused["error"].as_str().unwrap().contains(text), "{refused}");
    assert_eq!(most(), 7);
}

#[test]
fn a_queue_keeps_the_bounds_of_its_model() {
    let repository = Repository::new();
    repository.put("loop", 1, &odd("loop"));
    say(
        &repository,
        "loop/model.toml",
        "queue = { capacity = 1, timeout_us = 20000 }\ninstances = { count = 1 }",
    );
    let server = repository.serve();
    let before = server.run_ticks();
    let mut client = Client::connect(server.addresses().http);
    let (running, body) = (client.handset(), endless());
    let caller = std::thread::spawn(move || drop(client.try_ask("POST", LOOP, &body)));
    server.wait_for_run(before);
    // One instance is busy, on however many threads: the next one waits, and not for long.
    let waited = server.http("POST", LOOP, &endless());
    let text = "the request waited 20000 us for a run to begin, the most that its model allows";
    assert_eq!((waited.status, &waited.json()["error"]), (504, &json!(text)));
    // The run itself is not bounded by it.
    running.hang_up();
    caller.join().unwrap();
    wait_until("the instance is free", || {
        server.http("POST", LOOP, &body_of_loop(0)).status == 200
    });
}

#[test]
fn a_model_may_have_another_file_name_or_a_folder_of_its_own() {
    let repository = Repository::new();
    say(&repository, "flowers/1/iris.onnx", demo("iris", 1));
    say(&repository, "flowers/config.pbtxt", "default_model_filename: 'iris.onnx'");
    say(&repository, "boxed/1/model.onnx/model.onnx", demo("iris", 1));
    // Nobody can tell the file's name of this one; it is not lost, it says why.
    say(&repository, "broken/1/iris.onnx", demo("iris", 1));
    say(&repository, "broken/config.pbtxt", "default_model_filename: iris");
    let server = repository.serve();
    for model in ["flowers", "boxed"] {
        let path = format!("/v2/models/{model}/infer");
        assert_eq!(server.http("POST", &path, &iris::body()).status, 200, "{model}");
    }
    let text = "'default_model_filename' is iris, expected a string in quotes";
    assert!(reason(&server, "broken").contains(text), "{}", reason(&server, "broken"));
}

#[test]
fn a_folder_mounted_alone_need_not_have_the_name_that_its_config_has() {
    let repository = Repository::of(&["iris"]);
    say(&repository, "iris/config.pbtxt", "name: 'iris'\nmax_batch_size: 3");
    let server = Server::with(&repository.path().join("iris"), &["--model-name", "flowers"]);
    assert_eq!(serving(&server, "flowers"), [2], "{}", reason(&server, "flowers"));
    let config = server.http("GET", "/v2/models/flowers/config", "").json();
    assert_eq!(config["max_batch_size"], 3, "{config}");
}

fn endless() -> String {
    body_of_loop(1 << 40)
}

fn body_of_loop(rounds: i64) -> String {
    let input = json!({"name": "n", "datatype": "INT64", "shape": [1], "data": [rounds]});
    json!({"inputs": [input]}).to_string()
}

const LOOP: &str = "/v2/models/loop/infer";

/// What users of Triton write for models like these.
const CONFIGURATIONS: &[(&str, &str)] = &[
    (
        "iris",
        r#"
# Two versions side by side, as for a comparison.
name: "iris"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "input", data_type: TYPE_FP32, dims: [ 4 ] } ]
output [
  { name: "label", data_type: TYPE_INT64, dims: [ 1 ], reshape { shape: [ ] } },
  { name: "probabilities", data_type: TYPE_FP32, dims: [ 3 ] }
]
version_policy: { specific: { versions: [ 1, 2 ] } }
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
"#
        .trim_ascii(),
    ),
    (
        "digits",
        r#"
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: 32
input { name: "image" data_type: TYPE_FP32 format: FORMAT_NONE dims: 1 dims: 8 dims: 8 }
output { name: "probabilities" data_type: TYPE_FP32 dims: 10 label_filename: "digits.txt" }
optimization { graph { level: 1 } }
parameters [
  { key: "execution_mode" value { string_value: "0" } },
  { key: "enable_mem_arena" value { string_value: "1" } },
  { key: "enable_mem_pattern" value { string_value: "1" } }
]
model_warmup [
  {
    name: "a whole batch"
    batch_size: 32
    inputs { key: "image" value { data_type: TYPE_FP32 dims: [ 1, 8, 8 ] random_data: true } }
  },
  {
    name: "one image"
    batch_size: 1
    inputs: { key: "image" value: { data_type: TYPE_FP32 dims: [ 1, 8, 8 ] input_data_file: "image" } }
    count: 3
  }
]
"#
        .trim_ascii(),
    ),
    (
        "topics",
        r#"
backend: "onnxruntime"
max_batch_size: 16
input < name: 'text' data_type: TYPE_STRING dims: [ 1 ] >
version_policy { latest { num_versions: 1 } }
response_cache { enable: false }
model_transaction_policy { decoupled: false }
"#
        .trim_ascii(),
    ),
    (
        "wine",
        r#"
name: "wine"
backend: "onnxruntime"
max_batch_size: 4
input [
  { name: "ash" data_type: TYPE_FP32 dims: [ 1 ] reshape: { shape: [ ] } },
  { name: "proline" data_type: TYPE_INT64 dims: [ 1 ] reshape: { shape: [ ] } }
]
"#
        .trim_ascii(),
    ),
    (
        "heavy",
        r#"
backend: "onnxruntime"
max_batch_size: 2
instance_group { kind: KIND_AUTO count: 1 }
dynamic_batching {
  default_queue_policy {
    timeout_action: REJECT
    default_timeout_microseconds: 5000000
    allow_timeout_override: true
    max_queue_size: 64
  }
}
"#
        .trim_ascii(),
    ),
];
