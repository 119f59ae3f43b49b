//! gRPC inferences that are well formed and do not fit.

#![expect(clippy::indexing_slicing, reason = "a test fails where it indexes wrongly")]

use bytes::Bytes;
use tidegate::api::oip::pb::inference as pb;
use tidegate::api::oip::pb::inference::infer_parameter::ParameterChoice as Choice;
use tidegate::api::oip::pb::inference::model_infer_request::{
    InferInputTensor, InferRequestedOutputTensor,
};

use super::ask::Asker;
use super::row::{Answer, Row, argument};

#[test]
fn messages_that_do_not_fit_are_refused() {
    Asker::new("").ask_all(ROWS);
}

/// The rows.
pub const ROWS: &[Row] = &[
    // Names.
    Row::grpc("an unknown model", |m| m.model_name = "nope".into(), NO_MODEL),
    Row::grpc("an empty model", |m| m.model_name.clear(), NAME),
    Row::grpc("dot-dot", |m| m.model_name = "../iris".into(), NAME),
    Row::grpc("a NUL", |m| m.model_name = "iris\0".into(), NAME),
    Row::grpc("a slash", |m| m.model_name = "a/b".into(), NAME),
    Row::grpc("a megabyte of a name", |m| m.model_name = "n".repeat(1 << 20), NAME),
    Row::grpc("not ASCII", |m| m.model_name = "ir\u{ef}s".into(), NAME),
    Row::grpc("an unknown version", |m| m.model_version = "9".into(), NO_VERSION),
    Row::grpc("an unknown alias", |m| m.model_version = "stable".into(), NO_VERSION),
    Row::grpc("version 0", |m| m.model_version = "0".into(), NAME),
    Row::grpc("version -1", |m| m.model_version = "-1".into(), NAME),
    Row::grpc("version 1.5", |m| m.model_version = "1.5".into(), NAME),
    Row::grpc("past 64 bits", |m| m.model_version = "18446744073709551616".into(), NAME),
    Row::grpc("version ..", |m| m.model_version = "..".into(), NAME),
    Row::grpc(
        "a version not loaded",
        |m| m.model_version = "1".into(),
        Answer::Grpc(tonic::Code::Unavailable, "unavailable.model", "found"),
    ),
    // Inputs.
    Row::grpc("no input", |m| m.inputs.clear(), argument(INPUT, "expected 1 inputs but got 0")),
    Row::grpc(
        "an empty input",
        |m| m.inputs = vec![InferInputTensor::default()],
        argument(INPUT, "one of"),
    ),
    Row::grpc("another input", |m| m.inputs[0].name = "x".into(), argument(INPUT, "got ['x']")),
    Row::grpc("no name", |m| m.inputs[0].name.clear(), argument(INPUT, "got ['']")),
    Row::grpc("an input twice", twice, argument(INPUT, "expected 1 inputs but got 2")),
    Row::grpc("1 of 13 inputs", |m| m.model_name = "wine".into(), argument(INPUT, "expected 13")),
    Row::grpc("no type", |m| m.inputs[0].datatype.clear(), argument(INPUT, "data type ''")),
    Row::grpc(
        "an unknown type",
        |m| m.inputs[0].datatype = "FLOAT".into(),
        argument(INPUT, "'FLOAT'"),
    ),
    Row::grpc(
        "a long type",
        |m| m.inputs[0].datatype = "T".repeat(1 << 20),
        argument(INPUT, "'TTT"),
    ),
    Row::grpc(
        "another type",
        |m| typed(m, "FP64", |c| c.fp64_contents = vec![1.0; 4]),
        argument(INPUT, "FP64"),
    ),
    // Shapes.
    Row::grpc("[]", |m| shape(m, &[]), argument(INPUT, "takes 4 bytes, found 16")),
    Row::grpc("[-1,4]", |m| shape(m, &[-1, 4]), argument(INPUT, "negative dimension")),
    Row::grpc("[i64::MIN]", |m| shape(m, &[i64::MIN]), argument(INPUT, "negative dimension")),
    Row::grpc("[2^62+1,4]", |m| shape(m, &[(1 << 62) + 1, 4]), argument(INPUT, "more elements")),
    Row::grpc("[2^32,2^32]", |m| shape(m, &[1 << 32, 1 << 32]), argument(INPUT, "more elements")),
    Row::grpc(
        "[4,10^10]",
        |m| shape(m, &[4, 10_000_000_000]),
        argument(INPUT, "takes 160000000000"),
    ),
    Row::grpc("[i64::MAX]", |m| shape(m, &[i64::MAX]), argument(INPUT, "more elements")),
    Row::grpc("[0,i64::MAX,9]", |m| shape(m, &[0, i64::MAX, 9]), argument(INPUT, "more elements")),
    Row::grpc("[0]", |m| shape(m, &[0]), argument(INPUT, "takes 0 bytes, found 16")),
    Row::grpc("[4]", |m| shape(m, &[4]), argument(INPUT, "the model expects [-1,4]")),
    Row::grpc("[1,4,1]", |m| shape(m, &[1, 4, 1]), argument(INPUT, "the model expects [-1,4]")),
    Row::grpc("[2,4]", |m| shape(m, &[2, 4]), argument(INPUT, "takes 32 bytes, found 16")),
    Row::grpc("a million dimensions", |m| shape(m, &[1; 1_000_000]), argument(INPUT, "[1,1,")),
    // Typed contents.
    Row::grpc("no contents", |m| m.inputs[0].contents = None, argument(INPUT, "found 0")),
    Row::grpc("empty contents", |m| typed(m, "FP32", |_| ()), argument(INPUT, "found 0")),
    Row::grpc(
        "3 of 4",
        |m| typed(m, "FP32", |c| c.fp32_contents = vec![1.0; 3]),
        argument(INPUT, "found 12"),
    ),
    Row::grpc(
        "5 of 4",
        |m| typed(m, "FP32", |c| c.fp32_contents = vec![1.0; 5]),
        argument(INPUT, "found 20"),
    ),
    Row::grpc(
        "FP32 in fp64",
        |m| typed(m, "FP32", |c| c.fp64_contents = vec![1.0; 4]),
        argument(INPUT, "fp64_contents"),
    ),
    Row::grpc(
        "FP32 in int",
        |m| typed(m, "FP32", |c| c.int_contents = vec![1; 4]),
        argument(INPUT, "int_contents"),
    ),
    Row::grpc(
        "FP32 in bytes",
        |m| typed(m, "FP32", |c| c.bytes_contents = vec![Bytes::new(); 4]),
        argument(INPUT, "bytes_contents"),
    ),
    Row::grpc("FP32 in two fields", both, argument(INPUT, "expected its values in fp32_contents")),
    Row::grpc(
        "INT64 in int",
        |m| typed(m, "INT64", |c| c.int_contents = vec![1; 4]),
        argument(INPUT, "int64_contents"),
    ),
    Row::grpc(
        "UINT64 in uint",
        |m| typed(m, "UINT64", |c| c.uint_contents = vec![1; 4]),
        argument(INPUT, "uint64_contents"),
    ),
    Row::grpc(
        "UINT8 in int",
        |m| typed(m, "UINT8", |c| c.int_contents = vec![1; 4]),
        argument(INPUT, "uint_contents"),
    ),
    Row::grpc(
        "BOOL in int",
        |m| typed(m, "BOOL", |c| c.int_contents = vec![1; 4]),
        argument(INPUT, "bool_contents"),
    ),
    Row::grpc(
        "BYTES in int",
        |m| typed(m, "BYTES", |c| c.int_contents = vec![1; 4]),
        argument(INPUT, "bytes_contents"),
    ),
    Row::grpc("FP16", |m| typed(m, "FP16", |_| ()), argument(INPUT, "raw_input_contents")),
    Row::grpc(
        "FP16 in fp32",
        |m| typed(m, "FP16", |c| c.fp32_contents = vec![1.0; 4]),
        argument(INPUT, "raw_input_contents"),
    ),
    Row::grpc("BF16", |m| typed(m, "BF16", |_| ()), argument(INPUT, "raw_input_contents")),
    Row::grpc(
        "300 for INT8",
        |m| typed(m, "INT8", |c| c.int_contents = vec![1, 300, 1, 1]),
        argument(INPUT, "value 300 at position 1 is no INT8"),
    ),
    Row::grpc(
        "-129 for INT8",
        |m| typed(m, "INT8", |c| c.int_contents = vec![-129]),
        argument(INPUT, "value -129"),
    ),
    Row::grpc(
        "32768 for INT16",
        |m| typed(m, "INT16", |c| c.int_contents = vec![32_768]),
        argument(INPUT, "no INT16"),
    ),
    Row::grpc(
        "256 for UINT8",
        |m| typed(m, "UINT8", |c| c.uint_contents = vec![256]),
        argument(INPUT, "no UINT8"),
    ),
    Row::grpc(
        "65536 for UINT16",
        |m| typed(m, "UINT16", |c| c.uint_contents = vec![65_536]),
        argument(INPUT, "no UINT16"),
    ),
    Row::grpc(
        "5 texts of 4",
        |m| typed(m, "BYTES", |c| c.bytes_contents = vec![Bytes::new(); 5]),
        argument(INPUT, "has 4 elements, found 5"),
    ),
    // Raw contents.
    Row::grpc(
        "raw and typed",
        |m| m.raw_input_contents.push(vec![0; 16].into()),
        argument(INPUT, "contents field must not be specified"),
    ),
    Row::grpc(
        "one raw too many",
        |m| raw(m, "FP32", &[&[0; 16], &[0; 16]]),
        argument(INPUT, "has 2 entries, expected 1"),
    ),
    Row::grpc("a raw for no input", raw_for_nobody, argument(INPUT, "has 1 entries, expected 0")),
    Row::grpc("one raw for two", raw_for_two, argument(INPUT, "has 1 entries, expected 2")),
    Row::grpc("an empty raw", |m| raw(m, "FP32", &[b""]), argument(INPUT, "found 0")),
    Row::grpc("15 raw bytes", |m| raw(m, "FP32", &[&[0; 15]]), argument(INPUT, "found 15")),
    Row::grpc("17 raw bytes", |m| raw(m, "FP32", &[&[0; 17]]), argument(INPUT, "found 17")),
    Row::grpc(
        "raw FP16",
        |m| raw(m, "FP16", &[&[0; 16]]),
        argument(INPUT, "takes 8 bytes, found 16"),
    ),
    Row::grpc(
        "raw INT64",
        |m| raw(m, "INT64", &[&[0; 16]]),
        argument(INPUT, "takes 32 bytes, found 16"),
    ),
    Row::grpc(
        "a raw bool of 7",
        |m| raw(m, "BOOL", &[&[0, 1, 7, 1]]),
        argument(INPUT, "element 2 is 7"),
    ),
    Row::grpc(
        "raw text, u32::MAX",
        |m| raw(m, "BYTES", &[b"\xff\xff\xff\xffa"]),
        argument(INPUT, "announces 4294967295"),
    ),
    Row::grpc(
        "raw text, too long",
        |m| raw(m, "BYTES", &[b"\x09\0\0\0ab"]),
        argument(INPUT, "announces 9 bytes, but 2"),
    ),
    Row::grpc(
        "raw text, half a length",
        |m| raw(m, "BYTES", &[b"\x01\0"]),
        argument(INPUT, "2 are left"),
    ),
    Row::grpc("raw text, 3 of 4", |m| raw(m, "BYTES", &[&[0; 12]]), argument(INPUT, "found 3")),
    Row::grpc("raw text, 5 of 4", |m| raw(m, "BYTES", &[&[0; 20]]), argument(INPUT, "found 5")),
    Row::grpc("raw text, none", |m| raw(m, "BYTES", &[b""]), argument(INPUT, "found 0")),
    // Outputs and parameters.
    Row::grpc("an unknown output", |m| output(m, &["mean"]), argument(OUTPUT, "'mean'")),
    Row::grpc("an empty output", |m| output(m, &[""]), argument(OUTPUT, "''")),
    Row::grpc("an output twice", |m| output(m, &["label", "label"]), argument(OUTPUT, "twice")),
    Row::grpc("100,000 outputs", |m| output(m, &["label"; 100_000]), argument(OUTPUT, "twice")),
    Row::grpc(
        "classification of no classes",
        classification,
        argument(PARAMETER, "'classification'"),
    ),
    Row::grpc("shared memory of an output", shared_output, argument(PARAMETER, "not offered")),
    Row::grpc("shared memory of an input", shared_input, argument(PARAMETER, "not offered")),
    Row::grpc(
        "a negative timeout",
        |m| parameter(m, "timeout", Choice::Int64Param(-1)),
        argument(PARAMETER, "microseconds"),
    ),
    Row::grpc(
        "a timeout of text",
        |m| parameter(m, "timeout", Choice::StringParam("1".into())),
        argument(PARAMETER, "microseconds"),
    ),
    Row::grpc(
        "a timeout of a fraction",
        |m| parameter(m, "timeout", Choice::DoubleParam(1.5)),
        argument(PARAMETER, "microseconds"),
    ),
    Row::grpc("a timeout of nothing", nothing, argument(PARAMETER, "microseconds")),
    Row::grpc(
        "a sequence",
        |m| parameter(m, "sequence_id", Choice::Int64Param(42)),
        argument(PARAMETER, "sequences are not offered"),
    ),
    Row::grpc(
        "a sequence's name",
        |m| parameter(m, "sequence_id", Choice::StringParam("s".into())),
        argument(PARAMETER, "sequences"),
    ),
    Row::grpc(
        "a sequence's start",
        |m| parameter(m, "sequence_start", Choice::BoolParam(true)),
        argument(PARAMETER, "sequences"),
    ),
    Row::grpc(
        "a deadline that has passed",
        |m| parameter(m, "timeout", Choice::Int64Param(1)),
        Answer::Grpc(tonic::Code::DeadlineExceeded, "timeout.deadline", "deadline passed"),
    ),
];

type Message = pb::ModelInferRequest;

fn shape(message: &mut Message, shape: &[i64]) {
    shape.clone_into(&mut message.inputs[0].shape);
}

fn typed(message: &mut Message, dtype: &str, fill: fn(&mut pb::InferTensorContents)) {
    dtype.clone_into(&mut message.inputs[0].datatype);
    fill(message.inputs[0].contents.insert(pb::InferTensorContents::default()));
}

fn raw(message: &mut Message, dtype: &str, entries: &[&'static [u8]]) {
    dtype.clone_into(&mut message.inputs[0].datatype);
    message.inputs[0].contents = None;
    message.raw_input_contents = entries.iter().map(|&entry| Bytes::from_static(entry)).collect();
}

fn twice(message: &mut Message) {
    message.inputs.extend(message.inputs.clone());
}

fn both(message: &mut Message) {
    typed(message, "FP32", |contents| {
        contents.fp32_contents = vec![1.0; 4];
        contents.bool_contents = vec![true];
    });
}

fn raw_for_nobody(message: &mut Message) {
    raw(message, "FP32", &[&[0; 16]]);
    message.inputs.clear();
}

fn raw_for_two(message: &mut Message) {
    raw(message, "FP32", &[&[0; 16]]);
    twice(message);
}

fn output(message: &mut Message, names: &[&str]) {
    let output =
        |name: &&str| InferRequestedOutputTensor { name: (*name).to_owned(), ..Default::default() };
    message.outputs = names.iter().map(output).collect();
}

fn classification(message: &mut Message) {
    output(message, &["label"]);
    message.outputs[0].parameters.insert("classification".to_owned(), of(Choice::Int64Param(0)));
}

fn shared_output(message: &mut Message) {
    output(message, &["label"]);
    let region = of(Choice::StringParam("r".to_owned()));
    message.outputs[0].parameters.insert("shared_memory_region".to_owned(), region);
}

fn shared_input(message: &mut Message) {
    let region = of(Choice::StringParam("r".to_owned()));
    message.inputs[0].parameters.insert("shared_memory_region".to_owned(), region);
}

fn parameter(message: &mut Message, name: &str, choice: Choice) {
    message.parameters.insert(name.to_owned(), of(choice));
}

fn nothing(message: &mut Message) {
    message.parameters.insert("timeout".to_owned(), pb::InferParameter::default());
}

fn of(choice: Choice) -> pb::InferParameter {
    pb::InferParameter { parameter_choice: Some(choice) }
}

const INPUT: &str = "invalid.input";
const OUTPUT: &str = "invalid.output";
const PARAMETER: &str = "invalid.parameter";
const NAME: Answer = argument("invalid.name", "is not valid: expected");
const NO_MODEL: Answer = Answer::Grpc(tonic::Code::NotFound, "not_found.model", "'nope'");
const NO_VERSION: Answer = Answer::Grpc(tonic::Code::NotFound, "not_found.version", "'iris'");
