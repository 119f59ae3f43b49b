//! The binary tensor extension, with lengths that lie and bytes that are no tensor.

use super::ask::Asker;
use super::row::{Answer, Body, Row, Sent, malformed, misfit};

#[test]
fn binary_tensors_that_do_not_add_up_are_refused() {
    Asker::new("").ask_all(ROWS);
}

/// The rows.
pub const ROWS: &[Row] = &[
    // The header.
    cut("-1", "\"-1\", expected a number from 0"),
    cut("+95", "\"+95\""),
    cut("9999", "\"9999\""),
    cut("many", "\"many\""),
    cut("95.0", "\"95.0\""),
    cut("9e1", "\"9e1\""),
    cut("0x5f", "\"0x5f\""),
    cut("95, 95", "\"95, 95\""),
    cut("18446744073709551616", "\"18446744073709551616\""),
    cut("18446744073709551615", "\"18446744073709551615\""),
    cut("9223372036854775807", "\"9223372036854775807\""),
    cut(" ", "\"\""),
    cut("95 95", "\"95 95\""),
    cut("9", "expected ':' at byte 9"),
    cut("2", "at byte 2"),
    cut("96", "',' or the end at byte 96"),
    Row::new(
        "the header twice",
        Sent::Infer(
            "iris/infer",
            "inference-header-content-length: 2\r\n\
            inference-header-content-length: 95\r\n",
            Body::Text("{}"),
        ),
        malformed("there twice"),
    ),
    Row::new(
        "the header twice, the same",
        Sent::Infer(
            "iris/infer",
            "inference-header-content-length: 2\r\n\
            inference-header-content-length: 2\r\n",
            Body::Text("{}"),
        ),
        malformed("there twice"),
    ),
    Row::new(
        "the header is not text",
        Sent::Infer("iris/infer", "inference-header-content-length: \u{e9}\r\n", Body::Text("{}")),
        malformed("expected a number"),
    ),
    Row::new(
        "a length past an empty body",
        Sent::Infer("iris/infer", "inference-header-content-length: 1\r\n", Body::Text("")),
        malformed("from 0 to 0"),
    ),
    // A raw request.
    Row::new(
        "raw, for 13 inputs",
        Sent::Infer("wine/infer", RAW, Body::Raw(&[0; 16])),
        misfit("needs a model with one input, but this one has 13"),
    ),
    Row::new(
        "raw, 15 bytes",
        Sent::Infer("iris/infer", RAW, Body::Raw(&[0; 15])),
        misfit("takes 16 bytes, found 15"),
    ),
    Row::new(
        "raw, 17 bytes",
        Sent::Infer("iris/infer", RAW, Body::Raw(&[0; 17])),
        misfit("takes 16 bytes, found 17"),
    ),
    Row::new(
        "raw, two rows",
        Sent::Infer("iris/infer", RAW, Body::Raw(&[0; 32])),
        misfit("takes 16 bytes, found 32"),
    ),
    Row::new(
        "raw, nothing",
        Sent::Infer("iris/infer", RAW, Body::Text("")),
        misfit("takes 16 bytes, found 0"),
    ),
    Row::new(
        "raw, unknown model",
        Sent::Infer("nope/infer", RAW, Body::Raw(&[0; 16])),
        Answer::Http(404, "not_found.model", "'nope'"),
    ),
    Row::new(
        "raw, known version",
        Sent::Infer("iris/versions/1/infer", RAW, Body::Raw(&[0; 16])),
        Answer::Http(503, "unavailable.model", "version 1"),
    ),
    // Sizes of inputs.
    size("\"16\"", &[0; 16], malformed("binary_data_size is \"16\", expected a whole number")),
    size("-16", &[0; 16], malformed("binary_data_size is -16")),
    size("16.0", &[0; 16], malformed("binary_data_size is 16.0")),
    size("1.6e1", &[0; 16], malformed("binary_data_size is 1.6e1")),
    size("1e400", &[0; 16], malformed("binary_data_size is 1e400")),
    size("NaN", &[0; 16], malformed("binary_data_size is NaN")),
    size("18446744073709551616", &[0; 16], malformed("expected a whole number")),
    size("null", &[0; 16], malformed("binary_data_size is null")),
    size("true", &[0; 16], malformed("binary_data_size is true")),
    size("[16]", &[0; 16], malformed("binary_data_size is [16]")),
    size("{}", &[0; 16], malformed("binary_data_size is {}")),
    size("", &[0; 16], malformed("expected a value")),
    size("18446744073709551615", &[0; 16], malformed("but 16 are left")),
    size("17", &[0; 16], malformed("announces 17 bytes of binary data, but 16 are left")),
    size("16", &[0; 17], malformed("1 bytes follow the last input")),
    size("16", &[0; 15], malformed("but 15 are left")),
    size("16", b"", malformed("but 0 are left")),
    size("0", &[0; 16], misfit("takes 16 bytes, found 0")),
    size("0", b"", misfit("takes 16 bytes, found 0")),
    size("15", &[0; 15], misfit("takes 16 bytes, found 15")),
    size("14", &[0; 14], misfit("takes 16 bytes, found 14")),
    size("20", &[0; 20], misfit("takes 16 bytes, found 20")),
    size("16,\"binary_data_size\":16", &[0; 16], malformed("there twice")),
    size("16,\"shared_memory_region\":\"r\"", &[0; 16], SHARED),
    json(
        "a sum that overflows",
        r#"{"inputs":[{"name":"a","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":18446744073709551615}},
            {"name":"b","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":18446744073709551615}}]}"#,
        &[0; 8],
        malformed("input 'a' announces 18446744073709551615 bytes"),
    ),
    json(
        "the second of two takes too much",
        r#"{"inputs":[{"name":"a","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}},
            {"name":"b","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":8}}]}"#,
        &[0; 8],
        malformed("input 'b' announces 8 bytes of binary data, but 4 are left"),
    ),
    json(
        "data in both forms",
        r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,4],"data":[1,2,3,4],"parameters":{"binary_data_size":16}}]}"#,
        &[0; 16],
        malformed("given as data and as binary data, expected one of them"),
    ),
    json(
        "data, and bytes of nobody",
        r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}"#,
        &[0; 16],
        malformed("16 bytes follow the last input"),
    ),
    json(
        "no data at all",
        r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,4]}]}"#,
        &[0; 16],
        malformed("data of tensor 'input' is missing"),
    ),
    json(
        "a size without a header",
        r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,4],"parameters":{"binary_data_size":16}}]}"#,
        b"",
        malformed("but 0 are left"),
    ),
    // Bytes that are no tensor.
    tensor("a bool of 2", "BOOL", "4", &[1, 0, 1, 2], misfit("element 3 is 2, expected 0 or 1")),
    tensor("a bool of 255", "BOOL", "4", &[255; 4], misfit("element 0 is 255")),
    tensor("FP16 of FP32's size", "FP16", "16", &[0; 16], misfit("takes 8 bytes, found 16")),
    tensor("INT64 of FP32's size", "INT64", "16", &[0; 16], misfit("takes 32 bytes, found 16")),
    tensor("another type", "INT32", "16", &[0; 16], misfit("INT32")),
    tensor("BYTES, a length too long", "BYTES", "7", b"\x09\0\0\0abc", misfit("announces 9 bytes")),
    tensor("BYTES, u32::MAX", "BYTES", "5", b"\xff\xff\xff\xffa", misfit("announces 4294967295")),
    tensor(
        "BYTES, half a length",
        "BYTES",
        "3",
        b"\x01\0\0",
        misfit("element 0 announces 4 bytes"),
    ),
    tensor("BYTES, 1 of 4", "BYTES", "5", b"\x01\0\0\0a", misfit("has 4 elements, found 1")),
    tensor("BYTES, 5 of 4", "BYTES", "20", &[0; 20], misfit("has 4 elements, found 5")),
    tensor("BYTES, no element", "BYTES", "0", b"", misfit("has 4 elements, found 0")),
    tensor("BYTES, then half", "BYTES", "6", b"\0\0\0\0\x01\0", misfit("element 1")),
    tensor("BYTES for FP32", "BYTES", "16", &[0; 16], misfit("BYTES")),
];

const fn cut(length: &'static str, says: &'static str) -> Row {
    let json = r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1,4],"parameters":{"binary_data_size":16}}]}"#;
    Row::new(length, Sent::Binary(json, Body::Raw(&[0; 16]), length), malformed(says))
}

const fn json(what: &'static str, json: &'static str, data: &'static [u8], answer: Answer) -> Row {
    Row::new(what, Sent::Binary(json, Body::Raw(data), ""), answer)
}

const fn size(size: &'static str, data: &'static [u8], answer: Answer) -> Row {
    Row::new(size, Sent::Sized("FP32", size, data), answer)
}

const fn tensor(
    what: &'static str,
    dtype: &'static str,
    size: &'static str,
    data: &'static [u8],
    answer: Answer,
) -> Row {
    Row::new(what, Sent::Sized(dtype, size, data), answer)
}

const RAW: &str = "inference-header-content-length: 0\r\n";
const SHARED: Answer = Answer::Http(400, "invalid.parameter", "'shared_memory_region'");
