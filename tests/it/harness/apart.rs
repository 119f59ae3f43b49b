//! Runs a test in a process of its own, where ONNX Runtime is told to keep to itself.
//!
//! Its telemetry is silenced by a variable, which must not be set once there are threads; and what
//! goes wrong in its code takes one test with it, not all.

use std::env;

use crate::harness::tools::command;

/// Runs the body of the test of that full name (`module::test`) apart, and fails as it fails.
pub fn apart(test: &str, body: impl FnOnce()) {
    #[expect(clippy::disallowed_methods, reason = "a word from the test to itself")]
    let is_apart = env::var(APART).is_ok();
    if is_apart {
        body();
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let output = command(&env::current_exe().expect("this test's own program"))
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(APART, "1")
        .env("ORT_DISABLE_TELEMETRY", "1")
        .env("HOME", home.path())
        .env("XDG_CACHE_HOME", home.path())
        .env("TMPDIR", home.path())
        .output()
        .expect("this test's own program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    assert!(said.contains("1 passed"), "there is no test {test}:\n{said}");
}

const APART: &str = "TIDEGATE_TEST_APART";
