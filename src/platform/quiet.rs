//! Threads for long work that gives way to answering requests.
//!
//! Few, so that memory and disk are not fought for; of low priority, so that a model that loads
//! takes only the processor time that requests leave. Small work goes first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// The threads, as those see them who have work. Cloning shares them.
#[derive(Clone, Debug)]
pub struct QuietThreads {
    line: Arc<Line>,
}

/// The threads themselves; they end when this is dropped.
#[derive(Debug)]
pub struct Crew {
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    count: usize,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    work: BinaryHeap<Work>,
    taken: u64,
    closed: bool,
}

struct Work {
    size: u64,
    turn: u64,
    run: Box<dyn FnOnce() + Send>,
}

/// Lowers this thread's priority for good, and that of the threads that it starts.
///
/// # Errors
///
/// The system's, if it does not allow that.
pub fn give_way() -> io::Result<()> {
    // Of this thread alone: on Linux, priorities belong to threads.
    Ok(rustix::process::setpriority_process(None, NICE)?)
}

impl QuietThreads {
    /// Starts `count` threads.
    ///
    /// # Errors
    ///
    /// The system's, if it gives no thread.
    pub fn start(count: usize) -> io::Result<Crew> {
        let count = count.max(1);
        let line = Line { count, waiting: Mutex::default(), changed: Condvar::new() };
        let crew = Crew { line: Arc::new(line) };
        for index in 0..count {
            let line = Arc::clone(&crew.line);
            let thread = std::thread::Builder::new().name(format!("quiet-{index}"));
            // Not joined: a model that takes minutes to load must not hold up the end of the process.
            drop(thread.spawn(move || line.work())?);
        }
        Ok(crew)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.line.count
    }

    /// Takes work of that size, in any unit; smaller work goes first, equal in order.
    ///
    /// Work that comes after the threads were stopped is dropped.
    pub fn take(&self, size: u64, run: impl FnOnce() + Send + 'static) {
        let mut waiting = self.line.waiting.lock();
        if !waiting.closed {
            waiting.taken += 1;
            let turn = waiting.taken;
            waiting.work.push(Work { size, turn, run: Box::new(run) });
            self.line.changed.notify_one();
        }
    }
}

impl Crew {
    /// The threads, for those who have work.
    pub fn threads(&self) -> QuietThreads {
        QuietThreads { line: Arc::clone(&self.line) }
    }
}

impl Line {
    fn work(&self) {
        if let Err(error) = give_way() {
            tracing::warn!(%error, "loading has the same priority as answering");
        }
        while let Some(work) = self.next() {
            // Whoever waits sees its end of the channel closed; the next work needs the thread.
            if panic::catch_unwind(AssertUnwindSafe(work.run)).is_err() {
                tracing::error!("work on a quiet thread panicked");
            }
        }
    }

    fn next(&self) -> Option<Work> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some(work) = waiting.work.pop() {
                return Some(work);
            }
            self.changed.wait(&mut waiting);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let mut waiting = self.line.waiting.lock();
        waiting.closed = true;
        // Whoever waits for it sees its end of the channel closed.
        waiting.work.clear();
        drop(waiting);
        self.line.changed.notify_all();
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("size", &self.size).finish_non_exhaustive()
    }
}

impl PartialEq for Work {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Work {}

impl PartialOrd for Work {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

// The heap gives the greatest: the smallest size, then the earliest turn.
impl Ord for Work {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.size, other.turn).cmp(&(self.size, self.turn))
    }
}

/// One part in seventy of the processor where threads that answer want it too; all of it where they
/// do not. At 10, a tenth, 200 models that load at once cost callers twice as much (docs/performance.md).
const NICE: i32 = 19;

#[cfg(test)]
mod tests {
    use super::QuietThreads;
    use std::sync::mpsc;

    #[test]
    fn small_work_goes_first_and_equal_work_in_order() {
        let crew = QuietThreads::start(1).unwrap();
        let threads = crew.threads();
        let (told, hear) = mpsc::channel();
        let (open, opened) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        threads.take(0, move || {
            begun.send(()).unwrap();
            opened.recv().unwrap();
        });
        has_begun.recv().unwrap();
        for (size, name) in [(9, "large"), (1, "small"), (1, "small too"), (5, "middle")] {
            let told = told.clone();
            threads.take(size, move || told.send(name).unwrap());
        }
        open.send(()).unwrap();
        let heard: Vec<_> = hear.iter().take(4).collect();
        assert_eq!(heard, ["small", "small too", "middle", "large"]);
    }

    #[test]
    fn they_are_quieter_than_the_thread_that_asks() {
        let crew = QuietThreads::start(1).unwrap();
        let (told, hear) = mpsc::channel();
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let ours = nice();
        crew.threads().take(1, move || told.send(nice()).unwrap());
        assert!(hear.recv().unwrap() >= (ours + 1).min(19));
    }
}
