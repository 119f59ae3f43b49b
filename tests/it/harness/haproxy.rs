//! Debian's HAProxy, which passes TCP connections on to those servers of ours that say ready.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;

use tempfile::TempDir;

use crate::harness::debian::free_address;
use crate::harness::process::wait_until;
use crate::harness::server::{Addresses, exchange};
use crate::harness::tools::command;

/// A proxy of our own. Dropping it ends it.
#[derive(Debug)]
pub struct Haproxy {
    child: Child,
    http: SocketAddr,
    grpc: SocketAddr,
    statistics: SocketAddr,
    _home: TempDir,
}

impl Haproxy {
    /// Starts one before these servers; its program lies in `tools`.
    pub fn before(servers: &[Addresses], tools: &Path) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let [http, grpc, statistics] = [(); 3].map(|()| free_address());
        let mut text = BEGINNING.to_owned();
        for (name, bind) in [("http", http), ("grpc", grpc)] {
            write!(text, "listen {name}\n  bind {bind}\n  option httpchk GET /readyz\n").ok();
            for (place, server) in servers.iter().enumerate() {
                let to = if name == "http" { server.http } else { server.grpc };
                let ask = server.metrics;
                // Three checks a second by a long way: one that fails is enough, as is one that
                // does not.
                let check = format!("check addr {} port {} inter 100ms", ask.ip(), ask.port());
                writeln!(text, "  server server-{place} {to} {check} fall 1 rise 1").ok();
            }
        }
        write!(text, "listen statistics\n  mode http\n  bind {statistics}\n  stats enable\n").ok();
        writeln!(text, "  stats uri /").ok();
        let file = home.path().join("haproxy.cfg");
        fs::write(&file, text).expect("a writable folder");
        let log = fs::File::create(home.path().join("log")).expect("a writable folder");
        let child = command(&tools.join("haproxy"))
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .env("LD_LIBRARY_PATH", tools.join("lib"))
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("HAProxy starts");
        let proxy = Self { child, http, grpc, statistics, _home: home };
        wait_until("HAProxy listens", || std::net::TcpStream::connect(statistics).is_ok());
        proxy
    }

    /// Where it takes HTTP.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where it takes gRPC.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Waits until it sends callers of both protocols to that many servers.
    pub fn wait_for_servers(&self, count: usize) {
        wait_until(&format!("{count} servers are up"), || {
            let page = String::from_utf8(self.statistics()).expect("statistics are text");
            let up = |listener: &str| {
                let lines = page.lines().map(|line| line.split(',').collect::<Vec<_>>());
                let of_it = lines.filter(|line| line.first() == Some(&listener));
                let servers = of_it.filter(|line| {
                    let name = line.get(1).expect("a name");
                    name.starts_with("server-") && line.get(STATUS) == Some(&"UP")
                });
                servers.count()
            };
            up("http") == count && up("grpc") == count
        });
    }

    fn statistics(&self) -> Vec<u8> {
        exchange(self.statistics, b"GET /;csv HTTP/1.0\r\n\r\n").body
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// No connection is tried twice, so that a server which is still sent callers must take them. Checks
/// have long to wait, or a busy machine would look like a server that is not ready.
const BEGINNING: &str = "\
global
  nbthread 1
  maxconn 1000
defaults
  mode tcp
  retries 0
  timeout connect 10s
  timeout check 10s
  timeout client 1m
  timeout server 1m
";

/// The column of a server's state, in HAProxy's statistics (management guide, 9.1).
const STATUS: usize = 17;
