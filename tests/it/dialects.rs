//! What Triton's and KServe's clients ask for beside plain inference.

use serde_json::{Value, json};
use tidegate::api::oip::pb::inference as pb;
use tokio_stream::StreamExt;
use tonic::Request;

use crate::harness::iris;
use crate::harness::repository::Repository;
use crate::harness::rpc::{self, Rpc};
use crate::harness::server::{Server, request};

const ROW: [f32; 4] = [4.9, 2.5, 4.5, 1.7];

fn row() -> Vec<u8> {
    ROW.into_iter().flat_map(f32::to_le_bytes).collect()
}

#[test]
fn a_body_without_json_is_the_models_one_input() {
    let server = Server::start();
    let raw = "inference-header-content-length: 0\r\n";
    let ask = |model: &str, body: &[u8]| {
        let path = format!("/v2/models/{model}/infer");
        request(server.addresses().http, "POST", &path, raw, body)
    };
    let reply = ask("iris", &row());
    assert_eq!(reply.status, 200, "{:?}", reply.json());
    let length = reply.headers.lines().find_map(|line| {
        line.strip_prefix("inference-header-content-length: ")?.trim().parse::<usize>().ok()
    });
    let (head, tensors) = reply.body.split_at(length.expect("a binary answer"));
    let head: Value = serde_json::from_slice(head).unwrap();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 8);
    assert_eq!(tensors[..8], 2_i64.to_le_bytes());
    assert_eq!(ask("topics", "chemical analysis of wine".as_bytes()).status, 200);
    let short = ask("iris", &row()[..12]).json();
    assert_eq!(short["code"], "invalid.input", "{short}");
    let several = ask("wine", &row()).json();
    assert!(several["error"].as_str().unwrap().contains("one input"), "{several}");
}

#[test]
fn members_that_are_null_are_as_if_they_were_not_there() {
    let server = Server::start();
    let body = json!({"id": null, "parameters": null, "outputs": null, "inputs": [
        {"name": "input", "datatype": "FP32", "shape": [1, 4], "data": ROW}
    ]});
    let reply = server.http("POST", "/v2/models/iris/infer", &body.to_string());
    assert_eq!(iris::read(&reply).unwrap().version, 2);
}

#[test]
fn kserves_repository_calls_name_the_model_where_tritons_name_the_repository() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    let rpc = Rpc::connect(server.addresses().grpc);
    let unload = pb::RepositoryModelUnloadRequest {
        repository_name: "iris".to_owned(),
        ..Default::default()
    };
    let unloaded = rpc.wait(rpc.client().repository_model_unload(unload)).unwrap();
    assert_eq!((unloaded.model_name.as_str(), unloaded.is_unloaded), ("iris", true));
    let load =
        pb::RepositoryModelLoadRequest { repository_name: "iris".to_owned(), ..Default::default() };
    let loaded = rpc.wait(rpc.client().repository_model_load(load)).unwrap();
    assert_eq!((loaded.model_name.as_str(), loaded.is_loaded), ("iris", true));
    assert_eq!(iris::ask(&server).version, 2);
}

#[test]
fn statistics_and_configuration_say_the_same_over_both_protocols() {
    let server = Server::start();
    let rpc = Rpc::connect(server.addresses().grpc);
    let two = pb::ModelInferRequest { id: "two".to_owned(), ..infer(&[row(), row()].concat(), 2) };
    rpc.infer(two).unwrap();
    let asked = pb::ModelStatisticsRequest { name: "iris".to_owned(), ..Default::default() };
    // The account is closed when the last byte was handed over: just after the client has it.
    let stats = loop {
        let stats = rpc.wait(rpc.client().model_statistics(asked.clone())).unwrap();
        if stats.model_stats[0].execution_count > 0 {
            break stats.model_stats[0].clone();
        }
    };
    assert_eq!((stats.inference_count, stats.execution_count), (2, 1));
    let parts = stats.inference_stats.unwrap();
    let (whole, run) = (parts.success.unwrap(), parts.compute_infer.unwrap());
    assert_eq!((whole.count, run.count), (1, 1));
    assert!(whole.ns > run.ns && run.ns > 0, "{whole:?} {run:?}");
    let http = server.http("GET", "/v2/models/iris/versions/2/stats", "").json();
    assert_eq!(http["model_stats"][0]["inference_stats"]["success"]["ns"], whole.ns);

    let asked = pb::ModelConfigRequest { name: "iris".to_owned(), ..Default::default() };
    let config = rpc.wait(rpc.client().model_config(asked)).unwrap().config.unwrap();
    let http = server.http("GET", "/v2/models/iris/config", "").json();
    assert_eq!(http["max_batch_size"], config.max_batch_size);
    assert_eq!(http["input"][0]["dims"], json!(config.input[0].dims));
    assert_eq!(config.input[0].data_type(), pb::DataType::TypeFp32);
    assert_eq!(config.input[0].dims, [4]);
}

#[test]
fn a_stream_answers_in_order_and_goes_on_after_an_error() {
    let server = Server::start();
    let rpc = Rpc::connect(server.addresses().grpc);
    let bad = pb::ModelInferRequest { id: "bad".to_owned(), ..infer(&row(), 3) };
    let good = |id: &str| pb::ModelInferRequest { id: id.to_owned(), ..infer(&row(), 1) };
    let messages = [good("first"), bad, good("last")];
    let told = |header: Option<&'static str>| {
        let mut call = Request::new(tokio_stream::iter(messages.clone()));
        if let Some(header) = header {
            call.metadata_mut().insert("triton_grpc_error", header.parse().unwrap());
        }
        let answers = async {
            let mut stream = rpc.client().model_stream_infer(call).await?.into_inner();
            let mut told = Vec::new();
            while let Some(answer) = stream.next().await {
                told.push(
                    answer.map(|answer| (answer.infer_response.unwrap().id, answer.error_message)),
                );
            }
            Ok(tonic::Response::new(told))
        };
        rpc.wait(answers).unwrap()
    };
    let in_band = told(None);
    let ids: Vec<&str> = in_band.iter().map(|answer| answer.as_ref().unwrap().0.as_str()).collect();
    assert_eq!(ids, ["first", "bad", "last"]);
    assert!(in_band[1].as_ref().unwrap().1.contains("takes 48 bytes, found 16"), "{in_band:?}");
    let by_status = told(Some("true"));
    assert_eq!(by_status.len(), 2, "the error ends the stream: {by_status:?}");
    assert_eq!(by_status[1].as_ref().unwrap_err().code(), tonic::Code::InvalidArgument);
}

fn infer(raw: &[u8], rows: i64) -> pb::ModelInferRequest {
    rpc::request("iris", ("input", "FP32"), &[rows, 4], raw.to_vec())
}
