//! A model is swapped under load, and no caller notices anything but new answers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::Value;

use crate::harness::client::Client;
use crate::harness::iris::{self, Origin};
use crate::harness::repository::Repository;
use crate::harness::rpc::Rpc;
use crate::harness::server::Server;

#[test]
fn ten_swaps_under_load_fail_no_request_and_mix_no_versions() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    let load = Load::on(&server);
    let counts: Vec<usize> = thread::scope(|scope| {
        let _stop = StopOnDrop(&load.stop);
        let (told, news) = channel();
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (load, told) = (&load, told.clone());
                scope.spawn(move || load.ask_until_stopped(caller % 2 == 0, &told))
            })
            .collect();
        wait_for_all(&news, 0);
        for swap in 1..=SWAPS {
            load.swap();
            // Everybody gets an answer to a request that began after the swap, before the next.
            wait_for_all(&news, swap);
        }
        load.stop.store(true, Ordering::SeqCst);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert!(counts.iter().all(|&count| count > SWAPS), "{counts:?}");
    server.wait_for_state("iris", 1, "retired");
    assert_eq!(server.admin("GET", "/admin/v1/models/iris", "").1["serving"], 2);
    let page = server.metrics();
    let failed = page.lines().find(|line| {
        line.starts_with("tidegate_requests_total") && !line.contains("outcome=\"ok\"")
    });
    assert_eq!(failed, None);
}

/// Callers that keep asking while versions are swapped, and what their answers are held against.
#[derive(Debug)]
struct Load<'a> {
    server: &'a Server,
    /// Digests of versions 1 and 2.
    digests: [String; 2],
    /// Swaps that were asked for.
    begun: AtomicUsize,
    /// Swaps whose call has returned.
    in_force: AtomicUsize,
    stop: AtomicBool,
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl<'a> Load<'a> {
    fn on(server: &'a Server) -> Self {
        assert_eq!(server.admin("POST", "/admin/v1/models/iris/versions/1:load", "").0, 200);
        let digests = [1, 2].map(|version| {
            let path = format!("/admin/v1/models/iris/versions/{version}");
            let view = server.admin("GET", &path, "").1;
            view.get("digest").and_then(Value::as_str).expect("a digest").chars().take(12).collect()
        });
        let (begun, in_force) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { server, digests, begun, in_force, stop: AtomicBool::new(false) }
    }

    fn swap(&self) {
        let swap = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let path = format!("/admin/v1/models/iris/versions/{}:promote", after(swap));
        let (status, answer) = self.server.admin("POST", &path, r#"{"reason": "swap"}"#);
        assert_eq!(status, 200, "{answer}");
        self.in_force.fetch_add(1, Ordering::SeqCst);
    }

    fn ask_until_stopped(&self, http: bool, told: &Sender<Result<usize, String>>) -> usize {
        if http {
            let mut client = Client::connect(self.server.addresses().http);
            self.keep_asking(told, || {
                let reply = client.try_ask("POST", "/v2/models/iris/infer", &iris::body());
                iris::read(&reply.ok_or("the connection ended")?)
            })
        } else {
            let rpc = Rpc::connect(self.server.addresses().grpc);
            self.keep_asking(told, || {
                let answer = rpc.infer(iris::request()).map_err(|status| status.to_string())?;
                iris::read_message(&answer)
            })
        }
    }

    fn keep_asking(
        &self,
        told: &Sender<Result<usize, String>>,
        mut ask: impl FnMut() -> Result<Origin, String>,
    ) -> usize {
        let (mut count, mut last) = (0, None);
        while !self.stop.load(Ordering::SeqCst) {
            let since = self.in_force.load(Ordering::SeqCst);
            let answer = ask().and_then(|origin| self.check(&origin, since));
            let failed = answer.is_err();
            if failed || last != Some(since) {
                told.send(answer.map(|()| since)).ok();
                last = Some(since);
            }
            if failed {
                break;
            }
            count += 1;
        }
        count
    }

    // A version may answer if it was in force, or on its way, while the request was under way.
    fn check(&self, origin: &Origin, since: usize) -> Result<(), String> {
        let until = self.begun.load(Ordering::SeqCst);
        let in_time = (since..=until).any(|swap| after(swap) == origin.version);
        let own = if origin.version == 1 { &self.digests[0] } else { &self.digests[1] };
        if in_time && origin.digest == *own {
            return Ok(());
        }
        Err(format!("{origin:?} answered a request between swaps {since} and {until}"))
    }
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn wait_for_all(news: &Receiver<Result<usize, String>>, swap: usize) {
    for _ in 0..CALLERS {
        let seen = news.recv().expect("somebody goes on asking");
        assert_eq!(seen.expect("every request is answered rightly"), swap);
    }
}

// The newest version serves at the start; then they alternate.
fn after(swap: usize) -> u64 {
    if swap.is_multiple_of(2) { 2 } else { 1 }
}

/// Half of them over HTTP, half over gRPC.
const CALLERS: usize = 16;

const SWAPS: usize = 10;
