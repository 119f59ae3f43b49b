//! Many wrong requests in a row leave memory level.

use std::fs;

use super::ask::Asker;
use super::row::{Answer, Row};
use super::tables;

#[test]
fn thousands_of_wrong_requests_leave_memory_level() {
    // What is a megabyte or more comes and goes by tens of them; in a long run that evens out.
    let large = ["mega", "million", "000"];
    let small = |row: &Row| !large.iter().any(|word| row.what.contains(word));
    let rows: Vec<Row> = tables::usual().into_iter().filter(small).collect();
    let (before, after) = levels_mib(&rows, 3_000);
    assert!(after - before <= 5.0, "{before:.2} MiB, then {after:.2}");
}

#[test]
#[ignore = "takes a minute; make soak"]
fn ten_thousand_wrong_requests_leave_memory_level() {
    let (before, after) = levels_mib(&tables::usual(), 10_000);
    println!("after wrong request 1,000: {before:.2} MiB, after 10,000: {after:.2} MiB");
    assert!(after - before <= 5.0, "{before:.2} MiB, then {after:.2}");
}

// Sends every row once, then draws rows; tells the memory after the 1,000th and after the last. Each
// answer is checked too.
fn levels_mib(rows: &[Row], last: usize) -> (f64, f64) {
    let asker = Asker::new("");
    asker.ask_all(rows);
    let mut random = fastrand::Rng::with_seed(7);
    let mut level_after = |count: usize| {
        for _ in 0..count {
            let row = random.choice(rows).expect("a table of rows");
            assert_eq!(asker.ask(row), None, "{row:?}");
        }
        level_mib(&asker)
    };
    let before = level_after(1_000);
    level_after(last - 1_000 - LOOKS * APART);
    let after = (0..LOOKS).map(|_| level_after(APART)).fold(f64::INFINITY, f64::min);
    (before, after)
}

// The least over a time of small requests: what one of 64 MiB took is given back a little later, at
// times only when the next large one comes, hence several looks.
fn level_mib(asker: &Asker) -> f64 {
    let calm =
        Row::call("no such path", "GET", "/v2/nothing", Answer::Http(404, "not_found.path", ""));
    let mut least = f64::INFINITY;
    for _ in 0..CALM {
        assert_eq!(asker.ask(&calm), None);
        least = least.min(resident_now_mib(asker));
    }
    least
}

fn resident_now_mib(asker: &Asker) -> f64 {
    let path = format!("/proc/{}/statm", asker.server().pid());
    let statm = fs::read_to_string(path).expect("a process");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.expect("a number of pages") * 4096.0 / 1_048_576.0
}

const CALM: usize = 1_000;

/// Looks at the end, and requests before each.
const LOOKS: usize = 6;
const APART: usize = 200;
