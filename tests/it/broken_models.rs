//! A model that cannot be served says why, and takes nothing else with it.

use std::os::unix::fs::symlink;

use serde_json::Value;
use tidegate::api::oip::pb::inference as pb;
use tonic::Code;

use crate::harness::iris;
use crate::harness::repository::{Repository, demo, odd};
use crate::harness::rpc::Rpc;
use crate::harness::server::{Server, request};

#[test]
fn broken_models_are_refused_with_their_reason_and_the_others_serve() {
    let repository = Repository::of(&["iris", "wine"]);
    let whole = demo("iris", 2);
    repository.put("truncated", 1, &whole[..whole.len() / 2]);
    repository.put("garbage", 1, b"this is no model, whatever its name says");
    repository.put("empty", 1, b"");
    repository.put("sequence", 1, &odd("sequence"));
    repository.put("float8", 1, &odd("float8"));
    repository.put("external", 1, &odd("external"));
    let server = repository.serve();
    assert_ready(&server);
    assert_eq!(iris::ask(&server).version, 2);
    assert_eq!(server.http("GET", "/v2/models/wine/ready", "").status, 200);

    for (model, reason) in [
        ("truncated", "ONNX Runtime refused the model: "),
        ("garbage", "ONNX Runtime refused the model: "),
        ("empty", "ONNX Runtime refused the model: "),
        ("external", "ONNX Runtime refused the model: "),
        ("sequence", "output 'y' is a sequence or map, which the protocol cannot carry"),
        ("float8", "input 'x' is a tensor of "),
    ] {
        let view = server.admin("GET", &format!("/admin/v1/models/{model}/versions/1"), "").1;
        assert_eq!(view["state"], "failed", "{view}");
        let found = view["reason"].as_str().unwrap();
        assert!(found.starts_with(reason), "{model}: {found}");
        let (state, shown) = server.index_line(model, 1);
        assert_eq!((state.as_str(), shown), ("UNAVAILABLE", format!("failed: {found}")));
        let refused = server.http("POST", &format!("/v2/models/{model}/infer"), &iris::body());
        assert_eq!(refused.status, 503, "{}", refused.json());
        assert!(server.log().contains(reason), "{model} is not in the log");
    }
}

#[test]
fn a_broken_newest_version_leaves_the_older_one_serving() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    repository.put("iris", 3, b"broken");
    let refused = server.http("POST", "/v2/repository/models/iris/load", "");
    let answer = refused.json();
    assert_eq!((refused.status, &answer["code"]), (400, &Value::from("invalid.load")));
    let text = answer["error"].as_str().unwrap();
    assert!(text.starts_with("failed to load 'iris/3': ONNX Runtime refused"), "{text}");
    let rpc = Rpc::connect(server.addresses().grpc);
    let again =
        pb::RepositoryModelLoadRequest { model_name: "iris".to_owned(), ..Default::default() };
    let status = rpc.wait(rpc.client().repository_model_load(again)).unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, text));
    let promote = server.admin("POST", "/admin/v1/models/iris/versions/3:promote", "");
    assert_eq!((promote.0, &promote.1["error"]), (400, &answer["error"]));
    assert_eq!(iris::ask(&server).version, 2);
    assert_eq!(server.index_line("iris", 3).0, "UNAVAILABLE");

    // Mended, it serves.
    repository.put("iris", 3, &demo("iris", 1));
    assert_eq!(server.http("POST", "/v2/repository/models/iris/load", "").status, 200);
    assert_eq!(server.admin("GET", "/admin/v1/models/iris", "").1["serving"], 3);
}

#[test]
fn a_broken_newest_version_does_not_keep_a_server_from_its_start() {
    let repository = Repository::of(&["iris"]);
    repository.put("iris", 3, b"broken");
    let server = repository.serve();
    assert_ready(&server);
    assert_eq!(iris::ask(&server).version, 2);
    let view = server.admin("GET", "/admin/v1/models/iris/versions/3", "").1;
    assert_eq!(view["state"], "failed");
    assert_eq!(server.http("POST", "/v2/models/iris/versions/3/infer", &iris::body()).status, 503);
}

#[test]
fn files_that_broke_under_a_number_leave_what_serves() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    repository.put("iris", 2, b"broken");
    assert_eq!(server.http("POST", "/v2/repository/models/iris/load", "").status, 400);
    assert_eq!(iris::ask(&server).version, 2);
}

#[test]
fn a_link_out_of_the_repository_is_refused() {
    let (repository, elsewhere) = (Repository::of(&["iris"]), Repository::of(&["wine"]));
    symlink(elsewhere.path().join("wine"), repository.path().join("sly")).unwrap();
    let weights = repository.put("sneaky", 1, &demo("iris", 1)).join("weights");
    symlink(elsewhere.folder("wine", 1).join("model.onnx"), weights).unwrap();
    let server = repository.serve();
    assert_ready(&server);
    for model in ["sly", "sneaky"] {
        let view = server.admin("GET", &format!("/admin/v1/models/{model}/versions/1"), "").1;
        let reason = view["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("leads out of the model repository"), "{model}: {view}");
        assert_eq!(server.http("GET", &format!("/v2/models/{model}/ready"), "").status, 503);
    }
    assert_eq!(iris::ask(&server).version, 2);
}

fn assert_ready(server: &Server) {
    assert_eq!(server.http("GET", "/v2/health/ready", "").status, 200);
    let probe = request(server.addresses().metrics, "GET", "/readyz", "", b"");
    assert_eq!(probe.status, 200);
}
