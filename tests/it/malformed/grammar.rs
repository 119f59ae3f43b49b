//! Bodies that are no JSON, or JSON whose members are not what they should be.

#![expect(clippy::indexing_slicing, reason = "a test fails where it indexes wrongly")]

use std::borrow::Cow;

use super::ask::{Asker, RIGHT};
use super::row::{Answer, Body, Row, Sent, invalid, malformed, misfit};

#[test]
fn bodies_that_are_not_as_they_should_be_are_refused() {
    Asker::new("").ask_all(ROWS);
}

#[test]
fn a_body_that_breaks_off_is_malformed_wherever_it_does() {
    Asker::new("").ask_all(&truncated());
}

/// A right body, cut before each of its bytes.
pub fn truncated() -> Vec<Row> {
    let row = |length: usize| Row {
        what: Cow::Owned(format!("the first {length} bytes of a right body")),
        sent: Sent::Infer("iris/infer", "", Body::Of(RIGHT.as_bytes()[..length].to_vec())),
        answer: malformed("at byte"),
    };
    (0..RIGHT.len()).map(row).collect()
}

/// The rows.
pub const ROWS: &[Row] = &[
    // Not JSON.
    Row::infer("white space", " \r\n\t ", malformed("expected an object at byte 5")),
    Row::infer("text", "hello", malformed("expected an object at byte 0")),
    Row::infer("a form", "inputs=1&name=x", malformed("expected an object at byte 0")),
    Row::infer("XML", "<inputs/>", malformed("expected an object at byte 0")),
    Row::infer("single quotes", "{'inputs':[]}", malformed("expected a string at byte 1")),
    Row::infer("bare keys", "{inputs:[]}", malformed("expected a string at byte 1")),
    Row::infer("a comment", "{/* */\"inputs\":[]}", malformed("expected a string at byte 1")),
    Row::infer("a trailing comma", "{\"inputs\":[],}", malformed("expected a string at byte 13")),
    Row::infer("a comma first", "{,\"inputs\":[]}", malformed("expected a string at byte 1")),
    Row::infer("two colons", "{\"inputs\"::[]}", malformed("expected a value at byte 10")),
    Row::infer("no colon", "{\"inputs\" []}", malformed("expected ':' at byte 10")),
    Row::infer("no value", "{\"inputs\":}", malformed("expected a value at byte 10")),
    Row::infer("a wrong bracket", "{\"inputs\":[}", malformed("at byte 11")),
    Row::infer("two objects", "{}{}", malformed("after the value at byte 2")),
    Row::infer("trailing garbage", "{} x", malformed("after the value at byte 3")),
    Row::infer("a trailing bracket", "{}]", malformed("after the value at byte 2")),
    Row::bytes("a trailing NUL", b"{}\0", malformed("after the value at byte 2")),
    Row::bytes("a NUL", b"\0", malformed("expected an object at byte 0")),
    Row::bytes("a byte order mark", b"\xef\xbb\xbf{}", malformed("expected an object at byte 0")),
    Row::bytes("UTF-16", b"\xff\xfe{\0}\0", malformed("expected an object at byte 0")),
    Row::bytes("a key that is not UTF-8", b"{\"\xff\":1}", malformed("not UTF-8")),
    Row::bytes("a value that is not UTF-8", b"{\"id\":\"\xc3\x28\"}", malformed("not UTF-8")),
    Row::bytes("an overlong slash", b"{\"id\":\"\xc0\xaf\"}", malformed("not UTF-8")),
    Row::bytes("half a character", b"{\"id\":\"\xe2\x82\"}", malformed("not UTF-8")),
    Row::bytes("a surrogate in UTF-8", b"{\"id\":\"\xed\xa0\x80\"}", malformed("not UTF-8")),
    Row::bytes("protobuf", b"\x0a\x04iris", malformed("expected an object at byte 1")),
    Row::bytes("gzip unannounced", b"\x1f\x8b\x08\0\0\0\0\0", malformed("an object at byte 0")),
    Row::infer("a control character in an id", "{\"id\":\"a\nb\"}", malformed("control character")),
    Row::infer("an open string", "{\"id\":\"abc", malformed("unexpected end of a string")),
    Row::infer("an open escape", "{\"id\":\"abc\\", malformed("unexpected end of a string")),
    Row::infer("half an escape", "{\"id\":\"\\u00\"}", malformed("four hex digits")),
    Row::infer("a sign in an escape", "{\"id\":\"\\u+041\"}", malformed("four hex digits")),
    Row::infer("a lone surrogate", "{\"id\":\"\\ud800\"}", malformed("expected \\u")),
    Row::infer("a low surrogate first", "{\"id\":\"\\udfff\"}", malformed("unpaired surrogate")),
    Row::infer(
        "two high surrogates",
        "{\"id\":\"\\ud800\\ud800\"}",
        malformed("unpaired surrogate"),
    ),
    Row::infer("a surrogate in a key", "{\"\\ud800\":1}", malformed("expected \\u")),
    Row::infer("half a word", "{\"x\":nul}", malformed("expected null")),
    Row::infer("a word in capitals", "{\"x\":True}", malformed("expected a value")),
    Row::infer("an undefined value", "{\"x\":undefined}", malformed("expected a value")),
    Row::infer("two minuses in what is ignored", "{\"x\":--1}", malformed("expected a number")),
    // Not an object.
    Row::infer("an array", "[]", malformed("expected an object at byte 0")),
    Row::infer("a string", "\"{}\"", malformed("expected an object at byte 0")),
    Row::infer("a number", "1", malformed("expected an object at byte 0")),
    Row::infer("null", "null", malformed("expected an object at byte 0")),
    Row::infer("true", "true", malformed("expected an object at byte 0")),
    // Deep and long.
    Row::made("10,000 arrays in data", || deep("[", "]", 10_000), malformed("deeper than 32")),
    Row::made("10,000 objects", || deep("{\"a\":", "}", 10_000), malformed("deeper than 32")),
    Row::made("10,000 arrays first", || b"[".repeat(10_000), malformed("an object at byte 0")),
    Row::made("a million brackets", || deep("[", "", 1_000_000), malformed("deeper than 32")),
    Row::made("a million braces", || deep("{\"\":", "", 1_000_000), malformed("deeper than 32")),
    Row::made("33 arrays in data", || data(33), malformed("deeper than 32")),
    Row::made("a million spaces", || b" ".repeat(1_000_000), malformed("an object at byte")),
    Row::made("a million minuses", || ignored(&"-".repeat(1_000_000)), malformed("a number")),
    Row::made("a million quotes", || ignored(&"\"".repeat(1_000_000)), malformed("',' or")),
    Row::made("a million backslashes", || ignored(&"\\".repeat(1_000_000)), malformed("a value")),
    Row::made("an exponent of a million digits", exponent, misfit("is no FP32")),
    Row::made("a long key", || ignored_key(1_000_000), misfit("expected 1 inputs but got 0")),
    Row::made("100,000 inputs", || inputs("{}", 100_000), malformed("name of a tensor is missing")),
    Row::made("100,000 nulls", || inputs("null", 100_000), malformed("expected an object")),
    Row::made("100,000 outputs", outputs, invalid("invalid.output", "twice")),
    // Members of the request of a wrong type.
    Row::infer("id: number", "{\"id\":7}", malformed("expected a string at byte 6")),
    Row::infer("id: object", "{\"id\":{}}", malformed("expected a string at byte 6")),
    Row::infer("id: array", "{\"id\":[\"a\"]}", malformed("expected a string at byte 6")),
    Row::infer("id: true", "{\"id\":true}", malformed("expected a string at byte 6")),
    Row::infer("inputs: number", "{\"inputs\":7}", malformed("expected an array at byte 10")),
    Row::infer("inputs: string", "{\"inputs\":\"input\"}", malformed("expected an array")),
    Row::infer("inputs: object", "{\"inputs\":{\"input\":[1]}}", malformed("expected an array")),
    Row::infer("inputs: true", "{\"inputs\":true}", malformed("expected an array at byte 10")),
    Row::infer("an input: number", "{\"inputs\":[1]}", malformed("expected an object at byte 11")),
    Row::infer("an input: string", "{\"inputs\":[\"x\"]}", malformed("expected an object")),
    Row::infer("an input: array", "{\"inputs\":[[]]}", malformed("expected an object")),
    Row::infer("an input: null", "{\"inputs\":[null]}", malformed("expected an object")),
    Row::infer("an input: empty", "{\"inputs\":[{}]}", malformed("name of a tensor is missing")),
    Row::infer("outputs: number", "{\"outputs\":7}", malformed("expected an array")),
    Row::infer("outputs: string", "{\"outputs\":\"label\"}", malformed("expected an array")),
    Row::infer("outputs: object", "{\"outputs\":{}}", malformed("expected an array")),
    Row::infer("an output: string", "{\"outputs\":[\"label\"]}", malformed("expected an object")),
    Row::infer("an output: null", "{\"outputs\":[null]}", malformed("expected an object")),
    Row::infer("an output: empty", "{\"outputs\":[{}]}", malformed("name of an output is missing")),
    Row::infer("an output's name: number", "{\"outputs\":[{\"name\":1}]}", malformed("a string")),
    Row::infer("an output's name: null", "{\"outputs\":[{\"name\":null}]}", malformed("a string")),
    Row::infer(
        "an output's parameters: array",
        "{\"outputs\":[{\"name\":\"label\",\"parameters\":[]}]}",
        malformed("expected an object"),
    ),
    Row::infer(
        "binary_data: number",
        "{\"outputs\":[{\"name\":\"label\",\"parameters\":{\"binary_data\":1}}]}",
        malformed("expected false"),
    ),
    Row::infer(
        "binary_data: string",
        "{\"outputs\":[{\"name\":\"label\",\"parameters\":{\"binary_data\":\"true\"}}]}",
        malformed("expected false"),
    ),
    Row::infer(
        "classification of no classes",
        "{\"outputs\":[{\"name\":\"label\",\"parameters\":{\"classification\":0}}]}",
        invalid("invalid.parameter", "'classification'"),
    ),
    Row::infer(
        "shared memory of an output",
        "{\"outputs\":[{\"name\":\"label\",\"parameters\":{\"shared_memory_region\":\"r\"}}]}",
        invalid("invalid.parameter", "'shared_memory_region'"),
    ),
    Row::infer("parameters: array", "{\"parameters\":[]}", malformed("expected an object")),
    Row::infer("parameters: string", "{\"parameters\":\"a\"}", malformed("expected an object")),
    Row::infer(
        "binary_data_output: string",
        "{\"parameters\":{\"binary_data_output\":\"yes\"}}",
        malformed("expected false"),
    ),
    Row::infer(
        "binary_data_output: number",
        "{\"parameters\":{\"binary_data_output\":0}}",
        malformed("expected false"),
    ),
    Row::infer("timeout: string", "{\"parameters\":{\"timeout\":\"soon\"}}", TIMEOUT),
    Row::infer("timeout: fraction", "{\"parameters\":{\"timeout\":1.5}}", TIMEOUT),
    Row::infer("timeout: negative", "{\"parameters\":{\"timeout\":-1}}", TIMEOUT),
    Row::infer(
        "timeout: past 64 bits",
        "{\"parameters\":{\"timeout\":18446744073709551616}}",
        TIMEOUT,
    ),
    Row::infer("timeout: array", "{\"parameters\":{\"timeout\":[1]}}", TIMEOUT),
    Row::infer("timeout: true", "{\"parameters\":{\"timeout\":true}}", TIMEOUT),
    Row::infer("timeout: NaN", "{\"parameters\":{\"timeout\":NaN}}", TIMEOUT),
    Row::infer("sequence_id", "{\"parameters\":{\"sequence_id\":42}}", SEQUENCE),
    Row::infer("sequence_start", "{\"parameters\":{\"sequence_start\":true}}", SEQUENCE),
    Row::infer("sequence_end", "{\"parameters\":{\"sequence_end\":\"x\"}}", SEQUENCE),
    // Members of an input of a wrong type.
    Row::infer("name: number", "{\"inputs\":[{\"name\":1}]}", malformed("expected a string")),
    Row::infer("name: null", "{\"inputs\":[{\"name\":null}]}", malformed("expected a string")),
    Row::infer("name: array", "{\"inputs\":[{\"name\":[]}]}", malformed("expected a string")),
    Row::infer("datatype: number", "{\"inputs\":[{\"datatype\":1}]}", malformed("a string")),
    Row::infer("datatype: null", "{\"inputs\":[{\"datatype\":null}]}", malformed("a string")),
    Row::infer(
        "parameters of an input: 1",
        "{\"inputs\":[{\"parameters\":1}]}",
        malformed("object"),
    ),
    Row::infer(
        "shared memory of an input",
        "{\"inputs\":[{\"parameters\":{\"shared_memory_region\":\"r\"}}]}",
        invalid("invalid.parameter", "'shared_memory_region'"),
    ),
    Row::infer(
        "no name",
        "{\"inputs\":[{\"datatype\":\"FP32\",\"shape\":[1],\"data\":[1]}]}",
        malformed("name of a tensor is missing"),
    ),
    Row::infer(
        "no datatype",
        "{\"inputs\":[{\"name\":\"input\",\"shape\":[1],\"data\":[1]}]}",
        malformed("datatype of tensor 'input' is missing"),
    ),
    Row::infer(
        "no shape",
        "{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"data\":[1]}]}",
        malformed("shape of tensor 'input' is missing"),
    ),
    Row::infer(
        "no data",
        "{\"inputs\":[{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[1,4]}]}",
        malformed("data of tensor 'input' is missing"),
    ),
    // Members twice: of two values nobody knows which one was meant.
    Row::infer("id twice", "{\"id\":\"a\",\"id\":\"b\"}", malformed("id is there twice")),
    Row::infer("inputs twice", "{\"inputs\":[],\"inputs\":[]}", malformed("inputs is there twice")),
    Row::infer("outputs twice", "{\"outputs\":[],\"outputs\":[]}", malformed("there twice")),
    Row::infer(
        "parameters twice",
        "{\"parameters\":{},\"parameters\":{}}",
        malformed("there twice"),
    ),
    Row::infer(
        "id twice, once escaped",
        "{\"id\":\"a\",\"\\u0069d\":\"b\"}",
        malformed("id is there"),
    ),
    Row::infer("id after null", "{\"id\":null,\"id\":\"b\"}", malformed("id is there twice")),
    Row::infer(
        "name twice",
        "{\"inputs\":[{\"name\":\"a\",\"name\":\"b\"}]}",
        malformed("name is there"),
    ),
    Row::infer(
        "shape twice",
        "{\"inputs\":[{\"shape\":[1],\"shape\":[1]}]}",
        malformed("shape is there"),
    ),
    Row::infer(
        "data twice",
        "{\"inputs\":[{\"data\":[1],\"data\":[1]}]}",
        malformed("data is there"),
    ),
    Row::infer(
        "datatype twice",
        "{\"inputs\":[{\"datatype\":\"FP32\",\"datatype\":\"FP64\"}]}",
        malformed("datatype is there twice"),
    ),
    Row::infer(
        "timeout twice",
        "{\"parameters\":{\"timeout\":0,\"timeout\":1}}",
        malformed("timeout is there twice"),
    ),
    Row::infer(
        "an output's name twice",
        "{\"outputs\":[{\"name\":\"label\",\"name\":\"label\"}]}",
        malformed("name is there twice"),
    ),
];

const TIMEOUT: Answer = invalid("invalid.parameter", "'timeout'");
const SEQUENCE: Answer = invalid("invalid.parameter", "sequences are not offered");

fn deep(open: &str, close: &str, times: usize) -> Vec<u8> {
    ignored(&format!("{}{}", open.repeat(times), close.repeat(times)))
}

// In a member that no request has, and that must be JSON all the same.
fn ignored(value: &str) -> Vec<u8> {
    format!("{{\"x\":{value}}}").into_bytes()
}

fn ignored_key(length: usize) -> Vec<u8> {
    format!("{{\"{}\":1}}", "k".repeat(length)).into_bytes()
}

// The tensor's own brackets and those around it make 33.
fn data(depth: usize) -> Vec<u8> {
    let (open, close) = ("[".repeat(depth), "]".repeat(depth));
    let head = r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1],"data":"#;
    format!("{head}{open}1{close}}}]}}").into_bytes()
}

fn exponent() -> Vec<u8> {
    let head = r#"{"inputs":[{"name":"input","datatype":"FP32","shape":[1],"data":[1e"#;
    format!("{head}{}]}}]}}", "9".repeat(1_000_000)).into_bytes()
}

fn inputs(input: &str, times: usize) -> Vec<u8> {
    format!("{{\"inputs\":[{}]}}", vec![input; times].join(",")).into_bytes()
}

fn outputs() -> Vec<u8> {
    let outputs = vec!["{\"name\":\"label\"}"; 100_000].join(",");
    RIGHT.replacen('{', &format!("{{\"outputs\":[{outputs}],"), 1).into_bytes()
}
