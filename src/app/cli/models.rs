//! `tidegate models`: what a server has, version by version.

use clap::Args;
use serde::Deserialize;

use crate::app::cli::client::Admin;
use crate::app::cli::print::{self, Column, Table};
use crate::domain::tensor::shape::Dimensions;

/// Flags of `tidegate models`.
#[derive(Clone, Debug, Args)]
pub struct ModelsFlags {
    /// One model, with all its inputs and outputs.
    #[arg(value_name = "MODEL")]
    pub model: Option<String>,
    /// Print the server's answer as JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub server: Admin,
}

#[derive(Deserialize)]
struct Models {
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(rename = "version")]
    number: u64,
    state: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    placement: String,
    #[serde(default)]
    inputs: Vec<Tensor>,
    #[serde(default)]
    outputs: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

/// Prints a table of versions.
///
/// # Errors
///
/// An unknown model, or a server that does not answer.
pub fn models(flags: &ModelsFlags) -> anyhow::Result<()> {
    let client = flags.server.client()?;
    let path = flags.model.as_ref().map_or(String::new(), |model| format!("/{model}"));
    let reply = client.get(&format!("/admin/v1/models{path}"))?.done()?;
    if flags.json {
        print::body(&reply.body);
        return Ok(());
    }
    let models = match &flags.model {
        Some(_) => vec![reply.read()?],
        None => reply.read::<Models>()?.models,
    };
    if models.is_empty() {
        print::out("no models: put one at <models>/<name>/1/model.onnx\n");
        return Ok(());
    }
    print::out(&versions(&models));
    if flags.model.is_some() {
        print::out(&tensors(&models));
    }
    Ok(())
}

fn versions(models: &[Model]) -> String {
    let mut table = Table::new([
        Column::words("MODEL"),
        Column::numbers("VERSION"),
        Column::words("STATE"),
        Column::words("RUNS"),
        Column::words("DIGEST"),
        Column::words("SIGNATURE"),
    ]);
    for model in models {
        for version in &model.versions {
            let loaded = !version.inputs.is_empty() || !version.outputs.is_empty();
            let says = if loaded { signature(version) } else { version.reason.clone() };
            table.row([
                model.name.clone(),
                version.number.to_string(),
                version.state.clone(),
                version.placement.replace('_', " "),
                version.digest.chars().take(12).collect(),
                says,
            ]);
        }
    }
    table.text()
}

fn signature(version: &Version) -> String {
    let list = |tensors: &[Tensor]| {
        let shown: Vec<String> = tensors.iter().take(SHOWN).map(Tensor::text).collect();
        let rest = tensors.len() - shown.len();
        if rest > 0 { format!("{} and {rest} more", shown.join(", ")) } else { shown.join(", ") }
    };
    format!("{} -> {}", list(&version.inputs), list(&version.outputs))
}

fn tensors(models: &[Model]) -> String {
    let mut table = Table::new([
        Column::numbers("VERSION"),
        Column::words("TENSOR"),
        Column::words("NAME"),
        Column::words("DATATYPE"),
        Column::words("SHAPE"),
    ]);
    for version in models.iter().flat_map(|model| &model.versions) {
        for (kind, tensors) in [("input", &version.inputs), ("output", &version.outputs)] {
            for tensor in tensors {
                table.row([
                    version.number.to_string(),
                    kind.to_owned(),
                    tensor.name.clone(),
                    tensor.datatype.clone(),
                    Dimensions(tensor.shape.clone()).to_string(),
                ]);
            }
        }
    }
    format!("\n{}", table.text())
}

impl Tensor {
    fn text(&self) -> String {
        format!("{} {}{}", self.name, self.datatype, Dimensions(self.shape.clone()))
    }
}

/// Tensors that a line of the table names; a model's own page has them all.
const SHOWN: usize = 3;
