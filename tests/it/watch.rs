//! The folder of models is followed: what lies there serves, and nothing half-copied.

use std::fs::{self, File};
use std::io::Write;

use serde_json::{Value, json};

use crate::harness::iris;
use crate::harness::repository::{Repository, demo};
use crate::harness::server::{Server, request};

#[test]
fn a_version_that_is_dropped_in_serves_without_a_call() {
    let repository = Repository::new();
    repository.put("iris", 1, &demo("iris", 1));
    let server = repository.watch(50);
    assert_eq!(iris::ask(&server).version, 1);
    repository.drop_in("iris", 2, &demo("iris", 2));
    server.wait_for_state("iris", 2, "serving");
    assert_eq!(iris::ask(&server).version, 2);
    repository.drop_in("wine", 1, &demo("wine", 1));
    server.wait_for_state("wine", 1, "serving");
    assert!(server.log().contains(r#"by="system:watch""#), "{}", server.log());
}

#[test]
fn a_copy_under_way_is_not_loaded_before_it_is_whole() {
    let repository = Repository::new();
    repository.put("iris", 1, &demo("iris", 1));
    // Far longer than a thread is ever kept waiting between two writes.
    let server = repository.watch(2_000);
    let bytes = demo("iris", 2);
    let folder = repository.put("iris", 2, &[]);
    let mut file = File::create(folder.join("model.onnx")).unwrap();
    for piece in bytes.chunks(64) {
        file.write_all(piece).unwrap();
        file.sync_all().unwrap();
        let state = server.admin("GET", "/admin/v1/models/iris/versions/2", "").1;
        assert!(matches!(state["state"].as_str(), None | Some("found")), "{state}");
    }
    server.wait_for_state("iris", 2, "serving");
    let page = server.metrics();
    assert!(!page.contains(r#"tidegate_loads_total{model="iris",outcome="failed"}"#), "{page}");
}

#[test]
fn deleting_what_serves_moves_the_name_to_the_best_that_is_left() {
    let repository = Repository::of(&["iris"]);
    let server = repository.watch(50);
    assert_eq!(iris::ask(&server).version, 2);
    fs::remove_dir_all(repository.folder("iris", 2)).unwrap();
    server.wait_for_state("iris", 1, "serving");
    assert_eq!(iris::ask(&server).version, 1);
    fs::remove_dir_all(repository.folder("iris", 1)).unwrap();
    let reason = "version 1 serves from memory: its files are gone";
    wait_for(&server, |model| model["degraded"] == reason);
    assert_eq!(iris::ask(&server).version, 1);
    assert_eq!(probe(&server, "/readyz"), (200, format!("ready\ndegraded iris: {reason}\n")));
    assert_eq!(server.http("POST", "/v2/repository/models/iris/unload", "{}").status, 200);
    assert_eq!(probe(&server, "/readyz"), (200, "ready\n".to_owned()));
}

#[test]
fn a_broken_version_changes_nothing_until_it_is_mended() {
    let repository = Repository::of(&["iris"]);
    let server = repository.watch(50);
    repository.drop_in("iris", 3, b"no model at all");
    server.wait_for_state("iris", 3, "failed");
    assert_eq!(iris::ask(&server).version, 2);
    assert_eq!(probe(&server, "/readyz"), (200, "ready\n".to_owned()));
    // The same files are not tried again with every other change of the folder.
    repository.drop_in("iris", 4, b"nor is this");
    server.wait_for_state("iris", 4, "failed");
    assert_eq!(server.log().matches("failed to load 'iris/3'").count(), 1, "{}", server.log());
    repository.put("iris", 4, &demo("iris", 2));
    server.wait_for_state("iris", 4, "serving");
}

#[test]
fn a_model_whose_every_version_is_broken_is_degraded_and_the_server_ready() {
    let repository = Repository::of(&["iris"]);
    repository.put("broken", 1, b"no model");
    let server = repository.watch(50);
    let (status, text) = probe(&server, "/readyz");
    assert_eq!(status, 200);
    assert!(text.starts_with("ready\ndegraded broken: version 1 is failed: "), "{text}");
    assert_eq!(server.http("GET", "/v2/health/ready", "").status, 200);
    let strict = [("TIDEGATE_SERVER_STRICT_READINESS", "true")];
    let strict = Server::told(repository.path(), &[], &strict);
    assert_eq!(probe(&strict, "/readyz").0, 503);
    assert_eq!(probe(&strict, "/startupz").0, 200);
    assert_eq!(strict.http("GET", "/v2/health/ready", "").status, 503);
    assert_eq!(iris::ask(&strict).version, 2);
}

#[test]
fn what_an_operator_said_outlives_what_the_folder_says() {
    let repository = Repository::new();
    repository.put("iris", 1, &demo("iris", 1));
    let server = repository.watch(50);
    let model = |call: &str| server.admin("POST", &format!("/admin/v1/models/iris:{call}"), "").0;
    assert_eq!(model("pin"), 200);
    repository.drop_in("iris", 2, &demo("iris", 2));
    server.wait_for_state("iris", 2, "found");
    assert_eq!(iris::ask(&server).version, 1);
    assert_eq!(model("unpin"), 200);
    assert_eq!(iris::ask(&server).version, 2, "the policy chooses at once");
    assert_eq!(server.http("POST", "/v2/repository/models/iris/unload", "{}").status, 200);
    repository.drop_in("iris", 3, &demo("iris", 2));
    server.wait_for_state("iris", 3, "found");
    assert_eq!(server.http("GET", "/v2/models/iris/ready", "").status, 503);
    assert_eq!(server.http("POST", "/v2/repository/models/iris/load", "{}").status, 200);
    server.wait_for_state("iris", 3, "serving");
}

#[test]
fn explicit_mode_loads_what_it_is_told_and_follows_nothing() {
    let repository = Repository::of(&["iris", "wine"]);
    let explicit = [("TIDEGATE_REPOSITORY_MODE", "explicit"), ("TIDEGATE_REPOSITORY_LOAD", "wine")];
    let server = Server::told(repository.path(), &[], &explicit);
    assert_eq!(server.http("GET", "/v2/models/wine/ready", "").status, 200);
    assert_eq!(server.http("GET", "/v2/models/iris/ready", "").status, 404);
    assert_eq!(server.http("POST", "/v2/repository/models/iris/load", "{}").status, 200);
    assert_eq!(iris::ask(&server).version, 2);
}

fn probe(server: &Server, path: &str) -> (u16, String) {
    let reply = request(server.addresses().metrics, "GET", path, "", b"");
    (reply.status, String::from_utf8(reply.body).expect("probes are text"))
}

fn wait_for(server: &Server, seen: impl Fn(&Value) -> bool) {
    let mut model = json!(null);
    for _ in 0..2_000 {
        model = server.admin("GET", "/admin/v1/models/iris", "").1;
        if seen(&model) {
            return;
        }
        // Yields between looks at the state itself; the number of looks is the bound.
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    panic!("not as expected: {model}");
}
