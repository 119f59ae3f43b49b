//! How many processors we may use, and one single-threaded runtime on each.
//!
//! One `current_thread` runtime per core, because with the usual work-stealing runtime every
//! wake-up may land on another core: measured, twice the CPU time per request (decision 0002).

use std::cell::Cell;
use std::fs;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;

/// Single-threaded runtimes, one a core, each on its own thread.
#[derive(Debug)]
pub struct CoreRuntimes {
    handles: Vec<Handle>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<Notify>,
    /// Closes when the last thread has ended.
    ended: Receiver<()>,
}

impl CoreRuntimes {
    /// Starts `count` runtimes on threads named `<name>-<n>`.
    ///
    /// # Errors
    ///
    /// The system's, if it gives no thread or no event queue.
    pub fn start(name: &str, count: usize) -> io::Result<Self> {
        let stop = Arc::new(Notify::new());
        let (running, ended) = crossbeam_channel::bounded(0);
        let (handles, threads) = (Vec::new(), Vec::new());
        let mut cores = Self { handles, threads, stop: Arc::clone(&stop), ended };
        for index in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            cores.handles.push(runtime.handle().clone());
            let (stop, running) = (Arc::clone(&stop), running.clone());
            let thread = std::thread::Builder::new().name(format!("{name}-{index}"));
            let body = move || {
                CORE.set(Some(index));
                runtime.block_on(stop.notified());
                drop(runtime);
                drop::<Sender<()>>(running);
            };
            cores.threads.push(thread.spawn(body)?);
        }
        Ok(cores)
    }

    /// Runs a task on the runtime of that index, taken round.
    pub fn spawn<F>(&self, index: usize, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(handle) = self.handles.get(index % self.handles.len()) {
            drop(handle.spawn(task));
        }
    }

    /// Drops what still runs there, and ends the threads; a thread that does not come back (from a
    /// model that loops for ever) is left behind after a second.
    pub fn stop(self) {
        // One permit a waiter: a thread that is not yet waiting must not miss it.
        for _ in &self.threads {
            self.stop.notify_one();
        }
        self.ended.recv_timeout(LAST_SECOND).ok();
        for thread in self.threads.into_iter().filter(JoinHandle::is_finished) {
            if thread.join().is_err() {
                tracing::error!("a core runtime panicked");
            }
        }
    }
}

/// Index of the core runtime whose thread this is; none on any other thread.
pub fn current() -> Option<usize> {
    CORE.get()
}

/// Processors this process may use: what the system shows, or less if its cgroup has a quota.
pub fn usable() -> usize {
    let shown = std::thread::available_parallelism().map_or(1, usize::from);
    quota().map_or(shown, |quota| quota.clamp(1, shown))
}

/// Processors that the quotas of the process's cgroups allow, rounded up; none without a quota.
///
/// In a container its own cgroup is the root; a service of systemd is in one below.
pub fn quota() -> Option<usize> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    least_quota(Path::new("/sys/fs/cgroup"), &own)
}

// Version 2 of cgroups has one line, `0::/path`; each folder above may have a quota too.
fn least_quota(root: &Path, own: &str) -> Option<usize> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let folders = Path::new(own).ancestors().map(|folder| root.join(folder));
    folders.filter_map(|folder| quota_of(&folder)).min()
}

fn quota_of(cgroup: &Path) -> Option<usize> {
    if let Ok(text) = fs::read_to_string(cgroup.join("cpu.max")) {
        return parse_quota(text.split_ascii_whitespace());
    }
    let read = |name: &str| fs::read_to_string(cgroup.join("cpu").join(name)).ok();
    let (quota, period) = (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?);
    parse_quota([quota.trim(), period.trim()].into_iter())
}

fn parse_quota<'a>(mut fields: impl Iterator<Item = &'a str>) -> Option<usize> {
    let quota: usize = fields.next()?.parse().ok()?;
    let period: usize = fields.next()?.parse().ok().filter(|&period| period > 0)?;
    Some(quota.div_ceil(period).max(1))
}

thread_local! {
    static CORE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// How long to wait for a core's thread to end.
const LAST_SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::{CoreRuntimes, least_quota, parse_quota};
    use std::sync::mpsc;

    #[test]
    fn a_quota_of_one_and_a_half_processors_uses_two() {
        assert_eq!(parse_quota("150000 100000".split(' ')), Some(2));
        assert_eq!(parse_quota("max 100000".split(' ')), None);
        assert_eq!(parse_quota(["-1", "100000"].into_iter()), None);
    }

    #[test]
    fn the_least_quota_above_a_process_holds() {
        let root = tempfile::tempdir().unwrap();
        let service = root.path().join("system.slice/tidegate.service");
        std::fs::create_dir_all(&service).unwrap();
        assert_eq!(least_quota(root.path(), "0::/system.slice/tidegate.service\n"), None);
        std::fs::write(service.join("cpu.max"), "max 100000\n").unwrap();
        std::fs::write(root.path().join("system.slice/cpu.max"), "300000 100000\n").unwrap();
        assert_eq!(least_quota(root.path(), "0::/system.slice/tidegate.service\n"), Some(3));
        std::fs::write(service.join("cpu.max"), "200000 100000\n").unwrap();
        assert_eq!(least_quota(root.path(), "0::/system.slice/tidegate.service\n"), Some(2));
        assert_eq!(least_quota(root.path(), "0::/\n"), None);
    }

    #[test]
    fn a_task_runs_on_the_thread_of_its_core() {
        let cores = CoreRuntimes::start("probe", 2).unwrap();
        let (told, hear) = mpsc::channel();
        for index in 0..4 {
            let told = told.clone();
            cores.spawn(index, async move {
                let name = std::thread::current().name().map(str::to_owned);
                told.send((index, name)).unwrap();
            });
        }
        let mut heard: Vec<_> = hear.iter().take(4).collect();
        heard.sort();
        assert_eq!(heard[3], (3, Some("probe-1".to_owned())));
        cores.stop();
    }
}
