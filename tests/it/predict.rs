//! `:predict` answers as TensorFlow Serving and KServe v1 document it.

use serde_json::{Value, json};

use crate::harness::repository::{Repository, odd};
use crate::harness::server::{Reply, Server};

const FLOWER: [f64; 4] = [4.9, 2.5, 4.5, 1.7];

fn predict(server: &Server, target: &str, body: &Value) -> Reply {
    server.http("POST", &format!("/v1/models/{target}:predict"), &body.to_string())
}

#[test]
fn rows_are_answered_by_row_and_columns_by_column() {
    let server = Server::start();
    let rows = predict(&server, "iris", &json!({"instances": [FLOWER, [5.1, 3.5, 1.4, 0.2]]}));
    assert_eq!(rows.status, 200, "{}", rows.json());
    assert!(rows.headers.contains("x-tidegate-version: 2"), "{}", rows.headers);
    let predictions = rows.json()["predictions"].clone();
    assert_eq!((&predictions[0]["label"], &predictions[1]["label"]), (&json!(2), &json!(0)));
    assert_eq!(predictions[0]["probabilities"].as_array().unwrap().len(), 3);

    let columns = predict(&server, "iris", &json!({"inputs": [FLOWER, [5.1, 3.5, 1.4, 0.2]]}));
    let outputs = columns.json()["outputs"].clone();
    assert_eq!(outputs["label"], json!([2, 0]));
    assert_eq!(outputs["probabilities"][0], predictions[0]["probabilities"]);
    let named = predict(&server, "iris", &json!({"inputs": {"input": [FLOWER]}}));
    assert_eq!(named.json()["outputs"]["label"], json!([2]));
}

#[test]
fn the_examples_of_tensorflow_servings_pages_are_answered_as_they_say() {
    let repository = Repository::new();
    repository.put("half_plus_two", 1, &odd("half_plus_two"));
    repository.put("signals", 1, &odd("signals"));
    let server = repository.serve();
    let reply = predict(&server, "half_plus_two", &json!({"instances": [1.0, 2.0, 5.0]}));
    assert_eq!(reply.json(), json!({"predictions": [2.5, 3.0, 4.5]}));
    let (signal, sensor) = (json!([1.0, 2.0, 3.0, 4.0, 5.0]), json!([[1.0, 2.0], [3.0, 4.0]]));
    let row = |tag: &str| json!({"tag": tag, "signal": signal, "sensor": sensor});
    let reply = predict(&server, "signals", &json!({"instances": [row("foo"), row("bar")]}));
    let same = |tag: &str| json!({"same_tag": tag, "same_signal": signal, "same_sensor": sensor});
    assert_eq!(reply.json(), json!({"predictions": [same("foo"), same("bar")]}));
    let columns = json!({"inputs": {
        "tag": ["foo", "bar"], "signal": [signal, signal], "sensor": [sensor, sensor]
    }});
    let expected = json!({"outputs": {
        "same_tag": ["foo", "bar"], "same_signal": [signal, signal],
        "same_sensor": [sensor, sensor]
    }});
    assert_eq!(predict(&server, "signals", &columns).json(), expected);
}

#[test]
fn the_answer_is_the_same_as_over_the_open_protocol() {
    let server = Server::start();
    let body = json!({"inputs": [
        {"name": "input", "datatype": "FP32", "shape": [1, 4], "data": FLOWER}
    ]});
    let open = server.http("POST", "/v2/models/iris/infer", &body.to_string()).json();
    let older = predict(&server, "iris", &json!({"instances": [FLOWER]})).json();
    assert_eq!(older["predictions"][0]["probabilities"], open["outputs"][1]["data"]);
}

#[test]
fn rows_of_named_inputs_may_be_in_any_order_and_columns_of_one_need_no_brackets() {
    let server = Server::start();
    let metadata = server.http("GET", "/v2/models/wine", "").json();
    let inputs = metadata["inputs"].as_array().unwrap();
    let row = |reverse: bool| {
        let mut names: Vec<&str> = inputs.iter().map(|i| i["name"].as_str().unwrap()).collect();
        if reverse {
            names.reverse();
        }
        let fields: Vec<String> = names.iter().map(|name| format!("\"{name}\": 2")).collect();
        format!("{{{}}}", fields.join(","))
    };
    let body = format!("{{\"instances\": [{}, {}]}}", row(false), row(true));
    let reply = server.http("POST", "/v1/models/wine:predict", &body);
    assert_eq!(reply.status, 200, "{}", reply.json());
    let predictions = reply.json()["predictions"].clone();
    assert_eq!(predictions[0], predictions[1]);
    let short = predict(&server, "wine", &json!({"instances": [{"alcohol": 13.2}]})).json();
    assert_eq!(short["code"], "invalid.input");
    assert!(short["error"].as_str().unwrap().contains("0 times, expected once"), "{short}");
    let bare = predict(&server, "wine", &json!({"instances": [[1.0]]})).json();
    assert!(bare["error"].as_str().unwrap().contains("name no input"), "{bare}");
}

#[test]
fn one_output_stands_for_itself_and_bytes_are_base64() {
    let repository = Repository::new();
    repository.put("same", 1, &odd("text"));
    let server = repository.serve();
    // "foo", and two bytes that are no text.
    let body = json!({"signature_name": "serving_default", "instances": ["foo", {"b64": "//4="}]});
    let reply = predict(&server, "same", &body);
    assert_eq!(reply.json(), json!({"predictions": ["foo", {"b64": "//4="}]}));
    let body = json!({"inputs": ["foo", "bar"]});
    assert_eq!(predict(&server, "same", &body).json(), json!({"outputs": ["foo", "bar"]}));
    let wrong = predict(&server, "same", &json!({"instances": [{"b64": "?"}]})).json();
    assert_eq!(wrong["code"], "invalid.malformed", "{wrong}");
}

#[test]
fn versions_and_labels_are_paths_and_what_is_wrong_is_named() {
    let server = Server::start();
    let ask = |target: &str, body: Value| {
        let reply = predict(&server, target, &body);
        (reply.status, reply.json())
    };
    assert_eq!(ask("iris/versions/2", json!({"instances": [FLOWER]})).0, 200);
    assert_eq!(ask("iris/versions/1", json!({"instances": [FLOWER]})).0, 503);
    assert_eq!(ask("iris/versions/9", json!({"instances": [FLOWER]})).0, 404);
    assert_eq!(ask("iris/labels/stable", json!({"instances": [FLOWER]})).0, 404);
    assert_eq!(ask("none", json!({"instances": [FLOWER]})).0, 404);
    for (body, code, part) in [
        (json!({"instances": [[1, 2], [3]]}), "invalid.input", "another shape"),
        (json!({"instances": [[[1, 2], [3]]]}), "invalid.input", "unevenly at byte"),
        (json!({"instances": [[1, 2]]}), "invalid.input", "expects [-1,4]"),
        (json!({"instances": [["a", 1, 2, 3]]}), "invalid.input", "is no FP32"),
        (json!({"instances": [], "inputs": []}), "invalid.malformed", "both"),
        (json!({"rows": []}), "invalid.malformed", "neither"),
        (json!({"signature_name": "x", "instances": []}), "invalid.parameter", "'x'"),
        (json!({"instances": [{"other": 1}]}), "invalid.input", "'other' is not an input"),
    ] {
        let (status, refused) = ask("iris", body.clone());
        assert_eq!((status, refused["code"].as_str()), (400, Some(code)), "{body}: {refused}");
        assert!(refused["error"].as_str().unwrap().contains(part), "{body}: {refused}");
    }
    let classify = server.http("POST", "/v1/models/iris:classify", "{}").json();
    assert_eq!(classify["code"], "unsupported.call");
}

#[test]
fn models_say_their_state_and_signature_to_both_kinds_of_callers() {
    let server = Server::start();
    let get = |path: &str| server.http("GET", path, "");
    assert_eq!(get("/v1/models").json()["models"], json!(["digits", "iris", "topics", "wine"]));
    let iris = get("/v1/models/iris").json();
    assert_eq!((&iris["name"], &iris["ready"]), (&json!("iris"), &json!(true)));
    let version = &iris["model_version_status"][1];
    let expected = json!({"version": "2", "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""}});
    assert_eq!(*version, expected);
    let one = get("/v1/models/iris/versions/2").json();
    assert_eq!(one["model_version_status"], json!([expected]));
    let metadata = get("/v1/models/iris/metadata").json();
    assert_eq!(metadata["model_spec"]["version"], "2");
    let signature = &metadata["metadata"]["signature_def"]["signature_def"]["serving_default"];
    let dim = json!([{"size": "-1", "name": ""}, {"size": "4", "name": ""}]);
    assert_eq!(signature["inputs"]["input"]["dtype"], "DT_FLOAT");
    assert_eq!(signature["inputs"]["input"]["tensor_shape"]["dim"], dim);
    assert_eq!(signature["outputs"]["label"]["dtype"], "DT_INT64");
    assert_eq!(get("/v1/models/none").status, 404);
    assert_eq!(server.http("POST", "/v2/repository/models/iris/unload", "").status, 200);
    server.wait_for_state("iris", 2, "retired");
    let (status, gone) = (get("/v1/models/iris").status, get("/v1/models/iris").json());
    assert_eq!((status, &gone["ready"]), (503, &json!(false)));
    assert_eq!(gone["model_version_status"][1]["state"], "END", "{gone}");
}
