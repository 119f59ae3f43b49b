//! Compressed bodies that lie about themselves.

use super::ask::Asker;
use super::row::{Answer, Body, Row, Sent, malformed};

#[test]
fn compressed_bodies_are_refused() {
    let rows: Vec<Row> = ROWS.iter().chain(UNKNOWN).cloned().collect();
    Asker::new("").ask_all(&rows);
}

const ROWS: &[Row] = &[
    body("gzip that is JSON", "gzip", b"{}"),
    body("gzip of nothing", "gzip", b""),
    body("half a head of gzip", "gzip", b"\x1f\x8b\x08"),
    body("gzip without its end", "gzip", GZIP.split_at(12).0),
    body(
        "gzip with a wrong sum",
        "gzip",
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0\0\0\0\0\x02\0\0\0",
    ),
    body("gzip of an unknown method", "gzip", b"\x1f\x8b\x09\0\0\0\0\0\0\x03\xab\xae\x05\0"),
    body("deflate that is JSON", "deflate", b"{}"),
    body("deflate of nothing", "deflate", b""),
];

/// Refused by any server.
pub const UNKNOWN: &[Row] = &[
    unknown("br", "content-encoding: br\r\n"),
    unknown("zstd", "content-encoding: zstd\r\n"),
    unknown("compress", "content-encoding: compress\r\n"),
    unknown("a made-up one", "content-encoding: nonsense\r\n"),
    unknown("gzip twice", "content-encoding: gzip, gzip\r\n"),
];

const fn body(what: &'static str, encoding: &'static str, bytes: &'static [u8]) -> Row {
    let header = if encoding.len() == 4 { GZIPPED } else { DEFLATED };
    let sent = Sent::Infer("iris/infer", header, Body::Raw(bytes));
    Row::new(what, sent, malformed(""))
}

const fn unknown(what: &'static str, header: &'static str) -> Row {
    Row::new(what, Sent::Infer("iris/infer", header, Body::Text("{}")), NOT_READ)
}

const NOT_READ: Answer = Answer::Http(415, "unsupported_media.encoding", "content encoding");
const GZIPPED: &str = "content-encoding: gzip\r\n";
const DEFLATED: &str = "content-encoding: deflate\r\n";

/// `{}` compressed.
const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0\x43\xbf\xa6\xa3\x02\0\0\0";
