//! The seam through which answers become evidence.

use std::fmt;
use std::sync::Arc;

use crate::domain::failure::{Code, Failure};
use crate::domain::model::ModelName;
use crate::domain::prediction::Prediction;

/// Sees every live answer, on the request's own task.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Called before a request runs. An observer whose record is required refuses when it could
    /// not keep one; most grant always.
    ///
    /// # Errors
    ///
    /// [`ReserveError`], which the caller gets instead of an answer.
    fn reserve(&self, route: &ModelName, bytes: usize) -> Result<(), ReserveError> {
        let _ = (route, bytes);
        Ok(())
    }

    /// Called once an answer, good or bad, after its last byte was handed over. Must not block:
    /// hand work to a queue, and drop it when the queue is full (count what is dropped).
    fn answered(&self, prediction: &Arc<Prediction>);
}

/// An observer that must keep a record of the answer cannot.
#[derive(Debug, thiserror::Error)]
#[error("a record of this answer is required, but cannot be kept now: {reason}")]
pub struct ReserveError {
    /// Why.
    pub reason: String,
}

impl Failure for ReserveError {
    fn code(&self) -> Code {
        Code::NotReady
    }
}
