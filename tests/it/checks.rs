//! A version proves itself before it serves, and `tidegate check` says so before it is deployed.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::harness::iris;
use crate::harness::repository::{Repository, odd};
use crate::harness::server::library;
use crate::harness::tools::{command, project};

fn check(path: &Path) -> (bool, String) {
    let Output { status, stdout, stderr } = command(Path::new(env!("CARGO_BIN_EXE_tidegate")))
        .arg("check")
        .arg(path)
        .env("ORT_DYLIB_PATH", library())
        .output()
        .expect("tidegate starts");
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.success(), said)
}

#[test]
fn a_version_that_fails_its_golden_cases_does_not_serve() {
    let repository = Repository::of(&["iris"]);
    let golden = fs::read_to_string(project().join("models/iris/2/golden.json")).unwrap();
    let wrong = golden.replacen("0.9143536", "0.5", 1);
    fs::write(repository.folder("iris", 2).join("golden.json"), wrong).unwrap();
    let server = repository.serve();
    let view = server.admin("GET", "/admin/v1/models/iris/versions/2", "").1;
    assert_eq!(view["state"], "rejected", "{view}");
    let found = f64::from(0.914_353_6_f32);
    let reason = format!("output 'probabilities' element 2 is {found}, expected 0.5");
    assert_eq!(view["reason"], format!("golden case 'probe': {reason}"));
    for line in ["tidegate_loads_total{model=\"iris\",outcome=\"rejected\"} 1", "outcome=\"ok\"} 1"]
    {
        assert!(server.metrics().contains(line), "{line} is not in\n{}", server.metrics());
    }
    // The older version stands in, and the newer one is not there to be had.
    assert_eq!(iris::ask(&server).version, 1);
    let (status, refused) = server.admin("POST", "/admin/v1/models/iris/versions/2:promote", "");
    assert_eq!((status, refused["code"].as_str()), (409, Some("vetoed.golden")), "{refused}");
}

#[test]
fn a_setting_that_cannot_act_is_refused_and_not_ignored() {
    let repository = Repository::of(&["iris"]);
    fs::write(repository.path().join("iris/model.toml"), "[warmup]\ndimensions = 1\n").unwrap();
    let server = repository.serve();
    let view = server.admin("GET", "/admin/v1/models/iris/versions/2", "").1;
    assert!(view["reason"].as_str().unwrap().contains("unknown field `dimensions`"), "{view}");
    fs::write(repository.path().join("iris/model.toml"), "[warmup]\ndims = { batch = 8 }\n")
        .unwrap();
    assert_eq!(server.http("POST", "/v2/repository/models/iris/load", "").status, 200);
    assert_eq!(iris::ask(&server).version, 2);
}

#[test]
fn check_says_what_a_model_is_and_fails_on_a_problem() {
    let (good, said) = check(&project().join("models/iris"));
    assert!(good, "{said}");
    for line in ["iris/2", "opset      17", "input FP32[batch,4]", "9 cases, all as expected"] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    let repository = Repository::of(&["iris"]);
    repository.put("odd", 1, &odd("sequence"));
    let (good, said) = check(repository.path());
    assert!(!good, "{said}");
    assert!(said.contains("problem    output 'y' is a sequence or map"), "{said}");
    assert!(said.contains("1 with a problem"), "{said}");
    let (good, said) = check(&project().join("models/iris/2/model.onnx"));
    assert!(good && said.contains("output     label INT64[batch]"), "{said}");
}
