//! A server keeps to itself: it opens no connection and leaves no file behind.
//!
//! ONNX Runtime's telemetry would leave files in the cache folder and the temporary one within the
//! first second (seen with the switch of `platform::memory` taken out: `Microsoft`, `.ses`). Its
//! look-ups and uploads come later and are short, so a look at sockets may miss them.

use std::collections::BTreeSet;
use std::fs;

use crate::harness::client::Client;
use crate::harness::iris;
use crate::harness::process::Socket;
use crate::harness::repository::Repository;
use crate::harness::rpc::Rpc;

#[test]
fn a_server_that_works_opens_nothing_but_its_four_ports() {
    let repository = Repository::of(&["iris", "digits", "topics", "wine"]);
    let server = repository.serve();
    let addresses = server.addresses();
    let listeners = [addresses.http, addresses.grpc, addresses.metrics, addresses.admin];
    let ports: BTreeSet<u16> = listeners.iter().map(std::net::SocketAddr::port).collect();
    let mut client = Client::connect(addresses.http);
    let rpc = Rpc::connect(addresses.grpc);
    let mut seen = BTreeSet::new();
    for round in 0..20 {
        let version = 1 + round % 2;
        let path = format!("/admin/v1/models/iris/versions/{version}:promote");
        assert_eq!(server.admin("POST", &path, "").0, 200);
        iris::read(&client.ask("POST", "/v2/models/iris/infer", &iris::body())).unwrap();
        iris::read_message(&rpc.infer(iris::request()).unwrap()).unwrap();
        seen.extend(server.sockets());
    }
    // Pairs without a name join the signal handler of the runtime to itself.
    let is_ours = |socket: &Socket| match socket {
        Socket::Tcp(port) => ports.contains(port),
        Socket::UnixPair => true,
        Socket::Other(_) => false,
    };
    let foreign: Vec<&Socket> = seen.iter().filter(|socket| !is_ours(socket)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    for port in ports {
        assert!(seen.contains(&Socket::Tcp(port)), "the look at sockets misses port {port}");
    }
    let files: Vec<_> = fs::read_dir(server.home()).unwrap().map(|file| file.unwrap()).collect();
    assert!(files.is_empty(), "{files:?}");
}
