//! gRPC's health protocol says what the probes say, of the server and of each model, at once.

use std::fs;

use tidegate::api::oip::pb::inference as pb;
use tokio_stream::StreamExt;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::harness::process::wait_until;
use crate::harness::repository::{Repository, demo};
use crate::harness::rpc::Rpc;
use crate::harness::server::{Server, request};

#[test]
fn health_follows_readiness_where_a_degraded_model_is_enough_to_be_not_ready() {
    let repository = Repository::of(&["iris"]);
    let strict =
        [("TIDEGATE_SERVER_STRICT_READINESS", "true"), ("TIDEGATE_REPOSITORY_SETTLE_MS", "50")];
    let server = Server::told(repository.path(), &[], &strict);
    let health = Health::of(&server);
    let mut watch = health.watch("");
    assert_eq!(health.next(&mut watch), Some(ServingStatus::Serving));
    repository.drop_in("broken", 1, b"no model");
    assert_eq!(health.next(&mut watch), Some(ServingStatus::NotServing));
    let ready = || request(server.addresses().metrics, "GET", "/readyz", "", b"").status;
    assert_eq!(ready(), 503);
    for (service, expected) in [
        ("", ServingStatus::NotServing),
        ("inference.GRPCInferenceService", ServingStatus::NotServing),
        ("iris", ServingStatus::Serving),
        ("broken", ServingStatus::NotServing),
    ] {
        assert_eq!(health.check(service), Ok(expected), "{service}");
    }
    repository.drop_in("broken", 2, &demo("iris", 2));
    assert_eq!(health.next(&mut watch), Some(ServingStatus::Serving));
    assert_eq!(ready(), 200);
    assert_eq!(health.check("broken"), Ok(ServingStatus::Serving));
}

#[test]
fn whoever_watches_a_model_is_told_when_it_comes_and_goes() {
    let repository = Repository::of(&["iris"]);
    let server = repository.watch(50);
    let health = Health::of(&server);
    assert_eq!(health.check("wine"), Err(Code::NotFound));
    let mut watch = health.watch("wine");
    assert_eq!(health.next(&mut watch), Some(ServingStatus::ServiceUnknown));
    repository.drop_in("wine", 1, &demo("wine", 1));
    // It is listed before it is loaded.
    let mut told = health.next(&mut watch);
    if told == Some(ServingStatus::NotServing) {
        told = health.next(&mut watch);
    }
    assert_eq!(told, Some(ServingStatus::Serving));
    let ask = pb::RepositoryModelUnloadRequest { model_name: "wine".into(), ..Default::default() };
    let client = health.rpc.client();
    // It serves a moment before the change that brought it is over.
    wait_until("wine is unloaded", || {
        let unload = async { client.clone().repository_model_unload(ask.clone()).await };
        match health.rpc.wait(unload) {
            Ok(_) => true,
            Err(status) if status.code() == Code::Aborted => false,
            Err(status) => panic!("{status}"),
        }
    });
    assert_eq!(health.next(&mut watch), Some(ServingStatus::NotServing));
    fs::remove_dir_all(repository.folder("iris", 2)).unwrap();
    server.wait_for_state("iris", 1, "serving");
    // A name that another version answers goes on serving.
    assert_eq!(health.check("iris"), Ok(ServingStatus::Serving));
}

#[test]
fn whoever_watches_health_is_told_that_the_server_stops_and_does_not_hold_it() {
    let server = Server::start();
    let health = Health::of(&server);
    let services = ["", "inference.GRPCInferenceService", "iris"];
    let mut watches = services.map(|service| health.watch(service));
    for watch in &mut watches {
        assert_eq!(health.next(watch), Some(ServingStatus::Serving));
    }
    server.tell_to_stop();
    for watch in &mut watches {
        assert_eq!(health.next(watch), Some(ServingStatus::NotServing));
        assert_eq!(health.next(watch), None, "the watch ends");
    }
    // Long before the time that requests in flight would have.
    assert!(server.wait().success());
}

/// A caller of the health protocol.
struct Health {
    rpc: Rpc,
}

impl Health {
    fn of(server: &Server) -> Self {
        Self { rpc: Rpc::connect(server.addresses().grpc) }
    }

    fn check(&self, service: &str) -> Result<ServingStatus, Code> {
        let mut client = HealthClient::new(self.rpc.channel());
        let asked = HealthCheckRequest { service: service.to_owned() };
        let answer = self.rpc.wait(async { client.check(asked).await });
        answer.map(|answer| answer.status()).map_err(|status| status.code())
    }

    fn watch(&self, service: &str) -> Streaming<HealthCheckResponse> {
        let mut client = HealthClient::new(self.rpc.channel());
        let asked = HealthCheckRequest { service: service.to_owned() };
        self.rpc.wait(async { client.watch(asked).await }).expect("a watch")
    }

    fn next(&self, watch: &mut Streaming<HealthCheckResponse>) -> Option<ServingStatus> {
        let next = self.rpc.block_on(watch.next()).transpose();
        next.expect("a status, or the end").map(|answer| answer.status())
    }
}
