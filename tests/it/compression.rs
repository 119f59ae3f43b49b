//! Bodies may be compressed, in both directions; what is not whole, or too large, is refused.

use std::fs;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;

use crate::failures::after::{Expected, expected, outcomes, still_answers};
use crate::harness::grpc;
use crate::harness::iris;
use crate::harness::server::{Reply, Server, request};
use crate::harness::tools::project;

#[test]
fn every_coding_of_a_request_gives_the_answer_of_the_plain_one() {
    let server = Server::start();
    let body = iris::body();
    for (coding, body) in [
        ("identity", body.clone().into_bytes()),
        ("gzip", gzip(body.as_bytes())),
        ("X-GZIP", gzip(body.as_bytes())),
        ("deflate", zlib(body.as_bytes())),
        // Without the wrapper, as some clients send it.
        ("deflate", raw(body.as_bytes())),
        // Two members, one after the other.
        ("gzip", [gzip(&body.as_bytes()[..9]), gzip(&body.as_bytes()[9..])].concat()),
    ] {
        let reply = infer(&server, &format!("content-encoding: {coding}\r\n"), &body);
        assert_eq!(iris::read(&reply).unwrap().version, 2, "{coding}");
    }
}

#[test]
fn an_answer_leaves_as_its_caller_likes_it_best() {
    let server = Server::start();
    let many = rows(200);
    let plain = infer(&server, "", many.as_bytes());
    assert_eq!(coding_of(&plain), None);
    for (accepted, coding) in [
        ("gzip", Some("gzip")),
        ("deflate", Some("deflate")),
        ("gzip;q=0.2, deflate;q=0.3, br", Some("deflate")),
        ("gzip;q=0.2, identity", None),
        ("br", None),
    ] {
        let header = format!("accept-encoding: {accepted}\r\n");
        let reply = infer(&server, &header, many.as_bytes());
        assert_eq!(coding_of(&reply), coding, "{accepted}");
        assert!(coding.is_none() || reply.body.len() < plain.body.len() / 2, "{accepted}");
        assert_eq!(outputs(&reply), outputs(&plain), "{accepted}");
    }
    // Not worth it.
    let reply = infer(&server, "accept-encoding: gzip\r\n", iris::body().as_bytes());
    assert_eq!(coding_of(&reply), None);
    iris::read(&reply).unwrap();
}

#[test]
fn other_calls_are_compressed_too() {
    let server = Server::start();
    let http = server.addresses().http;
    let accept = "accept-encoding: gzip, deflate\r\n";
    let plain = request(http, "GET", "/v2/models/stats", "", b"");
    let coded = request(http, "GET", "/v2/models/stats", accept, b"");
    assert_eq!((coding_of(&plain), coding_of(&coded)), (None, Some("gzip")));
    assert_eq!(text(&coded), text(&plain));
    assert!(coded.headers.contains("vary: accept-encoding"), "{}", coded.headers);
    let ready = gzip(b"{\"ready\":true}");
    let index = request(http, "POST", "/v2/repository/index", "content-encoding: gzip\r\n", &ready);
    assert_eq!(index.status, 200, "{}", index.json());
    let states = index.json().as_array().unwrap().clone();
    assert!(states.iter().all(|line| line["state"] == "READY"), "{states:?}");
    let malformed = expected("invalid.malformed", &["ends before its gzip data does"]);
    let cut = &ready[..ready.len() - 1];
    let reply = request(http, "POST", "/v2/repository/index", "content-encoding: gzip\r\n", cut);
    malformed.check_reply("a cut body of another call", &reply);
}

#[test]
fn what_cannot_be_inflated_is_the_callers_to_mend() {
    let server = Server::start();
    let before = outcomes(&server);
    let whole = gzip(iris::body().as_bytes());
    let mut damaged = whole.clone();
    let sum = whole.len() - 8;
    damaged[sum] ^= 1;
    // The sum is at the end of zlib's.
    let mut wrong_sum = zlib(iris::body().as_bytes());
    *wrong_sum.last_mut().unwrap() ^= 1;
    let malformed = |says| expected("invalid.malformed", says);
    let unread = |says| expected("unsupported_media.encoding", says);
    let cases: [(&str, Vec<u8>, Expected); 9] = [
        ("gzip", whole[..whole.len() - 1].to_vec(), malformed(&["ends before its gzip data does"])),
        ("deflate", zlib(b"{}")[..5].to_vec(), malformed(&["ends before its deflate data does"])),
        ("deflate", wrong_sum, malformed(&["no deflate data, or damaged"])),
        ("gzip", damaged, malformed(&["no gzip data, or damaged", "at byte"])),
        ("gzip", iris::body().into(), malformed(&["no gzip data, or damaged"])),
        ("gzip", [&whole[..], b"more"].concat(), malformed(&["4 bytes follow the gzip data"])),
        ("br", whole.clone(), unread(&["'br'", "expected one of gzip, deflate, identity"])),
        ("gzip, gzip", whole.clone(), unread(&["'gzip, gzip'"])),
        ("gzip", gzip(b"{\"inputs\":7}"), malformed(&["expected an array at byte 10"])),
    ];
    for (coding, body, expected) in &cases {
        let reply = infer(&server, &format!("content-encoding: {coding}\r\n"), body);
        expected.check_reply(coding, &reply);
        let told = reply.headers.contains("accept-encoding: gzip, deflate");
        assert_eq!(told, expected.status == 415, "{}", reply.headers);
    }
    still_answers(&server, &before, &cases.map(|(_, _, expected)| expected));
}

#[tokio::test]
async fn the_limit_of_a_body_holds_for_what_it_inflates_to() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("tidegate.toml");
    fs::write(&config, "schema = 1\n[limits]\nmessage_bytes = 10000\n").expect("a written file");
    let config = config.to_str().expect("a path in UTF-8");
    let server = Server::with(&project().join("models"), &["--config", config]);
    let before = outcomes(&server);
    // A thousandth of what it becomes.
    let bomb = vec![b' '; 8 << 20];
    let too_large = expected("too_large.message", &["body has more than 10000 bytes", "inflated"]);
    for (coding, body) in [("gzip", gzip(&bomb)), ("deflate", zlib(&bomb))] {
        assert!(body.len() < 10_000, "{}", body.len());
        let reply = infer(&server, &format!("content-encoding: {coding}\r\n"), &body);
        too_large.check_reply(coding, &reply);
    }
    let body = [iris::body().into_bytes(), vec![b' '; 10_000 - iris::body().len()]].concat();
    let reply = infer(&server, "content-encoding: gzip\r\n", &gzip(&body));
    assert_eq!(reply.status, 200, "{}", reply.json());

    let mut message = iris::request();
    message.id = " ".repeat(1 << 20);
    let address = server.addresses().grpc;
    let mut client = grpc::client(address).send_compressed(CompressionEncoding::Gzip);
    let over_grpc = expected("too_large.message", &["10000 bytes", "decompressing"]);
    over_grpc.check_status("gRPC", &client.model_infer(message).await.unwrap_err());
    // The one of 10,000 bytes was answered.
    let mut before = before;
    *before.entry("ok".to_owned()).or_default() += 1;
    still_answers(&server, &before, &[too_large, too_large, over_grpc]);
}

#[tokio::test]
async fn a_grpc_caller_who_compresses_gets_a_compressed_answer_and_nobody_else_does() {
    let server = Server::start();
    let address = server.addresses().grpc;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        let client = grpc::client(address).accept_compressed(encoding);
        let plain = client.clone().model_infer(iris::request()).await.unwrap();
        assert_eq!(plain.metadata().get("grpc-encoding"), None);
        let answer = client.send_compressed(encoding).model_infer(iris::request()).await.unwrap();
        let used = answer.metadata().get("grpc-encoding").expect("an encoding");
        assert_eq!(used.to_str().unwrap(), encoding.to_string());
        assert_eq!(iris::read_message(answer.get_ref()).unwrap().version, 2);
    }
}

#[tokio::test]
async fn a_grpc_message_that_is_not_what_it_says_is_refused() {
    let server = Server::start();
    let before = outcomes(&server);
    let address = server.addresses().grpc;
    let malformed = expected("invalid.malformed", &["Error decompressing"]);
    let unread = expected("unsupported_media.encoding", &["`br`", "isn't supported"]);
    for (encoding, expected) in [("gzip", malformed), ("deflate", malformed), ("br", unread)] {
        let status = grpc::call_compressed(address, "ModelInfer", encoding).await;
        expected.check_status(encoding, &status.expect("a refusal"));
    }
    still_answers(&server, &before, &[malformed, malformed, unread]);
}

fn infer(server: &Server, headers: &str, body: &[u8]) -> Reply {
    request(server.addresses().http, "POST", "/v2/models/iris/infer", headers, body)
}

fn rows(count: i64) -> String {
    let values: Vec<i64> = (0..count * 4).map(|value| value % 7).collect();
    iris::body_of("input", &json!(values), &[count, 4])
}

fn coding_of(reply: &Reply) -> Option<&str> {
    reply.headers.lines().find_map(|line| line.strip_prefix("content-encoding: "))
}

fn outputs(reply: &Reply) -> Value {
    let answer: Value = serde_json::from_str(&text(reply)).expect("a JSON body");
    answer.get("outputs").expect("outputs").clone()
}

fn text(reply: &Reply) -> String {
    let mut text = String::new();
    let read = match coding_of(reply) {
        Some("gzip") => GzDecoder::new(&reply.body[..]).read_to_string(&mut text),
        Some("deflate") => ZlibDecoder::new(&reply.body[..]).read_to_string(&mut text),
        _ => (&reply.body[..]).read_to_string(&mut text),
    };
    read.expect("a whole body");
    text
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("memory takes it")
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("memory takes it")
}

fn raw(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("memory takes it")
}
