//! `tidegate completions`: what a shell needs to complete arguments.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::app::cli::print;

/// Flags of `tidegate completions`.
#[derive(Clone, Debug, Args)]
pub struct CompletionsFlags {
    /// The shell to write for.
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Prints the completions of a command line.
pub fn completions(flags: &CompletionsFlags, line: &Command) {
    // The writers of scripts know no hidden commands.
    let shown = line.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let about = line.get_about().cloned().unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    let mut line = Command::new("tidegate").version(version).about(about).subcommands(shown);
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut line, "tidegate", &mut script);
    print::out(&String::from_utf8_lossy(&script));
}
