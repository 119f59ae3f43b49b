//! Killed at any moment while versions come and go, a server comes back with what it should serve.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::iris;
use crate::harness::process::wait_until;
use crate::harness::repository::{Repository, demo};
use crate::harness::server::Server;

#[test]
fn a_server_killed_six_times_comes_back_with_what_policies_and_folder_name() {
    kill_and_restart(3);
}

#[test]
#[ignore = "takes minutes; make soak"]
fn a_server_killed_two_hundred_times_comes_back_with_what_policies_and_folder_name() {
    kill_and_restart(100);
}

// Each round kills one server that started while versions came and went, and one that came back to a
// folder at rest and then saw it change.
fn kill_and_restart(rounds: u64) {
    let repository = Repository::new();
    let mut folder = Folder::new(repository.path());
    for round in 0..rounds {
        folder = churn_and_kill(&repository, folder);
        let server = repository.watch(50);
        folder.check(&server, round);
        for _ in 0..=folder.dice.roll(12) {
            folder.change();
            folder.ask_all(&server);
        }
        // Dropping it kills it, whatever it does with the last changes.
        drop(server);
    }
    let server = repository.watch(50);
    folder.check(&server, rounds);
}

fn churn_and_kill(repository: &Repository, mut folder: Folder) -> Folder {
    let (stop, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let until = folder.dice.roll(40);
    thread::scope(|scope| {
        let (stop, changes) = (&stop, &changes);
        let churn = scope.spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                folder.change();
                changes.fetch_add(1, Ordering::SeqCst);
                // Yields, so that the folder is at rest now and then.
                thread::park_timeout(Duration::from_millis(10));
            }
            folder
        });
        let stops = StopOnDrop(stop);
        let server = repository.watch(50);
        let since = changes.load(Ordering::SeqCst);
        wait_until("versions come and go", || changes.load(Ordering::SeqCst) >= since + until);
        drop(server);
        drop(stops);
        churn.join().expect("the folder can be changed")
    })
}

/// A folder of models that changes, and what should be served of it.
struct Folder {
    models: Vec<Model>,
    dice: Dice,
}

struct Model {
    name: &'static str,
    policy: Policy,
    root: Box<Path>,
    /// What is there: whether it can be loaded.
    versions: BTreeMap<u64, bool>,
    next: u64,
}

#[derive(Clone, Copy)]
enum Policy {
    Latest(usize),
    All,
    Specific(&'static [u64]),
}

/// Numbers that look like chance; the same ones every time.
struct Dice(u64);

struct StopOnDrop<'a>(&'a AtomicBool);

impl Folder {
    fn new(root: &Path) -> Self {
        let policies = [
            ("newest", Policy::Latest(1), ""),
            ("two", Policy::Latest(2), "versions = { latest = 2 }\n"),
            ("every", Policy::All, "versions = { all = true }\n"),
            ("chosen", Policy::Specific(&[1, 3]), "versions = { specific = [1, 3] }\n"),
        ];
        let models = policies.map(|(name, policy, said)| {
            let (root, versions) = (root.into(), BTreeMap::new());
            let mut model = Model { name, policy, root, versions, next: 1 };
            model.put(true);
            if !said.is_empty() {
                fs::write(model.root.join(name).join("model.toml"), said)
                    .expect("a model's folder");
            }
            model
        });
        Self { models: models.into(), dice: Dice(0x9e37_79b9_7f4a_7c15) }
    }

    fn change(&mut self) {
        let dice = &mut self.dice;
        let place = dice.roll(self.models.len());
        let model = self.models.get_mut(place).expect("a model");
        let (what, which) = (dice.roll(6), dice.roll(MOST));
        match what {
            _ if model.versions.len() >= MOST => model.remove(which),
            0 => model.put(false),
            1 | 2 => model.remove(which),
            _ => model.put(true),
        }
    }

    // A model that has a good version is answered for, whatever comes and goes.
    fn ask_all(&self, server: &Server) {
        for model in &self.models {
            model.ask(server, "");
        }
    }

    fn check(&self, server: &Server, round: u64) {
        for model in &self.models {
            let expected = model.expected();
            let view = server.admin("GET", &format!("/admin/v1/models/{}", model.name), "").1;
            let versions = view.get("versions").and_then(Value::as_array).expect("versions").iter();
            let serves = |version: &&Value| version.get("state").is_some_and(|at| at == "serving");
            let number = |version: &Value| version.get("version").and_then(Value::as_u64);
            let serving: Option<BTreeSet<u64>> = versions.filter(serves).map(number).collect();
            let serving = serving.expect("numbers");
            let there = &model.versions;
            assert_eq!(serving, expected, "round {round}, of {there:?}: {view}");
            let newest = expected.last().expect("a good version").to_string();
            assert_eq!(model.ask(server, ""), newest, "round {round}: {view}");
            for number in expected {
                let version = format!("/versions/{number}");
                assert_eq!(model.ask(server, &version), number.to_string());
            }
        }
    }
}

impl Model {
    // As a careful deployment does, by one rename.
    fn put(&mut self, good: bool) {
        let bytes = if good { demo("iris", 1 + self.next % 2) } else { b"no model".to_vec() };
        let beside = self.root.join(format!(".{}", self.name));
        fs::create_dir_all(&beside).expect("a new folder");
        fs::write(beside.join("model.onnx"), bytes).expect("a new file");
        let folder = self.folder(self.next);
        fs::create_dir_all(folder.parent().expect("a model's folder")).expect("a new folder");
        fs::rename(beside, folder).expect("a rename within the folder");
        self.versions.insert(self.next, good);
        self.next += 1;
    }

    // The nth, unless there would be nothing left that may serve.
    fn remove(&mut self, nth: usize) {
        let place = nth % self.versions.len();
        let number = *self.versions.keys().nth(place).expect("a version");
        let good = self.versions.remove(&number).expect("a version");
        if self.expected().is_empty() {
            self.versions.insert(number, good);
            return;
        }
        let gone = self.root.join(format!(".gone-{}", self.name));
        fs::rename(self.folder(number), &gone).expect("a rename within the folder");
        fs::remove_dir_all(gone).expect("a folder of ours");
    }

    // What the policy names, of what can be loaded.
    fn expected(&self) -> BTreeSet<u64> {
        let good = self.versions.iter().rev().filter(|&(_, &good)| good).map(|(&number, _)| number);
        match self.policy {
            Policy::Latest(most) => good.take(most).collect(),
            Policy::All => good.collect(),
            Policy::Specific(chosen) => good.filter(|number| chosen.contains(number)).collect(),
        }
    }

    fn ask(&self, server: &Server, version: &str) -> String {
        let path = format!("/v2/models/{}{version}/infer", self.name);
        let reply = server.http("POST", &path, &iris::body());
        assert_eq!(reply.status, 200, "{path}: {}", reply.json());
        let answered = reply.json().get("model_version").and_then(Value::as_str).map(str::to_owned);
        answered.expect("the version that answered")
    }

    fn folder(&self, number: u64) -> Box<Path> {
        self.root.join(self.name).join(number.to_string()).into()
    }
}

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let place = self.0 % u64::try_from(sides).expect("a few sides");
        usize::try_from(place).expect("less than the sides")
    }
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Versions of one model at most.
const MOST: usize = 6;
