//! What can be asked on the command line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::cli::check::{self, CheckFlags};
use crate::app::cli::serve::{self, ServeFlags};
use crate::app::cli::try_load::{self, TryLoadFlags};
use crate::serving::runtime::onnx::trial;

/// A high-performance ONNX model-serving gateway with built-in lifecycle hooks.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, max_term_width = 100)]
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
    /// Open a model in this process, which may crash.
    #[command(name = trial::COMMAND, hide = true)]
    TryLoad(TryLoadFlags),
}

/// Runs what the arguments ask for; the exit code is 0, 1 for a failure, 2 for wrong arguments.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line = match Line::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => {
            // Help and version come this way too, with code 0.
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match line.command {
        Command::Serve(flags) => serve::serve(&flags),
        Command::Check(flags) => check::check(&flags),
        Command::TryLoad(flags) => try_load::try_load(&flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the command line speaks to people")]
fn report(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
