//! The client programs that users copy get an answer, run as they lie there.
//!
//! Each is run where its tools are on the PATH; where they are not, its test says so and passes.
//! What a program depends on is fetched by its own package manager, once: into `target`, `.tools`
//! and `node_modules`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::server::Server;
use crate::harness::tools::{command, once, own_tools, project, python, run, there_are};

#[test]
fn python_over_http_gets_an_answer() {
    let client = example("python", &python(), &["infer_http.py"]);
    gets_an_answer(client, Server::start().addresses().http);
}

#[test]
fn python_over_http_with_asyncio_gets_an_answer() {
    let client = example("python", &python(), &["infer_http_asyncio.py"]);
    gets_an_answer(client, Server::start().addresses().http);
}

#[test]
fn python_over_grpc_gets_an_answer() {
    let client = example("python", &python(), &["infer_grpc.py"]);
    gets_an_answer(client, Server::start().addresses().grpc);
}

#[test]
fn python_over_grpc_with_asyncio_gets_an_answer() {
    let client = example("python", &python(), &["infer_grpc_asyncio.py"]);
    gets_an_answer(client, Server::start().addresses().grpc);
}

#[test]
fn go_over_http_gets_an_answer() {
    if there_are(&["go"]) {
        let client = example("go", Path::new("go"), &["run", "infer.go"]);
        gets_an_answer(client, Server::start().addresses().http);
    }
}

#[test]
fn java_over_http_gets_an_answer() {
    // A runtime without the compiler cannot run a source file.
    if there_are(&["java", "javac"]) {
        let client = example("java", Path::new("java"), &["Infer.java"]);
        gets_an_answer(client, Server::start().addresses().http);
    }
}

#[test]
fn node_over_http_gets_an_answer() {
    if there_are(&["node"]) {
        let client = example("node", Path::new("node"), &["infer_http.js"]);
        gets_an_answer(client, Server::start().addresses().http);
    }
}

#[test]
fn node_over_grpc_gets_an_answer() {
    if there_are(&["node", "npm"]) {
        install_packages();
        let client = example("node", Path::new("node"), &["infer_grpc.js"]);
        gets_an_answer(client, Server::start().addresses().grpc);
    }
}

#[test]
fn rust_over_http_gets_an_answer() {
    if there_are(&["cargo"]) {
        let mut client = example("rust", Path::new("cargo"), &["run", "--quiet", "--locked", "--"]);
        // Beside `tmp` in the folder that cargo builds the tests in, wherever that is.
        client.env("CARGO_TARGET_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/../examples"));
        gets_an_answer(client, Server::start().addresses().http);
    }
}

#[test]
fn curl_gets_an_answer() {
    if there_are(&["bash", "curl", "jq"]) {
        let client = example("", Path::new("bash"), &["curl.sh"]);
        gets_an_answer(client, Server::start().addresses().http);
    }
}

#[test]
fn grpcurl_gets_an_answer() {
    if there_are(&["bash", "go", "jq"]) {
        install_grpcurl();
        let mut client = example("", Path::new("bash"), &["grpcurl.sh"]);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(own_tools()).chain(std::env::split_paths(&path));
        client.env("PATH", std::env::join_paths(folders).expect("a path without colons"));
        gets_an_answer(client, Server::start().addresses().grpc);
    }
}

/// A program in a folder of the examples, which asks no proxy for this machine.
fn example(folder: &str, program: &Path, arguments: &[&str]) -> Command {
    let mut client = command(program);
    client.current_dir(examples().join(folder)).args(arguments);
    client.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
    client
}

/// Runs the program against the server, and expects what all of them print.
fn gets_an_answer(mut client: Command, server: SocketAddr) {
    assert_eq!(run(client.arg(server.to_string())), "iris version 2 says 2\n", "{client:?}");
}

/// Installs what Node's gRPC client needs, unless what the lock file says is there.
fn install_packages() {
    let folder = examples().join("node");
    let lock = fs::read_to_string(folder.join("package-lock.json")).expect("a lock file");
    once(&folder.join("node_modules/.tidegate-installed"), &lock, || {
        let mut npm = command(Path::new("npm"));
        run(npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder));
    });
}

/// Builds grpcurl, in the version that its example names, into the project's tools.
fn install_grpcurl() {
    let script = fs::read_to_string(examples().join("grpcurl.sh")).expect("the example is there");
    let install = script.lines().find_map(|line| line.strip_prefix("#   go install "));
    let package = install.expect("the example says how to install grpcurl");
    once(&own_tools().join("grpcurl.version"), package, || {
        let mut go = command(Path::new("go"));
        // Not optimised, it is built in two thirds of the time (40 s instead of 60 s, two cores).
        go.args(["install", "-gcflags=all=-N -l", package]);
        run(go.env("GOBIN", own_tools()).env("CGO_ENABLED", "0"));
    });
}

fn examples() -> PathBuf {
    project().join("examples/clients")
}
