//! Servers behind a real proxy are restarted one by one, and no caller loses a request.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{self, Child, ChildStdout, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde::Deserialize;

use crate::harness::client::Client;
use crate::harness::debian;
use crate::harness::haproxy::Haproxy;
use crate::harness::iris;
use crate::harness::process::wait_until;
use crate::harness::repository::Repository;
use crate::harness::server::{Addresses, Server};
use crate::harness::tools::{command, project, python};

#[test]
fn two_servers_behind_a_proxy_are_restarted_in_turn_and_no_request_is_lost() {
    let Some(tools) = debian::program("haproxy") else { return };
    let repository = Repository::of(&["iris"]);
    let mut servers = [1, 2].map(|net| start(repository.path(), somewhere(net)));
    let addresses = servers.each_ref().map(Server::addresses);
    let proxy = Haproxy::before(&addresses, &tools);
    proxy.wait_for_servers(2);
    let stop = AtomicBool::new(false);
    let (over_http, over_grpc) = thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        let callers: Vec<_> =
            (0..CALLERS).map(|_| scope.spawn(|| ask_until_stopped(proxy.http(), &stop))).collect();
        let steady = Steady::asking(proxy.grpc());
        for _ in 0..ROUNDS {
            for server in &mut servers {
                // Nothing is proved by the end of a server that nobody asks.
                wait_until("both protocols are used", || {
                    let page = server.metrics();
                    let open = |protocol: &&str| {
                        let line = format!("tidegate_connections{{protocol=\"{protocol}\"}} ");
                        let counts = page.lines().find_map(|found| found.strip_prefix(&line));
                        counts.is_some_and(|count| count != "0")
                    };
                    ["http", "grpc"].iter().all(open)
                });
                restart(server, repository.path());
                proxy.wait_for_servers(2);
            }
        }
        stop.store(true, Ordering::SeqCst);
        let over_http: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        (over_http, steady.finish())
    });
    assert_eq!(over_grpc.failures, Vec::<String>::new());
    for asked in over_http {
        assert_eq!(asked.failures, Vec::<String>::new());
        // One for each end of a server at least, or the callers were not on those that ended.
        assert!(asked.connections > ROUNDS, "{asked:?}");
    }
    assert!(over_grpc.answers.iter().all(|&answers| answers > ROUNDS), "{over_grpc:?}");
}

#[test]
fn answers_of_a_server_that_leaves_say_that_the_connection_ends() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve_configured("[server]\ndrain_delay_s = 600");
    let mut client = Client::connect(server.addresses().http);
    let body = iris::body();
    let first = client.ask("POST", "/v2/models/iris/infer", &body);
    assert!(!first.headers.contains("connection: close"), "{}", first.headers);
    server.tell_to_stop();
    server.wait_for_log("stopping");
    for path in ["/v2/models/iris/infer", "/v2/models/nobody/infer", "/v2"] {
        // Whoever comes is still let in.
        let mut client = Client::connect(server.addresses().http);
        let method = if path == "/v2" { "GET" } else { "POST" };
        let last = client.ask(method, path, &body);
        assert!(last.headers.contains("connection: close"), "{path}: {}", last.headers);
        assert!(client.answer().is_none(), "the connection ends after its last answer");
    }
    let last = client.ask("POST", "/v2/models/iris/infer", &body);
    assert!(last.headers.contains("connection: close"), "{}", last.headers);
    // The second signal ends the delay.
    assert!(server.terminate().success());
}

/// Triton's gRPC client in several threads, in a process of its own.
#[derive(Debug)]
struct Steady {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

/// What became of the calls of a caller over HTTP.
#[derive(Debug)]
struct Asked {
    connections: usize,
    failures: Vec<String>,
}

/// What became of the calls of all callers over gRPC.
#[derive(Debug, Deserialize)]
struct Counts {
    answers: Vec<usize>,
    failures: Vec<String>,
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Steady {
    fn asking(to: SocketAddr) -> Self {
        let mut child = command(&python())
            .arg(project().join("tests/clients/steady_grpc.py"))
            .args([to.to_string(), CALLERS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test environment's Python starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a readable pipe");
        assert_eq!(line, "asking\n");
        Self { child, stdout }
    }

    fn finish(mut self) -> Counts {
        drop(self.child.stdin.take());
        let mut told = String::new();
        self.stdout.read_to_string(&mut told).expect("a readable pipe");
        serde_json::from_str(&told).expect("counts")
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

// Keeps its connection for as long as it is told that it may, and sends nothing twice.
fn ask_until_stopped(to: SocketAddr, stop: &AtomicBool) -> Asked {
    let mut client = Client::connect(to);
    let mut asked = Asked { connections: 1, failures: Vec::new() };
    let body = iris::body();
    while !stop.load(Ordering::SeqCst) {
        let reply = client.try_ask("POST", "/v2/models/iris/infer", &body);
        let read = reply.as_ref().ok_or("the connection ended before the answer".to_owned());
        let failure = read.and_then(iris::read).err();
        let is_last = reply.is_none_or(|reply| reply.headers.contains("connection: close"));
        asked.failures.extend(failure);
        if is_last {
            client = Client::connect(to);
            asked.connections += 1;
        }
    }
    asked
}

fn start(models: &Path, at: Addresses) -> Server {
    Server::at(models, at, &[("TIDEGATE_SERVER_DRAIN_DELAY_S", "1")])
}

fn restart(server: &mut Server, models: &Path) {
    let at = server.addresses();
    server.tell_to_stop();
    assert!(server.ended().success());
    *server = start(models, at);
}

// A host of its own on the loopback network: its ports stay free while their server is away.
fn somewhere(net: u8) -> Addresses {
    let [.., high, low] = process::id().to_be_bytes();
    let free = SocketAddr::from((Ipv4Addr::new(127, net, high, low), 0));
    Addresses { http: free, grpc: free, metrics: free, admin: free }
}

/// Of each protocol.
const CALLERS: usize = 4;

/// How often each server is restarted.
const ROUNDS: usize = 2;
