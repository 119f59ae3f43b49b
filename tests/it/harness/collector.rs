//! What stands where a collector of traces does, and the spans it was sent.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use crate::harness::tools::{command, project, python};

/// A receiver of spans made of the published messages, in a process of its own.
#[derive(Debug)]
pub struct Receiver {
    child: Child,
    address: SocketAddr,
    lines: Lines<BufReader<ChildStdout>>,
}

/// A span as it arrived.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Span {
    /// Who made it.
    pub service: String,
    /// Its trace, in hex.
    pub trace_id: String,
    /// Itself, in hex.
    #[serde(rename = "span_id")]
    pub id: String,
    /// What it is below of, in hex; empty for nothing.
    pub parent: String,
    /// The caller's `tracestate`.
    #[serde(default)]
    pub state: String,
    /// What it is about.
    pub name: String,
    /// `SPAN_KIND_SERVER`, say.
    pub kind: String,
    /// Nanoseconds since the Unix epoch.
    pub start: u64,
    /// Nanoseconds since the Unix epoch.
    pub end: u64,
    /// Names and values.
    pub attributes: Value,
    /// `STATUS_CODE_UNSET`, say.
    pub status: String,
}

impl Receiver {
    /// Starts one that refuses so many exports before it takes any.
    pub fn refusing(exports: u32) -> Self {
        let mut child = command(&python())
            .arg(project().join("tests/clients/otlp_receiver.py"))
            .args(["--refuse", &exports.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test environment's Python starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = lines.next().expect("a line before its end").expect("a readable pipe");
        let first: Value = serde_json::from_str(&first).expect("a line of JSON");
        let port = first.pointer("/port").and_then(Value::as_u64);
        let port = port.and_then(|port| port.try_into().ok());
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("a port")));
        Self { child, address, lines }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The section of a configuration that sends traces there.
    pub fn section(&self, ratio: f64) -> String {
        format!("[traces]\nendpoint = \"http://{}\"\nratio = {ratio}\n", self.address)
    }

    /// Waits for the next span.
    pub fn next(&mut self) -> Span {
        let line = self.lines.next().expect("a span before its end").expect("a readable pipe");
        serde_json::from_str(&line).expect("a span")
    }

    /// Ends it, and returns every span that it was sent and that was not asked for yet.
    pub fn finish(mut self) -> Vec<Span> {
        drop(self.child.stdin.take());
        let lines = self.lines.by_ref().map(|line| line.expect("a readable pipe"));
        lines.map(|line| serde_json::from_str(&line).expect("a span")).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
