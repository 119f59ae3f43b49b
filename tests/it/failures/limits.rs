//! Messages over the limit are refused before they are read.

use std::fs;

use tidegate::api::oip::pb::inference::ModelInferRequest;
use tidegate::api::oip::pb::inference::model_infer_request::InferInputTensor;

use crate::failures::after::{Expected, expected, outcomes, still_answers};
use crate::harness::grpc::{call, client};
use crate::harness::server::{Server, exchange, request};
use crate::harness::tools::project;

#[test]
fn a_body_over_the_limit_is_refused_however_it_is_sent() {
    let server = limited();
    let before = outcomes(&server);
    let http = server.addresses().http;
    let too_large = expected("too_large.message", &["body has", "expected at most 1000"]);
    let whole = request(http, "POST", "/v2/models/iris/infer", "", &[b' '; 1001]);
    too_large.check_reply("a whole body", &whole);
    // Refused on its announcement alone: the body never comes.
    let announced = exchange(http, &head("content-length: 99999999999"));
    too_large.check_reply("an announced body", &announced);
    let chunked = [head("transfer-encoding: chunked"), b"3e9\r\n".to_vec(), vec![b' '; 1001]];
    let chunked = exchange(http, &[chunked.concat(), b"\r\n0\r\n\r\n".to_vec()].concat());
    too_large.check_reply("a chunked body", &chunked);
    still_answers(&server, &before, &[too_large; 3]);

    let index = request(http, "POST", "/v2/repository/index", "", &[b' '; 1001]);
    too_large.check_reply("another call", &index);
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_whatever_the_call() {
    let server = limited();
    let before = outcomes(&server);
    let grpc = server.addresses().grpc;
    let says = |found: &'static [&'static str]| expected("too_large.message", found);
    let infer = says(&["found 1001 bytes", "the limit is: 1000 bytes"]);
    infer.check_status("ModelInfer", &call(grpc, "ModelInfer", vec![0; 1001]).await.unwrap_err());
    let raw = ModelInferRequest {
        model_name: "iris".to_owned(),
        inputs: vec![InferInputTensor { name: "input".to_owned(), ..Default::default() }],
        raw_input_contents: vec![vec![0; 5_000].into()],
        ..Default::default()
    };
    let typed: Expected = says(&["the limit is: 1000 bytes"]);
    typed.check_status("raw", &client(grpc).model_infer(raw).await.unwrap_err());
    still_answers(&server, &before, &[infer, typed]);

    let metadata = call(grpc, "ModelMetadata", vec![0; 1001]).await.unwrap_err();
    infer.check_status("another call", &metadata);
}

fn limited() -> Server {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("tidegate.toml");
    fs::write(&config, "schema = 1\n[limits]\nmessage_bytes = 1000\n").expect("a written file");
    let config = config.to_str().expect("a path in UTF-8");
    Server::with(&project().join("models"), &["--config", config])
}

fn head(body: &str) -> Vec<u8> {
    let line = "POST /v2/models/iris/infer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    format!("{line}{body}\r\n\r\n").into_bytes()
}
