//! Programs of Debian 12, which operators run beside us: fetched, never installed.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::harness::tools::{command, project, run, there_are};

/// The folder of a program that `scripts/setup_debian.py` knows, fetched if need be; says so and
/// is none where this is no Debian 12.
pub fn program(name: &str) -> Option<PathBuf> {
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !system.contains("VERSION_CODENAME=bookworm") {
        writeln!(std::io::stderr(), "skipped: this is no Debian 12, whose {name} is taken").ok();
        return None;
    }
    if !there_are(&["python3", "apt-get", "dpkg"]) {
        return None;
    }
    let script = project().join("scripts/setup_debian.py");
    let told = run(command(Path::new("python3")).arg(script).arg(name));
    Some(PathBuf::from(told.trim()))
}

/// A port that nobody has now; who takes it in between makes the test fail, not pass.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}
