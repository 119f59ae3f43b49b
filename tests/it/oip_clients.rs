//! Real clients of the protocol get what the model itself answers.

use crate::harness::server::Server;
use crate::harness::tools::{project, run_client};

#[test]
fn clients_get_onnxruntimes_own_answers_in_every_form_of_both_protocols() {
    let server = Server::start();
    // The older version does not serve by itself, but answers those who name it.
    let (status, answer) = server.admin("POST", "/admin/v1/models/iris/versions/1:load", "{}");
    assert_eq!(status, 200, "{answer}");
    compare_with_onnxruntime("parity.py", &server);
}

#[test]
fn tritonclient_compresses_classifies_and_gets_its_parameters_back() {
    compare_with_onnxruntime("extensions.py", &Server::start());
}

#[test]
fn three_hundred_callers_at_once_each_get_the_answer_to_their_own_rows() {
    compare_with_onnxruntime("concurrency.py", &Server::start());
}

#[test]
fn a_caller_without_proto_files_is_served_by_reflection_and_the_greetings_examples() {
    let server = Server::start();
    run_client("reflection.py", &[&server.addresses().grpc.to_string(), server.greeting()]);
}

fn compare_with_onnxruntime(script: &str, server: &Server) {
    let addresses = server.addresses();
    let models = project().join("models");
    let models = models.to_str().expect("a path in UTF-8");
    run_client(script, &[&addresses.http.to_string(), &addresses.grpc.to_string(), models]);
}
