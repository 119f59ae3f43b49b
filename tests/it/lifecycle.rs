//! What operators ask of versions, and what callers then see.

use std::fs;
use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};
use tidegate::api::oip::pb::inference as pb;
use tonic::Code;

use crate::harness::iris;
use crate::harness::repository::{Repository, demo};
use crate::harness::rpc::Rpc;
use crate::harness::server::{Reply, Server};

#[test]
fn a_rollback_goes_back_and_forth() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    assert_eq!(change(&server, "iris:rollback", "").0, 409);
    assert_eq!(change(&server, "iris/versions/1:promote", ""), (200, receipt(2, 1)));
    assert_eq!(iris::ask(&server).version, 1);
    assert_eq!(change(&server, "iris:rollback", ""), (200, receipt(3, 2)));
    assert_eq!(iris::ask(&server).version, 2);
    assert_eq!(change(&server, "iris:rollback", ""), (200, receipt(4, 1)));
    assert_eq!(iris::ask(&server).version, 1);
}

#[test]
fn a_change_made_on_an_old_reading_is_a_conflict() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    let seen = server.admin("GET", "/admin/v1/models/iris", "").1["generation"].clone();
    assert_eq!(seen, 1);
    let body = json!({"expected_generation": seen}).to_string();
    assert_eq!(change(&server, "iris/versions/1:promote", &body).0, 200);
    let (status, answer) = change(&server, "iris/versions/2:promote", &body);
    assert_eq!((status, &answer["code"]), (409, &json!("conflict.generation")));
    let text = "model 'iris' is at generation 2, expected 1";
    assert_eq!(answer["error"], text);
    assert_eq!(iris::ask(&server).version, 1);
}

#[test]
fn of_two_operators_at_once_one_wins_and_the_other_hears_what_is() {
    let repository = Repository::of(&["iris"]);
    repository.put("iris", 3, &demo("iris", 1));
    let server = repository.serve();
    for round in 0..10 {
        assert_eq!(change(&server, "iris/versions/3:promote", "").0, 200);
        let seen = server.admin("GET", "/admin/v1/models/iris", "").1["generation"].clone();
        let seen = seen.as_u64().unwrap();
        let body = json!({"expected_generation": seen}).to_string();
        let both = Barrier::new(2);
        let promote = &|version: u64| {
            both.wait();
            change(&server, &format!("iris/versions/{version}:promote"), &body)
        };
        let answers = thread::scope(|scope| {
            [1, 2]
                .map(|version| scope.spawn(move || promote(version)))
                .map(|one| one.join().unwrap())
        });
        let winner = answers.iter().position(|(status, _)| *status == 200).expect("one wins");
        assert_eq!(answers[winner].1, receipt(seen + 1, winner as u64 + 1), "round {round}");
        let (status, answer) = &answers[1 - winner];
        let busy = "model 'iris' is being changed: promote is under way, expected no other change";
        let late = format!("model 'iris' is at generation {}, expected {seen}", seen + 1);
        let heard = [("conflict.busy", busy), ("conflict.generation", &late)];
        let heard = heard.map(|(code, text)| (409, json!(code), json!(text)));
        let said = (*status, answer["code"].clone(), answer["error"].clone());
        assert!(heard.contains(&said), "round {round}: {said:?}");
        assert_eq!(serving(&server), winner as u64 + 1);
    }
}

#[test]
fn what_is_not_there_is_not_found_and_leaves_no_trace() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    let (status, answer) = change(&server, "iris/versions/9:promote", "");
    assert_eq!((status, &answer["code"]), (404, &json!("not_found.version")), "{answer}");
    let (status, answer) = change(&server, "nobody/versions/1:promote", "");
    assert_eq!((status, &answer["code"]), (404, &json!("not_found.model")), "{answer}");
    assert_eq!(server.admin("GET", "/admin/v1/models/iris/versions/9", "").0, 404);
    let models = server.admin("GET", "/admin/v1/models", "").1;
    assert_eq!(models["models"].as_array().unwrap().len(), 1);
    assert_eq!(iris::ask(&server).version, 2);
}

#[test]
fn a_second_change_while_one_is_under_way_is_refused_as_busy() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    // Reading this one would take an hour; it has no bytes on disk.
    let folder = repository.put("iris", 3, &demo("iris", 1));
    let notes = fs::File::create(folder.join("notes")).unwrap();
    notes.set_len(1 << 42).unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| change(&server, "iris/versions/3:promote", ""));
        server.wait_until_it_reads(&folder.join("notes"));
        let (status, answer) = change(&server, "iris/versions/2:promote", "");
        assert_eq!((status, &answer["code"]), (409, &json!("conflict.busy")));
        let text = "model 'iris' is being changed: promote is under way, expected no other change";
        assert_eq!(answer["error"], text);
        assert_eq!(iris::ask(&server).version, 2);
        notes.set_len(0).unwrap();
        let (status, answer) = first.join().unwrap();
        assert_eq!((status, &answer["code"]), (409, &json!("conflict.busy")));
        let text = "files changed while they were read, expected them at rest";
        assert!(answer["error"].as_str().unwrap().ends_with(text), "{answer}");
    });
    assert_eq!(change(&server, "iris/versions/3:promote", "").0, 200);
    assert_eq!(server.admin("GET", "/admin/v1/models/iris", "").1["serving"], 3);
    assert_eq!(change(&server, "iris/versions/1:promote", "").0, 200);
}

#[test]
fn a_version_in_standby_answers_those_who_name_it_and_can_be_unloaded() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    assert_eq!(named(&server, 1).status, 503);
    assert_eq!(change(&server, "iris/versions/1:load", ""), (200, receipt(2, 2)));
    assert_eq!(iris::read(&named(&server, 1)).unwrap().version, 1);
    assert_eq!(iris::ask(&server).version, 2);
    let view = server.admin("GET", "/admin/v1/models/iris/versions/1", "").1;
    assert_eq!((&view["state"], &view["placement"]), (&json!("standby"), &json!("in_place")));

    let (status, answer) = change(&server, "iris/versions/2:unload", "");
    assert_eq!((status, &answer["code"]), (409, &json!("conflict.state")), "{answer}");
    assert_eq!(change(&server, "iris/versions/1:unload", "").0, 200);
    server.wait_for_state("iris", 1, "retired");
    assert_eq!(named(&server, 1).status, 503);
    assert_eq!(iris::ask(&server).version, 2);
}

#[test]
fn a_pinned_model_only_hears_of_newer_versions_until_it_is_unpinned() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    assert_eq!(change(&server, "iris:pin", "").0, 200);
    repository.put("iris", 3, &demo("iris", 1));
    assert_eq!(load(&server, "iris").status, 200);
    assert_eq!(serving(&server), 2);
    assert_eq!(server.admin("GET", "/admin/v1/models/iris/versions/3", "").1["state"], "found");
    assert_eq!(change(&server, "iris:unpin", "").0, 200);
    assert_eq!(load(&server, "iris").status, 200);
    assert_eq!(serving(&server), 3);
}

#[test]
fn the_newest_version_on_disk_serves_after_a_load_and_a_rollback_leaves_it() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    repository.put("iris", 3, &demo("iris", 1));
    assert_eq!(load(&server, "iris").status, 200);
    assert_eq!(serving(&server), 3);
    server.wait_for_state("iris", 2, "retired");
    assert_eq!(change(&server, "iris:rollback", "").0, 200);
    assert_eq!(iris::ask(&server).version, 2);
    // A rollback is an operator's word: the next load does not overrule it.
    assert_eq!(load(&server, "iris").status, 200);
    assert_eq!(serving(&server), 2);
}

#[test]
fn an_unloaded_model_is_unavailable_until_it_is_loaded_again() {
    let repository = Repository::of(&["iris", "wine"]);
    let server = repository.serve();
    assert_eq!(server.http("POST", "/v2/repository/models/iris/unload", "").status, 200);
    assert_unloaded(&server);
    assert_eq!(load(&server, "iris").status, 200);
    assert_eq!(iris::ask(&server).version, 2);
    assert_eq!(server.index_line("iris", 2), ("READY".to_owned(), String::new()));

    let rpc = Rpc::connect(server.addresses().grpc);
    let model_name = "iris".to_owned();
    let unload =
        pb::RepositoryModelUnloadRequest { model_name: model_name.clone(), ..Default::default() };
    rpc.wait(rpc.client().repository_model_unload(unload)).unwrap();
    assert_unloaded(&server);
    let load = pb::RepositoryModelLoadRequest { model_name, ..Default::default() };
    rpc.wait(rpc.client().repository_model_load(load)).unwrap();
    assert_eq!(iris::read_message(&rpc.infer(iris::request()).unwrap()).unwrap().version, 2);
}

#[test]
fn files_that_changed_under_a_number_are_served_after_a_load() {
    let repository = Repository::new();
    repository.put("iris", 7, &demo("iris", 1));
    let server = repository.serve();
    let before = server.http("POST", "/v2/models/iris/infer", &iris::body());
    repository.put("iris", 7, &demo("iris", 2));
    assert_eq!(load(&server, "iris").status, 200);
    let after = server.http("POST", "/v2/models/iris/infer", &iris::body());
    let probability = |reply: &Reply| reply.json()["outputs"][1]["data"][0].as_f64().unwrap();
    assert!(probability(&before) > 0.01 && probability(&after) < 0.01);
    let digest = |reply: &Reply| reply.json()["parameters"]["tidegate_digest"].clone();
    assert_ne!(digest(&before), digest(&after));
    assert_eq!(after.json()["model_version"], "7");
    // Nothing changed since: the version is not loaded once more.
    let generation = server.admin("GET", "/admin/v1/models/iris", "").1["generation"].clone();
    assert_eq!(load(&server, "iris").status, 200);
    assert_eq!(server.admin("GET", "/admin/v1/models/iris", "").1["generation"], generation);
}

#[test]
fn the_last_version_keeps_serving_when_its_files_are_gone() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    fs::remove_dir_all(repository.folder("iris", 2)).unwrap();
    assert_eq!(load(&server, "iris").status, 200);
    assert_eq!(serving(&server), 1);
    fs::remove_dir_all(repository.folder("iris", 1)).unwrap();
    assert_eq!(load(&server, "iris").status, 200);
    assert_eq!(iris::ask(&server).version, 1);
}

fn assert_unloaded(server: &Server) {
    server.wait_for_state("iris", 2, "retired");
    let refused = server.http("POST", "/v2/models/iris/infer", &iris::body());
    let code = refused.json().get("code").cloned();
    assert_eq!((refused.status, code), (503, Some(json!("unavailable.model"))));
    let rpc = Rpc::connect(server.addresses().grpc);
    let status = rpc.infer(iris::request()).expect_err("it is unloaded");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(server.http("GET", "/v2/models/iris/ready", "").status, 503);
    assert_eq!(server.index_line("iris", 2), ("UNAVAILABLE".to_owned(), "unloaded".to_owned()));
    assert_eq!(server.http("GET", "/v2/models/wine/ready", "").status, 200);
    assert_eq!(server.http("GET", "/v2/health/ready", "").status, 200);
}

fn named(server: &Server, version: u64) -> Reply {
    server.http("POST", &format!("/v2/models/iris/versions/{version}/infer"), &iris::body())
}

fn serving(server: &Server) -> Value {
    let view = server.admin("GET", "/admin/v1/models/iris", "").1;
    view.get("serving").cloned().unwrap_or_default()
}

fn load(server: &Server, model: &str) -> Reply {
    server.http("POST", &format!("/v2/repository/models/{model}/load"), "")
}

fn change(server: &Server, target: &str, body: &str) -> (u16, Value) {
    server.admin("POST", &format!("/admin/v1/models/{target}"), body)
}

fn receipt(generation: u64, serving: u64) -> Value {
    json!({"generation": generation, "serving": serving})
}
