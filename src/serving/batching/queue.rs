//! One version's queue: where requests wait, and where they run.
//!
//! Light versions run at once, on the thread that asks: a run of microseconds costs less than
//! waking another thread. Heavy ones wait here, bounded, for an inference thread. Work whose
//! caller has left or whose deadline has passed is dropped before its run, and stopped during it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::oneshot;

use crate::domain::failure::{Code, Failure};
use crate::domain::signature::{Selection, Tensors};
use crate::platform::clock::Clock;
use crate::serving::batching::scheduler::{Lane, Ring};
use crate::serving::runtime::engine::{Engine, Job, Run, RunError, Switch};

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
    /// The deadline passed, before or during the run.
    #[error("the deadline passed before the model answered")]
    Deadline,
    /// The run gave no answer.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The engine went away without a word.
    #[error("the run ended without an answer")]
    Lost,
}

impl Failure for QueueError {
    fn code(&self) -> Code {
        match self {
            Self::Full { .. } => Code::Queue,
            Self::Deadline => Code::Deadline,
            Self::Run(error) => error.code(),
            Self::Lost => Code::Run,
        }
    }
}

struct Inner {
    engine: Arc<dyn Engine>,
    placement: Placement,
    capacity: usize,
    waiting: (Sender<Waiting>, Receiver<Waiting>),
    /// Places this version holds in the ring: at most its engine's concurrency.
    in_ring: AtomicUsize,
    ring: Ring,
    clock: Arc<dyn Clock>,
}

struct Waiting {
    work: Work,
    switch: Option<Arc<dyn Switch>>,
    answer: oneshot::Sender<Finished>,
}

/// Stops a run whose caller has left.
struct StopOnDrop(Option<Arc<dyn Switch>>);

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
    /// A queue in front of an engine; `capacity` requests may wait beside those that run.
    pub fn new(
        engine: Arc<dyn Engine>,
        placement: Placement,
        capacity: usize,
        ring: Ring,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let waiting = crossbeam_channel::bounded(capacity.max(1));
        let in_ring = AtomicUsize::new(0);
        let inner = Inner { engine, placement, capacity, waiting, in_ring, ring, clock };
        Self { inner: Arc::new(inner) }
    }

    /// The engine behind it.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.inner.engine
    }

    /// Where runs happen.
    pub fn placement(&self) -> Placement {
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
        match self.inner.placement {
            Placement::InPlace => self.inner.run_here(work, None).await,
            Placement::Threads => self.run_on_threads(work).await,
        }
    }

    async fn run_on_threads(&self, work: Work) -> Finished {
        let deadline = work.deadline;
        let (answer, finished) = oneshot::channel();
        let switch = self.inner.engine.switch();
        let guard = StopOnDrop(switch.clone());
        match self.inner.waiting.0.try_send(Waiting { work, switch, answer }) {
            Ok(()) => Inner::enter_ring(&self.inner),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                return Finished::never(QueueError::Full { capacity: self.inner.capacity });
            }
        }
        let finished = match deadline {
            None => finished.await,
            Some(deadline) => {
                tokio::select! {
                    biased;
                    finished = finished => finished,
                    () = tokio::time::sleep_until(deadline.into()) => {
                        // Dropping the guard stops the run.
                        return Finished::never(QueueError::Deadline);
                    }
                }
            }
        };
        guard.disarm();
        finished.unwrap_or_else(|_| Finished::never(QueueError::Lost))
    }
}

impl Inner {
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

    async fn run_here(&self, work: Work, switch: Option<&dyn Switch>) -> Finished {
        let started = self.clock.now();
        if work.deadline.is_some_and(|deadline| deadline <= started) {
            return Finished::never(QueueError::Deadline);
        }
        let job = Job { inputs: &work.inputs, outputs: &work.outputs, switch };
        let result = match self.engine.run(job) {
            Run::Done(result) => result.map_err(QueueError::Run),
            Run::Later(answer) => match answer.await {
                Ok(result) => result.map_err(QueueError::Run),
                Err(_) => Err(QueueError::Lost),
            },
        };
        Finished { result, ran: Some((started, self.clock.now())) }
    }

    fn run_waiting(&self, waiting: Waiting) {
        let Waiting { work, switch, answer } = waiting;
        if answer.is_closed() {
            return;
        }
        let started = self.clock.now();
        if work.deadline.is_some_and(|deadline| deadline <= started) {
            drop(answer.send(Finished::never(QueueError::Deadline)));
            return;
        }
        let job = Job { inputs: &work.inputs, outputs: &work.outputs, switch: switch.as_deref() };
        let result = match self.engine.run(job) {
            Run::Done(result) => result.map_err(QueueError::Run),
            Run::Later(later) => match later.blocking_recv() {
                Ok(result) => result.map_err(QueueError::Run),
                Err(_) => Err(QueueError::Lost),
            },
        };
        // Fails only if the caller has left meanwhile.
        drop(answer.send(Finished { result, ran: Some((started, self.clock.now())) }));
    }
}

impl Lane for Queue {
    fn turn(&self) -> bool {
        if let Ok(waiting) = self.inner.waiting.1.try_recv() {
            self.inner.run_waiting(waiting);
        }
        if !self.inner.waiting.1.is_empty() {
            return true;
        }
        self.inner.in_ring.fetch_sub(1, Ordering::AcqRel);
        // Work that came between the look and the step back found every place taken: look again.
        if !self.inner.waiting.1.is_empty() {
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

impl StopOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(switch) = &self.0 {
            switch.stop();
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("placement", &self.placement)
            .field("waiting", &self.waiting.1.len())
            .finish_non_exhaustive()
    }
}
