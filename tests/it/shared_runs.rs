//! Requests that come at once share runs, each gets its own answer, and no answer changes by it.

use std::cell::Cell;
use std::fs;

use serde_json::{Value, json};
use tidegate::api::oip::pb::inference as pb;

use crate::harness::iris;
use crate::harness::process::wait_until;
use crate::harness::repository::{Repository, odd};
use crate::harness::rpc::Rpc;
use crate::harness::server::Server;

#[test]
fn requests_that_come_at_once_share_runs_and_get_their_own_answers() {
    let server = Repository::of(&["iris"]).serve_configured("[runtime]\ncores = 1");
    let rpc = Rpc::connect(server.addresses().grpc);
    let alone: Vec<_> =
        (0..CALLERS).map(|caller| answer(&rpc.infer(flower(caller)).unwrap())).collect();
    let (inferences, executions) = wait_for_counts(&rpc, CALLERS.into());
    assert_eq!(inferences, executions, "one after the other, each has a run");
    // How many the server reads at once is for the network to say.
    let asked = Cell::new(u64::from(CALLERS));
    wait_until("requests share runs", || {
        let together = at_once(&rpc);
        for (alone, together) in alone.iter().zip(&together) {
            assert_eq!(alone.0, together.0, "labels are the same");
            for (alone, together) in alone.1.iter().zip(&together.1) {
                let most = 1e-6 + 1e-5 * alone.abs();
                assert!((alone - together).abs() <= most, "{alone} became {together}");
            }
        }
        asked.set(asked.get() + u64::from(CALLERS));
        let (inferences, executions) = wait_for_counts(&rpc, asked.get());
        assert_eq!(inferences, asked.get());
        executions < asked.get()
    });
}

#[test]
fn runs_are_not_shared_where_the_owner_or_the_operator_says_so() {
    let repository = Repository::of(&["iris", "wine"]);
    assert!(shared_rows(&repository.serve(), "iris").is_u64());
    let manifest = repository.path().join("iris/model.toml");
    fs::write(manifest, "schema = 1\n[batching]\nshare_runs = false\n").unwrap();
    let server = repository.serve();
    assert_eq!(shared_rows(&server, "iris"), Value::Null);
    assert!(shared_rows(&server, "wine").is_u64());
    let server = repository.serve_configured("[serving]\nshare_runs = false");
    assert_eq!(shared_rows(&server, "wine"), Value::Null);
}

#[test]
fn models_whose_answers_would_change_never_share_a_run() {
    let repository = Repository::new();
    for model in ["dynamic", "fixed", "summed", "defaults"] {
        repository.put(model, 1, &odd(model));
    }
    let server = repository.serve();
    for model in ["dynamic", "fixed", "summed"] {
        let view = view(&server, model);
        assert_eq!(view["placement"], "in_place", "{model}: {view}");
        assert_eq!(view.get("shared_rows"), None, "{model}: {view}");
    }
}

/// The answers of all callers, who ask over one connection without waiting for one another.
fn at_once(rpc: &Rpc) -> Vec<(Vec<u8>, Vec<f32>)> {
    let ask = |caller| {
        let mut client = rpc.client();
        async move { client.model_infer(flower(caller)).await.expect("an answer").into_inner() }
    };
    rpc.block_on(async {
        let calls: Vec<_> = (0..CALLERS).map(|caller| tokio::spawn(ask(caller))).collect();
        let mut answers = Vec::new();
        for call in calls {
            answers.push(answer(&call.await.expect("a call")));
        }
        answers
    })
}

fn flower(caller: u8) -> pb::ModelInferRequest {
    let mut request = iris::request();
    let values = [0.1, 0.2, 0.3, 0.4].map(|value: f32| value * f32::from(caller + 1));
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    request.raw_input_contents = vec![bytes.into()];
    request
}

fn answer(answer: &pb::ModelInferResponse) -> (Vec<u8>, Vec<f32>) {
    let [label, probabilities] = answer.raw_output_contents.as_slice() else {
        panic!("two outputs: {answer:?}");
    };
    let (words, _) = probabilities.as_chunks::<4>();
    (label.to_vec(), words.iter().map(|word| f32::from_le_bytes(*word)).collect())
}

/// Inferences and runs, once so many inferences are counted.
fn wait_for_counts(rpc: &Rpc, inferences: u64) -> (u64, u64) {
    let asked = pb::ModelStatisticsRequest { name: "iris".to_owned(), ..Default::default() };
    loop {
        let stats = rpc.wait(rpc.client().model_statistics(asked.clone())).expect("statistics");
        let stats = stats.model_stats.first().expect("the model's");
        if stats.inference_count >= inferences {
            return (stats.inference_count, stats.execution_count);
        }
    }
}

fn shared_rows(server: &Server, model: &str) -> Value {
    view(server, model).get("shared_rows").cloned().unwrap_or_default()
}

fn view(server: &Server, model: &str) -> Value {
    let version = if model == "iris" { 2 } else { 1 };
    let view = server.admin("GET", &format!("/admin/v1/models/{model}/versions/{version}"), "");
    json!(view.1)
}

const CALLERS: u8 = 24;
