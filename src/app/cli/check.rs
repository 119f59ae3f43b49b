//! `tidegate check`: what a model is, and whether it would serve.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use crate::app::config;
use crate::app::wiring::House;
use crate::domain::model::VersionKey;
use crate::domain::signature::{Dim, Signature, TensorSpec};
use crate::serving::repository::golden;
use crate::serving::repository::layout::Repository;
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
    let house = House::build(&config, control.handle().clone())?;
    let problems = if is_file {
        let report = file(&house, &flags.path);
        show(&report.text);
        usize::from(report.problem)
    } else {
        versions(&house)?
    };
    house.stop();
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
        Err(error) => {
            return Report { text: format!("{key}\n  problem    {error}\n"), problem: true };
        }
    };
    let mut report = Report { text: format!("{key}\n"), problem: false };
    if !describe(&mut report, house, &files.model) {
        return report;
    }
    match house.loader().prepare(key, |_| ControlFlow::Continue(())) {
        Ok(version) => {
            let digest = version.origin().digest;
            let placement = version.queue().placement().name();
            let cases = golden::read(&files.folder).map_or(0, |cases| cases.len());
            line(&mut report, "digest", &digest.to_string());
            line(&mut report, "runs", placement);
            let facts = version.facts();
            line(
                &mut report,
                "providers",
                &format!("{}, nodes {}", facts.providers, facts.nodes()),
            );
            for note in &facts.notes {
                line(&mut report, "note", note);
            }
            line(&mut report, "golden", &format!("{cases} cases, all as expected"));
            suggest(&mut report, &house.repository, key, version.signature());
        }
        Err(error) if !report.problem => problem(&mut report, &error.to_string()),
        Err(_) => {}
    }
    report
}

fn file(house: &House, path: &Path) -> Report {
    let mut report = Report { text: format!("{}\n", path.display()), problem: false };
    describe(&mut report, house, path);
    report
}

// False for a model that must not be opened here: it took a process with it.
fn describe(report: &mut Report, house: &House, path: &Path) -> bool {
    let bytes = path.metadata().map_or(0, |metadata| metadata.len());
    line(report, "size", &format!("{bytes} bytes"));
    if let Err(error) = house.loader().trial().open(path) {
        problem(report, &error.to_string());
        return false;
    }
    match session::inspect(&house.library, path) {
        Ok(Inspection { signature, opset, producer }) => {
            line(report, "opset", &opset.map_or_else(|| "unknown".to_owned(), |at| at.to_string()));
            line(report, "producer", &producer.unwrap_or_else(|| "unknown".to_owned()));
            for (what, specs) in [("input", &signature.inputs), ("output", &signature.outputs)] {
                for spec in specs {
                    line(report, what, &with_symbols(spec));
                }
            }
        }
        Err(error) => problem(report, &error.to_string()),
    }
    true
}

// Only what a person may want to say: sizes of dimensions that nobody can know but the owner.
fn suggest(report: &mut Report, repository: &Repository, key: &VersionKey, signature: &Signature) {
    let folder = repository.folder(&key.model);
    if folder.is_some_and(|folder| folder.join("model.toml").exists()) {
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
        .dims
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(size) => size.to_string(),
            Dim::Any(Some(symbol)) => symbol.to_string(),
            Dim::Any(None) => "any".to_owned(),
        })
        .collect();
    format!("{} {}[{}]", spec.name, spec.dtype, symbols.join(","))
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
