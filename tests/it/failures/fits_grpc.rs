//! gRPC requests that are well formed, and do not fit what is served.

use std::time::Duration;

use bytes::Bytes;
use tidegate::api::oip::pb::inference as pb;
use tidegate::api::oip::pb::inference::infer_parameter::ParameterChoice;
use tidegate::api::oip::pb::inference::model_infer_request::{
    InferInputTensor, InferRequestedOutputTensor,
};
use tonic::Request;

use crate::failures::after::{Expected, expected, outcomes, still_answers};
use crate::harness::grpc::client;
use crate::harness::server::Server;

/// What is wrong, the request, and how it is refused.
type Case = (&'static str, pb::ModelInferRequest, Expected);

#[tokio::test]
async fn models_and_versions_that_are_not_there_are_named() {
    let to = |model: &str, version: &str| pb::ModelInferRequest {
        model_name: model.to_owned(),
        model_version: version.to_owned(),
        ..iris(|_| {})
    };
    refuses(vec![
        ("unknown model", to("nope", ""), expected("not_found.model", &["'nope'"])),
        ("unknown version", to("iris", "9"), expected("not_found.version", &["'iris'", "9"])),
        ("unknown alias", to("iris", "stable"), expected("not_found.version", &["stable"])),
        ("known version", to("iris", "1"), expected("unavailable.model", &["it is found"])),
        ("no version", to("iris", "01"), expected("invalid.name", &["\"01\"", "leading zero"])),
        ("no name", to("../iris", ""), expected("invalid.name", &["\"../iris\"", "1 to 128"])),
        ("empty name", to("", ""), expected("invalid.name", &["\"\"", "1 to 128 letters"])),
    ])
    .await;
}

#[tokio::test]
async fn inputs_that_do_not_fit_say_what_was_found_and_what_was_expected() {
    let fits_not = |says| expected("invalid.input", says);
    let typed = |datatype: &str, contents| {
        iris(|input| {
            datatype.clone_into(&mut input.datatype);
            input.contents = Some(contents);
        })
    };
    let none = pb::InferTensorContents::default;
    let wide = pb::InferTensorContents { fp64_contents: vec![1.0; 4], ..none() };
    let large = pb::InferTensorContents { int_contents: vec![1, 2, 3, 300], ..none() };
    let few = pb::InferTensorContents { fp32_contents: vec![1.0; 3], ..none() };
    let text = pb::InferTensorContents { bytes_contents: vec![Bytes::new(); 5], ..none() };
    let mut nothing = iris(|_| {});
    nothing.inputs.clear();
    let mut twice = iris(|_| {});
    twice.inputs.extend(twice.inputs.clone());
    let other = iris(|input| "x".clone_into(&mut input.name));
    refuses(vec![
        ("wrong type", typed("FP64", wide), fits_not(&["'input'", "FP64", "expects FP32"])),
        ("no type", typed("FLOAT", none()), fits_not(&["'FLOAT'", "one of BOOL"])),
        ("past INT8", typed("INT8", large), fits_not(&["value 300 at position 3", "no INT8"])),
        ("no field", typed("FP16", none()), fits_not(&["FP16", "raw_input_contents"])),
        ("few values", typed("FP32", few), fits_not(&["takes 16 bytes, found 12"])),
        ("many texts", typed("BYTES", text), fits_not(&["has 4 elements, found 5"])),
        ("no input", nothing, fits_not(&["expected 1 inputs but got 0", "['input']"])),
        ("input twice", twice, fits_not(&["expected 1 inputs but got 2", "'input', 'input'"])),
        ("another input", other, fits_not(&["expected ['input']", "got ['x']"])),
    ])
    .await;
}

#[tokio::test]
async fn a_shape_that_no_memory_could_hold_is_refused_before_any_is_taken() {
    let of = |shape: &[i64]| iris(|input| shape.clone_into(&mut input.shape));
    let fits_not = |says| expected("invalid.input", says);
    let many = vec![1; 100_000];
    refuses(vec![
        ("other width", shaped(&[1, 3]), fits_not(&["[1,3]", "the model expects [-1,4]"])),
        ("other rank", shaped(&[4]), fits_not(&["[4]", "the model expects [-1,4]"])),
        ("negative", of(&[-1, 4]), fits_not(&["[-1,4]", "negative", "0 or more"])),
        ("64 bits", of(&[i64::MAX, i64::MAX]), fits_not(&["9223372036854775807", "more elements"])),
        ("2 x 32 bits", of(&[1 << 32, 1 << 32]), fits_not(&["[4294967296,4294967296]", "more"])),
        ("behind 0", of(&[0, i64::MAX, 2]), fits_not(&["[0,9223372036854775807,2]", "more"])),
        ("60 bits", of(&[(1 << 60) - 1]), fits_not(&["takes", "found 16"])),
        ("many", shaped(&many), fits_not(&["[1,1,", ",...]", "the model expects [-1,4]"])),
    ])
    .await;
}

#[tokio::test]
async fn raw_contents_that_do_not_add_up_are_refused() {
    let fits_not = |says| expected("invalid.input", says);
    let mut both = raw("FP32", &[0; 16]);
    both.inputs[0].contents =
        Some(pb::InferTensorContents { fp32_contents: vec![1.0], ..Default::default() });
    let mut two = raw("FP32", &[0; 16]);
    two.raw_input_contents.push(Bytes::new());
    refuses(vec![
        ("both forms", both, fits_not(&["contents field must not be specified", "'input'"])),
        ("two of one", two, fits_not(&["has 2 entries, expected 1"])),
        ("few bytes", raw("FP32", &[0; 12]), fits_not(&["takes 16 bytes, found 12"])),
        ("many bytes", raw("FP32", &[0; 17]), fits_not(&["takes 16 bytes, found 17"])),
        ("bool", raw("BOOL", &[0, 1, 7, 1]), fits_not(&["element 2 is 7, expected 0 or 1"])),
        (
            "text beyond the end",
            raw("BYTES", &[0, 0, 0, 0, 255, 255, 255, 255, b'a']),
            fits_not(&["element 1 announces 4294967295 bytes", "1 are left"]),
        ),
        ("half a length", raw("BYTES", &[1, 0]), fits_not(&["element 0", "2 are left"])),
        ("few texts", raw("BYTES", &[0; 12]), fits_not(&["has 4 elements, found 3"])),
    ])
    .await;
}

#[tokio::test]
async fn outputs_and_parameters_that_cannot_be_had_are_named() {
    let asking = |outputs: &[&str]| {
        let output = |name: &&str| InferRequestedOutputTensor {
            name: (*name).to_owned(),
            ..Default::default()
        };
        pb::ModelInferRequest { outputs: outputs.iter().map(output).collect(), ..iris(|_| {}) }
    };
    let mut classes = asking(&["label"]);
    classes.outputs[0].parameters.insert("classification".to_owned(), int(0));
    let region = iris(|input| {
        input.parameters.insert("shared_memory_region".to_owned(), int(1));
    });
    let wrong = |says| expected("invalid.parameter", says);
    refuses(vec![
        (
            "unknown output",
            asking(&["mean"]),
            expected("invalid.output", &["'mean'", "['label', 'probabilities']"]),
        ),
        (
            "repeated output",
            asking(&["label", "label"]),
            expected("invalid.output", &["'label'", "twice"]),
        ),
        ("classification", classes, wrong(&["'classification'", "a whole number of 1 or more"])),
        ("shared memory", region, wrong(&["'shared_memory_region'", "not offered"])),
        ("negative timeout", with("timeout", int(-1)), wrong(&["'timeout'", "whole number"])),
        ("sequence", with("sequence_id", int(42)), wrong(&["'sequence_id'", "not offered"])),
    ])
    .await;
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_a_timeout_however_it_is_given() {
    let late = expected("timeout.deadline", &["deadline passed"]);
    refuses(vec![
        ("parameter of 1", with("timeout", int(1)), late),
        ("unsigned parameter", with("timeout", unsigned(1)), late),
    ])
    .await;

    let server = Server::start();
    let before = outcomes(&server);
    let mut request = Request::new(iris(|_| {}));
    request.set_timeout(Duration::from_nanos(1));
    let status = client(server.addresses().grpc).model_infer(request).await.unwrap_err();
    late.check_status("grpc-timeout", &status);
    still_answers(&server, &before, &[late]);
}

async fn refuses(cases: Vec<Case>) {
    let server = Server::start();
    let before = outcomes(&server);
    let mut client = client(server.addresses().grpc);
    let mut refused = Vec::new();
    for (what, request, expected) in cases {
        let status = client.model_infer(request).await.expect_err(what);
        expected.check_status(what, &status);
        refused.push(expected);
    }
    still_answers(&server, &before, &refused);
}

/// A request that iris answers, with its input changed.
fn iris(change: impl FnOnce(&mut InferInputTensor)) -> pb::ModelInferRequest {
    let values = pb::InferTensorContents { fp32_contents: vec![1.0; 4], ..Default::default() };
    let mut input = InferInputTensor {
        name: "input".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![1, 4],
        contents: Some(values),
        ..Default::default()
    };
    change(&mut input);
    let inputs = vec![input];
    pb::ModelInferRequest { model_name: "iris".to_owned(), inputs, ..Default::default() }
}

fn shaped(shape: &[i64]) -> pb::ModelInferRequest {
    let count = usize::try_from(shape.iter().product::<i64>()).expect("a small shape");
    iris(|input| {
        shape.clone_into(&mut input.shape);
        input.contents =
            Some(pb::InferTensorContents { fp32_contents: vec![1.0; count], ..Default::default() });
    })
}

fn raw(datatype: &str, data: &'static [u8]) -> pb::ModelInferRequest {
    let mut request = iris(|input| {
        datatype.clone_into(&mut input.datatype);
        input.contents = None;
    });
    request.raw_input_contents.push(Bytes::from_static(data));
    request
}

fn with(parameter: &str, value: pb::InferParameter) -> pb::ModelInferRequest {
    let mut request = iris(|_| {});
    request.parameters.insert(parameter.to_owned(), value);
    request
}

fn unsigned(value: u64) -> pb::InferParameter {
    pb::InferParameter { parameter_choice: Some(ParameterChoice::Uint64Param(value)) }
}

fn int(value: i64) -> pb::InferParameter {
    pb::InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(value)) }
}
