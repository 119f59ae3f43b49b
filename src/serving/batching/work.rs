//! What runs, and what came of it.

use std::time::{Duration, Instant};

use crate::domain::failure::{Code, Failure};
use crate::domain::signature::{Selection, Tensors};
use crate::serving::runtime::engine::RunError;

/// What to run, and until when it is worth anything.
#[derive(Debug)]
pub struct Work {
    /// Checked tensors, in the order of the signature's inputs.
    pub inputs: Tensors,
    /// Positions of the outputs wanted.
    pub outputs: Selection,
    /// Rows of the inputs.
    pub rows: u64,
    /// When nobody wants the answer any more.
    pub deadline: Option<Instant>,
}

/// What came of it, and when it ran.
#[derive(Debug)]
pub struct Finished {
    /// Tensors in the order of the outputs wanted.
    pub result: Result<Tensors, QueueError>,
    /// Its run; none if it never ran.
    pub ran: Option<Ran>,
}

/// A run, as one of those who shared it sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ran {
    /// When it began.
    pub started: Instant,
    /// When it was over.
    pub ended: Instant,
    /// Rows of the whole run, for the one of them who is to count it.
    pub run_of: Option<u64>,
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

impl Finished {
    /// It never ran.
    pub fn never(error: QueueError) -> Self {
        Self { result: Err(error), ran: None }
    }
}
