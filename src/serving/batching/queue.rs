//! One version's queue: where requests wait, and where they run.
//!
//! Light versions run at once, on the thread that asks: a run of microseconds costs less than
//! waking another thread. Heavy ones wait here, bounded, for an inference thread. Work whose
//! caller has left or whose deadline has passed is dropped before its run, and stopped during it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::domain::failure::{Code, Failure};
use crate::domain::signature::{Selection, Tensors};
use crate::platform::clock::Clock;
use crate::serving::batching::scheduler::{Lane, Ring};
use crate::serving::runtime::engine::{Engine, Job, RunError, Switch};

/// Where a version's runs happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Placement {
    /// On the thread that asks.
    InPlace,
    /// On the shared inference threads.
    Threads,
}

/// A version's queue.
#[derive(Clone, Debug)]
pub struct Queue {
    inner: Arc<Inner>,
}

/// How requests may wait in a queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// How many may wait, beside those that run.
    pub capacity: usize,
    /// How long one may wait before its run begins; none for as long as its deadline allows.
    pub wait: Option<Duration>,
}

/// What to run, and until when it is worth anything.
#[derive(Debug)]
pub struct Work {
    /// Checked tensors, in the order of the signature's inputs.
    pub inputs: Tensors,
    /// Positions of the outputs wanted.
    pub outputs: Selection,
    /// When nobody wants the answer any more.
    pub deadline: Option<Instant>,
}

/// What came of it, and when it ran.
#[derive(Debug)]
pub struct Finished {
    /// Tensors in the order of the outputs wanted.
    pub result: Result<Tensors, QueueError>,
    /// When the run began and ended; none if it never ran.
    pub ran: Option<(Instant, Instant)>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Too many wait already.
    #[error("the version's queue is full: {capacity} requests wait, expected fewer")]
    Full {
        /// How many may wait.
        capacity: usize,
    },
    /// Nobody came to run it for as long as the model's owner lets a request wait.
    #[error("the request waited {} us for a run to begin, the most that its model allows", allowed.as_micros())]
    Waited {
        /// How long it may wait.
        allowed: Duration,
    },
    /// The deadline passed, before or during the run.
    #[error("the deadline passed before the model answered")]
    Deadline,
    /// The run gave no answer.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Failure for QueueError {
    fn code(&self) -> Code {
        match self {
            Self::Full { .. } => Code::Queue,
            Self::Waited { .. } | Self::Deadline => Code::Deadline,
            Self::Run(error) => error.code(),
        }
    }
}

struct Inner {
    engine: Arc<dyn Engine>,
    placement: Placement,
    /// How many runs in place are still to be looked at closely, after one that took long.
    suspect: AtomicU32,
    /// Set by a run in place that worked far too long for its thread; never unset.
    moved: AtomicBool,
    bounds: Bounds,
    line: Mutex<Line>,
    /// How many are in the line, for those who may not lock it nor hold the queue.
    waiting: Arc<AtomicUsize>,
    /// Places this version holds in the ring: at most its engine's concurrency.
    in_ring: AtomicUsize,
    ring: Ring,
    clock: Arc<dyn Clock>,
}

/// Those who wait, first come first.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// Place of the next one to come; places only grow.
    next: u64,
}

struct Waiting {
    place: u64,
    work: Work,
    switch: Option<Arc<dyn Switch>>,
    answer: oneshot::Sender<Finished>,
}

/// Takes back the work of a caller who has left: out of the line, or stopped if it runs.
struct TakeBackOnDrop<'a> {
    inner: &'a Inner,
    place: u64,
    switch: Option<Arc<dyn Switch>>,
    ended: bool,
}

impl Placement {
    /// The name that operators see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InPlace => "in_place",
            Self::Threads => "threads",
        }
    }
}

impl Queue {
    /// A queue in front of an engine.
    pub fn new(
        engine: Arc<dyn Engine>,
        placement: Placement,
        bounds: Bounds,
        ring: Ring,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (line, in_ring) = (Mutex::default(), AtomicUsize::new(0));
        let (suspect, moved) = (AtomicU32::new(0), AtomicBool::new(false));
        let waiting = Arc::default();
        let inner = Inner {
            engine,
            placement,
            suspect,
            moved,
            bounds,
            line,
            waiting,
            in_ring,
            ring,
            clock,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The engine behind it.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.inner.engine
    }

    /// How many wait; to be read by those who may not keep the queue alive.
    pub fn waiting(&self) -> &Arc<AtomicUsize> {
        &self.inner.waiting
    }

    /// Where runs happen from now on.
    pub fn placement(&self) -> Placement {
        if self.inner.moved.load(Ordering::Relaxed) {
            return Placement::Threads;
        }
        self.inner.placement
    }

    /// Whether nothing waits, runs, or reads an answer that still lies in the engine's memory.
    pub fn is_unused(&self) -> bool {
        let owners = Arc::strong_count(&self.inner) + Arc::strong_count(&self.inner.engine);
        owners == 2 && self.inner.engine.outstanding() == 0
    }

    /// Runs the work when its turn comes.
    ///
    /// In place this returns without ever yielding. On threads, dropping the future takes the work
    /// back: out of the queue, or stopped if it runs.
    pub async fn run(&self, work: Work) -> Finished {
        match self.placement() {
            Placement::InPlace => self.inner.run_here(work).await,
            Placement::Threads => self.run_on_threads(work).await,
        }
    }

    async fn run_on_threads(&self, work: Work) -> Finished {
        let deadline = work.deadline;
        let (answer, mut finished) = oneshot::channel();
        let switch = self.inner.engine.switch();
        let Some(place) = self.inner.line_up(work, switch.clone(), answer) else {
            let capacity = self.inner.bounds.capacity.max(1);
            return Finished::never(QueueError::Full { capacity });
        };
        let mut guard = TakeBackOnDrop { inner: &self.inner, place, switch, ended: false };
        Inner::enter_ring(&self.inner);
        if let Some(ended) = self.begin_in_time(&mut finished, place, deadline).await {
            guard.ended = true;
            return ended;
        }
        let finished = match deadline {
            None => finished.await,
            Some(deadline) => {
                tokio::select! {
                    biased;
                    finished = finished => finished,
                    () = tokio::time::sleep_until(deadline.into()) => {
                        // Dropping the guard takes the work back.
                        return Finished::never(QueueError::Deadline);
                    }
                }
            }
        };
        guard.ended = true;
        finished.unwrap_or_else(|_| Finished::never(RunError::Lost.into()))
    }

    // How the work ended, if it did while its model's owner lets it wait; none once it runs, or
    // where its deadline comes first.
    async fn begin_in_time(
        &self,
        finished: &mut oneshot::Receiver<Finished>,
        place: u64,
        deadline: Option<Instant>,
    ) -> Option<Finished> {
        let allowed = self.inner.bounds.wait?;
        let left = |deadline: Instant| deadline.saturating_duration_since(self.inner.clock.now());
        if deadline.is_some_and(|deadline| left(deadline) <= allowed) {
            return None;
        }
        if let Ok(finished) = tokio::time::timeout(allowed, finished).await {
            return Some(finished.unwrap_or_else(|_| Finished::never(RunError::Lost.into())));
        }
        // Not in the line any more: it runs.
        self.inner.leave_line(place)?;
        Some(Finished::never(QueueError::Waited { allowed }))
    }
}

impl Inner {
    // The place of the work; none if the line is full.
    fn line_up(
        &self,
        work: Work,
        switch: Option<Arc<dyn Switch>>,
        answer: oneshot::Sender<Finished>,
    ) -> Option<u64> {
        let mut line = self.line.lock();
        if line.waiting.len() >= self.bounds.capacity.max(1) {
            return None;
        }
        let place = line.next;
        line.next += 1;
        line.waiting.push_back(Waiting { place, work, switch, answer });
        self.waiting.store(line.waiting.len(), Ordering::Relaxed);
        Some(place)
    }

    fn leave_line(&self, place: u64) -> Option<Waiting> {
        let mut line = self.line.lock();
        let index = line.waiting.binary_search_by_key(&place, |waiting| waiting.place).ok()?;
        let left = line.waiting.remove(index);
        self.waiting.store(line.waiting.len(), Ordering::Relaxed);
        left
    }

    fn next_in_line(&self) -> Option<Waiting> {
        let mut line = self.line.lock();
        let first = line.waiting.pop_front();
        self.waiting.store(line.waiting.len(), Ordering::Relaxed);
        first
    }

    fn is_anybody_waiting(&self) -> bool {
        !self.line.lock().waiting.is_empty()
    }

    // At most `concurrency` places in the ring; each is given up only when nothing waits.
    fn enter_ring(this: &Arc<Self>) {
        let most = this.engine.limits().concurrency.max(1);
        let took = this.in_ring.fetch_update(Ordering::AcqRel, Ordering::Acquire, |places| {
            (places < most).then_some(places + 1)
        });
        if took.is_ok() {
            let lane: Arc<dyn Lane> = Arc::new(Queue { inner: Arc::clone(this) });
            this.ring.enter(lane);
        }
    }

    async fn run_here(&self, work: Work) -> Finished {
        let started = self.clock.now();
        if work.deadline.is_some_and(|deadline| deadline <= started) {
            return Finished::never(QueueError::Deadline);
        }
        let suspect = self.suspect.load(Ordering::Relaxed);
        let before = (suspect > 0).then(|| self.clock.worked());
        let job = Job { inputs: &work.inputs, outputs: &work.outputs, switch: None };
        let result = self.engine.run(job).ended().await.map_err(QueueError::Run);
        let ended = self.clock.now();
        let took_long = ended.saturating_duration_since(started) > FAR_TOO_LONG;
        match before {
            None if took_long => self.suspect.store(SUSPECT_RUNS, Ordering::Relaxed),
            None => {}
            Some(before) => self.look_closely(suspect, self.clock.worked().saturating_sub(before)),
        }
        Finished { result, ran: Some((started, ended)) }
    }

    // A run takes long because of its values (a larger batch, a loop), of which warm-up saw others,
    // or because the machine had no time for its thread, which moving it would not mend.
    fn look_closely(&self, suspect: u32, worked: Duration) {
        if worked > FAR_TOO_LONG {
            self.moved.store(true, Ordering::Relaxed);
        } else {
            // Two at a time may count as one.
            self.suspect.store(suspect - 1, Ordering::Relaxed);
        }
    }

    fn run_waiting(&self, waiting: Waiting) {
        let Waiting { work, switch, answer, .. } = waiting;
        if answer.is_closed() {
            return;
        }
        let started = self.clock.now();
        if work.deadline.is_some_and(|deadline| deadline <= started) {
            drop(answer.send(Finished::never(QueueError::Deadline)));
            return;
        }
        let job = Job { inputs: &work.inputs, outputs: &work.outputs, switch: switch.as_deref() };
        let result = self.engine.run(job).wait().map_err(QueueError::Run);
        // Fails only if the caller has left meanwhile.
        drop(answer.send(Finished { result, ran: Some((started, self.clock.now())) }));
    }
}

impl Lane for Queue {
    fn turn(&self) -> bool {
        if let Some(waiting) = self.inner.next_in_line() {
            self.inner.run_waiting(waiting);
        }
        if self.inner.is_anybody_waiting() {
            return true;
        }
        self.inner.in_ring.fetch_sub(1, Ordering::AcqRel);
        // Work that came between the look and the step back found every place taken: look again.
        if self.inner.is_anybody_waiting() {
            Inner::enter_ring(&self.inner);
        }
        false
    }
}

impl Finished {
    fn never(error: QueueError) -> Self {
        Self { result: Err(error), ran: None }
    }
}

impl Drop for TakeBackOnDrop<'_> {
    fn drop(&mut self) {
        if self.ended || self.inner.leave_line(self.place).is_some() {
            return;
        }
        if let Some(switch) = &self.switch {
            switch.stop();
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("placement", &self.placement)
            .field("waiting", &self.line.lock().waiting.len())
            .finish_non_exhaustive()
    }
}

/// A run in place that takes this long makes its version suspect; one that works so long then moves it
/// to the inference threads.
const FAR_TOO_LONG: Duration = Duration::from_millis(10);

/// How many runs of a suspect version are timed by the processor's clock.
const SUSPECT_RUNS: u32 = 1_000;
