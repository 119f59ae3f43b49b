//! What the system says of this process: time, memory, descriptors, threads.

use std::fs;

/// This process at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// Seconds that processors spent for it.
    pub cpu_seconds: f64,
    /// When it began, in seconds since the Unix epoch.
    pub start_seconds: f64,
    /// Bytes of its address space.
    pub virtual_bytes: u64,
    /// Its threads.
    pub threads: u64,
    /// Its open file descriptors.
    pub open_fds: u64,
    /// How many it may open; none without a limit.
    pub max_fds: Option<u64>,
}

/// Reads `/proc`; `None` where the system has none. Takes as long as a few small files.
pub fn read() -> Option<Process> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let stat = parse_stat(&stat)?;
    let booted = parse_boot(&fs::read_to_string("/proc/stat").ok()?)?;
    // One of them is the descriptor that reads the folder.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    Some(Process {
        cpu_seconds: seconds(stat.cpu_ticks),
        start_seconds: booted + seconds(stat.start_ticks),
        virtual_bytes: stat.virtual_bytes,
        threads: stat.threads,
        open_fds: u64::try_from(open).ok()?,
        max_fds: parse_limit(&limits),
    })
}

#[derive(Debug, Eq, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
}

// The second field is the program's name in brackets, which may hold anything: fields are counted
// from behind the last bracket, where the third one begins (proc_pid_stat(5)).
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let field = |number: usize| fields.split_ascii_whitespace().nth(number - 3)?.parse().ok();
    let (user, system): (u64, u64) = (field(14)?, field(15)?);
    Some(Stat {
        cpu_ticks: user + system,
        threads: field(20)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
    })
}

fn parse_boot(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn parse_limit(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "2^53 ticks are three million years")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_A_SECOND
}

/// Linux shows 100 to programs on every processor we build for, whatever it uses within.
const TICKS_A_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::{Stat, parse_limit, parse_stat, read};

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 12 0 900 4096 5 6";
        let expected = Stat { cpu_ticks: 300, threads: 12, start_ticks: 900, virtual_bytes: 4096 };
        assert_eq!(parse_stat(text), Some(expected));
    }

    #[test]
    fn a_limit_that_is_not_set_is_none() {
        let line = |soft: &str| format!("Max open files            {soft}   1048576   files\n");
        assert_eq!(parse_limit(&line("1024")), Some(1024));
        assert_eq!(parse_limit(&line("unlimited")), None);
    }

    #[test]
    fn this_process_began_before_now_and_has_threads_and_descriptors() {
        let process = read().unwrap();
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        // A tick and the rounding of the boot time.
        assert!(process.start_seconds < now + 2.0, "{process:?}");
        assert!(process.start_seconds > now - 86_400.0, "{process:?}");
        assert!(process.threads >= 1 && process.open_fds >= 3, "{process:?}");
    }
}
