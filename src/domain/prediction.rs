//! The record of an answer, which all insight is built on.

use std::sync::Arc;

use crate::domain::failure::Code;
use crate::domain::inference::{InferenceId, Origin, Purpose};
use crate::domain::phase::Timeline;
use crate::domain::trace::Trace;

/// One answered request, good or bad.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The inference's id.
    pub id: InferenceId,
    /// Which version answered; none if the request failed before one was chosen.
    pub origin: Option<Arc<Origin>>,
    /// Which variant of the route.
    pub variant: &'static str,
    /// Why it ran.
    pub purpose: Purpose,
    /// How it failed; none for an answer that was handed over whole.
    pub failure: Option<Code>,
    /// Time spent in each phase, up to `observe`.
    pub timeline: Timeline,
    /// Its place in a trace; none unless the trace is kept.
    pub trace: Option<Box<Trace>>,
}
