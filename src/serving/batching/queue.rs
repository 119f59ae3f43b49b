//! One version's queue: where requests wait, and where they run.
//!
//! Light versions run at once, on the thread that asks, together with what else came to it: a run
//! of microseconds costs less than waking another thread. Heavy ones wait here, bounded, for an
//! inference thread. Work whose caller has left or whose deadline has passed is dropped before its
//! run, and stopped during it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::platform::clock::Clock;
use crate::serving::batching::in_place::InPlace;
use crate::serving::batching::scheduler::{Lane, Ring};
use crate::serving::batching::together::Together;
use crate::serving::batching::work::{Finished, QueueError, Ran, Work};
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
    /// How many rows of several requests may share a run in place; 1 for none.
    pub shared_rows: u64,
}

struct Inner {
    placement: Placement,
    here: InPlace,
    together: Option<Together>,
    bounds: Bounds,
    line: Mutex<Line>,
    /// How many are in the line, for those who may not lock it nor hold the queue.
    waiting: Arc<AtomicUsize>,
    /// Places this version holds in the ring: at most its engine's concurrency.
    in_ring: AtomicUsize,
    ring: Ring,
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
        let cores = engine.limits().concurrency;
        let shares = placement == Placement::InPlace && bounds.shared_rows > 1;
        let inner = Inner {
            placement,
            here: InPlace::new(engine, clock),
            together: shares.then(|| Together::new(cores, bounds.shared_rows)),
            bounds,
            line: Mutex::default(),
            waiting: Arc::default(),
            in_ring: AtomicUsize::new(0),
            ring,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The engine behind it.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        self.inner.here.engine()
    }

    /// How many wait; to be read by those who may not keep the queue alive.
    pub fn waiting(&self) -> &Arc<AtomicUsize> {
        &self.inner.waiting
    }

    /// Where runs happen from now on.
    pub fn placement(&self) -> Placement {
        if self.inner.here.is_too_long() {
            return Placement::Threads;
        }
        self.inner.placement
    }

    /// How many rows of several requests may share a run; none where none do.
    pub fn shared_rows(&self) -> Option<u64> {
        let shares = self.inner.together.as_ref().filter(|together| !together.has_given_up());
        shares.filter(|_| self.placement() == Placement::InPlace).map(Together::most_rows)
    }

    /// Whether nothing waits, runs, or reads an answer that still lies in the engine's memory.
    pub fn is_unused(&self) -> bool {
        let engine = self.engine();
        let owners = Arc::strong_count(&self.inner) + Arc::strong_count(engine);
        owners == 2 && engine.outstanding() == 0
    }

    /// Runs the work when its turn comes.
    ///
    /// Dropping the future takes the work back: out of the line, or stopped if it runs on a thread.
    pub async fn run(&self, work: Work) -> Finished {
        match self.placement() {
            Placement::InPlace => self.inner.run_here(work).await,
            Placement::Threads => self.run_on_threads(work).await,
        }
    }

    async fn run_on_threads(&self, work: Work) -> Finished {
        let deadline = work.deadline;
        let (answer, mut finished) = oneshot::channel();
        let switch = self.engine().switch();
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
        let left =
            |deadline: Instant| deadline.saturating_duration_since(self.inner.here.clock().now());
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
        let most = this.here.engine().limits().concurrency.max(1);
        let took = this.in_ring.fetch_update(Ordering::AcqRel, Ordering::Acquire, |places| {
            (places < most).then_some(places + 1)
        });
        if took.is_ok() {
            let lane: Arc<dyn Lane> = Arc::new(Queue { inner: Arc::clone(this) });
            this.ring.enter(lane);
        }
    }

    async fn run_here(&self, work: Work) -> Finished {
        let work = match &self.together {
            Some(together) => match together.run(&self.here, work).await {
                Ok(finished) => return finished,
                Err(work) => work,
            },
            None => work,
        };
        if work.deadline.is_some_and(|deadline| deadline <= self.here.clock().now()) {
            return Finished::never(QueueError::Deadline);
        }
        self.here.run_alone(&work)
    }

    fn run_waiting(&self, waiting: Waiting) {
        let Waiting { work, switch, answer, .. } = waiting;
        if answer.is_closed() {
            return;
        }
        let started = self.here.clock().now();
        if work.deadline.is_some_and(|deadline| deadline <= started) {
            drop(answer.send(Finished::never(QueueError::Deadline)));
            return;
        }
        let job = Job { inputs: &work.inputs, outputs: &work.outputs, switch: switch.as_deref() };
        let result = self.here.engine().run(job).wait().map_err(QueueError::Run);
        // Fails only if the caller has left meanwhile.
        let ended = self.here.clock().now();
        let ran = Some(Ran { started, ended, run_of: Some(work.rows) });
        drop(answer.send(Finished { result, ran }));
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
