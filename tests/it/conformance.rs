//! Every model of ONNX's own test suite is answered as ONNX Runtime itself answers it.

use crate::harness::repository::Repository;
use crate::harness::tools::run_client;

#[test]
fn cases_of_every_folder_and_type_of_onnxs_suite_get_onnxruntimes_own_answers() {
    conform(&["150"]);
}

#[test]
#[ignore = "takes a minute; make conformance"]
fn every_case_of_onnxs_suite_gets_onnxruntimes_own_answer() {
    conform(&[]);
}

fn conform(most: &[&str]) {
    let repository = Repository::new();
    let folder = repository.path().to_str().expect("a path in UTF-8");
    let chosen = run_client("conformance.py", &[&["prepare", folder], most].concat());
    let server = repository.serve();
    let (http, grpc) = (server.addresses().http.to_string(), server.addresses().grpc.to_string());
    let compared = run_client("conformance.py", &["compare", &http, &grpc, folder]);
    println!("{chosen}{compared}");
}
