//! `tidegate check`: what a model is, and whether it would serve.

use std::fmt::Write;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use crate::app::config;
use crate::app::wiring::House;
use crate::domain::model::{ModelName, VersionKey};
use crate::domain::signature::Signature;
use crate::domain::spec::{Dim, TensorSpec};
use crate::serving::batching::queue::Placement;
use crate::serving::registry::version::Version;
use crate::serving::repository::golden;
use crate::serving::repository::manifest::Manifest;
use crate::serving::runtime::onnx::head::Head;
use crate::serving::runtime::onnx::session::{self, Inspection};

/// Flags of `tidegate check`.
#[derive(Clone, Debug, Args)]
pub struct CheckFlags {
    /// A repository, a model's folder, a version's folder, or one ONNX file.
    pub path: PathBuf,
    /// Configuration file (TOML); without it, `tidegate.toml` here, if there is one.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Checks what lies at the path and prints what it found.
///
/// # Errors
///
/// A path that holds no model, or any model with a problem, after all were looked at.
pub fn check(flags: &CheckFlags) -> anyhow::Result<()> {
    let mut config = config::load(flags.config.as_deref())?;
    // Each model is tried before it is looked at, and need not be again.
    config.serving.trial_load = false;
    let control = tokio::runtime::Builder::new_current_thread().build().context("a runtime")?;
    let is_file = flags.path.is_file();
    let folder = if is_file { flags.path.parent() } else { Some(flags.path.as_path()) };
    config.repository.path = folder.unwrap_or(Path::new(".")).to_path_buf();
    // Nobody asks, so there is nothing to trace.
    config.traces.endpoint = None;
    let house = House::build(&config, control.handle().clone())?;
    let problems = if is_file {
        let report = file(&house, &flags.path);
        show(&report.text);
        usize::from(report.problem)
    } else {
        versions(&house)?
    };
    house.stop(&control);
    if problems > 0 {
        bail!("{problems} with a problem, expected none");
    }
    Ok(())
}

struct Report {
    text: String,
    problem: bool,
}

fn versions(house: &House) -> anyhow::Result<usize> {
    let (mut seen, mut problems) = (0, 0);
    for model in house.repository.models()? {
        declaration(house, &model);
        for number in house.repository.versions(&model) {
            let report = version(house, &VersionKey { model: model.clone(), number });
            show(&report.text);
            seen += 1;
            problems += usize::from(report.problem);
        }
    }
    if seen == 0 {
        let root = house.repository.root().display();
        bail!(
            "{root} holds no model, expected <model>/<version>/model.onnx, or one model's folder"
        );
    }
    Ok(problems)
}

fn version(house: &House, key: &VersionKey) -> Report {
    let files = match house.repository.locate(key) {
        Ok(files) => files,
        Err(missing) => {
            let mut report = Report { text: format!("{key}\n"), problem: false };
            let error = house.loader().prepare(key, |_| ControlFlow::Continue(())).err();
            let text = error.map_or_else(|| missing.to_string(), |error| error.to_string());
            problem(&mut report, &text);
            return report;
        }
    };
    let mut report = Report { text: format!("{key}\n"), problem: false };
    let model = fs::read(&files.model).unwrap_or_default();
    let head = Head::of(&model);
    about(&mut report, model.len() as u64, head.opset(), Some(head.producer));
    if let Err(error) = house.loader().trial().open(&files.model) {
        problem(&mut report, &error.to_string());
        return report;
    }
    match house.loader().prepare(key, |_| ControlFlow::Continue(())) {
        Ok(version) => {
            tensors(&mut report, version.signature());
            let digest = version.origin().digest;
            let cases = golden::read(&files.folder).map_or(0, |cases| cases.len());
            line(&mut report, "digest", &digest.to_string());
            line(&mut report, "runs", version.queue().placement().name());
            let facts = version.facts();
            line(
                &mut report,
                "providers",
                &format!("{}, nodes {}", facts.providers, facts.nodes()),
            );
            for note in &facts.notes {
                line(&mut report, "note", note);
            }
            in_place(&mut report, house, &version);
            line(&mut report, "golden", &format!("{cases} cases, all as expected"));
            suggest(&mut report, house, key, version.signature());
        }
        Err(error) => {
            // What it is may tell what is wrong with it.
            if let Ok(found) = session::inspect(&house.library, &files.model) {
                tensors(&mut report, &found.signature);
            }
            problem(&mut report, &error.to_string());
        }
    }
    report
}

// What its owner says of it, once for all versions; what is wrong with that, each version says.
fn declaration(house: &House, model: &ModelName) {
    let Ok(declared) = house.loader().declared(model) else { return };
    let (Some(file), Some(sha256)) = (declared.file, declared.sha256) else { return };
    let mut report = Report { text: format!("{model}\n"), problem: false };
    line(&mut report, "declares", &format!("{file}, {sha256}"));
    for note in &declared.notes {
        line(&mut report, "note", note);
    }
    if file != "model.toml" {
        line(&mut report, "the same", "as this model.toml, which may take its place:");
        for said in declared.manifest.to_text().lines() {
            let said = format!("             {said}");
            writeln!(report.text, "{}", said.trim_end()).ok();
        }
    }
    show(&report.text);
}

// Settings of inference threads, of a version that runs on none.
fn in_place(report: &mut Report, house: &House, version: &Version) {
    let Ok(declared) = house.loader().declared(&version.origin().model) else { return };
    let Manifest { instances, queue, .. } = declared.manifest;
    let said = instances.count.is_some() || queue.capacity.is_some() || queue.timeout_us.is_some();
    if said && version.queue().placement() == Placement::InPlace {
        let text = "runs in place, so that nothing waits: [instances] and [queue] act only when a \
                    run takes long and the version moves to the inference threads";
        line(report, "note", text);
    }
}

fn file(house: &House, path: &Path) -> Report {
    let mut report = Report { text: format!("{}\n", path.display()), problem: false };
    describe(&mut report, house, path);
    report
}

fn describe(report: &mut Report, house: &House, path: &Path) {
    let bytes = path.metadata().map_or(0, |metadata| metadata.len());
    // A model that took a process with it must not be opened here.
    if let Err(error) = house.loader().trial().open(path) {
        about(report, bytes, None, None);
        return problem(report, &error.to_string());
    }
    match session::inspect(&house.library, path) {
        Ok(Inspection { signature, notes, opset, producer }) => {
            about(report, bytes, opset.map(i64::from), producer);
            tensors(report, &signature);
            for note in notes {
                line(report, "note", &note);
            }
        }
        Err(error) => {
            about(report, bytes, None, None);
            problem(report, &error.to_string());
        }
    }
}

fn about(report: &mut Report, bytes: u64, opset: Option<i64>, producer: Option<String>) {
    let unknown = || "unknown".to_owned();
    line(report, "size", &format!("{bytes} bytes"));
    line(report, "opset", &opset.map_or_else(unknown, |opset| opset.to_string()));
    let producer = producer.filter(|producer| !producer.is_empty());
    line(report, "producer", &producer.unwrap_or_else(unknown));
}

fn tensors(report: &mut Report, signature: &Signature) {
    for (what, specs) in [("input", &signature.inputs), ("output", &signature.outputs)] {
        for spec in specs {
            line(report, what, &with_symbols(spec));
            if let Some(labels) = &spec.labels {
                line(report, "labels", &labels.join(", "));
            }
            if let Some(features) = &spec.features {
                line(report, "features", &features.join(", "));
            }
        }
    }
}

// Only what a person may want to say: sizes of dimensions that nobody can know but the owner.
fn suggest(report: &mut Report, house: &House, key: &VersionKey, signature: &Signature) {
    if house.loader().declared(&key.model).is_ok_and(|declared| declared.file.is_some()) {
        return;
    }
    let dims = signature.inputs.iter().flat_map(|spec| spec.dims.iter());
    let mut symbols: Vec<&str> = dims
        .filter_map(|dim| match dim {
            Dim::Any(Some(symbol)) => Some(&**symbol),
            Dim::Any(None) | Dim::Fixed(_) => None,
        })
        .collect();
    symbols.sort_unstable();
    symbols.dedup();
    if !symbols.is_empty() {
        let sizes: Vec<String> = symbols.iter().map(|symbol| format!("{symbol} = 1")).collect();
        line(report, "suggested", "model.toml, if its usual sizes are others:");
        writeln!(
            report.text,
            "             [warmup]\n             dims = {{ {} }}",
            sizes.join(", ")
        )
        .ok();
    }
}

fn with_symbols(spec: &TensorSpec) -> String {
    let symbols: Vec<String> = spec
        .outer()
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(size) => size.to_string(),
            Dim::Any(Some(symbol)) => symbol.to_string(),
            Dim::Any(None) => "any".to_owned(),
        })
        .collect();
    let optional = if spec.optional { ", optional" } else { "" };
    let shape = if spec.any_shape { "any shape".to_owned() } else { symbols.join(",") };
    format!("{} {}[{shape}]{optional}", spec.name, spec.dtype)
}

fn line(report: &mut Report, what: &str, text: &str) {
    writeln!(report.text, "  {what:9}  {text}").ok();
}

fn problem(report: &mut Report, text: &str) {
    report.problem = true;
    line(report, "problem", text);
}

#[expect(clippy::print_stdout, reason = "the command line speaks to people")]
fn show(text: &str) {
    println!("{text}");
}
