//! HTTP requests that cannot be read, and those that ask for what is not there.

use crate::failures::after::{Expected, IRIS, expected, outcomes, still_answers};
use crate::harness::server::{Reply, Server, request};

/// Headers, body, and how it is refused.
type Case = (String, Vec<u8>, Expected);

#[test]
fn a_broken_body_is_malformed_and_the_text_says_where() {
    let malformed = |says| expected("invalid.malformed", says);
    let deep = [vec![b'['; 40], vec![b']'; 40]].concat();
    refuses(&[
        plain("", malformed(&["not valid JSON", "expected an object at byte 0"])),
        plain("[]", malformed(&["expected an object at byte 0"])),
        plain("{\"inputs\":[", malformed(&["at byte 11"])),
        plain("{} x", malformed(&["after the value at byte 3"])),
        plain(
            IRIS.trim_end_matches([']', '}']),
            malformed(&["'input'", "',' or the end at byte 82"]),
        ),
        plain("{\"inputs\":7}", malformed(&["expected an array at byte 10"])),
        plain("{\"id\":7}", malformed(&["expected a string at byte 6"])),
        (String::new(), b"{\"id\":\"\xff\"}".to_vec(), malformed(&["not UTF-8 at byte 8"])),
        (String::new(), text_input(b"[\"\xff\"]"), malformed(&["'text'", "not UTF-8 at byte"])),
        (String::new(), text_input(b"[\"\\ud800\"]"), malformed(&["expected \\u at byte"])),
        (String::new(), text_input(&deep), malformed(&["'text'", "deeper than 32 at byte"])),
        (String::new(), deep, malformed(&["expected an object at byte 0"])),
        plain(&format!("{{\"x\":{}", "[".repeat(100_000)), malformed(&["deeper than 32"])),
    ]);
}

#[test]
fn binary_data_that_does_not_add_up_is_refused() {
    let malformed = |says| expected("invalid.malformed", says);
    let input = |says| expected("invalid.input", says);
    let sixteen = [0; 16];
    refuses(&[
        binary("9999", "FP32", 16, &sixteen, malformed(&["\"9999\"", "from 0 to 114", "length"])),
        binary("-1", "FP32", 16, &sixteen, malformed(&["\"-1\"", "a number from 0 to 114"])),
        binary("many", "FP32", 16, &sixteen, malformed(&["\"many\"", "a number from 0"])),
        binary("", "FP32", 16, &[0; 17], malformed(&["additional input data", "1 bytes follow"])),
        binary("", "FP32", 16, &[0; 15], malformed(&["'input'", "16 bytes", "15 are left"])),
        binary("", "FP32", 12, &[0; 12], input(&["FP32", "[1,4]", "takes 16 bytes, found 12"])),
        binary("", "BOOL", 4, &[1, 0, 1, 7], input(&["element 3 is 7", "expected 0 or 1"])),
        binary(
            "",
            "BYTES",
            7,
            &[9, 0, 0, 0, b'a', b'b', b'c'],
            input(&["element 0 announces 9 bytes", "3 are left"]),
        ),
        binary(
            "",
            "BYTES",
            5,
            &[1, 0, 0, 0, b'a'],
            input(&["shape [1,4] has 4 elements", "found 1"]),
        ),
    ]);
}

#[test]
fn a_refusal_stays_short_whatever_the_caller_named() {
    let name = "n".repeat(100_000);
    let cases = [
        (
            format!(
                r#"{{"inputs":[{{"name":"{name}","datatype":"FP32","shape":[-1],"data":[]}}]}}"#
            ),
            expected("invalid.input", &["tensor 'nnn"]),
        ),
        (
            IRIS.replace("[1,4]", &format!("[{}1,4]", "1,".repeat(100_000))),
            expected("invalid.input", &["[1,1,", ",...]", "the model expects [-1,4]"]),
        ),
        (
            IRIS.replacen('{', &format!(r#"{{"outputs":[{{"name":"{name}"}}],"#), 1),
            expected("invalid.output", &["'nnn", "expected one of ['label', 'probabilities']"]),
        ),
    ];
    refuses(&cases.map(|(body, expected)| plain(&body, expected)));
}

#[test]
fn paths_methods_and_calls_that_are_not_offered_are_refused() {
    let server = Server::start();
    let before = outcomes(&server);
    let wrong_method = expected("method_not_allowed.method", &["is not allowed for"]);
    for (method, path, allow) in [
        ("GET", "/v2/models/iris/infer", "post"),
        ("PUT", "/v2/models/iris/infer", "post"),
        ("POST", "/v2/models/iris", "get"),
        ("DELETE", "/v2", "get"),
        ("GET", "/v2/repository/index", "post"),
    ] {
        let reply = server.http(method, path, "");
        wrong_method.check_reply(path, &reply);
        assert!(reply.headers.contains(&format!("allow: {allow}")), "{}", reply.headers);
    }
    let no_path = |says| expected("not_found.path", says);
    let load = "/v2/repository/models/iris/load";
    let config = r#"{"parameters":{"config":"{}"}}"#;
    for (method, path, body, expected) in [
        ("GET", "/", "", no_path(&["'/'", "not found"])),
        ("GET", "/v3/models/iris", "", no_path(&["'/v3/models/iris'"])),
        ("GET", "/v2/models/iris/nothing", "", no_path(&["'/v2/models/iris/nothing'"])),
        ("GET", "/v2/a/b/c/d/e/f/g/h", "", no_path(&["'/v2/a/b/c/d/e/f/g/h'"])),
        ("GET", "/v2/models/nope", "", expected("not_found.model", &["'nope'"])),
        ("GET", "/v2/models/nope/ready", "", expected("not_found.model", &["'nope'"])),
        ("GET", "/v2/models/iris/versions/9", "", expected("not_found.version", &["9"])),
        ("GET", "/v2/models/iris/versions/x!", "", expected("invalid.name", &["\"x!\""])),
        ("POST", load, config, expected("unsupported.call", &["'config'", "not offered"])),
        ("POST", load, "{", expected("invalid.malformed", &["not valid JSON"])),
        (
            "POST",
            "/v2/repository/models/nope/load",
            "",
            expected("not_found.model", &["'nope'", "not found"]),
        ),
        (
            "POST",
            "/v2/repository/models/nope/unload",
            "",
            expected("not_found.model", &["'nope'", "not found"]),
        ),
    ] {
        expected.check_reply(path, &server.http(method, path, body));
    }
    // None of these is an inference.
    still_answers(&server, &before, &[]);
}

fn refuses(cases: &[Case]) {
    let server = Server::start();
    let before = outcomes(&server);
    for (headers, body, expected) in cases {
        let what: String = String::from_utf8_lossy(body).chars().take(200).collect();
        expected.check_reply(&what, &infer(&server, headers, body));
    }
    let refused: Vec<Expected> = cases.iter().map(|(_, _, expected)| *expected).collect();
    still_answers(&server, &before, &refused);
}

fn infer(server: &Server, headers: &str, body: &[u8]) -> Reply {
    request(server.addresses().http, "POST", "/v2/models/iris/infer", headers, body)
}

fn plain(body: &str, expected: Expected) -> Case {
    (String::new(), body.as_bytes().to_vec(), expected)
}

// An input of text; iris has none, so that only reading can refuse it so early.
fn text_input(data: &[u8]) -> Vec<u8> {
    let head = br#"{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":"#;
    [head, data, b"}]}"].concat()
}

// A body of the binary extension; `length` is the header's, where it is not the JSON's own.
fn binary(length: &str, datatype: &str, size: usize, data: &[u8], expected: Expected) -> Case {
    let json = format!(
        r#"{{"inputs":[{{"name":"input","datatype":"{datatype}","shape":[1,4],"parameters":{{"binary_data_size":{size}}}}}]}}"#
    );
    let own = json.len().to_string();
    let length = if length.is_empty() { &own } else { length };
    let header = format!("inference-header-content-length: {length}\r\n");
    (header, [json.as_bytes(), data].concat(), expected)
}
