//! The HTTP port also speaks HTTP/2 to those who begin with it, within the same limits.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, Version, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;

use crate::failures::after::{Expected, expected};
use crate::harness::client::Client;
use crate::harness::iris;
use crate::harness::process::wait_until;
use crate::harness::repository::{Repository, odd};
use crate::harness::server::{Reply, Server};
use crate::harness::tools::command;

#[tokio::test]
async fn inference_and_other_calls_answer_over_http_2_as_over_http_1() {
    let server = Server::start();
    let client = Http2::connect(server.addresses().http);
    let reply = client.ask("POST", "/v2/models/iris/infer", &[], iris::body()).await;
    let over_http1 = server.http("POST", "/v2/models/iris/infer", &iris::body());
    assert_eq!(iris::read(&reply).unwrap(), iris::read(&over_http1).unwrap());
    let index = client.ask("POST", "/v2/repository/index", &[], "").await;
    assert_eq!(index.json(), server.http("POST", "/v2/repository/index", "").json());
    // Many at once, on one connection.
    let asked = (0..100).map(|_| {
        let client = client.clone();
        tokio::spawn(
            async move { client.ask("POST", "/v2/models/iris/infer", &[], iris::body()).await },
        )
    });
    for asked in asked.collect::<Vec<_>>() {
        assert_eq!(iris::read(&asked.await.unwrap()).unwrap().version, 2);
    }
}

#[test]
fn curl_with_prior_knowledge_is_answered() {
    let curl = Path::new("/usr/bin/curl");
    if !curl.exists() {
        println!("skipped: curl is not installed");
        return;
    }
    let server = Server::start();
    let url = format!("http://{}/v2/models/iris/infer", server.addresses().http);
    let body = iris::body();
    let mut curl = command(curl);
    curl.args(["--silent", "--http2-prior-knowledge", "--write-out", "\n%{http_version}"]);
    let output = curl.args(["--data", &body, &url]).output().expect("curl starts");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.contains("\"model_version\":\"2\"") && said.ends_with("\n2"), "{said}");
}

#[tokio::test]
async fn limits_hold_over_http_2_too() {
    let server = Repository::of(&["iris"])
        .serve_configured("[limits]\nmessage_bytes = 1000\nheader_bytes = 2000");
    let client = Http2::connect(server.addresses().http);
    let too_large: Expected = expected("too_large.message", &["1001 bytes", "at most 1000"]);
    let body = " ".repeat(1001);
    let reply = client.ask("POST", "/v2/models/iris/infer", &[], body.clone()).await;
    too_large.check_reply("a body", &reply);
    let long = "x".repeat(3000);
    let reply = client.ask("GET", "/v2", &[("x-long", &long)], "").await;
    assert_eq!(reply.status, 431);
    // The connection outlives both.
    let reply = client.ask("POST", "/v2/models/iris/infer", &[], iris::body()).await;
    assert_eq!(iris::read(&reply).unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_under_way_over_http_2_is_answered_after_sigterm() {
    let repository = Repository::new();
    repository.put("loop", 1, &odd("loop"));
    let server = repository.serve_configured("[runtime]\ncores = 1");
    let client = Http2::connect(server.addresses().http);
    let input = json!({"name": "n", "datatype": "INT64", "shape": [1], "data": [600_000]});
    let body = json!({"inputs": [input]}).to_string();
    let before = server.run_ticks();
    let asked = client.clone();
    let asked =
        tokio::spawn(async move { asked.ask("POST", "/v2/models/loop/infer", &[], body).await });
    tokio::task::block_in_place(|| {
        server.wait_for_run(before);
        server.tell_to_stop();
    });
    let reply = asked.await.unwrap();
    assert_eq!(reply.json()["outputs"][0]["data"], json!([620_000]), "{}", reply.json());
    assert!(tokio::task::block_in_place(|| server.wait().success()));
}

#[test]
fn an_idle_connection_over_http_2_ends_when_its_limit_has_passed() {
    let server = Repository::of(&["iris"]).serve_configured("[limits]\nidle_timeout_s = 1");
    let mut silent = Client::connect(server.addresses().http);
    silent.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    // Empty settings: a connection that could go on for ever.
    silent.send("\0\0\0\u{4}\0\0\0\0\0");
    wait_until("the server hung up", || silent.is_over());
}

#[test]
fn requests_sent_ahead_are_answered_in_their_order() {
    let repository = Repository::of(&["iris"]);
    repository.put("loop", 1, &odd("loop"));
    let server = repository.serve();
    let mut client = Client::connect(server.addresses().http);
    let count = |rounds: i64| {
        let input = json!({"name": "n", "datatype": "INT64", "shape": [1], "data": [rounds]});
        ("/v2/models/loop/infer", json!({"id": "slow", "inputs": [input]}).to_string())
    };
    let quick = ("/v2/models/iris/infer", iris::body());
    // The first takes longest, by far.
    let requests = [count(100_000), quick.clone(), count(0), quick];
    let all: Vec<String> = requests
        .iter()
        .map(|(path, body)| {
            let length = body.len();
            format!("POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n\r\n{body}")
        })
        .collect();
    client.send(&all.concat());
    for (path, _) in requests {
        let reply = client.answer().expect("an answer to each");
        assert_eq!(reply.status, 200, "{}", reply.json());
        let model = path.split('/').nth(3).unwrap();
        assert_eq!(reply.json()["model_name"], model);
    }
}

/// A client that begins with HTTP/2, on one connection.
#[derive(Clone)]
struct Http2 {
    client: HttpClient<HttpConnector, Full<Bytes>>,
    to: SocketAddr,
}

impl Http2 {
    fn connect(to: SocketAddr) -> Self {
        Self { client: HttpClient::builder(TokioExecutor::new()).http2_only(true).build_http(), to }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let method: Method = method.parse().expect("a method");
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.to));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let request = request.body(Full::new(body.into())).expect("a request");
        let response = self.client.request(request).await.expect("an answer");
        assert_eq!(response.version(), Version::HTTP_2);
        let status = response.status().as_u16();
        let lines = response.headers().iter().map(|(name, value)| {
            format!("{name}: {}\r\n", value.to_str().unwrap_or_default().to_lowercase())
        });
        let headers = lines.collect();
        let body = response.into_body().collect().await.expect("a body").to_bytes().to_vec();
        Reply { status, headers, body }
    }
}
