//! A server in a process of its own, as users run it, and plain HTTP to talk to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

use crate::harness::process::wait_until;
use crate::harness::tools::{command, project};

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    addresses: Addresses,
    greeting: String,
    home: TempDir,
    log: NamedTempFile,
}

/// Where it listens.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub struct Addresses {
    /// HTTP.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// Metrics and probes.
    pub metrics: SocketAddr,
    /// Admin.
    pub admin: SocketAddr,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Header lines, as they came, in lower case.
    pub headers: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Server {
    /// Starts a server on the project's demo models.
    pub fn start() -> Self {
        Self::on(&project().join("models"))
    }

    /// Starts a server on a folder of models, and returns when it is ready.
    pub fn on(models: &Path) -> Self {
        Self::with(models, &[])
    }

    /// The same, with more arguments.
    ///
    /// Nothing is loaded later without a call: most tests say themselves what is loaded when.
    pub fn with(models: &Path, arguments: &[&str]) -> Self {
        let explicit =
            [("TIDEGATE_REPOSITORY_MODE", "explicit"), ("TIDEGATE_REPOSITORY_LOAD", "*")];
        Self::told(models, arguments, &explicit)
    }

    /// Starts a server with arguments and variables.
    pub fn told(models: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let models = models.to_str().expect("a path in UTF-8");
        let ports = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"];
        Self::hosted(&[&["--models", models], &ports[..], arguments].concat(), variables)
    }

    /// Starts a server at these addresses, where it can be started again after its end.
    pub fn at(models: &Path, listen: Addresses, variables: &[(&str, &str)]) -> Self {
        let Addresses { http, grpc, metrics, admin } = listen;
        let ports =
            [("--http", http), ("--grpc", grpc), ("--metrics", metrics), ("--admin", admin)];
        let ports = ports.map(|(flag, address)| [flag.to_owned(), address.to_string()]);
        let ports: Vec<&str> = ports.iter().flatten().map(String::as_str).collect();
        let models = models.to_str().expect("a path in UTF-8");
        Self::run(&[&["--models", models], &ports[..]].concat(), variables)
    }

    /// The same, as a hosting platform starts it: with variables, which may choose models and
    /// the addresses of callers.
    pub fn hosted(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let ports = ["--metrics", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        Self::run(&[&ports, arguments].concat(), variables)
    }

    fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let log = NamedTempFile::new().expect("a temporary file");
        let mut child = command(Path::new(env!("CARGO_BIN_EXE_tidegate")))
            .args(["serve", "--ready-fd", "1"])
            .args(arguments)
            .envs(variables.iter().copied())
            .env("ORT_DYLIB_PATH", library())
            .env("HOME", home.path())
            .env("XDG_CACHE_HOME", home.path())
            .env("TMPDIR", home.path())
            .current_dir(home.path())
            .stdout(Stdio::piped())
            .stderr(log.reopen().expect("a second handle"))
            .spawn()
            .expect("the server starts");
        let stdout = child.stdout.take().expect("a pipe");
        // The greeting comes first; the line of addresses says that the server is ready.
        let mut greeting = String::new();
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("a readable pipe");
            if let Ok(addresses) = serde_json::from_str(&line) {
                return Self { child, addresses, greeting, home, log };
            }
            greeting.push_str(&line);
            greeting.push('\n');
        }
        let said = std::fs::read_to_string(log.path()).unwrap_or_default();
        panic!("the server ended before it was ready: {:?}\n{said}", child.wait());
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What it showed whoever started it.
    pub fn greeting(&self) -> &str {
        &self.greeting
    }

    /// The folder it takes for its home, cache and temporary files; empty at the start.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).expect("a readable log")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks on the HTTP port.
    pub fn http(&self, method: &str, path: &str, body: &str) -> Reply {
        request(self.addresses.http, method, path, "", body.as_bytes())
    }

    /// Asks on the admin port, and reads JSON.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let reply = request(self.addresses.admin, method, path, "", body.as_bytes());
        (reply.status, reply.json())
    }

    /// The metrics page.
    pub fn metrics(&self) -> String {
        let reply = request(self.addresses.metrics, "GET", "/metrics", "", b"");
        String::from_utf8(reply.body).expect("metrics are text")
    }

    /// Waits until the metrics page has that line.
    pub fn wait_for_metric(&self, line: &str) {
        wait_until(line, || self.metrics().lines().any(|found| found == line));
    }

    /// Waits until it has logged that.
    pub fn wait_for_log(&self, text: &str) {
        wait_until(text, || self.log().contains(text));
    }

    /// Waits until the admin API shows the version in that state.
    pub fn wait_for_state(&self, model: &str, version: u64, state: &str) {
        let path = format!("/admin/v1/models/{model}/versions/{version}");
        let mut seen = Value::Null;
        for _ in 0..2_000 {
            seen = self.admin("GET", &path, "").1;
            if seen.get("state").and_then(Value::as_str) == Some(state) {
                return;
            }
            // Yields between looks at the state itself; the number of looks is the bound.
            std::thread::park_timeout(Duration::from_millis(5));
        }
        panic!("{model}/{version} is not {state}: {seen}");
    }

    /// Waits until it has that file open.
    pub fn wait_until_it_reads(&self, file: &Path) {
        let folder = format!("/proc/{}/fd", self.pid());
        for _ in 0..10_000 {
            let mut open = std::fs::read_dir(&folder).expect("a process").flatten();
            if open.any(|entry| std::fs::read_link(entry.path()).is_ok_and(|path| path == file)) {
                return;
            }
            // As above: the number of looks is the bound.
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("{} is not read", file.display());
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(self) -> ExitStatus {
        self.tell_to_stop();
        self.wait()
    }

    /// Sends SIGTERM.
    pub fn tell_to_stop(&self) {
        let kill = command(Path::new("/bin/kill")).arg(self.child.id().to_string()).status();
        assert!(kill.expect("kill starts").success(), "the server was not running");
    }

    /// Waits for the end of a server that was told to stop.
    pub fn wait(mut self) -> ExitStatus {
        self.ended()
    }

    /// The same, for a server that is to be replaced.
    pub fn ended(&mut self) -> ExitStatus {
        for _ in 0..2_000 {
            if let Some(status) = self.child.try_wait().expect("a process of ours") {
                return status;
            }
            // As above: the number of looks is the bound.
            std::thread::park_timeout(Duration::from_millis(5));
        }
        panic!("the server was told to stop, and did not");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            println!("the server's log:\n{}", self.log());
        }
    }
}

impl Reply {
    /// The body as JSON; null where it is empty.
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// One HTTP/1.1 request on a connection of its own; `headers` are whole lines.
pub fn request(to: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\
         content-length: {}\r\n{headers}\r\n",
        body.len()
    );
    exchange(to, &[head.as_bytes(), body].concat())
}

/// Sends bytes as they are on a connection of its own, and reads the answer to the end.
pub fn exchange(to: SocketAddr, bytes: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(to).expect("the server listens");
    // A server that refuses early may have closed already, and then reset what still comes.
    stream.write_all(bytes).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    split(&answer)
}

fn split(answer: &[u8]) -> Reply {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(answer.get(..end).expect("a head")).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer.get(end + 4..).expect("a body").to_vec();
    Reply { status, headers: head, body }
}

/// The ONNX Runtime library that `make setup` fetched.
pub fn library() -> PathBuf {
    project().join(".tools/onnxruntime/1.32.0/lib/libonnxruntime.so")
}
