//! The screen that greets whoever starts the server.

use std::fmt::Write;
use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};

use indicatif::{ProgressBar, ProgressStyle};

use crate::domain::spec::{Dim, TensorSpec};
use crate::domain::tensor::dtype::DataType;
use crate::serving::registry::snapshot::{Entry, Snapshot};
use crate::serving::registry::version::Version;
use crate::serving::runtime::onnx::library::Library;

/// Addresses that were taken, with the ports that port 0 became.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Addresses {
    /// HTTP.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// Metrics and probes.
    pub metrics: SocketAddr,
    /// Admin.
    pub admin: SocketAddr,
}

/// A bar that shows how many models have loaded; on a terminal only, and only for many.
pub fn progress(models: usize) -> ProgressBar {
    if models < MANY || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(models as u64);
    let style = ProgressStyle::with_template("loading models {bar:30} {pos}/{len} {msg}");
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Draws the screen; plain text, so that it is the same on a terminal and in a file.
pub fn draw(snapshot: &Snapshot, addresses: &Addresses, library: &Library) -> String {
    let mut screen = String::new();
    write_screen(&mut screen, snapshot, addresses, library).ok();
    screen
}

fn write_screen(
    out: &mut String,
    snapshot: &Snapshot,
    addresses: &Addresses,
    library: &Library,
) -> std::fmt::Result {
    let (version, runtime) = (env!("CARGO_PKG_VERSION"), library.version());
    writeln!(out, "\ntidegate {version}, ONNX Runtime {runtime}\n")?;
    write_models(out, &snapshot.entries())?;
    writeln!(out, "\n  HTTP     http://{}", reach(addresses.http))?;
    writeln!(out, "  gRPC     {}  (with reflection)", reach(addresses.grpc))?;
    writeln!(out, "  metrics  http://{}/metrics", reach(addresses.metrics))?;
    writeln!(out, "  admin    http://{}/admin/v1/models", reach(addresses.admin))?;
    // The one that is quickest to read.
    let serving = snapshot.entries().into_iter().filter_map(|entry| entry.default.as_ref());
    let examples = serving.filter_map(|version| examples(version, addresses));
    if let Some(examples) = examples.min_by_key(String::len) {
        writeln!(out, "\nAsk it:\n{examples}")?;
    }
    writeln!(out, "\nCtrl-C stops it.")
}

fn write_models(out: &mut String, entries: &[&Entry]) -> std::fmt::Result {
    if entries.is_empty() {
        return writeln!(out, "  no models: put one at <models>/<name>/1/model.onnx");
    }
    let width = entries.iter().map(|entry| entry.name.as_str().len()).max().unwrap_or(0).max(5);
    writeln!(out, "  {:width$}  VERSION  STATE     SIGNATURE", "MODEL")?;
    for entry in entries {
        for (number, state) in &entry.listed {
            let number = number.to_string();
            write!(out, "  {:width$}  {number:7}  {:8}  ", entry.name.as_str(), state.name())?;
            match entry.ready.iter().find(|version| version.number().to_string() == number) {
                Some(version) => writeln!(out, "{}", signature(version))?,
                None => writeln!(out, "{}", state.reason())?,
            }
        }
    }
    Ok(())
}

fn examples(version: &Version, addresses: &Addresses) -> Option<String> {
    let inputs = &version.signature().inputs;
    let (json, typed) = (each(inputs, json_input)?, each(inputs, typed_input)?);
    let model = &version.origin().model;
    let (http, grpc) = (reach(addresses.http), reach(addresses.grpc));
    Some(format!(
        "\n  curl -s http://{http}/v2/models/{model}/infer -d '{{\"inputs\":[{json}]}}'\n\
         \n  grpcurl -plaintext -d '{{\"model_name\":\"{model}\",\"inputs\":[{typed}]}}' \
         {grpc} inference.GRPCInferenceService/ModelInfer"
    ))
}

fn signature(version: &Version) -> String {
    let list = |specs: &[TensorSpec]| {
        let shown: Vec<String> = specs.iter().take(4).map(ToString::to_string).collect();
        let rest = if specs.len() > shown.len() { ", ..." } else { "" };
        format!("{}{rest}", shown.join(", "))
    };
    let signature = version.signature();
    format!("{} -> {}", list(&signature.inputs), list(&signature.outputs))
}

fn each(specs: &[TensorSpec], write: impl Fn(&TensorSpec) -> Option<String>) -> Option<String> {
    let all: Option<Vec<String>> = specs.iter().map(write).collect();
    all.map(|inputs| inputs.join(","))
}

fn json_input(spec: &TensorSpec) -> Option<String> {
    let (head, values) = example(spec)?;
    Some(format!("{{{head},\"data\":[{values}]}}"))
}

fn typed_input(spec: &TensorSpec) -> Option<String> {
    let field = match spec.dtype {
        DataType::Bool => "bool_contents",
        DataType::Int8 | DataType::Int16 | DataType::Int32 => "int_contents",
        DataType::Int64 => "int64_contents",
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 => "uint_contents",
        DataType::Uint64 => "uint64_contents",
        DataType::Fp32 => "fp32_contents",
        DataType::Fp64 => "fp64_contents",
        // Bytes are base64 in protobuf's JSON.
        DataType::Bytes | DataType::Fp16 | DataType::Bf16 => return None,
    };
    let (head, values) = example(spec)?;
    Some(format!("{{{head},\"contents\":{{\"{field}\":[{values}]}}}}"))
}

// Name, type and shape of one row, and values for it; none for an input too large for a line.
fn example(spec: &TensorSpec) -> Option<(String, String)> {
    let sizes = spec.dims.iter().map(|dim| match dim {
        Dim::Fixed(size) => usize::try_from(*size).unwrap_or(0),
        Dim::Any(_) => 1,
    });
    let sizes: Vec<usize> = sizes.collect();
    let count: usize = sizes.iter().product();
    let value = |index: usize| match spec.dtype {
        DataType::Bool => "true".to_owned(),
        DataType::Bytes => "\"text\"".to_owned(),
        DataType::Fp32 | DataType::Fp64 => format!("{}.{}", 5 - index % 5, (index * 3 + 1) % 10),
        DataType::Uint8
        | DataType::Uint16
        | DataType::Uint32
        | DataType::Uint64
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Fp16
        | DataType::Bf16 => (index % 5).to_string(),
    };
    let values: Vec<String> = (0..count).map(value).collect();
    let shape: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    let head = format!(
        "\"name\":\"{}\",\"datatype\":\"{}\",\"shape\":[{}]",
        spec.name,
        spec.dtype,
        shape.join(",")
    );
    let printable = spec.name.chars().all(|c| c.is_ascii_graphic() && !"\"'\\".contains(c));
    (count <= MOST_VALUES && printable).then(|| (head, values.join(",")))
}

/// An address that can be pasted: nobody can connect to 0.0.0.0 on every system.
pub fn reach(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => ([127, 0, 0, 1], address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => ([0, 0, 0, 0, 0, 0, 0, 1], address.port()).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

/// From this many models on, loading takes long enough to watch.
const MANY: usize = 8;

/// Values that fit a line that somebody reads.
const MOST_VALUES: usize = 64;
