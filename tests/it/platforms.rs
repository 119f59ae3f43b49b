//! One program keeps the contracts of hosting platforms, told by their own variables.

use serde_json::json;

use crate::harness::iris;
use crate::harness::repository::Repository;
use crate::harness::server::{Addresses, Reply, Server, request};
use crate::harness::tools::project;

const ROWS: &str = r#"{"instances": [[4.9, 2.5, 4.5, 1.7]]}"#;

fn iris_folder() -> String {
    project().join("models/iris").display().to_string()
}

// The image's configuration finds out by itself where it runs.
fn image() -> String {
    project().join("deploy/image/tidegate.toml").display().to_string()
}

// Platforms ask on all interfaces; here, on the loopback one.
fn ask(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> Reply {
    let Addresses { mut http, .. } = server.addresses();
    assert!(http.ip().is_unspecified(), "{http} is not reached from outside a container");
    http.set_ip([127, 0, 0, 1].into());
    request(http, method, path, headers, body.as_bytes())
}

#[test]
fn vertex_chooses_port_and_routes() {
    let models = iris_folder();
    let server = Server::hosted(
        &["--config", &image(), "--grpc", "127.0.0.1:0"],
        &[
            ("AIP_HTTP_PORT", "0"),
            ("AIP_HEALTH_ROUTE", "/v1/endpoints/7/deployedModels/9"),
            ("AIP_PREDICT_ROUTE", "/v1/endpoints/7/deployedModels/9:predict"),
            ("AIP_STORAGE_URI", &models),
        ],
    );
    let health = ask(&server, "GET", "/v1/endpoints/7/deployedModels/9", "", "");
    assert_eq!(health.status, 200);
    let with_parameters = json!({"instances": [[4.9, 2.5, 4.5, 1.7]], "parameters": {"top": 1}});
    let path = "/v1/endpoints/7/deployedModels/9:predict";
    let reply = ask(&server, "POST", path, "", &with_parameters.to_string());
    assert_eq!(reply.json()["predictions"][0]["label"], 2, "{}", reply.json());
    assert_eq!(ask(&server, "GET", path, "", "").status, 404);
    // Our own routes stay.
    assert_eq!(ask(&server, "GET", "/v2/models/iris/ready", "", "").status, 200);
}

#[test]
fn a_route_may_be_one_of_our_own_and_then_takes_every_kind_of_body() {
    let models = iris_folder();
    let server = Server::hosted(
        &["--config", &image(), "--models", &models, "--grpc", "127.0.0.1:0"],
        &[
            ("AIP_HTTP_PORT", "0"),
            ("AIP_HEALTH_ROUTE", "/v2/health/ready"),
            ("AIP_PREDICT_ROUTE", "/v2/models/iris/infer"),
        ],
    );
    assert_eq!(ask(&server, "GET", "/v2/health/ready", "", "").status, 200);
    let open = ask(&server, "POST", "/v2/models/iris/infer", "", &iris::body());
    assert_eq!(iris::read(&open).unwrap().version, 2);
    let rows = ask(&server, "POST", "/v2/models/iris/infer", "", ROWS).json();
    assert_eq!(rows["predictions"][0]["label"], 2, "{rows}");
}

#[test]
fn sagemaker_pings_and_invokes_with_every_kind_of_body() {
    let models = iris_folder();
    let server = Server::hosted(
        &["--grpc", "127.0.0.1:0"],
        &[
            ("TIDEGATE_PLATFORM_KIND", "sagemaker"),
            ("SAGEMAKER_BIND_TO_PORT", "0"),
            // There is no /opt/ml/model here: our variables win over the platform's.
            ("TIDEGATE_REPOSITORY_PATH", &models),
        ],
    );
    assert_eq!(ask(&server, "GET", "/ping", "", "").status, 200);
    let invoke = |kind: &str, body: &str| {
        ask(&server, "POST", "/invocations", &format!("content-type: {kind}\r\n"), body)
    };
    let rows = invoke("application/json", ROWS).json();
    assert_eq!(rows["predictions"][0]["label"], 2, "{rows}");
    let columns = invoke("application/json", r#"{"inputs": [[4.9, 2.5, 4.5, 1.7]]}"#).json();
    assert_eq!(columns["outputs"]["label"], json!([2]), "{columns}");
    let open = iris::read(&invoke("application/json", &iris::body())).unwrap();
    assert_eq!(open.version, 2);
    let lines = invoke("text/csv; charset=utf-8", "4.9,2.5,4.5,1.7\n5.1,3.5,1.4,0.2\n").json();
    assert_eq!(lines["predictions"][0]["label"], 2, "{lines}");
    assert_eq!(lines["predictions"][1]["label"], 0, "{lines}");
    let wrong = invoke("text/csv", "sepal,petal");
    assert_eq!((wrong.status, wrong.json()["code"].as_str()), (400, Some("invalid.malformed")));
}

#[test]
fn azure_scores_the_model_it_mounts() {
    let mount = tempfile::tempdir().unwrap();
    let models = mount.path().join("azureml-models/credit/3");
    std::fs::create_dir_all(models.join("1")).unwrap();
    let model = project().join("models/iris/2/model.onnx");
    std::fs::copy(model, models.join("1/model.onnx")).unwrap();
    let server = Server::hosted(
        &["--config", &image(), "--http", "0.0.0.0:0", "--grpc", "127.0.0.1:0"],
        &[("AZUREML_MODEL_DIR", models.to_str().unwrap())],
    );
    assert_eq!(ask(&server, "GET", "/", "", "").status, 200);
    assert_eq!(ask(&server, "POST", "/score", "", ROWS).json()["predictions"][0]["label"], 2);
    assert_eq!(ask(&server, "GET", "/v2/models/credit/ready", "", "").status, 200);
}

#[test]
fn health_follows_the_model_and_several_models_need_a_name() {
    let hosted = |models: &str, model: &str| {
        Server::hosted(
            &["--models", models, "--http", "0.0.0.0:0", "--grpc", "127.0.0.1:0"],
            &[("TIDEGATE_PLATFORM_KIND", "sagemaker"), ("TIDEGATE_PLATFORM_MODEL", model)],
        )
    };
    let repository = Repository::of(&["iris"]);
    repository.put("broken", 1, b"no model");
    let models = repository.path().display().to_string();
    let several = hosted(&models, "");
    let refused = ask(&several, "GET", "/ping", "", "");
    assert_eq!(refused.status, 404);
    let text = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(text.contains("there are 2 models") && text.contains("platform.model"), "{text}");
    assert_eq!(ask(&several, "POST", "/invocations", "", ROWS).status, 404);
    assert_eq!(ask(&hosted(&models, "iris"), "GET", "/ping", "", "").status, 200);
    let broken = hosted(&models, "broken");
    assert_eq!(ask(&broken, "GET", "/ping", "", "").status, 503);
    assert_eq!(ask(&broken, "POST", "/invocations", "", ROWS).status, 503);
}

#[test]
fn load_and_unload_from_outside_are_refused_and_the_error_says_what_to_do() {
    let models = project().join("models").display().to_string();
    let server =
        Server::hosted(&["--models", &models, "--http", "0.0.0.0:0", "--grpc", "127.0.0.1:0"], &[]);
    for call in ["load", "unload"] {
        let path = format!("/v2/repository/models/iris/{call}");
        let refused = ask(&server, "POST", &path, "", "");
        let text = refused.json()["error"].as_str().unwrap().to_owned();
        assert_eq!(refused.status, 403);
        assert!(text.contains("admin port") && text.contains("loopback"), "{text}");
    }
}
