//! Whatever a model takes and gives: served as it is, changed visibly, or refused with a reason.

use std::fs;

use serde_json::{Value, json};
use tidegate::api::oip::pb::inference as pb;

use crate::harness::repository::{Repository, odd};
use crate::harness::rpc::{self, Rpc};
use crate::harness::server::Server;

#[test]
fn zipmaps_are_answered_as_tensors_whose_labels_name_the_columns() {
    let repository = Repository::new();
    repository.put("plain", 1, &odd("zipmaps"));
    let folder = repository.put("external", 1, &odd("zipmaps_external"));
    let weights: Vec<u8> = (0..12_i16).flat_map(|weight| f32::from(weight).to_le_bytes()).collect();
    fs::write(folder.join("weights.bin"), weights).unwrap();
    let server = repository.serve();
    let scores = json!([0.0, 1.0, 2.0, 9.0, 10.0, 11.0]);
    for model in ["plain", "external"] {
        let answer = infer(&server, model, &floats("x", &[2, 4], &[1, 0, 0, 0, 0, 0, 0, 1]));
        for (output, name, labels) in [(0, "by_name", TEXTS), (1, "by_number", NUMBERS)] {
            let output = &answer["outputs"][output];
            assert_eq!(output["name"], name);
            assert_eq!((&output["datatype"], &output["shape"]), (&json!("FP32"), &json!([2, 3])));
            assert_eq!(output["data"], scores);
            assert_eq!(output["parameters"]["labels"], labels);
        }
        assert_eq!(answer["outputs"][2].get("parameters"), None);

        let metadata = server.http("GET", &format!("/v2/models/{model}"), "").json();
        assert_eq!(metadata["outputs"][0]["shape"], json!([-1, 3]));
        assert_eq!(metadata["properties"]["labels.by_name"], TEXTS);
        assert_eq!(metadata["properties"]["labels.by_number"], NUMBERS);
        assert!(notes(&metadata).contains("output 'by_name' of a ZipMap"), "{metadata}");
    }
    let rpc = Rpc::connect(server.addresses().grpc);
    let row = [1.0_f32, 0.0, 0.0, 0.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let request = rpc::request("plain", ("x", "FP32"), &[1, 4], row);
    let answer = rpc.infer(request).unwrap();
    let labels = |output: usize| match &answer.outputs[output].parameters.get("labels") {
        Some(pb::InferParameter {
            parameter_choice: Some(pb::infer_parameter::ParameterChoice::StringParam(labels)),
        }) => labels.clone(),
        other => panic!("labels are {other:?}"),
    };
    assert_eq!((labels(0), labels(1)), (TEXTS.to_owned(), NUMBERS.to_owned()));
}

#[test]
fn labels_stand_beside_the_size_of_a_binary_output() {
    let repository = Repository::new();
    repository.put("zipmaps", 1, &odd("zipmaps"));
    let server = repository.serve();
    let body = json!({
        "inputs": [floats("x", &[1, 4], &[0, 0, 0, 0])],
        "outputs": [{"name": "by_number", "parameters": {"binary_data": true}}],
    });
    let reply = server.http("POST", "/v2/models/zipmaps/infer", &body.to_string());
    let length = reply.headers.lines().find_map(|line| {
        line.strip_prefix("inference-header-content-length: ")?.trim().parse::<usize>().ok()
    });
    let answer: Value = serde_json::from_slice(&reply.body[..length.unwrap()]).unwrap();
    let expected = json!({"binary_data_size": 12, "labels": NUMBERS});
    assert_eq!(answer["outputs"][0]["parameters"], expected);
}

#[test]
fn an_output_that_cannot_be_carried_is_left_out_and_an_input_is_refused() {
    let repository = Repository::new();
    repository.put("left_out", 1, &odd("left_out"));
    repository.put("takes_sequence", 1, &odd("takes_sequence"));
    let server = repository.serve();
    let answer = infer(&server, "left_out", &floats("x", &[1, 4], &[1, 2, 3, 4]));
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 1);
    assert_eq!(answer["outputs"][0]["data"], json!([-1.0, -2.0, -3.0, -4.0]));
    let note = "output 'parts' is left out: it is a sequence or map";
    let metadata = server.http("GET", "/v2/models/left_out", "").json();
    assert!(notes(&metadata).starts_with(note), "{metadata}");
    assert_eq!(server.log().matches(note).count(), 1);
    let (state, reason) = server.index_line("takes_sequence", 1);
    assert_eq!(state, "UNAVAILABLE");
    assert!(reason.contains("input 'x' is a sequence or map, which the protocol"), "{reason}");
}

#[test]
fn a_locale_that_the_machine_lacks_is_replaced_in_every_graph() {
    let repository = Repository::new();
    repository.put("lower", 1, &odd("lower"));
    let server = repository.serve();
    let texts =
        json!({"name": "x", "datatype": "BYTES", "shape": [2], "data": ["ÄRGER", "ПРИВЕТ"]});
    let answer = infer(&server, "lower", &texts);
    for output in [0, 1] {
        assert_eq!(answer["outputs"][output]["data"], json!(["ärger", "привет"]), "{answer}");
    }
    let metadata = server.http("GET", "/v2/models/lower", "").json();
    let note = "a StringNormalizer asks for the locale 'xx_NOWHERE', which is not here: it gets \
                C.UTF-8";
    assert_eq!(notes(&metadata), note);
}

#[test]
fn weights_are_found_beside_the_model_that_keeps_them_elsewhere() {
    let repository = Repository::new();
    let folder = repository.put("external", 1, &odd("external"));
    let weights = [2.0_f32, 3.0, 4.0, 5.0].iter().flat_map(|weight| weight.to_le_bytes());
    fs::write(folder.join("weights.bin"), weights.collect::<Vec<u8>>()).unwrap();
    let server = repository.serve();
    let answer = infer(&server, "external", &floats("x", &[1, 4], &[1, 1, 2, 2]));
    assert_eq!(answer["outputs"][0]["data"], json!([2.0, 3.0, 8.0, 10.0]));
}

#[test]
fn an_input_with_a_default_may_be_left_out() {
    let repository = Repository::new();
    repository.put("defaults", 1, &odd("defaults"));
    let server = repository.serve();
    let x = floats("x", &[1, 2], &[1, 2]);
    let answer = infer(&server, "defaults", &x);
    assert_eq!(answer["outputs"][0]["data"], json!([11.0, 22.0]));
    let body = json!({"inputs": [floats("bias", &[2], &[5, 5]), x]}).to_string();
    let answer = server.http("POST", "/v2/models/defaults/infer", &body).json();
    assert_eq!(answer["outputs"][0]["data"], json!([6.0, 7.0]));
    let metadata = server.http("GET", "/v2/models/defaults", "").json();
    assert_eq!(metadata["properties"]["optional_inputs"], "bias");
    let config = server.http("GET", "/v2/models/defaults/config", "").json();
    assert_eq!(config["max_batch_size"], i32::MAX);
    let refused = server.http("POST", "/v2/models/defaults/infer", "{\"inputs\": []}").json();
    assert_eq!(
        refused["error"],
        "expected 1 to 2 inputs but got 0: expected ['x', 'bias'], got []"
    );
}

#[test]
fn an_optional_output_without_a_value_is_left_out_unless_it_is_asked_for() {
    let repository = Repository::new();
    repository.put("optional", 1, &odd("optional"));
    let server = repository.serve();
    let x = floats("x", &[2], &[3, 4]);
    let answer = infer(&server, "optional", &x);
    assert_eq!(answer["outputs"][0]["data"], json!([true]));
    assert_eq!(answer["outputs"][1]["data"], json!([3.0, 4.0]));
    let answer = server.http("POST", "/v2/models/optional/infer", "{\"inputs\": []}").json();
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["outputs"][0]["data"], json!([false]));
    let asked = json!({"inputs": [], "outputs": [{"name": "y"}]}).to_string();
    let refused = server.http("POST", "/v2/models/optional/infer", &asked);
    assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("invalid.output")));
}

#[test]
fn a_model_without_inputs_answers_a_scalar_and_one_without_shapes_takes_any() {
    let repository = Repository::new();
    repository.put("constant", 1, &odd("constant"));
    repository.put("shapeless", 1, &odd("shapeless"));
    let server = repository.serve();
    let answer = server.http("POST", "/v2/models/constant/infer", "{\"inputs\": []}").json();
    let output = &answer["outputs"][0];
    assert_eq!((&output["shape"], &output["data"]), (&json!([]), &json!([42])));
    for (shape, values) in [(&[][..], &[7][..]), (&[2, 1], &[1, 2]), (&[0, 3], &[])] {
        let answer = infer(&server, "shapeless", &floats("x", shape, values));
        assert_eq!(answer["outputs"][0]["shape"], json!(shape));
    }
}

#[test]
fn floats_of_two_bytes_have_a_form_in_json_and_in_golden_cases() {
    let repository = Repository::new();
    let folder = repository.put("halves", 1, &odd("halves"));
    let half = |name: &str, kind: &str, data: &str| {
        format!(r#"{{"name": "{name}", "datatype": "{kind}", "shape": [3], "data": [{data}]}}"#)
    };
    let given = [half("h", "FP16", "0.1, NaN, -65504"), half("b", "BF16", "0.1, 1e-40, 3e38")];
    let inputs = given.join(", ");
    let found = half("h_out", "FP16", "0.1, NaN, -65504");
    let case = format!(r#"[{{"name": "same", "inputs": [{inputs}], "outputs": [{found}]}}]"#);
    fs::write(folder.join("golden.json"), &case).unwrap();
    let server = repository.serve();
    let reply =
        server.http("POST", "/v2/models/halves/infer", &format!(r#"{{"inputs": [{inputs}]}}"#));
    let text = String::from_utf8(reply.body).unwrap();
    for data in ["[0.099975586,NaN,-65504.0]", "[0.100097656,9.1835e-41,3.0040553e+38]"] {
        assert!(text.contains(data), "{data}: {text}");
    }
    let over = half("h", "FP16", "0, 0, 65520");
    let body = format!(r#"{{"inputs": [{over}]}}"#);
    let refused = server.http("POST", "/v2/models/halves/infer", &body).json();
    assert!(refused["error"].as_str().unwrap().contains("value 65520 at byte"), "{refused}");
}

fn infer(server: &Server, model: &str, input: &Value) -> Value {
    let body = json!({"inputs": [input]}).to_string();
    let reply = server.http("POST", &format!("/v2/models/{model}/infer"), &body);
    let answer = reply.json();
    assert_eq!(reply.status, 200, "{answer}");
    answer
}

fn floats(name: &str, shape: &[i64], data: &[i64]) -> Value {
    json!({"name": name, "datatype": "FP32", "shape": shape, "data": data})
}

fn notes(metadata: &Value) -> &str {
    metadata.pointer("/properties/notes").and_then(Value::as_str).unwrap_or_default()
}

const TEXTS: &str = r#"["ja","nein","so \"so\""]"#;

const NUMBERS: &str = "[7,-1,0]";
