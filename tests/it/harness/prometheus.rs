//! Debian's Prometheus, which scrapes a server of ours, and its promtool.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::debian::free_address;
use crate::harness::server::{Reply, exchange};
use crate::harness::tools::command;

/// A Prometheus of our own, with nothing but what it scraped since its start.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    _home: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes that metrics port twice a second; its programs lie in `tools`.
    pub fn scraping(tools: &Path, target: SocketAddr) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
             scrape_configs:\n\
             - {{job_name: tidegate, static_configs: [{{targets: ['{target}']}}]}}\n"
        );
        let file = home.path().join("prometheus.yml");
        fs::write(&file, config).expect("a writable folder");
        let address = free_address();
        let log = fs::File::create(home.path().join("log")).expect("a writable folder");
        let child = command(&tools.join("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", home.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage")
            .stderr(log)
            .spawn()
            .expect("Prometheus starts");
        let mut prometheus = Self { child, address, _home: home };
        prometheus.wait_for("that it is ready", |_| {
            // Until then its port is closed, and after that it answers 503.
            drop(TcpStream::connect(address).ok()?);
            (ask(address, "/-/ready").status == 200).then_some(())
        });
        prometheus
    }

    /// Asks its HTTP API, and returns the data.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let path = format!("/api/v1/{path}?{}", query.join("&"));
        let mut answer = ask(self.address, &path).json();
        let data = answer.get_mut("data").map(Value::take);
        data.unwrap_or_else(|| panic!("{path}: {answer}"))
    }

    /// The values of all series that an expression selects now.
    pub fn values(&self, expression: &str) -> Vec<String> {
        let data = self.get("query", &[("query", expression)]);
        let series = data.pointer("/result").and_then(Value::as_array).expect("a vector");
        let value = |one: &Value| Some(one.pointer("/value/1")?.as_str()?.to_owned());
        series.iter().map(|one| value(one).expect("a value")).collect()
    }

    /// Waits until an expression selects exactly these values.
    pub fn wait_for_values(&mut self, expression: &str, expected: &[&str]) {
        let what = format!("{expected:?} for {expression}");
        self.wait_for(&what, |this| (this.values(expression) == expected).then_some(()));
    }

    /// Waits until a look finds something.
    pub fn wait_for<T>(&mut self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        for _ in 0..LOOKS {
            if let Some(found) = look(self) {
                return found;
            }
            let ended = self.child.try_wait().expect("a process of ours");
            assert_eq!(ended, None, "Prometheus ended");
            std::thread::park_timeout(BETWEEN_LOOKS);
        }
        panic!("Prometheus never showed {what}");
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What `promtool check metrics` says of a page.
pub fn check_metrics(tools: &Path, page: &str) -> Output {
    let mut child = command(&tools.join("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(page.as_bytes()).expect("promtool reads the page");
    drop(pipe);
    child.wait_with_output().expect("promtool ends")
}

// HTTP/1.0, or a long answer would come in chunks.
fn ask(address: SocketAddr, path: &str) -> Reply {
    exchange(address, format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes())
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The bound of every wait, with the pause between looks at the state itself: twenty seconds.
const LOOKS: u32 = 1_000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
