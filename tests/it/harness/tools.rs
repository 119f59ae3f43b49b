//! Where the project's own tools are, and how to run a real client.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The project's folder.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether files made from the code are to be written (`make proto`, `make docs`) or compared.
pub fn regenerate() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a switch of the test, not of the server")]
    let switch = std::env::var("TIDEGATE_REGENERATE");
    switch.is_ok_and(|value| value == "1")
}

/// The Python of the test environment, which `make test` sets up.
pub fn python() -> PathBuf {
    project().join(".venv/bin/python")
}

/// Runs a script of `tests/clients` to its end and fails with all it said unless it succeeds.
pub fn run_client(script: &str, arguments: &[&str]) -> String {
    let python = python();
    assert!(python.exists(), "{} is missing: run `make test`", python.display());
    let output = command(&python)
        .arg(project().join("tests/clients").join(script))
        .args(arguments)
        .output()
        .expect("the test environment's Python starts");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{script} failed:\n{said}");
    said
}

/// A command, which only tests and the parts named in clippy.toml may start.
#[expect(clippy::disallowed_methods, reason = "tests start servers and clients")]
pub fn command(program: &Path) -> Command {
    Command::new(program)
}
