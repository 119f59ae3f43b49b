//! Many wrong requests in a row leave memory level.

use std::fs;

use super::ask::Asker;
use super::row::Row;
use super::tables;

#[test]
fn thousands_of_wrong_requests_leave_memory_level() {
    // What is a megabyte or more comes and goes by tens of them; in a long run that evens out.
    let large = ["mega", "million", "000"];
    let small = |row: &Row| !large.iter().any(|word| row.what.contains(word));
    let rows: Vec<Row> = tables::usual().into_iter().filter(small).collect();
    let (before, after) = valleys_mib(&rows, 3_000);
    println!("VAL {before:.2} {after:.2}");
}

#[test]
#[ignore = "takes a minute; make soak"]
fn ten_thousand_wrong_requests_leave_memory_level() {
    let (before, after) = valleys_mib(&tables::usual(), 10_000);
    println!("up to wrong request 1,000: {before:.2} MiB, up to 10,000: {after:.2} MiB");
    println!("VAL {before:.2} {after:.2}");
}

// Sends every row once, then draws rows; tells the least memory up to the 1,000th and up to the
// last, each over as many requests: what one of 64 MiB took is given back a little later. Each
// answer is checked too.
fn valleys_mib(rows: &[Row], last: usize) -> (f64, f64) {
    let asker = Asker::new("");
    asker.ask_all(rows);
    let mut random = fastrand::Rng::with_seed(7);
    let (mut before, mut after) = (f64::INFINITY, f64::INFINITY);
    for count in 1..=last {
        let row = random.choice(rows).expect("a table of rows");
        assert_eq!(asker.ask(row), None, "{row:?}");
        if (WINDOW..=2 * WINDOW).contains(&count) {
            before = before.min(resident_now_mib(&asker));
        }
        if count > last - WINDOW {
            after = after.min(resident_now_mib(&asker));
        }
    }
    (before, after)
}

fn resident_now_mib(asker: &Asker) -> f64 {
    let path = format!("/proc/{}/statm", asker.server().pid());
    let statm = fs::read_to_string(path).expect("a process");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.expect("a number of pages") * 4096.0 / 1_048_576.0
}

const WINDOW: usize = 500;
