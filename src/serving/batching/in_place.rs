//! Runs on the thread that asks, for versions whose runs are short.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::domain::signature::Tensors;
use crate::platform::clock::Clock;
use crate::serving::batching::work::{Finished, QueueError, Ran, Work};
use crate::serving::runtime::engine::{Engine, Job, RunError};

/// Runs an engine where it is asked, and says if that was wrong.
pub struct InPlace {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    /// How many runs are still to be looked at closely, after one that took long.
    suspect: AtomicU32,
    /// Set by a run that worked far too long for its thread; never unset.
    too_long: AtomicBool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Ended {
    /// The outputs wanted.
    pub result: Result<Tensors, RunError>,
    /// When it began.
    pub started: Instant,
    /// When it was over.
    pub ended: Instant,
}

impl InPlace {
    /// Runs this engine.
    pub fn new(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>) -> Self {
        Self { engine, clock, suspect: AtomicU32::new(0), too_long: AtomicBool::new(false) }
    }

    /// What runs.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// What times it.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Whether runs worked too long for the threads that asked.
    pub fn is_too_long(&self) -> bool {
        self.too_long.load(Ordering::Relaxed)
    }

    /// Runs work that shares its run with nobody.
    pub fn run_alone(&self, work: &Work) -> Finished {
        let Ended { result, started, ended } = self.run(&work.inputs, &work.outputs);
        let ran = Some(Ran { started, ended, run_of: Some(work.rows) });
        Finished { result: result.map_err(QueueError::Run), ran }
    }

    /// Runs once, to the end.
    pub fn run(&self, inputs: &Tensors, outputs: &[usize]) -> Ended {
        let started = self.clock.now();
        let suspect = self.suspect.load(Ordering::Relaxed);
        let before = (suspect > 0).then(|| self.clock.worked());
        let result = self.engine.run(Job { inputs, outputs, switch: None }).wait();
        let ended = self.clock.now();
        let took_long = ended.saturating_duration_since(started) > FAR_TOO_LONG;
        match before {
            None if took_long => self.suspect.store(SUSPECT_RUNS, Ordering::Relaxed),
            None => {}
            Some(before) => self.look_closely(suspect, self.clock.worked().saturating_sub(before)),
        }
        Ended { result, started, ended }
    }

    // A run takes long because of its values (a larger batch, a loop), of which warm-up saw others,
    // or because the machine had no time for its thread, which moving it would not mend.
    fn look_closely(&self, suspect: u32, worked: Duration) {
        if worked > FAR_TOO_LONG {
            self.too_long.store(true, Ordering::Relaxed);
        } else {
            // Two at a time may count as one.
            self.suspect.store(suspect - 1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for InPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InPlace").field("too_long", &self.too_long).finish_non_exhaustive()
    }
}

/// A run that takes this long makes its version suspect; one that works so long then is too long.
const FAR_TOO_LONG: Duration = Duration::from_millis(10);

/// How many runs of a suspect version are timed by the processor's clock.
const SUSPECT_RUNS: u32 = 1_000;
