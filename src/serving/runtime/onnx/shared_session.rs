//! One session that several threads run at once.
//!
//! The `ort` crate runs a session through `&mut`, so that safe code runs it once at a time. ONNX
//! Runtime itself promises more: `InferenceSession::Run` is thread-safe on providers that support
//! concurrent runs, and takes its own lock on those that do not (`inference_session.h`, "Multiple
//! threads are allowed to run this function; hence its thread-safe"). Sharing one session instead of one
//! a thread keeps one copy of the weights. `tests/it/shared_session.rs` compares 3,200 concurrent
//! runs with serial ones; `limits().concurrency = 1` is the way back.
#![expect(unsafe_code, reason = "runs a session through ONNX Runtime's C API")]

use std::any::Any;
use std::ffi::{CString, c_char};
use std::fmt;
use std::ptr;
use std::sync::Arc;

use ort::AsPointer;
use ort::session::{NoSelectedOutputs, RunOptions, Session, SharedSessionInner};
use ort::sys;
use smallvec::SmallVec;

use crate::domain::signature::{Signature, Tensors};
use crate::serving::runtime::engine::{Engine, Facts, Job, Limits, Run, RunError, Switch};
use crate::serving::runtime::onnx::values::{CpuMemory, Value, check};

/// A session behind the engine seam.
#[derive(Debug)]
pub struct SharedSession {
    pub(super) session: Arc<SharedSessionInner>,
    pub(super) signature: Arc<Signature>,
    pub(super) input_names: Vec<CString>,
    pub(super) output_names: Vec<CString>,
    pub(super) memory: CpuMemory,
    limits: Limits,
    facts: Facts,
}

struct Terminate(RunOptions<NoSelectedOutputs>);

impl SharedSession {
    /// Shares a session whose signature is known.
    ///
    /// # Errors
    ///
    /// ONNX Runtime's own, or a name that no C string can hold.
    pub fn new(
        session: &Session,
        signature: Arc<Signature>,
        limits: Limits,
        facts: Facts,
    ) -> Result<Self, RunError> {
        let names = |names: Vec<&str>| -> Result<Vec<CString>, RunError> {
            let name = |name| {
                CString::new(name).map_err(|error| RunError::Failed { message: error.to_string() })
            };
            names.into_iter().map(name).collect()
        };
        Ok(Self {
            session: session.inner(),
            input_names: names(signature.inputs.iter().map(|spec| &*spec.name).collect())?,
            output_names: names(signature.outputs.iter().map(|spec| &*spec.name).collect())?,
            signature,
            memory: CpuMemory::new()?,
            limits,
            facts,
        })
    }

    fn run_now(&self, job: Job<'_>) -> Result<Tensors, RunError> {
        let mut values: SmallVec<[Value<'_>; 4]> = SmallVec::new();
        let mut input_names: SmallVec<[_; 4]> = SmallVec::new();
        for (tensor, name) in job.inputs.iter().zip(&self.input_names) {
            // An optional input that was left out has no name either.
            if let Some(tensor) = tensor {
                values.push(Value::of(tensor, &self.memory)?);
                input_names.push(name.as_ptr());
            }
        }
        let inputs: SmallVec<[*const sys::OrtValue; 4]> =
            values.iter().map(Value::as_ptr).collect();
        self.run_values((&input_names, &inputs), job.outputs, job.switch)
    }

    // As many values as names, each of them alive until this returns.
    pub(super) fn run_values(
        &self,
        (input_names, inputs): (&[*const c_char], &[*const sys::OrtValue]),
        wanted: &[usize],
        switch: Option<&dyn Switch>,
    ) -> Result<Tensors, RunError> {
        let output_names: SmallVec<[_; 8]> = wanted
            .iter()
            .filter_map(|&position| self.output_names.get(position))
            .map(|name| name.as_ptr())
            .collect();
        let mut outputs: SmallVec<[*mut sys::OrtValue; 8]> =
            SmallVec::from_elem(ptr::null_mut(), output_names.len());
        let switch = switch.and_then(|switch| (switch as &dyn Any).downcast_ref::<Terminate>());
        let options = switch.map_or(ptr::null(), |switch| switch.0.ptr());
        // SAFETY: the session is alive with us; names and values are as many as announced and
        // outlive the call; concurrent calls are allowed (see the head of this file).
        let ran = check(unsafe {
            (ort::api().Run)(
                self.session.ptr().cast_mut(),
                options,
                input_names.as_ptr(),
                inputs.as_ptr(),
                inputs.len(),
                output_names.as_ptr(),
                output_names.len(),
                outputs.as_mut_ptr(),
            )
        });
        // Owned before the first error can return, so that none is leaked.
        let owned: SmallVec<[_; 8]> =
            outputs.into_iter().map(|raw| Value::own(raw, Vec::new())).collect();
        ran?;
        let specs = wanted.iter().filter_map(|&position| self.signature.outputs.get(position));
        owned
            .into_iter()
            .zip(specs)
            .map(|(value, spec)| value?.into_output(spec, &self.session))
            .collect()
    }
}

impl Engine for SharedSession {
    fn signature(&self) -> &Arc<Signature> {
        &self.signature
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn switch(&self) -> Option<Arc<dyn Switch>> {
        RunOptions::new().ok().map(|options| -> Arc<dyn Switch> { Arc::new(Terminate(options)) })
    }

    fn run(&self, job: Job<'_>) -> Run {
        Run::Done(self.run_now(job))
    }

    fn outstanding(&self) -> usize {
        Arc::strong_count(&self.session).saturating_sub(1)
    }
}

impl fmt::Debug for Terminate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Terminate")
    }
}

impl Switch for Terminate {
    fn stop(&self) {
        if let Err(error) = self.0.terminate() {
            tracing::warn!(%error, "a run could not be stopped");
        }
    }
}
