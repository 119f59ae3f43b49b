//! `tidegate doctor`: whether this machine is fit to serve.

use std::fmt::{Display, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use crate::app::cli::print;
use crate::app::config::{self, Config};
use crate::platform::{cores, machine};
use crate::serving::repository::layout::Repository;
use crate::serving::runtime::onnx::library::Library;
use crate::serving::runtime::onnx::providers;

/// Flags of `tidegate doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorFlags {
    /// Configuration file (TOML); without it, `tidegate.toml` here, if there is one.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Good,
    /// It would serve, but not as well as it could.
    Warning,
    /// It would not serve.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    health: Health,
    found: String,
    /// What to change, where something should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// Looks at all that a server needs, and prints what it found.
///
/// # Errors
///
/// If anything would keep a server from serving.
pub fn doctor(flags: &DoctorFlags) -> anyhow::Result<()> {
    let config = config::load(flags.config.as_deref()).and_then(|config| {
        config.check()?;
        Ok(config)
    });
    let mut findings = Vec::new();
    match &config {
        Ok(_) => findings.push(Finding::good("configuration", "can be read".to_owned())),
        Err(error) => {
            let advice = "correct it; what follows holds for the defaults".to_owned();
            findings.push(Finding::new("configuration", Health::Problem, (error, advice)));
        }
    }
    let config = config.unwrap_or_default();
    findings.extend(libraries(&config));
    findings.push(processor());
    findings.push(processors(&config));
    findings.push(open_files(&config));
    findings.push(models(&config));
    let problems = findings.iter().filter(|finding| finding.health == Health::Problem).count();
    print::out(&if flags.json { json(&findings)? } else { text(&findings) });
    if problems > 0 {
        bail!("{problems} with a problem, expected none");
    }
    Ok(())
}

impl Finding {
    fn good(what: &'static str, found: String) -> Self {
        Self { what, health: Health::Good, found, advice: None }
    }

    fn new(what: &'static str, health: Health, (found, advice): (impl Display, String)) -> Self {
        Self { what, health, found: format!("{found:#}"), advice: Some(advice) }
    }
}

fn libraries(config: &Config) -> Vec<Finding> {
    let library = match Library::open(&config.libraries()) {
        Ok(library) => library,
        Err(error) => {
            let health = Health::Problem;
            let found = error.to_string();
            return vec![Finding { what: "ONNX Runtime", health, found, advice: None }];
        }
    };
    let found = format!("{} at {}", library.version(), library.path().display());
    let mut findings = vec![Finding::good("ONNX Runtime", found)];
    let offered = providers::offered();
    for provider in config.runtime.providers.as_slice() {
        let found = format!("{provider} is in the library");
        findings.push(if offered.iter().any(|offered| offered == provider.name()) {
            Finding::good("provider", found)
        } else {
            let found = format!("{provider} is not in the library");
            let advice = "take it out of runtime.providers, or set runtime.library to a build of \
                          ONNX Runtime that has it"
                .to_owned();
            Finding::new("provider", Health::Problem, (found, advice))
        });
    }
    findings
}

fn processor() -> Finding {
    let instructions = machine::instructions();
    let has: Vec<&str> =
        instructions.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    let name = machine::processor().unwrap_or_else(|| "name unknown".to_owned());
    let found = format!("{name}; {}", has.join(" "));
    match instructions.first() {
        Some((needed, false)) => {
            let advice = format!("models run several times faster on a processor with {needed}");
            Finding::new("processor", Health::Warning, (found, advice))
        }
        Some((_, true)) | None => Finding::good("processor", found),
    }
}

fn processors(config: &Config) -> Finding {
    let (usable, asked) = (cores::usable(), config.runtime.cores);
    let quota = match cores::quota() {
        Some(quota) => format!("the cgroup's quota is {quota}"),
        None => "the cgroup has no quota".to_owned(),
    };
    let threads = if asked > 0 { asked } else { usable };
    let found = format!("{threads} I/O and {threads} inference threads on {usable}; {quota}");
    if asked <= usable {
        return Finding::good("cores", found);
    }
    let advice = format!(
        "threads beyond the processors wait for each other: leave runtime.cores out, or set it to \
         {usable}, or raise the quota to {asked}"
    );
    Finding::new("cores", Health::Warning, (found, advice))
}

fn open_files(config: &Config) -> Finding {
    let connections = config.limits.connections as u64;
    let needed = connections + OTHER_FILES;
    let Some(limit) = machine::open_files() else {
        return Finding::good("open files", "no limit".to_owned());
    };
    let found = format!("at most {limit}, for up to {connections} connections");
    if limit >= needed {
        return Finding::good("open files", found);
    }
    let advice = format!(
        "raise the limit to {needed} (`ulimit -n`, LimitNOFILE= of systemd, --ulimit nofile= of \
         docker), or set limits.connections to {}",
        limit.saturating_sub(OTHER_FILES).max(1)
    );
    Finding::new("open files", Health::Warning, (found, advice))
}

fn models(config: &Config) -> Finding {
    let path = &config.repository.path;
    let advice = "put models at <models>/<name>/<version>/model.onnx, and set repository.path or \
                  --models to that folder"
        .to_owned();
    let found = Repository::open(path, None).and_then(|repository| repository.models());
    match found {
        Ok(models) if models.is_empty() => {
            let found = format!("none in {}", path.display());
            Finding::new("models", Health::Warning, (found, advice))
        }
        Ok(models) => Finding::good("models", format!("{} in {}", models.len(), path.display())),
        Err(error) => {
            let error = anyhow::Error::from(error);
            Finding::new("models", Health::Problem, (error, advice))
        }
    }
}

fn json(findings: &[Finding]) -> anyhow::Result<String> {
    let text = serde_json::to_string_pretty(findings).context("findings")?;
    Ok(format!("{text}\n"))
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { what, health, found, advice } in findings {
        let health = match health {
            Health::Good => "ok",
            Health::Warning => "warning",
            Health::Problem => "problem",
        };
        writeln!(text, "{health:7}  {what:13}  {found}").ok();
        if let Some(advice) = advice {
            writeln!(text, "{:7}  {:13}  -> {advice}", "", "").ok();
        }
    }
    text
}

/// Descriptors beside connections: listeners, event queues, models, the library.
const OTHER_FILES: u64 = 512;
