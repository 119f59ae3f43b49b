//! Runs whose outputs stay on the device, for the next run to take from there.
//!
//! Answers always come to the processor: what callers get is bytes. A run after a run need not go
//! that way. No route asks for it yet; `tests/it/devices.rs` does (decision 0012).
#![expect(unsafe_code, reason = "binds outputs through ONNX Runtime's C API")]

use std::ffi::CStr;
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use ort::AsPointer;
use ort::session::SharedSessionInner;
use ort::sys;
use smallvec::SmallVec;

use crate::domain::signature::Tensors;
use crate::serving::runtime::device::{Devices, Provider};
use crate::serving::runtime::engine::RunError;
use crate::serving::runtime::onnx::shared_session::SharedSession;
use crate::serving::runtime::onnx::values::{Value, check};

/// All outputs of one run, where the run left them.
pub struct Kept {
    values: Vec<Value<'static>>,
    // The values' allocator belongs to the session.
    _session: Arc<SharedSessionInner>,
}

/// What a run is told about inputs and outputs; freed with us.
struct Binding(NonNull<sys::OrtIoBinding>);

/// Where outputs are to stay; freed with us.
struct Place(NonNull<sys::OrtMemoryInfo>);

impl SharedSession {
    /// Runs once on the calling thread and leaves all outputs on the preferred provider's device.
    ///
    /// # Errors
    ///
    /// As a run's, and an [`RunError::Rejected`] for another number of inputs.
    pub fn run_kept(&self, inputs: &Tensors, devices: &Devices) -> Result<Kept, RunError> {
        self.expect_inputs(inputs.iter().flatten().count())?;
        let values: SmallVec<[Value<'_>; 4]> = inputs
            .iter()
            .flatten()
            .map(|tensor| Value::of(tensor, &self.memory))
            .collect::<Result<_, _>>()?;
        let (binding, place) = (Binding::of(self)?, Place::of(devices)?);
        let binding = binding.0.as_ptr();
        let given = inputs.iter().zip(&self.input_names).filter(|(tensor, _)| tensor.is_some());
        for ((_, name), value) in given.zip(&values) {
            // SAFETY: binding, name and value are alive; the binding holds the value from here on,
            // and is gone before the tensors that the value borrows.
            check(unsafe { (ort::api().BindInput)(binding, name.as_ptr(), value.as_ptr()) })?;
        }
        for name in &self.output_names {
            // SAFETY: binding, name and place are alive; ONNX Runtime copies the place.
            check(unsafe {
                (ort::api().BindOutputToDevice)(binding, name.as_ptr(), place.0.as_ptr())
            })?;
        }
        // SAFETY: session and binding are alive; concurrent runs are allowed (see shared_session.rs),
        // and nobody else has this binding. The call returns when the outputs are written.
        check(unsafe {
            (ort::api().RunWithBinding)(self.session.ptr().cast_mut(), ptr::null(), binding)
        })?;
        Ok(Kept { values: outputs(binding)?, _session: Arc::clone(&self.session) })
    }

    /// Runs on what another run kept, in the order of the inputs; the answer comes to the processor.
    ///
    /// # Errors
    ///
    /// As a run's, and an [`RunError::Rejected`] for another number of inputs.
    pub fn run_from(&self, kept: &Kept, outputs: &[usize]) -> Result<Tensors, RunError> {
        self.expect_inputs(kept.values.len())?;
        let inputs: SmallVec<[_; 4]> = kept.values.iter().map(Value::as_ptr).collect();
        let names: SmallVec<[_; 4]> = self.input_names.iter().map(|name| name.as_ptr()).collect();
        self.run_values((&names, &inputs), outputs, None)
    }

    fn expect_inputs(&self, found: usize) -> Result<(), RunError> {
        let expected = self.signature.inputs.len();
        if found == expected {
            return Ok(());
        }
        let message = format!("{found} inputs were given, expected {expected}");
        Err(RunError::Rejected { message })
    }
}

impl Kept {
    /// The kind of memory that the first output lies in, in ONNX Runtime's words (`Cpu`, `Cuda`).
    ///
    /// # Errors
    ///
    /// ONNX Runtime's own.
    pub fn memory(&self) -> Result<String, RunError> {
        let (mut info, mut name) = (ptr::null(), ptr::null());
        let value = self.values.first().map_or(ptr::null(), Value::as_ptr);
        // SAFETY: the value is alive, or null, which is refused; what comes back belongs to it.
        unsafe {
            check((ort::api().GetTensorMemoryInfo)(value, &raw mut info))?;
            check((ort::api().MemoryInfoGetName)(info, &raw mut name))?;
            Ok(CStr::from_ptr(name).to_string_lossy().into_owned())
        }
    }
}

fn outputs(binding: *mut sys::OrtIoBinding) -> Result<Vec<Value<'static>>, RunError> {
    let (mut allocator, mut list, mut count) = (ptr::null_mut(), ptr::null_mut(), 0);
    // SAFETY: the binding is alive, the others are places for results; the default allocator lives
    // as long as the library.
    unsafe {
        check((ort::api().GetAllocatorWithDefaultOptions)(&raw mut allocator))?;
        check((ort::api().GetBoundOutputValues)(
            binding,
            allocator,
            &raw mut list,
            &raw mut count,
        ))?;
    }
    if list.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: that many values, each of them ours from now on.
    let values = unsafe { std::slice::from_raw_parts(list, count) }.to_vec();
    // All are owned before the first error can return, so that none is leaked.
    let owned: Vec<_> = values.into_iter().map(|raw| Value::own(raw, Vec::new())).collect();
    // SAFETY: the list alone, which that allocator made.
    check(unsafe { (ort::api().AllocatorFree)(allocator, list.cast()) })?;
    owned.into_iter().collect()
}

impl Binding {
    fn of(engine: &SharedSession) -> Result<Self, RunError> {
        let mut raw = ptr::null_mut();
        // SAFETY: the session is alive, `raw` is a place for the result.
        check(unsafe {
            (ort::api().CreateIoBinding)(engine.session.ptr().cast_mut(), &raw mut raw)
        })?;
        NonNull::new(raw).map(Self).ok_or(RunError::Lost)
    }
}

impl Place {
    fn of(devices: &Devices) -> Result<Self, RunError> {
        let (name, number) = match devices.providers.as_slice().first() {
            Some(Provider::Cuda) => (c"Cuda", devices.cuda.device),
            Some(Provider::TensorRt) => (c"Cuda", devices.tensorrt.device),
            // OpenVINO gives its outputs to the processor by itself.
            Some(Provider::OpenVino | Provider::Cpu) | None => (c"Cpu", 0),
        };
        let mut raw = ptr::null_mut();
        // SAFETY: the name is alive, `raw` is a place for the result.
        check(unsafe {
            (ort::api().CreateMemoryInfo)(
                name.as_ptr(),
                sys::OrtAllocatorType::OrtDeviceAllocator,
                number.into(),
                sys::OrtMemType::OrtMemTypeDefault,
                &raw mut raw,
            )
        })?;
        NonNull::new(raw).map(Self).ok_or(RunError::Lost)
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        // SAFETY: made by `CreateIoBinding`, released here alone.
        unsafe { (ort::api().ReleaseIoBinding)(self.0.as_ptr()) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: made by `CreateMemoryInfo`, released here alone.
        unsafe { (ort::api().ReleaseMemoryInfo)(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("values", &self.values.len()).finish_non_exhaustive()
    }
}
