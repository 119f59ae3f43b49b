//! Inference threads that heavy versions share, turn by turn.
//!
//! A lane (one version's queue) is in the ring once for each run it may have at a time, takes one
//! turn, and goes to the back. So a version with a long queue delays another version by one run,
//! not by its queue.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

/// Work that waits for turns.
pub trait Lane: Send + Sync + 'static {
    /// Takes one turn on the calling thread; true if it wants to stand in the ring again.
    fn turn(&self) -> bool;
}

/// The ring of lanes, as those see it who put lanes in.
#[derive(Clone)]
pub struct Ring {
    sender: Sender<Turn>,
}

/// The threads that serve a ring.
#[derive(Debug)]
pub struct InferenceThreads {
    threads: Vec<JoinHandle<()>>,
    ring: Ring,
}

enum Turn {
    Of(Arc<dyn Lane>),
    Stop,
}

impl InferenceThreads {
    /// Starts `count` threads.
    ///
    /// # Errors
    ///
    /// The system's, if it gives no thread.
    pub fn start(count: usize) -> io::Result<Self> {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let ring = Ring { sender };
        let mut threads = Vec::new();
        for index in 0..count.max(1) {
            let (receiver, ring) = (receiver.clone(), ring.clone());
            let thread = std::thread::Builder::new().name(format!("infer-{index}"));
            threads.push(thread.spawn(move || serve(&receiver, &ring))?);
        }
        Ok(Self { threads, ring })
    }

    /// The ring they serve.
    pub fn ring(&self) -> Ring {
        self.ring.clone()
    }

    /// Ends the threads after the turns that are under way, and waits for them.
    pub fn stop(self) {
        for _ in &self.threads {
            self.ring.send(Turn::Stop);
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("an inference thread panicked");
            }
        }
    }
}

impl Ring {
    /// Puts a lane in, for one turn at least.
    pub fn enter(&self, lane: Arc<dyn Lane>) {
        self.send(Turn::Of(lane));
    }

    fn send(&self, turn: Turn) {
        // Fails only when every thread is gone, and then nobody waits for the turn either.
        drop(self.sender.send(turn));
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("waiting", &self.sender.len()).finish()
    }
}

fn serve(turns: &Receiver<Turn>, ring: &Ring) {
    while let Ok(Turn::Of(lane)) = turns.recv() {
        if lane.turn() {
            ring.enter(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{InferenceThreads, Lane};
    use parking_lot::Mutex;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    struct Counted {
        name: &'static str,
        left: AtomicUsize,
        log: Arc<Mutex<Vec<&'static str>>>,
        done: Mutex<mpsc::Sender<()>>,
        gate: Arc<Mutex<()>>,
    }

    impl Lane for Counted {
        fn turn(&self) -> bool {
            let _open = self.gate.lock();
            self.log.lock().push(self.name);
            let last = self.left.fetch_sub(1, Ordering::Relaxed) == 1;
            if last {
                self.done.lock().send(()).unwrap();
            }
            !last
        }
    }

    #[test]
    fn a_long_queue_delays_another_version_by_one_run() {
        let threads = InferenceThreads::start(1).unwrap();
        let (log, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(())));
        let (done, ended) = mpsc::channel();
        let closed = gate.lock();
        for (name, left) in [("long", 100), ("short", 1)] {
            let (log, gate) = (Arc::clone(&log), Arc::clone(&gate));
            let done = Mutex::new(done.clone());
            let left = AtomicUsize::new(left);
            threads.ring().enter(Arc::new(Counted { name, left, log, done, gate }));
        }
        drop(closed);
        ended.recv().unwrap();
        ended.recv().unwrap();
        threads.stop();
        assert_eq!(log.lock()[..3], ["long", "short", "long"]);
        assert_eq!(log.lock().len(), 101);
    }
}
