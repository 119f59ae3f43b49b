//! The fuzzer that needs no nightly: changes what it has, and keeps what shows something new.
//!
//! `make fuzz NAME=json SECONDS=600`; without a name all bodies have their turn.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::panic;
use std::time::Duration;

use tidegate::platform::clock::{Clock, System};

use super::bodies::{ALL, Body};
use super::corpus;
use super::mutation::Mutator;
use crate::harness::tools::project;

#[test]
#[ignore = "takes as long as it is told to; make fuzz"]
fn no_body_breaks_its_promise_whatever_the_bytes() {
    let (name, seconds) = (told("TIDEGATE_FUZZ_NAME"), told("TIDEGATE_FUZZ_SECONDS"));
    let seconds = seconds.map_or(5, |seconds| seconds.parse().expect("a number of seconds"));
    let seed = told("TIDEGATE_FUZZ_SEED").map(|seed| seed.parse().expect("a number"));
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let mut found = 0;
    for (one, body) in ALL {
        if name.as_deref().is_none_or(|name| name == *one) {
            found += 1;
            fuzz(one, *body, Duration::from_secs(seconds), seed);
        }
    }
    assert!(found > 0, "there is no body {name:?}");
}

#[test]
fn a_thousand_changes_of_each_corpus_break_no_promise() {
    for (name, body) in ALL {
        let mut pool = Pool::new(name, 7);
        for _ in 0..1_000 {
            pool.turn(*body);
        }
    }
}

/// Inputs that show something new, each.
struct Pool {
    inputs: Vec<Vec<u8>>,
    seen: BTreeSet<String>,
    mutator: Mutator,
    present: Vec<u8>,
}

impl Pool {
    fn new(name: &str, seed: u64) -> Self {
        let inputs = corpus::of(name).into_iter().map(|(_, data)| data).collect();
        let (seen, mutator) = (BTreeSet::new(), Mutator::new(seed));
        Self { inputs, seen, mutator, present: Vec::new() }
    }

    fn turn(&mut self, body: Body) {
        self.present = self.mutator.change(&self.inputs);
        let seen = body(&self.present);
        if self.inputs.len() < MOST_INPUTS && self.seen.insert(kind(&seen)) {
            self.inputs.push(self.present.clone());
        }
    }
}

// Without its numbers and names, what a body says tells what kind of input this was.
fn kind(seen: &str) -> String {
    let unquoted = seen.split(['\'', '"']).step_by(2);
    unquoted.flat_map(str::chars).filter(|c| !c.is_ascii_digit()).take(80).collect()
}

fn fuzz(name: &str, body: Body, long: Duration, seed: u64) {
    let mut pool = Pool::new(name, seed);
    let (started, before) = (System.now(), resident_mib());
    let mut turns = 0_u64;
    // All follows from it, also where nobody is left to say what happened.
    println!("{name}: seed {seed}");
    while System.now().saturating_duration_since(started) < long {
        for _ in 0..256 {
            let turn = panic::catch_unwind(panic::AssertUnwindSafe(|| pool.turn(body)));
            if turn.is_err() {
                let (kept, finding) = (pool.inputs.len(), keep(name, &pool.present));
                panic!("{name}, seed {seed}, turn {turns}, {kept} inputs: {finding}");
            }
            turns += 1;
        }
    }
    let (kept, grown) = (pool.inputs.len(), resident_mib() - before);
    let a_second = turns / long.as_secs().max(1);
    println!("{name}: {turns} turns, {a_second} a second, {kept} inputs, {grown:.1} MiB");
    assert!(grown < 64.0, "{name}: memory grew by {grown:.1} MiB");
}

// A finding is for the corpus, once it is mended.
fn keep(name: &str, data: &[u8]) -> String {
    let folder = project().join("fuzz/findings");
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{name}-{:016x}", fastrand::u64(..)));
    fs::write(&path, data).expect("a finding");
    path.display().to_string()
}

fn resident_mib() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("this process");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.expect("a number of pages") * 4096.0 / 1_048_576.0
}

fn told(variable: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "said to the fuzzer, not to the server")]
    let value = env::var(variable);
    value.ok().filter(|value| !value.is_empty())
}

/// Enough to be varied, few enough to be in a cache.
const MOST_INPUTS: usize = 4_000;
