//! gRPC messages that cannot be read, and calls that are not offered.

use std::collections::BTreeMap;

use tidegate::api::oip::pb::inference as pb;
use tidegate::api::oip::pb::inference::model_repository_parameter::ParameterChoice;

use crate::failures::after::{expected, outcomes, still_answers};
use crate::harness::grpc::{call, client};
use crate::harness::server::Server;

#[tokio::test]
async fn an_undecodable_message_is_the_callers_to_mend() {
    let server = Server::start();
    let before = outcomes(&server);
    let grpc = server.addresses().grpc;
    let malformed = |says| expected("invalid.malformed", says);
    let cases: [(&[u8], _); 3] = [
        (b"\xff\xff\xff", malformed(&["failed to decode", "invalid varint"])),
        (b"\x0a\x7fshort", malformed(&["failed to decode", "model_name"])),
        (b"\x0a\x02\xff\xfe", malformed(&["model_name", "not UTF-8"])),
    ];
    for (message, expected) in cases {
        let status = call(grpc, "ModelInfer", message).await.unwrap_err();
        expected.check_status("ModelInfer", &status);
    }
    still_answers(&server, &before, &cases.map(|(_, expected)| expected));

    for method in ["ModelMetadata", "ModelReady", "RepositoryIndex", "RepositoryModelLoad"] {
        let status = call(grpc, method, &b"\xff\xff\xff"[..]).await.unwrap_err();
        malformed(&["failed to decode"]).check_status(method, &status);
    }
}

#[tokio::test]
async fn calls_that_are_not_offered_say_so() {
    let server = Server::start();
    let before = outcomes(&server);
    for method in NOT_OFFERED {
        let status = call(server.addresses().grpc, method, &b""[..]).await.unwrap_err();
        expected("unsupported.call", &["is not offered by this server"])
            .check_status(method, &status);
        assert!(status.message().starts_with(method), "{status:?}");
    }
    let status = call(server.addresses().grpc, "Predict", &b""[..]).await.unwrap_err();
    expected("unsupported.call", &["GRPCInferenceService", "no such call"])
        .check_status("Predict", &status);
    still_answers(&server, &before, &[]);
}

#[tokio::test]
async fn metadata_and_repository_calls_refuse_what_they_cannot_do() {
    let server = Server::start();
    let mut client = client(server.addresses().grpc);
    let not_found = expected("not_found.model", &["'nope'", "not found"]);
    let not_offered = |says| expected("unsupported.call", says);

    let named = pb::ModelMetadataRequest { name: "nope".to_owned(), version: String::new() };
    not_found.check_status("metadata", &client.model_metadata(named).await.unwrap_err());
    let named = pb::ModelReadyRequest { name: "nope".to_owned(), version: String::new() };
    not_found.check_status("ready", &client.model_ready(named).await.unwrap_err());
    let status = client.repository_model_load(load("nope")).await.unwrap_err();
    not_found.check_status("load", &status);

    let choice = ParameterChoice::StringParam("{}".to_owned());
    let config = pb::ModelRepositoryParameter { parameter_choice: Some(choice) };
    let parameters = BTreeMap::from([("config".to_owned(), config)]);
    let status = client
        .repository_model_load(pb::RepositoryModelLoadRequest { parameters, ..load("iris") })
        .await
        .unwrap_err();
    not_offered(&["'config'", "not offered"]).check_status("load with a parameter", &status);

    let repository_name = "other".to_owned();
    let elsewhere = pb::RepositoryModelLoadRequest { repository_name, ..load("iris") };
    let status = client.repository_model_load(elsewhere).await.unwrap_err();
    not_offered(&["repository_name", "leave it out"]).check_status("another place", &status);
    client.repository_model_load(load("iris")).await.expect("a load without any of these");
}

fn load(model: &str) -> pb::RepositoryModelLoadRequest {
    pb::RepositoryModelLoadRequest { model_name: model.to_owned(), ..Default::default() }
}

const NOT_OFFERED: [&str; 8] = [
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
    "LogSettings",
];
