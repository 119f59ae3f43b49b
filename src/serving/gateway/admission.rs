//! Who comes in: nobody while the server stops, and everybody is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::domain::failure::{Code, Failure};

/// The door of the gateway.
#[derive(Debug, Default)]
pub struct Admission {
    closed: AtomicBool,
    inside: AtomicUsize,
}

/// A request that is inside, until it is dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
}

/// Why a request may not come in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AdmissionError {
    /// The server stops.
    #[error("the server is shutting down")]
    Draining,
}

impl Failure for AdmissionError {
    fn code(&self) -> Code {
        match self {
            Self::Draining => Code::Draining,
        }
    }
}

impl Admission {
    /// Lets a request in.
    ///
    /// # Errors
    ///
    /// [`AdmissionError::Draining`] after [`Admission::close`].
    pub fn admit(self: &Arc<Self>) -> Result<Admitted, AdmissionError> {
        // Counted first: `close` must see every request that got past the look at the door.
        self.inside.fetch_add(1, Ordering::SeqCst);
        let admitted = Admitted { admission: Arc::clone(self) };
        if self.closed.load(Ordering::SeqCst) {
            return Err(AdmissionError::Draining);
        }
        Ok(admitted)
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Requests inside.
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.inside.fetch_sub(1, Ordering::SeqCst);
    }
}
