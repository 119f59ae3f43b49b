//! What can be asked on the command line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::app::cli::change::{self, ChangeFlags};
use crate::app::cli::check::{self, CheckFlags};
use crate::app::cli::completions::{self, CompletionsFlags};
use crate::app::cli::doctor::{self, DoctorFlags};
use crate::app::cli::exit;
use crate::app::cli::infer::{self, InferFlags};
use crate::app::cli::models::{self, ModelsFlags};
use crate::app::cli::ready::{self, ReadyFlags};
use crate::app::cli::serve::{self, ServeFlags};
use crate::app::cli::stats::{self, StatsFlags};
use crate::app::cli::try_load::{self, TryLoadFlags};
use crate::app::cli::version::{self, VersionFlags};
use crate::serving::runtime::onnx::trial;

/// A high-performance ONNX model-serving gateway with built-in lifecycle hooks.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, max_term_width = 100, after_help = exit::CODES)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a folder of models over HTTP and gRPC.
    Serve(ServeFlags),
    /// Say what a model is, and whether it would serve.
    Check(CheckFlags),
    /// Say whether this machine is fit to serve, and what to change.
    Doctor(DoctorFlags),
    /// List the models and versions of a running server.
    Models(ModelsFlags),
    /// Show requests, failures and times of each version that answers.
    Stats(StatsFlags),
    /// Say whether a server, or one of its models, is ready.
    Ready(ReadyFlags),
    /// Load what a model's policy wants, or one version into standby.
    Load(ChangeFlags),
    /// Take a model out of service, or one version out of standby.
    Unload(ChangeFlags),
    /// Send one inference, and print the outputs.
    Infer(InferFlags),
    /// Print the versions of this program, of ONNX Runtime and of the server.
    Version(VersionFlags),
    /// Print completions for a shell.
    Completions(CompletionsFlags),
    /// Open a model in this process, which may crash.
    #[command(name = trial::COMMAND, hide = true)]
    TryLoad(TryLoadFlags),
}

/// The command line as it is declared, for completions and for the page about it.
pub fn line() -> clap::Command {
    Line::command()
}

/// Runs what the arguments ask for; [`exit`] says what the exit codes mean.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let asked = match Line::try_parse_from(arguments) {
        Ok(asked) => asked,
        Err(error) => {
            // Help and version come this way too, with code 0.
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match asked.command {
        Command::Serve(flags) => serve::serve(&flags),
        Command::Check(flags) => check::check(&flags),
        Command::Doctor(flags) => doctor::doctor(&flags),
        Command::Models(flags) => models::models(&flags),
        Command::Stats(flags) => stats::stats(&flags),
        Command::Ready(flags) => ready::ready(&flags),
        Command::Load(flags) => change::load(&flags),
        Command::Unload(flags) => change::unload(&flags),
        Command::Infer(flags) => infer::infer(&flags),
        Command::Version(flags) => version::version(&flags),
        Command::Completions(flags) => {
            completions::completions(&flags, &line());
            Ok(())
        }
        Command::TryLoad(flags) => try_load::try_load(&flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            exit::code(&error)
        }
    }
}

#[expect(clippy::print_stderr, reason = "the command line speaks to people")]
fn report(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
