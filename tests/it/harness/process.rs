//! What the system shows of a server's process: its work, its files, its sockets.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::harness::server::Server;

/// A socket that a process holds.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Socket {
    /// TCP over IPv4 on this local port, listening or not.
    Tcp(u16),
    /// Joined to another one inside the process or handed over by whoever started it.
    UnixPair,
    /// Anything else, in the system's words.
    Other(String),
}

impl Server {
    /// Processor time that the inference threads have used, in the system's ticks.
    ///
    /// They sleep unless a heavy model runs, so the number tells whether a run is under way.
    pub fn run_ticks(&self) -> u64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("a process");
        let stats = threads.flatten().filter_map(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
            let (name, numbers) = stat.split_once(") ")?;
            let is_inference = name.split_once('(')?.1.starts_with("infer-");
            let mut times = numbers.split(' ').skip(UTIME).take(2);
            is_inference.then(|| times.try_fold(0, |sum, time| Some(sum + parse(time)?)))?
        });
        stats.sum()
    }

    /// Waits until a run is under way that was not when `before` was read.
    pub fn wait_for_run(&self, before: u64) {
        // Two ticks: one may come of a thread that only woke.
        wait_until("a run is under way", || self.run_ticks() >= before + 2);
    }

    /// The sockets that the process holds now.
    ///
    /// One that is being opened or closed is in no table of the system: then it looks again.
    pub fn sockets(&self) -> BTreeSet<Socket> {
        let mut sockets = BTreeSet::new();
        for _ in 0..200 {
            let of_process = format!("/proc/{}", self.pid());
            let links = fs::read_dir(format!("{of_process}/fd")).expect("a process").flatten();
            let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
            let inodes: Vec<String> = targets
                .map(|target| target.to_string_lossy().into_owned())
                .filter_map(|target| Some(target.strip_prefix("socket:[")?.replace(']', "")))
                .collect();
            let known = TABLES.map(|table| {
                let text = fs::read_to_string(format!("{of_process}/net/{table}"));
                (table, text.unwrap_or_default())
            });
            sockets = inodes.iter().map(|inode| describe(&known, inode)).collect();
            if !sockets.contains(&Socket::Other(NO_TABLE.to_owned())) {
                break;
            }
        }
        sockets
    }
}

/// Looks until it is so; the number of looks is the bound.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("not so after many looks: {what}");
}

// proc_pid_net(5): the inode is the tenth column of tcp, the seventh of unix.
fn describe(known: &[(&str, String)], inode: &str) -> Socket {
    let mut lines =
        known.iter().flat_map(|(table, text)| text.lines().map(move |line| (table, line)));
    let own = |line: &str| line.split_ascii_whitespace().any(|column| column == inode);
    let Some((table, line)) = lines.find(|(_, line)| own(line)) else {
        return Socket::Other(NO_TABLE.to_owned());
    };
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let port = columns.get(1).and_then(|local| local.split_once(':')).map(|(_, port)| port);
    match *table {
        "tcp" => port.and_then(|port| u16::from_str_radix(port, 16).ok()).map(Socket::Tcp),
        // A bound or connected one has a path as its eighth column.
        "unix" if columns.len() == 7 => Some(Socket::UnixPair),
        _ => None,
    }
    .unwrap_or_else(|| Socket::Other(format!("{table}: {line}")))
}

fn parse(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// Place of the user time after the name (`proc_pid_stat(5)`, field 14); system time follows.
const UTIME: usize = 11;

/// The system's tables of sockets, below `/proc/<pid>/net`.
const TABLES: [&str; 9] =
    ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet", "netlink", "unix"];

const NO_TABLE: &str = "in no table of the system";
