//! The seam between serving and whatever runs a model.
//!
//! An engine is one loaded version. Serving knows engines only through this file, so that queues,
//! placement and swap are tested without ONNX Runtime, and other engines can come behind it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::domain::failure::{Code, Failure};
use crate::domain::signature::{Signature, Tensors};
use crate::serving::runtime::device::Providers;

/// One loaded version, ready to run.
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// What it accepts and answers.
    fn signature(&self) -> &Arc<Signature>;

    /// How it may be run.
    fn limits(&self) -> Limits;

    /// What its loading found out.
    fn facts(&self) -> &Facts;

    /// Makes a switch that stops one run; none where runs cannot be stopped.
    ///
    /// Costs an allocation, so it is made for runs that take long or have a deadline.
    fn switch(&self) -> Option<Arc<dyn Switch>>;

    /// Runs the model once on the calling thread, or starts a run that completes later.
    ///
    /// Called on an I/O thread for light versions and on an inference thread for heavy ones, by at
    /// most `limits().concurrency` threads at once.
    fn run(&self, job: Job<'_>) -> Run;

    /// Answers that still borrow memory of this engine; it is not freed before this is 0.
    fn outstanding(&self) -> usize;
}

/// Stops a run from another thread. Stopping a run that has ended does nothing.
pub trait Switch: Any + fmt::Debug + Send + Sync {
    /// Asks the run to end as soon as it can; it then fails with [`RunError::Stopped`].
    fn stop(&self);
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Checked tensors, in the order of the signature's inputs.
    pub inputs: &'a Tensors,
    /// Positions of the outputs wanted, in the order of the answer.
    pub outputs: &'a [usize],
    /// Made by this engine's [`Engine::switch`].
    pub switch: Option<&'a dyn Switch>,
}

/// How a run goes on.
#[expect(clippy::large_enum_variant, reason = "moved once a run; a box would be allocated")]
#[derive(Debug)]
pub enum Run {
    /// It has ended.
    Done(Result<Tensors, RunError>),
    /// It ends elsewhere, and says so here.
    Later(oneshot::Receiver<Result<Tensors, RunError>>),
}

/// How an engine may be run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Runs at once; more wait in the queue.
    pub concurrency: usize,
    /// Whether rows of several requests may share a run, if the model allows it.
    pub can_batch: bool,
    /// Whether `run` returns [`Run::Later`]: such an engine never occupies the calling thread.
    pub elsewhere: bool,
}

/// What loading a version found out, for people: in metadata, `check` and the log.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// Execution providers that were asked for, the preferred one first.
    pub providers: Providers,
    /// What each of them runs, in the same order; one that runs nothing is here too.
    pub placed: Vec<Placed>,
    /// What was left out or changed so that the file serves, one sentence each.
    pub notes: Vec<String>,
}

/// How much of a graph one execution provider runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placed {
    /// Its name; the library's own, for one that nobody can ask for.
    pub provider: String,
    /// Nodes of the graph, as they are after the optimisations that hold for all providers.
    pub nodes: u64,
}

impl Facts {
    /// The providers that run at least one node, as `cuda,cpu`.
    pub fn active(&self) -> String {
        let active = self.placed.iter().filter(|placed| placed.nodes > 0);
        let names: Vec<&str> = active.map(|placed| placed.provider.as_str()).collect();
        names.join(",")
    }

    /// Nodes by provider, as `cuda=40,cpu=2`.
    pub fn nodes(&self) -> String {
        let one = |placed: &Placed| format!("{}={}", placed.provider, placed.nodes);
        let all: Vec<String> = self.placed.iter().map(one).collect();
        all.join(",")
    }
}

/// Why a run gave no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RunError {
    /// The model's own code refused the values.
    #[error("the model refused the request: {message}")]
    Rejected {
        /// The engine's words.
        message: String,
    },
    /// The run failed.
    #[error("the model's run failed: {message}")]
    Failed {
        /// The engine's words.
        message: String,
    },
    /// The engine went away without a word.
    #[error("the run ended without an answer")]
    Lost,
    /// The run was stopped by its switch.
    #[error("the run was stopped before it ended")]
    Stopped,
}

impl Run {
    /// Waits for the end on the calling thread, which may block.
    ///
    /// # Errors
    ///
    /// The run's own; [`RunError::Lost`] if nobody says how it ended.
    pub fn wait(self) -> Result<Tensors, RunError> {
        match self {
            Self::Done(result) => result,
            Self::Later(later) => later.blocking_recv().unwrap_or(Err(RunError::Lost)),
        }
    }

    /// Waits for the end without blocking; returns at once if it has ended.
    ///
    /// # Errors
    ///
    /// As [`Run::wait`].
    pub async fn ended(self) -> Result<Tensors, RunError> {
        match self {
            Self::Done(result) => result,
            Self::Later(later) => later.await.unwrap_or(Err(RunError::Lost)),
        }
    }
}

impl Failure for RunError {
    fn code(&self) -> Code {
        match self {
            Self::Rejected { .. } => Code::Rejected,
            Self::Failed { .. } | Self::Lost => Code::Run,
            Self::Stopped => Code::Deadline,
        }
    }
}
