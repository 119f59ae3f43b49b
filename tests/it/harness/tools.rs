//! Where the project's own tools are, and how to run a real client.

use std::fs;
use std::io::Write as _;
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

/// What a command wrote to its standard output; fails with all it said unless it succeeds.
pub fn run(client: &mut Command) -> String {
    let output = client.output().unwrap_or_else(|error| panic!("{client:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{client:?} failed:\n{said}{complaint}");
    said
}

/// Whether these programs are on the PATH; if not, says which one is missing, captured or not.
pub fn there_are(programs: &[&str]) -> bool {
    let starts = |program: &&str| command(Path::new(program)).arg("--version").output().is_ok();
    let missing = programs.iter().find(|program| !starts(program));
    if let Some(missing) = missing {
        writeln!(std::io::stderr(), "skipped: no {missing} on this machine").ok();
    }
    missing.is_none()
}

/// Does the work unless a stamp says that it is done for these contents.
pub fn once(stamp: &Path, contents: &str, work: impl FnOnce()) {
    if fs::read_to_string(stamp).is_ok_and(|stamped| stamped == contents) {
        return;
    }
    work();
    fs::write(stamp, contents).expect("the folder of what was installed can be written");
}

/// Where tools are that a test built or fetched.
pub fn own_tools() -> PathBuf {
    project().join(".tools/bin")
}
