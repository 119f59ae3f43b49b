//! The real OpenTelemetry Collector, built here, which writes down the spans it takes.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::harness::collector::Span;
use crate::harness::debian::free_address;
use crate::harness::tools::{command, once, own_tools, project, run};

/// A collector that takes OTLP over gRPC and shows it on its standard error.
#[derive(Debug)]
pub struct Collector {
    child: Child,
    address: SocketAddr,
    lines: Lines<BufReader<ChildStderr>>,
    _home: TempDir,
}

impl Collector {
    /// Starts one, and returns when it is ready; builds it first, the first time (90 s).
    pub fn start() -> Self {
        let (home, address) = (tempfile::tempdir().expect("a temporary folder"), free_address());
        let config = home.path().join("config.yaml");
        fs::write(&config, configuration(address)).expect("a writable folder");
        let mut child = command(&build())
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the collector starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.contains("Everything is ready")));
        assert!(ready, "the collector ended before it was ready");
        Self { child, address, lines, _home: home }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and returns every span that it was sent.
    pub fn finish(mut self) -> Vec<Span> {
        let kill = command(Path::new("/bin/kill")).arg(self.child.id().to_string()).status();
        assert!(kill.expect("kill starts").success(), "the collector was not running");
        let lines: Vec<String> =
            self.lines.by_ref().map(|line| line.expect("a readable pipe")).collect();
        read(&lines)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

// `name : value` lines after `Span #n`, as the debug exporter writes them with all details.
fn read(lines: &[String]) -> Vec<Span> {
    let (mut spans, mut service) = (Vec::new(), String::new());
    for line in lines {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("-> service.name: Str(") {
            name.trim_end_matches(')').clone_into(&mut service);
        }
        if line.starts_with("Span #") {
            spans.push(Span {
                service: service.clone(),
                trace_id: String::new(),
                id: String::new(),
                parent: String::new(),
                state: String::new(),
                name: String::new(),
                kind: String::new(),
                start: 0,
                end: 0,
                attributes: json!({}),
                status: String::new(),
            });
        }
        let (Some(span), Some((name, value))) = (spans.last_mut(), line.split_once(':')) else {
            continue;
        };
        let place = match name.trim() {
            "Trace ID" => &mut span.trace_id,
            "Parent ID" => &mut span.parent,
            "ID" => &mut span.id,
            "Name" => &mut span.name,
            "Kind" => &mut span.kind,
            _ => continue,
        };
        value.trim().clone_into(place);
    }
    for span in &mut spans {
        span.kind = format!("SPAN_KIND_{}", span.kind.to_uppercase());
    }
    spans
}

fn build() -> PathBuf {
    let folder = project().join(".tools/otelcol");
    let manifest = manifest(&folder);
    once(&own_tools().join("otelcol.manifest"), &manifest, || {
        fs::create_dir_all(&folder).expect("a writable folder");
        let file = folder.join("manifest.yaml");
        fs::write(&file, &manifest).expect("a writable folder");
        let mut install = command(Path::new("go"));
        let builder = format!("go.opentelemetry.io/collector/cmd/builder@v{VERSION}");
        run(install.args(["install", &builder]).env("GOBIN", own_tools()));
        let mut build = command(&own_tools().join("builder"));
        run(build.arg("--config").arg(&file).current_dir(&folder).env("CGO_ENABLED", "0"));
    });
    folder.join("otelcol")
}

fn manifest(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "dist: {{name: otelcol, output_path: {folder}}}\n\
         receivers: [{{gomod: go.opentelemetry.io/collector/receiver/otlpreceiver v{VERSION}}}]\n\
         exporters: [{{gomod: go.opentelemetry.io/collector/exporter/debugexporter v{VERSION}}}]\n"
    )
}

fn configuration(address: SocketAddr) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '{address}'}}}}}}}}\n\
         exporters: {{debug: {{verbosity: detailed}}}}\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  \
         pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}\n"
    )
}

const VERSION: &str = "0.165.0";
