//! Asks iris over HTTP: cargo run -- [HOST:PORT]

use std::error::Error;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".to_owned());

    // Keep one agent for many requests: it holds the connections.
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        // The body of a refusal says why.
        .http_status_as_error(false)
        .build()
        .into();

    let mut response =
        agent.post(format!("http://{address}/v2/models/iris/infer")).send_json(json!({
            "inputs": [
                {"name": "input", "datatype": "FP32", "shape": [1, 4], "data": [4.9, 2.5, 4.5, 1.7]}
            ],
            // Without outputs, all come.
            "outputs": [{"name": "label"}],
        }))?;
    let status = response.status();
    let answer: Value = response.body_mut().read_json()?;
    if !status.is_success() {
        return Err(format!("{status}: {}", answer["error"]).into());
    }

    let version = answer["model_version"].as_str().ok_or("no version")?;
    let label = answer["outputs"][0]["data"][0].as_i64().ok_or("no label")?;
    println!("iris version {version} says {label}");
    Ok(())
}
