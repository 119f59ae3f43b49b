//! Heads and framings that HTTP/1.1 does not allow, as no client library would send them.

use super::ask::{Asker, RIGHT};
use super::row::{Answer, Body, Row, Sent, malformed};

#[test]
fn heads_and_framings_that_break_the_rules_are_refused() {
    Asker::new("").ask_all(&rows());
}

/// The rows, and those that are made.
pub fn rows() -> Vec<Row> {
    let mut rows = ROWS.to_vec();
    rows.extend(BODIES.iter().map(|&(what, framing, body, answer)| {
        let head = "POST /v2/models/iris/infer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        let whole = format!("{head}{framing}\r\n\r\n{}", body.replace("RIGHT", RIGHT));
        let whole = Body::Of(whole.into());
        let sent = if answer == LEFT { Sent::Raw(whole) } else { Sent::Stalled(whole) };
        Row { what: what.into(), sent, answer }
    }));
    rows
}

const ROWS: &[Row] = &[
    // Request lines.
    Row::raw("nonsense", "hello\r\n\r\n", HEAD),
    Row::raw("no path", "GET\r\n\r\n", HEAD),
    Row::raw("no version", "GET /v2\r\n\r\n", HEAD),
    Row::raw("two spaces", "GET  /v2 HTTP/1.1\r\nhost: x\r\n\r\n", HEAD),
    Row::raw("a space first", " GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n", HEAD),
    Row::raw("a space in the path", "GET /v2 /x HTTP/1.1\r\nhost: x\r\n\r\n", HEAD),
    Row::raw("HTTP/9.9", "GET /v2 HTTP/9.9\r\nhost: x\r\n\r\n", HEAD),
    Row::raw("HTTP/1.2", "GET /v2 HTTP/1.2\r\nhost: x\r\n\r\n", HEAD),
    Row::raw("HTTP/0.9", "GET /v2 HTTP/0.9\r\nhost: x\r\n\r\n", HEAD),
    Row::raw("HTP/1.1", "GET /v2 HTP/1.1\r\nhost: x\r\n\r\n", HEAD),
    Row::raw("a lower-case protocol", "GET /v2 http/1.1\r\nhost: x\r\n\r\n", HEAD),
    Row::raw("a bracket in the method", "G{T /v2 HTTP/1.1\r\nhost: x\r\n\r\n", HEAD),
    Row::raw("an empty method", " /v2 HTTP/1.1\r\nhost: x\r\n\r\n", HEAD),
    Row::new(
        "a path without a slash",
        Sent::Stalled(Body::Text("GET v2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")),
        NO_PATH,
    ),
    Row::raw("a NUL in the path", "GET /v2\0 HTTP/1.1\r\nhost: x\r\n\r\n", HEAD),
    Row::raw("a control character in the path", "GET /v2\x01 HTTP/1.1\r\nhost: x\r\n\r\n", HEAD),
    Row::new(
        "a path that is not UTF-8",
        Sent::Raw(Body::Raw(b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n")),
        HEAD,
    ),
    Row::raw("TLS", "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03\r\n\r\n", HEAD),
    Row::raw("bare line feeds in nonsense", "hello\n\n", HEAD),
    // Header lines.
    Row::raw("no colon", "GET /v2 HTTP/1.1\r\nhost\r\n\r\n", HEAD),
    Row::raw("a space before the colon", "GET /v2 HTTP/1.1\r\nhost : x\r\n\r\n", HEAD),
    Row::raw("an empty name", "GET /v2 HTTP/1.1\r\n: x\r\n\r\n", HEAD),
    Row::raw("a bracket in a name", "GET /v2 HTTP/1.1\r\nho[st: x\r\n\r\n", HEAD),
    Row::raw("a NUL in a value", "GET /v2 HTTP/1.1\r\nhost: x\0y\r\n\r\n", HEAD),
    Row::raw("a bare carriage return", "GET /v2 HTTP/1.1\r\nhost: x\ry\r\n\r\n", HEAD),
    Row::raw("a folded line", "GET /v2 HTTP/1.1\r\nhost: x\r\n y\r\n\r\n", HEAD),
    Row::raw("a name that is not ASCII", "GET /v2 HTTP/1.1\r\nh\u{e9}: x\r\n\r\n", HEAD),
    Row::new("101 headers", Sent::Raw(Body::Made(|| headers(101, 1))), TOO_LONG),
    Row::new("a header of 80,000 bytes", Sent::Raw(Body::Made(|| headers(1, 80_000))), TOO_LONG),
    Row::new("50 headers of 1,000 bytes", Sent::Raw(Body::Made(|| headers(50, 1_000))), TOO_LONG),
    Row::new("a path of 80,000 bytes", Sent::Raw(Body::Made(|| target(80_000))), TOO_LONG),
    // Connections that break off.
    Row::raw("nothing", "", Answer::Closed),
    Row::raw("line ends only", "\r\n\r\n\r\n", Answer::Closed),
    Row::raw("half a request line", "POST /v2/mod", Answer::Closed),
    Row::raw("half a head", "POST /v2/models/iris/infer HTTP/1.1\r\nhost: x\r\n", Answer::Closed),
];

/// What is wrong, the lines that frame the body, and the body, where RIGHT stands for a right one.
const BODIES: &[(&str, &str, &str, Answer)] = &[
    ("two lengths", "content-length: 5\r\ncontent-length: 6", "RIGHT", HEAD),
    ("a list of lengths", "content-length: 5, 6", "RIGHT", HEAD),
    ("a negative length", "content-length: -5", "RIGHT", HEAD),
    ("a signed length", "content-length: +5", "RIGHT", HEAD),
    ("a length that is a word", "content-length: many", "RIGHT", HEAD),
    ("an empty length", "content-length: ", "RIGHT", HEAD),
    ("a length past 64 bits", "content-length: 18446744073709551616", "RIGHT", HEAD),
    ("hexadecimal", "content-length: 0x10", "RIGHT", HEAD),
    ("a fraction", "content-length: 5.0", "RIGHT", HEAD),
    ("a length of 2^64-1", "content-length: 18446744073709551615", "", TOO_LONG),
    ("a length of 2^63", "content-length: 9223372036854775808", "", TOO_LARGE),
    ("a length over the limit", "content-length: 67108865", "", TOO_LARGE),
    ("a length too short", "content-length: 10", "RIGHT", malformed("at byte 10")),
    ("a length too long", "content-length: 99", "RIGHT", LEFT),
    ("a body that never comes", "content-length: 10", "", LEFT),
    ("no length", "x: y", "", malformed("expected an object at byte 0")),
    ("length and chunks", "content-length: 5\r\ntransfer-encoding: chunked", "0\r\n\r\n", FRAMED),
    ("chunks and length", "transfer-encoding: chunked\r\ncontent-length: 5", "0\r\n\r\n", FRAMED),
    ("an unknown framing", "transfer-encoding: zipped", "RIGHT", HEAD),
    ("chunks, then another framing", "transfer-encoding: chunked, gzip", "0\r\n\r\n", HEAD),
    (
        "chunks twice",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "0\r\n\r\n",
        FRAMED,
    ),
    ("identity framing", "transfer-encoding: identity", "RIGHT", HEAD),
    ("no chunk", CHUNKED, "0\r\n\r\n", malformed("expected an object at byte 0")),
    ("a chunk size that is a word", CHUNKED, "xyz\r\nRIGHT\r\n0\r\n\r\n", BROKEN),
    ("a negative chunk size", CHUNKED, "-5\r\nRIGHT\r\n0\r\n\r\n", BROKEN),
    ("an empty chunk size", CHUNKED, "\r\nRIGHT\r\n0\r\n\r\n", BROKEN),
    ("a chunk size past 64 bits", CHUNKED, "10000000000000000\r\nRIGHT\r\n0\r\n\r\n", BROKEN),
    (
        "a chunk size of 2^64-1",
        CHUNKED,
        "ffffffffffffffff\r\nRIGHT\r\n0\r\n\r\n",
        TOO_LARGE_OR_LEFT,
    ),
    ("a chunk too long", CHUNKED, "2\r\n{}x\r\n0\r\n\r\n", BROKEN),
    ("a chunk too short", CHUNKED, "8\r\n{}\r\n0\r\n\r\n", BROKEN),
    ("no end of a chunk", CHUNKED, "2\r\n{}", LEFT),
    ("no last chunk", CHUNKED, "2\r\n{}\r\n", LEFT),
    ("half a chunk", CHUNKED, "10\r\n{}", LEFT),
    ("half a chunk size", CHUNKED, "1", LEFT),
    ("a line feed alone in a size", CHUNKED, "2\n{}\r\n0\r\n\r\n", BROKEN),
    ("half a trailer", CHUNKED, "2\r\n{}\r\n0\r\nx: y", LEFT),
    ("a broken trailer", CHUNKED, "2\r\n{}\r\n0\r\nbad trailer\r\n\r\n", BROKEN),
];

const CHUNKED: &str = "transfer-encoding: chunked";
const HEAD: Answer = malformed("head of the request cannot be read as HTTP/1.1");
const NO_PATH: Answer = Answer::Http(404, "not_found.path", "is not found");
/// Chunks win over a length, and over themselves: RFC 9112, 6.3.
const FRAMED: Answer = malformed("expected an object at byte 0");
const BROKEN: Answer = malformed("body is broken");
const LEFT: Answer = Answer::Http(499, "cancelled.caller", "body ended before it was whole");
const TOO_LARGE: Answer = Answer::Http(413, "too_large.message", "expected at most 67108864");
const TOO_LARGE_OR_LEFT: Answer = LEFT;
const TOO_LONG: Answer = Answer::Http(431, "header_too_large.head", "at most 32768 bytes");

fn headers(count: usize, length: usize) -> Vec<u8> {
    let value = "v".repeat(length);
    let lines: Vec<String> = (0..count).map(|place| format!("x-{place}: {value}")).collect();
    format!("GET /v2 HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

fn target(length: usize) -> Vec<u8> {
    format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "p".repeat(length)).into_bytes()
}
