//! The probe that tells the two versions of `iris` apart, over HTTP and gRPC.

use serde_json::{Value, json};
use tidegate::api::oip::pb::inference as pb;

use crate::harness::rpc;
use crate::harness::server::{Reply, Server};

/// A version's answer to the probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// What the label says.
    pub version: u64,
    /// First 12 hex digits of the version's digest.
    pub digest: String,
}

/// The probe's body over HTTP.
pub fn body() -> String {
    body_of("input", &json!([4.9, 2.5, 4.5, 1.7]), &[1, 4])
}

/// A body of one FP32 input.
pub fn body_of(name: &str, data: &Value, shape: &[i64]) -> String {
    json!({"inputs": [{"name": name, "datatype": "FP32", "shape": shape, "data": data}]})
        .to_string()
}

/// The probe over gRPC.
pub fn request() -> pb::ModelInferRequest {
    rpc::request("iris", ("input", "FP32"), &[1, 4], raw())
}

/// The probe's bytes.
pub fn raw() -> Vec<u8> {
    [4.9_f32, 2.5, 4.5, 1.7].iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Asks for the version that serves, over HTTP.
pub fn ask(server: &Server) -> Origin {
    read(&server.http("POST", "/v2/models/iris/infer", &body())).expect("an answer")
}

/// Reads an answer over HTTP; an error if it is none, or its parts do not agree.
pub fn read(reply: &Reply) -> Result<Origin, String> {
    let answer = reply.json();
    if reply.status != 200 {
        return Err(format!("{}: {answer}", reply.status));
    }
    let at = |path: &str| answer.pointer(path).cloned().unwrap_or_default();
    let text = |path: &str| at(path).as_str().unwrap_or_default().to_owned();
    let header = |name: &str| {
        let lines = &mut reply.headers.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned())).unwrap_or_default()
    };
    let values: Vec<f32> = serde_json::from_value(at("/outputs/1/data"))
        .map_err(|error| format!("{error}: {answer}"))?;
    let in_header = header("x-tidegate-version: ");
    agree(
        &values,
        &[text("/model_version"), text("/parameters/tidegate_version"), in_header],
        &[text("/parameters/tidegate_digest"), header("x-tidegate-digest: ")],
    )
}

/// Reads an answer over gRPC, in the same way.
pub fn read_message(answer: &pb::ModelInferResponse) -> Result<Origin, String> {
    let text = |name: &str| match answer.parameters.get(name).map(|value| &value.parameter_choice) {
        Some(Some(pb::infer_parameter::ParameterChoice::StringParam(text))) => text.clone(),
        _ => String::new(),
    };
    let raw = answer.raw_output_contents.get(1).map(|raw| raw.to_vec()).unwrap_or_default();
    let (words, _) = raw.as_chunks::<4>();
    let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    let digest = text("tidegate_digest");
    agree(&values, &[answer.model_version.clone(), text("tidegate_version")], &[digest])
}

/// The version that answers the probe with these values, bit for bit.
pub fn version_that_says(values: &[f32]) -> Option<u64> {
    let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
    let row = PROBABILITIES.iter().position(|row| row.map(f32::to_bits) == *bits);
    row.map(|row| row as u64 + 1)
}

fn agree(values: &[f32], labels: &[String], digests: &[String]) -> Result<Origin, String> {
    let mixed = || format!("values {values:?}, labels {labels:?}, digests {digests:?}");
    let version = version_that_says(values).ok_or_else(mixed)?;
    if labels.iter().any(|label| *label != version.to_string()) {
        return Err(mixed());
    }
    let digest = digests.first().filter(|first| digests.iter().all(|digest| digest == *first));
    let digest = digest.filter(|digest| digest.len() == 12).ok_or_else(mixed)?.clone();
    Ok(Origin { version, digest })
}

/// What versions 1 and 2 answer to the probe, bit for bit.
const PROBABILITIES: [[f32; 3]; 2] =
    [[0.019_760_532, 0.669_255_5, 0.310_984_02], [6.895_553e-5, 0.085_577_466, 0.914_353_6]];
