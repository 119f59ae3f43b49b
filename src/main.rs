//! Parses the command line and runs.

use std::process::ExitCode;

use tidegate::app::cli::command;
use tidegate::platform::memory;

fn main() -> ExitCode {
    memory::prepare_process();
    command::run(std::env::args_os())
}
