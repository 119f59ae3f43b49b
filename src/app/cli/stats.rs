//! `tidegate stats`: requests, failures and times of each version that answers.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::app::cli::client::{Client, Http};
use crate::app::cli::print::{self, Column, Table};
use crate::platform::clock::{Clock, System};

/// Flags of `tidegate stats`.
#[derive(Clone, Debug, Args)]
pub struct StatsFlags {
    /// One model.
    #[arg(value_name = "MODEL")]
    pub model: Option<String>,
    /// Count for that many seconds instead of since each version was loaded, and show the rate.
    #[arg(long, value_name = "S", conflicts_with = "json")]
    pub over: Option<u64>,
    /// Print the server's answer as JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the server is.
    #[command(flatten)]
    pub server: Http,
}

#[derive(Deserialize)]
struct Statistics {
    model_stats: Vec<Version>,
}

#[derive(Clone, Deserialize)]
struct Version {
    name: String,
    #[serde(rename = "version")]
    number: String,
    last_inference: u64,
    inference_count: u64,
    inference_stats: Parts,
}

#[derive(Clone, Copy, Deserialize)]
struct Parts {
    success: Part,
    fail: Part,
    queue: Part,
    compute_infer: Part,
}

#[derive(Clone, Copy, Deserialize)]
struct Part {
    count: u64,
    ns: u64,
}

/// Prints a table of counts and mean times.
///
/// # Errors
///
/// An unknown model, or a server that does not answer.
pub fn stats(flags: &StatsFlags) -> anyhow::Result<()> {
    let client = flags.server.client()?;
    let path = flags.model.as_ref().map_or(String::new(), |model| format!("/{model}"));
    let path = format!("/v2/models{path}/stats");
    if flags.json {
        print::body(&client.get(&path)?.done()?.body);
        return Ok(());
    }
    let mut versions = read(&client, &path)?;
    let mut seconds = None;
    if let Some(over) = flags.over {
        let began = System.now();
        std::thread::sleep(Duration::from_secs(over));
        let later = read(&client, &path)?;
        seconds = Some(System.now().saturating_duration_since(began).as_secs_f64());
        versions = between(&versions, later);
    }
    if versions.is_empty() {
        print::out("no version answers\n");
        return Ok(());
    }
    print::out(&table(&versions, seconds));
    Ok(())
}

fn read(client: &Client, path: &str) -> anyhow::Result<Vec<Version>> {
    Ok(client.get(path)?.done()?.read::<Statistics>()?.model_stats)
}

// What was counted from one look to the next. A version that was loaded anew counts from 0 again.
fn between(before: &[Version], later: Vec<Version>) -> Vec<Version> {
    let known: BTreeMap<(&str, &str), &Version> =
        before.iter().map(|version| ((&*version.name, &*version.number), version)).collect();
    let since = |mut version: Version| {
        if let Some(before) = known.get(&(&*version.name, &*version.number)) {
            let (now, then) = (&mut version.inference_stats, &before.inference_stats);
            let anew = now.success.count < then.success.count || now.fail.count < then.fail.count;
            if !anew {
                version.inference_count -= before.inference_count;
                now.success.take(then.success);
                now.fail.take(then.fail);
                now.queue.take(then.queue);
                now.compute_infer.take(then.compute_infer);
            }
        }
        version
    };
    later.into_iter().map(since).collect()
}

impl Part {
    fn take(&mut self, then: Self) {
        self.count = self.count.saturating_sub(then.count);
        self.ns = self.ns.saturating_sub(then.ns);
    }

    fn mean(self) -> String {
        match self.ns.checked_div(self.count) {
            Some(ns) => time(ns),
            None => "-".to_owned(),
        }
    }
}

fn table(versions: &[Version], seconds: Option<f64>) -> String {
    let mut columns = vec![
        Column::words("MODEL"),
        Column::numbers("VERSION"),
        Column::numbers("REQUESTS"),
        Column::numbers("FAILED"),
        Column::numbers("ROWS"),
        Column::numbers("MEAN"),
        Column::numbers("QUEUE"),
        Column::numbers("RUN"),
        Column::numbers("LAST"),
    ];
    columns.extend(seconds.map(|_| Column::numbers("PER SECOND")));
    let mut table = Table::new(columns);
    for version in versions {
        let Parts { success, fail, queue, compute_infer } = version.inference_stats;
        let requests = success.count + fail.count;
        let mut cells = vec![
            version.name.clone(),
            version.number.clone(),
            requests.to_string(),
            fail.count.to_string(),
            version.inference_count.to_string(),
            success.mean(),
            queue.mean(),
            compute_infer.mean(),
            ago(version.last_inference),
        ];
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        cells.extend(seconds.map(|seconds| format!("{:.1}", requests as f64 / seconds)));
        table.row(cells);
    }
    table.text()
}

fn time(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{}.{} us", ns / 1_000, ns % 1_000 / 100),
        1_000_000..1_000_000_000 => format!("{}.{} ms", ns / 1_000_000, ns % 1_000_000 / 100_000),
        _ => format!("{}.{} s", ns / 1_000_000_000, ns % 1_000_000_000 / 100_000_000),
    }
}

fn ago(last_ms: u64) -> String {
    if last_ms == 0 {
        return "never".to_owned();
    }
    let now = System.wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seconds = now.saturating_sub(Duration::from_millis(last_ms)).as_secs();
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::{Part, Parts, Version, ago, between, table, time};

    fn seen(count: u64, ns: u64) -> Version {
        let part = Part { count, ns };
        let fail = Part { count: 0, ns: 0 };
        Version {
            name: "iris".to_owned(),
            number: "2".to_owned(),
            last_inference: 0,
            inference_count: count,
            inference_stats: Parts { success: part, fail, queue: part, compute_infer: part },
        }
    }

    #[test]
    fn a_rate_is_of_what_was_counted_between_two_looks() {
        let between = between(&[seen(10, 1_000)], vec![seen(30, 41_000)]);
        let shown = table(&between, Some(2.0));
        let cells: Vec<&str> = shown.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(cells[..5], ["iris", "2", "20", "0", "20"]);
        assert_eq!(cells[5..7], ["2.0", "us"]);
        assert_eq!(cells.last(), Some(&"10.0"));
    }

    #[test]
    fn a_version_loaded_anew_counts_from_the_start() {
        let between = between(&[seen(10, 1_000)], vec![seen(3, 900)]);
        assert_eq!(between[0].inference_count, 3);
    }

    #[test]
    fn times_read_well() {
        assert_eq!([time(950), time(224_295), time(1_250_000)], ["0.9 us", "224.2 us", "1.2 ms"]);
        assert_eq!(time(2_500_000_000), "2.5 s");
        assert_eq!(ago(0), "never");
    }
}
