//! The whole request path on one screen.
//!
//! No lock, no look-up but one, no wait but the version's own queue. Every request gets a ticket
//! when it comes in, and every ticket is accounted for exactly once: when its last byte was handed
//! over, when it failed, or when its caller left.

use std::sync::Arc;
use std::time::Instant;

use crate::domain::failure::{Code, Failure};
use crate::domain::inference::{Answer, DEFAULT_VARIANT, Inference, InferenceId, Origin, Purpose};
use crate::domain::misfit::SignatureError;
use crate::domain::phase::{Phase, Timeline};
use crate::domain::prediction::Prediction;
use crate::domain::trace::Trace;
use crate::platform::clock::Clock;
use crate::platform::telemetry::page::Metrics;
use crate::platform::telemetry::traces::Tracer;
use crate::platform::telemetry::versions::Ended;
use crate::serving::batching::work::{Finished, QueueError, Ran, Work};
use crate::serving::gateway::admission::{Admission, AdmissionError, Admitted};
use crate::serving::gateway::observer::{Observer, ReserveError};
use crate::serving::registry::lease::Lease;
use crate::serving::registry::snapshot::Published;
use crate::serving::registry::version::Terms;
use crate::serving::traffic::choose::{self, ChooseError};

/// The request path. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Gateway {
    parts: Arc<Parts>,
}

/// What the request path is made of.
#[derive(Debug)]
pub struct Parts {
    /// What is served.
    pub published: Arc<Published>,
    /// The door.
    pub admission: Arc<Admission>,
    /// Who hears of answers.
    pub observers: Vec<Arc<dyn Observer>>,
    /// Where requests without a version are counted.
    pub metrics: Metrics,
    /// Where kept traces go, if any are.
    pub tracer: Option<Tracer>,
    /// For phases and deadlines.
    pub clock: Arc<dyn Clock>,
}

/// Accounts for one request.
#[derive(Debug)]
pub struct Ticket {
    parts: Arc<Parts>,
    id: InferenceId,
    purpose: Purpose,
    timeline: Timeline,
    outcome: Outcome,
    /// Rows of the batch, once the inputs are checked.
    rows: u64,
    /// Rows of the run that this request counts, if it counts one.
    run_of: Option<u64>,
    /// None unless the request's trace is kept.
    trace: Option<Box<Trace>>,
    lease: Option<Lease>,
    /// Leaves when the ticket does.
    admitted: Option<Admitted>,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// Nobody has said; if it stays so, the caller has left.
    Open,
    Sent,
    Failed(Code),
}

/// Why an inference has no answer.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// It may not come in.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// An observer refused it.
    #[error(transparent)]
    Reserve(#[from] ReserveError),
    /// No version answers it.
    #[error(transparent)]
    Choose(#[from] ChooseError),
    /// It does not fit the version.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It waited or ran in vain.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl Failure for InferError {
    fn code(&self) -> Code {
        match self {
            Self::Admission(error) => error.code(),
            Self::Reserve(error) => error.code(),
            Self::Choose(error) => error.code(),
            Self::Signature(error) => error.code(),
            Self::Queue(error) => error.code(),
        }
    }
}

impl Gateway {
    /// A gateway made of these parts.
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// What is served.
    pub fn published(&self) -> &Published {
        &self.parts.published
    }

    /// The clock of deadlines.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.parts.clock
    }

    /// Who decides which traces are kept, if any are.
    pub fn tracer(&self) -> Option<&Tracer> {
        self.parts.tracer.as_ref()
    }

    /// Opens the account of a request, before its bytes are read; `started` is when the first came.
    pub fn open(&self, id: InferenceId, started: Instant, trace: Option<Box<Trace>>) -> Ticket {
        Ticket {
            parts: Arc::clone(&self.parts),
            id,
            purpose: Purpose::Live,
            timeline: Timeline::start(started),
            outcome: Outcome::Open,
            rows: 0,
            run_of: None,
            trace,
            lease: None,
            admitted: None,
        }
    }

    /// Runs an inference. Dropping the future gives it up: its run is stopped where possible.
    ///
    /// # Errors
    ///
    /// [`InferError`]; the ticket then only needs to be dropped.
    pub async fn infer(
        &self,
        inference: Inference,
        ticket: &mut Ticket,
    ) -> Result<Answer, InferError> {
        let result = self.run(inference, ticket).await;
        if let Err(error) = &result {
            ticket.fail(error.code());
        }
        result
    }

    async fn run(&self, inference: Inference, ticket: &mut Ticket) -> Result<Answer, InferError> {
        let parts = &*self.parts;
        ticket.purpose = inference.purpose;
        ticket.enter(Phase::Admit);
        ticket.admitted = Some(parts.admission.admit()?);
        for observer in &parts.observers {
            let bytes = inference.inputs.iter().map(|input| input.tensor.data().len()).sum();
            observer.reserve(&inference.name, bytes)?;
        }
        ticket.enter(Phase::Choose);
        let snapshot = parts.published.load();
        let version = choose::choose(&snapshot, &inference.name, inference.version.as_ref())?;
        ticket.enter(Phase::Lease);
        let lease = ticket.lease.insert(Lease::new(version));
        drop(snapshot);
        let Terms { signature, max_rows, .. } = lease.terms();
        let inputs = signature.arrange(&inference.inputs)?;
        ticket.rows = signature.rows(&inputs);
        if let Some(most) = *max_rows {
            signature.check_rows(&inputs, most)?;
        }
        let selection = signature.select(&inference.requested)?;
        let origin = Arc::clone(lease.origin());
        let signature = Arc::clone(lease.signature());
        let queue = lease.queue().clone();
        ticket.enter(Phase::Queue);
        let (outputs, rows, deadline) = (selection.clone(), ticket.rows, inference.deadline);
        let Finished { result, ran } = queue.run(Work { inputs, outputs, rows, deadline }).await;
        if let Some(Ran { started, ended, run_of }) = ran {
            ticket.timeline.enter(Phase::Run, started);
            ticket.timeline.enter(Phase::Encode, ended);
            ticket.run_of = run_of;
        }
        let mut outputs = result?;
        signature.present(&selection, &mut outputs);
        if inference.requested.iter().any(|output| output.classes.is_some()) {
            // On this thread, also after a run elsewhere: a million values take about 10 ms.
            signature.classify(&inference.requested, &mut outputs)?;
        }
        let (id, variant) = (inference.id, DEFAULT_VARIANT);
        if !inference.requested.is_empty() {
            signature.all_present(&selection, &outputs)?;
        }
        Ok(Answer { id, origin, variant, signature, selection, outputs })
    }
}

impl Ticket {
    /// The inference's id.
    pub fn id(&self) -> InferenceId {
        self.id
    }

    /// Which version answers, once it is chosen.
    pub fn origin(&self) -> Option<&Arc<Origin>> {
        self.lease.as_ref().map(|lease| lease.origin())
    }

    /// Its place in a trace; none unless the trace is kept.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_deref()
    }

    /// Says that the request failed, and how.
    pub fn fail(&mut self, code: Code) {
        self.outcome = Outcome::Failed(code);
    }

    /// Says that the last byte was handed to the transport.
    pub fn sent(&mut self) {
        if matches!(self.outcome, Outcome::Open) {
            self.outcome = Outcome::Sent;
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.timeline.enter(phase, self.parts.clock.now());
    }

    // Tells those who learn from answers.
    fn tell(&mut self, failure: Option<Code>) {
        // The time that counting took.
        self.enter(Phase::Observe);
        let prediction = Arc::new(Prediction {
            id: self.id,
            origin: self.origin().cloned(),
            variant: DEFAULT_VARIANT,
            purpose: self.purpose,
            failure,
            timeline: self.timeline,
            trace: self.trace.take(),
        });
        for observer in &self.parts.observers {
            observer.answered(&prediction);
        }
        if let Some(tracer) = self.parts.tracer.as_ref().filter(|_| prediction.trace.is_some()) {
            tracer.record(&prediction, self.parts.clock.wall());
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.enter(Phase::Observe);
        let failure = match self.outcome {
            Outcome::Sent => None,
            Outcome::Failed(code) => Some(code),
            Outcome::Open => Some(Code::Left),
        };
        let kind = failure.map(Code::kind);
        if self.purpose == Purpose::Live {
            match (&self.lease, kind) {
                (Some(lease), failure) => lease.metrics().record(&Ended {
                    timeline: &self.timeline,
                    failure,
                    rows: self.rows,
                    run_of: self.run_of,
                    at_ms: self.id.0.timestamp_ms(),
                    trace: self.trace.as_ref().map(|trace| trace.id),
                }),
                (None, Some(kind)) => self.parts.metrics.record_unrouted(kind),
                (None, None) => {}
            }
        }
        let observed = !self.parts.observers.is_empty() || self.trace.is_some();
        if observed && self.purpose == Purpose::Live {
            self.tell(failure);
        }
    }
}
