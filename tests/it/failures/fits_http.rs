//! HTTP requests that are well formed, and do not fit what is served.

use crate::failures::after::{Expected, IRIS, expected, outcomes, still_answers};
use crate::harness::server::{Server, request};

/// Path, body, and how it is refused.
type Case = (&'static str, &'static str, Expected);

#[test]
fn models_and_versions_that_are_not_there_are_named() {
    refuses(&[
        ("nope/infer", IRIS, expected("not_found.model", &["'nope'", "not found"])),
        ("iris/versions/9/infer", IRIS, expected("not_found.version", &["'iris'", "9"])),
        ("iris/versions/stable/infer", IRIS, expected("not_found.version", &["stable"])),
        (
            "iris/versions/1/infer",
            IRIS,
            expected("unavailable.model", &["version 1", "it is found"]),
        ),
        ("iris/versions/01/infer", IRIS, expected("invalid.name", &["\"01\"", "leading zero"])),
        ("iris/versions/0/infer", IRIS, expected("invalid.name", &["\"0\"", "positive integer"])),
        ("iris/versions/1.0/infer", IRIS, expected("invalid.name", &["\"1.0\"", "an alias"])),
        (
            "iris/versions/99999999999999999999/infer",
            IRIS,
            expected("invalid.name", &["99999999999999999999"]),
        ),
        ("..%2Firis/infer", IRIS, expected("invalid.name", &["..%2Firis", "1 to 128 letters"])),
        ("/infer", IRIS, expected("invalid.name", &["\"\"", "1 to 128 letters"])),
    ]);
}

#[test]
fn inputs_that_do_not_fit_say_what_was_found_and_what_was_expected() {
    let fits_not = |says| expected("invalid.input", says);
    refuses(&[
        (
            INFER,
            r#"{"inputs":[{"name":"input","datatype":"FP64","shape":[1,4],"data":[1,2,3,4]}]}"#,
            fits_not(&["'input'", "FP64", "expects FP32"]),
        ),
        (
            INFER,
            r#"{"inputs":[{"name":"input","datatype":"FLOAT","shape":[1,4],"data":[1,2,3,4]}]}"#,
            expected("invalid.malformed", &["'FLOAT'", "one of BOOL, UINT8"]),
        ),
        (
            INFER,
            r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,3],"data":[1,2,3]}]}"#,
            fits_not(&["'input'", "[1,3]", "[-1,4]"]),
        ),
        (
            INFER,
            r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[4],"data":[1,2,3,4]}]}"#,
            fits_not(&["'input'", "[4]", "[-1,4]"]),
        ),
        (
            INFER,
            r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,4],"data":[1,2,3]}]}"#,
            fits_not(&["'input'", "takes 4 values", "has 3"]),
        ),
        (
            INFER,
            r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,4],"data":[1,"x",3,4]}]}"#,
            fits_not(&["'input'", "\"x\"", "no FP32", "at byte 69"]),
        ),
        (
            "topics/infer",
            r#"{"inputs":[{"name":"text","datatype":"BYTES","shape":[1,1],"data":[[7]]}]}"#,
            fits_not(&["'text'", "value 7", "no BYTES"]),
        ),
        (INFER, r#"{"inputs":[]}"#, fits_not(&["expected 1 inputs but got 0", "'input'"])),
        (INFER, "{}", fits_not(&["expected 1 inputs but got 0"])),
        (
            INFER,
            r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}"#,
            fits_not(&["expected ['input']", "got ['x']"]),
        ),
        (
            INFER,
            r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1],"data":[1]},
                          {"name":"input","datatype":"FP32","shape":[1],"data":[1]}]}"#,
            fits_not(&["expected 1 inputs but got 2", "'input', 'input'"]),
        ),
        (
            INFER,
            r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,4]}]}"#,
            expected("invalid.malformed", &["data of tensor 'input'", "missing"]),
        ),
    ]);
}

#[test]
fn a_shape_that_no_memory_could_hold_is_refused_before_any_is_taken() {
    let shape = |says| expected("invalid.input", says);
    let cases = [
        ("[9223372036854775807,9223372036854775807]", shape(&["9223372036854775807", "more"])),
        ("[4294967296,4294967296]", shape(&["[4294967296,4294967296]", "more elements"])),
        ("[0,9223372036854775807,2]", shape(&["[0,9223372036854775807,2]", "more elements"])),
        ("[1152921504606846975]", shape(&["[1152921504606846975]", "but data has 1"])),
        ("[-1,4]", shape(&["[-1,4]", "negative", "0 or more"])),
        ("[99999999999999999999]", expected("invalid.malformed", &["99999999999999999999"])),
        ("[1.5]", expected("invalid.malformed", &["1.5", "an integer"])),
    ];
    let server = Server::start();
    let before = outcomes(&server);
    for (shape, expected) in &cases {
        let body = format!(
            r#"{{"inputs":[{{"name":"input","datatype":"FP32","shape":{shape},"data":[1]}}]}}"#
        );
        expected.check_reply(shape, &server.http("POST", "/v2/models/iris/infer", &body));
    }
    still_answers(&server, &before, &cases.map(|(_, expected)| expected));
}

#[test]
fn outputs_and_parameters_that_cannot_be_had_are_named() {
    refuses(&[
        (
            INFER,
            r#"{"outputs":[{"name":"mean"}],"inputs":[
                {"name":"input","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}"#,
            expected("invalid.output", &["'mean'", "['label', 'probabilities']"]),
        ),
        (
            INFER,
            r#"{"outputs":[{"name":"label"},{"name":"label"}],"inputs":[
                {"name":"input","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}"#,
            expected("invalid.output", &["'label'", "twice"]),
        ),
        (
            INFER,
            r#"{"outputs":[{"name":"label","parameters":{"classification":0}}]}"#,
            expected("invalid.parameter", &["'classification'", "a whole number of 1 or more"]),
        ),
        (
            INFER,
            r#"{"outputs":[{"name":"label","parameters":{"classification":"2"}}]}"#,
            expected("invalid.parameter", &["'classification'", "a whole number of 1 or more"]),
        ),
        (
            INFER,
            r#"{"parameters":{"triton_x":1}}"#,
            expected("invalid.parameter", &["'triton_x'", "begin with triton_"]),
        ),
        (
            INFER,
            r#"{"parameters":{"priority":-1}}"#,
            expected("invalid.parameter", &["'priority'", "a whole number"]),
        ),
        (
            INFER,
            r#"{"inputs":[{"name":"input","parameters":{"shared_memory_region":"r"}}]}"#,
            expected("invalid.parameter", &["'shared_memory_region'", "not offered"]),
        ),
        (
            INFER,
            r#"{"parameters":{"sequence_id":42}}"#,
            expected("invalid.parameter", &["'sequence_id'", "not offered"]),
        ),
        (
            INFER,
            r#"{"parameters":{"timeout":"soon"}}"#,
            expected("invalid.parameter", &["'timeout'", "microseconds"]),
        ),
        (
            INFER,
            r#"{"parameters":{"timeout":-1}}"#,
            expected("invalid.parameter", &["'timeout'", "whole number"]),
        ),
    ]);
}

#[test]
fn a_deadline_that_has_passed_is_a_timeout() {
    let late = expected("timeout.deadline", &["deadline passed"]);
    refuses(&[
        (
            INFER,
            r#"{"parameters":{"timeout":1},"inputs":[
                {"name":"input","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}"#,
            late,
        ),
        (
            INFER,
            r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}],
                "parameters":{"timeout":1}}"#,
            late,
        ),
    ]);
}

fn refuses(cases: &[Case]) {
    let server = Server::start();
    let before = outcomes(&server);
    for (path, body, expected) in cases {
        let path = format!("/v2/models/{path}");
        let reply = request(server.addresses().http, "POST", &path, "", body.as_bytes());
        expected.check_reply(&format!("{path} {body}"), &reply);
    }
    let refused: Vec<Expected> = cases.iter().map(|(_, _, expected)| *expected).collect();
    still_answers(&server, &before, &refused);
}

const INFER: &str = "iris/infer";
