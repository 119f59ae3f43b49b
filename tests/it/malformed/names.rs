//! Names of models and versions, paths and methods that lead nowhere.

use super::ask::Asker;
use super::row::{Answer, Body, Row, Sent, invalid, malformed};

#[test]
fn names_paths_and_methods_that_lead_nowhere_are_refused() {
    Asker::new("").ask_all(ROWS);
}

/// The rows.
pub const ROWS: &[Row] = &[
    // Inference: names are taken as they are written, escapes and all.
    to("an unknown model", "nope/infer", NO_MODEL),
    to("a model in capitals", "IRIS/infer", NO_MODEL),
    to("an unknown version", "iris/versions/9/infer", NO_VERSION),
    to("the largest version", "iris/versions/18446744073709551615/infer", NO_VERSION),
    to("an unknown alias", "iris/versions/stable/infer", NO_VERSION),
    to(
        "a version not loaded",
        "iris/versions/1/infer",
        Answer::Http(503, "unavailable.model", "found"),
    ),
    to("version 0", "iris/versions/0/infer", NAME),
    to("version 01", "iris/versions/01/infer", NAME),
    to("version -1", "iris/versions/-1/infer", NAME),
    to("version +1", "iris/versions/+1/infer", NAME),
    to("version 1.0", "iris/versions/1.0/infer", NAME),
    to("version 1e1", "iris/versions/1e1/infer", NAME),
    to("version 0x1", "iris/versions/0x1/infer", NAME),
    to("a version past 64 bits", "iris/versions/18446744073709551616/infer", NAME),
    to("a version in capitals", "iris/versions/Stable/infer", NAME),
    to("version .", "iris/versions/./infer", NAME),
    to("version ..", "iris/versions/../infer", NAME),
    to("an escaped version", "iris/versions/%31/infer", NAME),
    to("an escaped dot-dot version", "iris/versions/%2e%2e/infer", NAME),
    to("a NUL in a version", "iris/versions/1%00/infer", NAME),
    to("dot-dot", "../infer", NAME),
    to("a dot first", ".iris/infer", NAME),
    to("a dash first", "-iris/infer", NAME),
    to("an empty name", "/infer", NAME),
    to("an escaped slash", "a%2fb/infer", NAME),
    to("an escaped dot-dot", "%2e%2e/infer", NAME),
    to("an escaped dot-dot and slash", "..%2firis/infer", NAME),
    to("an escaped backslash", "..%5ciris/infer", NAME),
    to("a NUL", "iris%00/infer", NAME),
    to("a space", "ir%20is/infer", NAME),
    to("half an escape", "iris%2/infer", NAME),
    to("no escape", "iris%zz/infer", NAME),
    to("not UTF-8", "%ff%fe/infer", NAME),
    to("an overlong slash", "%c0%af/infer", NAME),
    to("a tilde", "~iris/infer", NAME),
    to("a semicolon", "iris;v=1/infer", NAME),
    to("a colon", "iris:1/infer", NAME),
    Row::new("129 letters", Sent::Infer(LONG, "", Body::Text("{}")), NAME),
    // Slashes make another path.
    to("a slash too many", "iris//infer", NO_PATH),
    to("a slash in a name", "a/b/infer", NO_PATH),
    to("a slash in a version", "iris/versions/1/2/infer", NO_PATH),
    to("a version called infer", "iris/versions/infer", NO_METHOD),
    to("a slash at the end", "iris/infer/", NO_PATH),
    to("another word", "iris/predict", NO_PATH),
    to("capitals", "iris/INFER", NO_PATH),
    // Other calls.
    Row::call("the root", "GET", "/", NO_PATH),
    Row::call("the older protocol's root", "GET", "/v1", NO_PATH),
    Row::call(
        "another call of the older protocol",
        "POST",
        "/v1/models/iris:classify",
        NOT_OFFERED,
    ),
    Row::call("the older protocol's slash", "POST", "/v1/models/a/b:predict", NO_PATH),
    Row::call("a later protocol", "GET", "/v3", NO_PATH),
    Row::call("a slash at the end", "GET", "/v2/", NO_PATH),
    Row::call("two slashes", "GET", "//v2", NO_PATH),
    Row::call("dot-dot", "GET", "/v2/../v2", NO_PATH),
    Row::call("many parts", "GET", "/v2/a/b/c/d/e/f/g/h", NO_PATH),
    Row::call("an unknown call", "GET", "/v2/models/iris/nothing", NO_PATH),
    Row::call("the admin port's call", "GET", "/admin/v1/models", NO_PATH),
    Row::call("the metrics port's page", "GET", "/metrics", NO_PATH),
    Row::call("a NUL in a path", "GET", "/v2%00", NO_PATH),
    Row::call("an unknown model", "GET", "/v2/models/nope", NO_MODEL),
    Row::call("ready of an unknown model", "GET", "/v2/models/nope/ready", NO_MODEL),
    Row::call("configuration of an unknown model", "GET", "/v2/models/nope/config", NO_MODEL),
    Row::call("statistics of an unknown model", "GET", "/v2/models/nope/stats", NO_MODEL),
    Row::call("an unknown version", "GET", "/v2/models/iris/versions/9", NO_VERSION),
    Row::call("ready of an unknown version", "GET", "/v2/models/iris/versions/9/ready", NO_VERSION),
    Row::call("no version", "GET", "/v2/models/iris/versions/x!", NAME),
    Row::call("version 0", "GET", "/v2/models/iris/versions/0/config", NAME),
    Row::call("escaped dot-dot", "GET", "/v2/models/%2e%2e", NAME),
    Row::call("escaped slash", "GET", "/v2/models/a%2fb", NAME),
    Row::call("escaped NUL", "GET", "/v2/models/iris%00", NAME),
    Row::call("half an escape", "GET", "/v2/models/iris%2", NAME),
    Row::call("no escape", "GET", "/v2/models/iris%zz", NAME),
    Row::call("not UTF-8", "GET", "/v2/models/%ff", malformed("request cannot be read")),
    Row::call("overlong", "GET", "/v2/models/%c0%af/ready", malformed("request cannot be read")),
    Row::call("version not UTF-8", "GET", "/v2/models/iris/versions/%80", malformed("UTF-8")),
    Row::call("load of an unknown model", "POST", "/v2/repository/models/nope/load", NO_MODEL),
    Row::call("unload of an unknown model", "POST", "/v2/repository/models/nope/unload", NO_MODEL),
    Row::call("load of dot-dot", "POST", "/v2/repository/models/%2e%2e/load", NAME),
    Row::call("load of a path", "POST", "/v2/repository/models/..%2f..%2fetc/load", NAME),
    Row::call("unload of a NUL", "POST", "/v2/repository/models/%00/unload", NAME),
    Row::call(
        "load of no text",
        "POST",
        "/v2/repository/models/%ff/load",
        malformed("cannot be read"),
    ),
    // Methods.
    Row::call("GET of an inference", "GET", "/v2/models/iris/infer", NO_METHOD),
    Row::call("PUT of an inference", "PUT", "/v2/models/iris/infer", NO_METHOD),
    Row::call("DELETE of an inference", "DELETE", "/v2/models/iris/infer", NO_METHOD),
    Row::call("PATCH of an inference", "PATCH", "/v2/models/iris/versions/2/infer", NO_METHOD),
    Row::call("OPTIONS of an inference", "OPTIONS", "/v2/models/iris/infer", NO_METHOD),
    Row::call("a made-up method", "INFER", "/v2/models/iris/infer", NO_METHOD),
    Row::call("a method in lower case", "post", "/v2/models/iris/infer", NO_METHOD),
    Row::call("POST of metadata", "POST", "/v2/models/iris", NO_METHOD),
    Row::call("DELETE of the server", "DELETE", "/v2", NO_METHOD),
    Row::call("POST of liveness", "POST", "/v2/health/live", NO_METHOD),
    Row::call("PUT of readiness", "PUT", "/v2/health/ready", NO_METHOD),
    Row::call("GET of the index", "GET", "/v2/repository/index", NO_METHOD),
    Row::call("GET of a load", "GET", "/v2/repository/models/iris/load", NO_METHOD),
    Row::call("DELETE of an unload", "DELETE", "/v2/repository/models/iris/unload", NO_METHOD),
    Row::call("TRACE", "TRACE", "/v2/models", NO_METHOD),
    // Bodies of other calls.
    with("an index of nothing", "/v2/repository/index", "{", malformed("not valid JSON")),
    with("an index of a string", "/v2/repository/index", "\"x\"", malformed("not valid JSON")),
    with(
        "ready: string",
        "/v2/repository/index",
        "{\"ready\":\"yes\"}",
        malformed("not valid JSON"),
    ),
    with(
        "ready: twice",
        "/v2/repository/index",
        "{\"ready\":true,\"ready\":true}",
        malformed("duplicate"),
    ),
    with("a broken load", LOAD, "{", malformed("not valid JSON")),
    with("a load of a list", LOAD, "[1]", malformed("not valid JSON")),
    with("parameters: list", LOAD, "{\"parameters\":[1]}", malformed("not valid JSON")),
    with("a configuration", LOAD, "{\"parameters\":{\"config\":\"{}\"}}", NOT_OFFERED),
    with("a file", LOAD, "{\"parameters\":{\"file:1/model.onnx\":\"AA==\"}}", NOT_OFFERED),
    Row::new(
        "a deep load",
        Sent::Call("POST", LOAD, Body::Made(|| b"{\"parameters\":".repeat(10_000))),
        malformed("not valid JSON"),
    ),
    Row::new(
        "a load that is not UTF-8",
        Sent::Call("POST", LOAD, Body::Raw(b"{\"parameters\":{\"\xff\":1}}")),
        malformed("not valid JSON"),
    ),
    // Calls of the protocol that are named as not offered.
    Row::call("logging", "GET", "/v2/logging", NOT_OFFERED),
    Row::call("a change of logging", "POST", "/v2/logging", NOT_OFFERED),
    Row::call("tracing", "GET", "/v2/trace/setting", NOT_OFFERED),
    Row::call("a model's tracing", "POST", "/v2/models/iris/trace/setting", NOT_OFFERED),
    Row::call("generate", "POST", "/v2/models/iris/generate", NOT_OFFERED),
    Row::call("generate_stream", "POST", "/v2/models/iris/generate_stream", NOT_OFFERED),
    Row::call("shared memory", "GET", "/v2/systemsharedmemory/status", NOT_OFFERED),
    Row::call(
        "shared memory of a GPU",
        "POST",
        "/v2/cudasharedmemory/region/r/register",
        NOT_OFFERED,
    ),
];

const fn to(what: &'static str, path: &'static str, answer: Answer) -> Row {
    Row::new(what, Sent::Infer(path, "", Body::Text("{}")), answer)
}

const fn with(what: &'static str, path: &'static str, body: &'static str, answer: Answer) -> Row {
    Row::new(what, Sent::Call("POST", path, Body::Text(body)), answer)
}

const NAME: Answer = invalid("invalid.name", "is not valid: expected");
const NO_MODEL: Answer = Answer::Http(404, "not_found.model", "is not found");
const NO_VERSION: Answer = Answer::Http(404, "not_found.version", "'iris'");
const NO_PATH: Answer = Answer::Http(404, "not_found.path", "is not found");
const NO_METHOD: Answer = Answer::Http(405, "method_not_allowed.method", "is not allowed for");
const NOT_OFFERED: Answer = Answer::Http(501, "unsupported.call", "not offered");
const LOAD: &str = "/v2/repository/models/iris/load";

/// 129 letters, one more than a name has.
const LONG: &str = "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/infer";
