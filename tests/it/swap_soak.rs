//! Many swaps under load, by the repository API and by dropped files, leave memory level.
//!
//! Versions alternate between two models whose answers differ by a constant, so that values and
//! labels of an answer must tell the same version, and all values of it too.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::json;
use tidegate::api::oip::pb::inference as pb;

use crate::harness::client::Client;
use crate::harness::repository::Repository;
use crate::harness::rpc::{self, Rpc};
use crate::harness::server::Server;
use crate::harness::tools::{command, run, run_client};

#[test]
fn five_swaps_by_the_repository_api_fail_no_request() {
    assert_eq!(swap_under_load(Road::Call, 5).len(), 5);
}

#[test]
fn five_versions_and_five_broken_ones_dropped_in_fail_no_request() {
    assert_eq!(swap_under_load(Road::Drop, 5).len(), 5);
}

#[test]
#[ignore = "takes many seconds; make soak"]
fn fifty_swaps_by_the_repository_api_leave_memory_level() {
    is_level(&swap_under_load(Road::Call, 50));
}

#[test]
#[ignore = "takes many seconds; make soak"]
fn a_hundred_versions_and_a_hundred_broken_ones_dropped_in_leave_memory_level() {
    is_level(&swap_under_load(Road::Drop, 100));
}

#[test]
fn memory_that_the_library_does_not_give_back_is_reported_once_a_version() {
    let folder = tempfile::tempdir().unwrap();
    let (source, keeper) = (folder.path().join("keep.c"), folder.path().join("libkeep.so"));
    // ONNX Runtime's library frees its memory by this name; our own code does not.
    fs::write(&source, "void free(void *memory) { (void)memory; }\n").unwrap();
    run(command(Path::new("cc")).args(["-shared", "-fPIC", "-o"]).arg(&keeper).arg(&source));
    let repository = Repository::new();
    put(&repository, 1);
    let preload = [("LD_PRELOAD", keeper.to_str().expect("a path in UTF-8"))];
    let server = Server::told(repository.path(), &[], &preload);
    server.wait_for_metric(&format!("{UNRETURNED} 0"));
    let unload =
        || server.http("POST", &format!("/v2/repository/models/{MODEL}/unload"), "").status;
    assert_eq!(unload(), 200);
    server.wait_for_state(MODEL, 1, "retired");
    server.wait_for_metric(&format!("{UNRETURNED} 1"));
    let log = server.log();
    let lines: Vec<&str> =
        log.lines().filter(|line| line.contains("memory was not given back")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    // The file is a little larger than the table in it, and both are more than 8 MiB.
    let taken = lines[0].split("taken_bytes=").nth(1).and_then(|rest| rest.split(' ').next());
    let taken: u64 = taken.and_then(|taken| taken.parse().ok()).expect("a number");
    let file = fs::metadata(repository.folder(MODEL, 1).join("model.onnx")).unwrap().len();
    assert!((8 << 20..=file).contains(&taken), "{taken} of {file}");
    assert!(lines[0].contains(&format!("version={MODEL}/1")), "{}", lines[0]);
}

fn is_level(resident: &[f64]) {
    let slope = slope(resident.get(9..).expect("more swaps"));
    println!("MiB in memory after each swap: {resident:.1?}");
    println!("from swap 10 on, each adds {slope:.3} MiB");
    assert!(slope <= 0.1, "{slope:.3} MiB a swap: {resident:.1?}");
}

/// How a version comes into service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Road {
    /// By the repository API, one number after the other.
    Call,
    /// By its files alone; a broken version comes before each good one.
    Drop,
}

/// Callers that keep asking while versions are swapped.
#[derive(Debug)]
struct Load<'a> {
    server: &'a Server,
    /// The version whose load call has returned.
    in_force: AtomicU64,
    /// The version that was put into the folder.
    begun: AtomicU64,
    stop: AtomicBool,
}

struct StopOnDrop<'a>(&'a AtomicBool);

type News = Result<u64, String>;

// Swaps under load, and tells the MiB in memory after each, when the old version is gone.
fn swap_under_load(road: Road, swaps: u64) -> Vec<f64> {
    let repository = Repository::new();
    put(&repository, 1);
    let server = match road {
        Road::Call => repository.serve(),
        Road::Drop => repository.watch(50),
    };
    // An odd step, so that the two models take turns.
    let step = if road == Road::Call { 1 } else { 3 };
    let (in_force, begun) = (AtomicU64::new(1), AtomicU64::new(1));
    let load = Load { server: &server, in_force, begun, stop: AtomicBool::new(false) };
    let mut resident = Vec::new();
    thread::scope(|scope| {
        let _stop = StopOnDrop(&load.stop);
        let (told, news) = channel();
        for caller in 0..CALLERS {
            let (load, told) = (&load, told.clone());
            scope.spawn(move || load.ask_until_stopped(caller % 2 == 0, &told));
        }
        wait_for_all(&news, 1);
        for swap in 1..=swaps {
            let version = 1 + swap * step;
            match road {
                Road::Call => load.swap(&repository, version),
                Road::Drop => load.drop_in(&repository, version),
            }
            // Everybody gets an answer to a request that began after the swap, before the next.
            wait_for_all(&news, version);
            server.wait_for_state(MODEL, version - step, "retired");
            fs::remove_dir_all(repository.folder(MODEL, version - step)).expect("a folder");
            resident.push(resident_mib(&server));
        }
    });
    let page = server.metrics();
    let failed = page.lines().find(|line| {
        line.starts_with("tidegate_requests_total") && !line.contains("outcome=\"ok\"")
    });
    assert_eq!(failed, None);
    let unreturned = format!("{UNRETURNED} 0");
    assert!(page.lines().any(|line| line == unreturned), "{}", server.log());
    resident
}

impl Load<'_> {
    fn swap(&self, repository: &Repository, version: u64) {
        put(repository, version);
        self.begun.store(version, Ordering::SeqCst);
        let path = format!("/v2/repository/models/{MODEL}/load");
        let reply = self.server.http("POST", &path, "");
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        self.in_force.store(version, Ordering::SeqCst);
    }

    // The version before it is broken, and changes nothing.
    fn drop_in(&self, repository: &Repository, version: u64) {
        repository.drop_in(MODEL, version - 1, b"no model");
        self.server.wait_for_state(MODEL, version - 1, "failed");
        self.begun.store(version, Ordering::SeqCst);
        put(repository, version);
        self.server.wait_for_state(MODEL, version, "serving");
        self.in_force.store(version, Ordering::SeqCst);
        fs::remove_dir_all(repository.folder(MODEL, version - 1)).expect("a folder");
    }

    fn ask_until_stopped(&self, http: bool, told: &Sender<News>) {
        if http {
            let mut client = Client::connect(self.server.addresses().http);
            self.keep_asking(told, || ask_http(&mut client));
        } else {
            let rpc = Rpc::connect(self.server.addresses().grpc);
            self.keep_asking(told, || ask_grpc(&rpc));
        }
    }

    // Tells of the first answer in each version, and of the first failure, which is the last.
    fn keep_asking(&self, told: &Sender<News>, mut ask: impl FnMut() -> News) {
        let mut last = None;
        while !self.stop.load(Ordering::SeqCst) {
            let since = self.in_force.load(Ordering::SeqCst);
            let answer = ask().and_then(|version| {
                let until = self.begun.load(Ordering::SeqCst);
                let in_time = (since..=until).contains(&version);
                let stale = format!("{version} answered a request between {since} and {until}");
                in_time.then_some(since).ok_or(stale)
            });
            let failed = answer.is_err();
            if failed || last != Some(since) {
                last = Some(since);
                told.send(answer).ok();
            }
            if failed {
                return;
            }
        }
    }
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn wait_for_all(news: &Receiver<News>, version: u64) {
    for _ in 0..CALLERS {
        let seen = news.recv().expect("somebody goes on asking");
        assert_eq!(seen.expect("every request is answered rightly"), version);
    }
}

fn ask_http(client: &mut Client) -> News {
    let input = json!({"name": "index", "datatype": "INT64", "shape": [4], "data": PLACES});
    let body = json!({"inputs": [input]}).to_string();
    let reply = client.try_ask("POST", &format!("/v2/models/{MODEL}/infer"), &body);
    let reply = reply.ok_or("the connection ended")?;
    let answer = reply.json();
    let at = |path: &str| answer.pointer(path).cloned().unwrap_or_default();
    if reply.status != 200 {
        return Err(format!("{}: {answer}", reply.status));
    }
    let values: Vec<f32> = serde_json::from_value(at("/outputs/0/data"))
        .map_err(|error| format!("{error}: {answer}"))?;
    version_of(&values, at("/model_version").as_str().unwrap_or_default())
}

fn ask_grpc(rpc: &Rpc) -> News {
    let raw = PLACES.iter().flat_map(|place| place.to_le_bytes()).collect();
    let request = rpc::request(MODEL, ("index", "INT64"), &[4], raw);
    let answer: pb::ModelInferResponse = rpc.infer(request).map_err(|status| status.to_string())?;
    let raw = answer.raw_output_contents.first().ok_or("no output")?;
    let (words, _) = raw.as_chunks::<4>();
    let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    version_of(&values, &answer.model_version)
}

// The version that the label names, if all values are those of its model.
fn version_of(values: &[f32], label: &str) -> News {
    let version: u64 = label.parse().map_err(|_| format!("label {label}"))?;
    let step = if version.is_multiple_of(2) { 0.0 } else { 1000.0 };
    let expected = FOUND.map(|value| value + step);
    let is_own = values.iter().map(|value| value.to_bits()).eq(expected.map(f32::to_bits));
    is_own.then_some(version).ok_or(format!("{values:?} from version {version}"))
}

// A version's folder appears whole, by one rename.
fn put(repository: &Repository, version: u64) {
    let name = if version.is_multiple_of(2) { "even.onnx" } else { "odd.onnx" };
    let folder = repository.folder(MODEL, version);
    fs::create_dir_all(folder.parent().expect("a model's folder")).expect("a new folder");
    let new = tempfile::tempdir().expect("a temporary folder");
    fs::copy(models().join(name), new.path().join("model.onnx")).expect("a new file");
    fs::rename(new.keep(), folder).expect("one file system");
}

fn models() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("swap_models");
        run_client("make_swap_models.py", &[folder.to_str().expect("a path in UTF-8")]);
        folder
    })
}

fn resident_mib(server: &Server) -> f64 {
    let statm = fs::read_to_string(format!("/proc/{}/statm", server.pid())).expect("a process");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.expect("a number of pages") * 4096.0 / 1_048_576.0
}

// Least squares: how much a value is above the one before it.
fn slope(values: &[f64]) -> f64 {
    let count = u32::try_from(values.len()).expect("a few values");
    let middle = f64::from(count - 1) / 2.0;
    let places = || (0..count).map(|place| f64::from(place) - middle);
    let mean = values.iter().sum::<f64>() / f64::from(count);
    let together: f64 = places().zip(values).map(|(place, value)| place * (value - mean)).sum();
    together / places().map(|place| place * place).sum::<f64>()
}

const MODEL: &str = "swap";

const UNRETURNED: &str = "tidegate_unreturned_versions_total";

/// Half of them over HTTP, half over gRPC.
const CALLERS: usize = 32;

/// Where the table is looked up, and what is there: the place modulo 997.
const PLACES: [i64; 4] = [0, 1, 998, 2_097_151];
const FOUND: [f32; 4] = [0.0, 1.0, 1.0, 460.0];
