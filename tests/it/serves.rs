//! A newcomer starts the server, and it answers.

use serde_json::json;

use crate::harness::server::Server;

#[test]
fn a_newcomer_gets_an_answer_from_a_real_model() {
    let server = Server::start();
    let body = json!({"inputs": [
        {"name": "input", "datatype": "FP32", "shape": [1, 4], "data": [4.9, 2.5, 4.5, 1.7]}
    ]});
    let reply = server.http("POST", "/v2/models/iris/infer", &body.to_string());
    let answer = reply.json();
    assert_eq!(reply.status, 200, "{answer}");
    assert_eq!(answer["model_version"], "2");
    assert_eq!(answer["outputs"][0]["data"], json!([2]));
}
