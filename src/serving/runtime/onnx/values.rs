//! Tensors into ONNX Runtime's values and back, copying as little as possible.
//!
//! Inputs of numbers are borrowed where they are aligned, and copied once where they are not (a
//! gRPC message puts tensors at any offset; reading them in place is undefined in C++, and measured
//! 15 % slower than the copy for large ones). Aligned means for vectors, not for the element alone:
//! ONNX Runtime's sums begin at the first whole vector, so that the last bits of an answer would
//! depend on where in a message its input stood. Outputs become response bytes by ownership; small
//! ones are copied, which is cheaper than keeping the value alive. Strings are always copied.
#![expect(unsafe_code, reason = "values cross into ONNX Runtime's C API")]

use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ort::session::SharedSessionInner;
use ort::sys;
use smallvec::SmallVec;

use crate::domain::spec::TensorSpec;
use crate::domain::tensor::buffer::{LENGTH, Tensor};
use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::shape::Shape;
use crate::serving::runtime::engine::RunError;

/// Where ONNX Runtime may find our buffers: ordinary memory.
#[derive(Debug)]
pub struct CpuMemory(NonNull<sys::OrtMemoryInfo>);

// SAFETY: the description is never written after it was made, and is freed once, by its owner.
unsafe impl Send for CpuMemory {}
// SAFETY: as above; ONNX Runtime only reads it.
unsafe impl Sync for CpuMemory {}

/// A value that is freed with us.
#[derive(Debug)]
pub struct Value<'a> {
    raw: NonNull<sys::OrtValue>,
    /// A copy that the value points into; empty where it borrows the tensor itself.
    _aligned: Vec<u128>,
    _borrowed: PhantomData<&'a [u8]>,
}

/// Memory of an output, kept for as long as somebody reads it.
struct Output {
    value: Value<'static>,
    data: NonNull<u8>,
    length: usize,
    // The value's allocator belongs to the session.
    _session: Arc<SharedSessionInner>,
}

// SAFETY: an output value belongs to nobody else, is not written after the run, and ONNX Runtime's
// CPU allocators free from any thread.
unsafe impl Send for Output {}
// SAFETY: as above: only reads are possible through `&Output`.
unsafe impl Sync for Output {}

impl CpuMemory {
    /// Describes ordinary memory to ONNX Runtime.
    ///
    /// # Errors
    ///
    /// ONNX Runtime's own.
    pub fn new() -> Result<Self, RunError> {
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is a place for the result.
        check(unsafe {
            (ort::api().CreateCpuMemoryInfo)(
                sys::OrtAllocatorType::OrtDeviceAllocator,
                sys::OrtMemType::OrtMemTypeDefault,
                &raw mut raw,
            )
        })?;
        NonNull::new(raw).map(Self).ok_or_else(missing)
    }
}

impl Drop for CpuMemory {
    fn drop(&mut self) {
        // SAFETY: made by `CreateCpuMemoryInfo`, released here alone.
        unsafe { (ort::api().ReleaseMemoryInfo)(self.0.as_ptr()) }
    }
}

impl<'a> Value<'a> {
    /// Makes an input value of a tensor, which it may borrow.
    ///
    /// # Errors
    ///
    /// ONNX Runtime's own.
    pub fn of(tensor: &'a Tensor, memory: &CpuMemory) -> Result<Self, RunError> {
        match tensor.dtype().size() {
            Some(_) => Self::of_numbers(tensor, memory),
            None => Self::of_strings(tensor),
        }
    }

    /// The pointer that a run takes; valid as long as `self`.
    pub fn as_ptr(&self) -> *const sys::OrtValue {
        self.raw.as_ptr()
    }

    fn of_numbers(tensor: &'a Tensor, memory: &CpuMemory) -> Result<Self, RunError> {
        let bytes = tensor.data();
        let is_aligned = bytes.as_ptr().align_offset(align_of::<u128>()) == 0;
        let aligned = if is_aligned { Vec::new() } else { aligned_copy(bytes) };
        let data = if aligned.is_empty() { bytes.as_ptr() } else { aligned.as_ptr().cast() };
        let shape = tensor.shape();
        let mut raw = ptr::null_mut();
        // SAFETY: `data` points to `bytes.len()` readable bytes that outlive the value (borrowed
        // for 'a, or owned beside it), and ONNX Runtime does not write to inputs.
        check(unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                memory.0.as_ptr(),
                data.cast_mut().cast::<c_void>(),
                bytes.len(),
                shape.as_ptr(),
                shape.len(),
                element_type(tensor.dtype()),
                &raw mut raw,
            )
        })?;
        Self::own(raw, aligned)
    }

    fn of_strings(tensor: &Tensor) -> Result<Self, RunError> {
        let shape = tensor.shape();
        let mut allocator = ptr::null_mut();
        let mut raw = ptr::null_mut();
        // SAFETY: both are places for results; the default allocator lives as long as the library.
        unsafe {
            check((ort::api().GetAllocatorWithDefaultOptions)(&raw mut allocator))?;
            check((ort::api().CreateTensorAsOrtValue)(
                allocator,
                shape.as_ptr(),
                shape.len(),
                element_type(DataType::Bytes),
                &raw mut raw,
            ))?;
        }
        let value = Self::own(raw, Vec::new())?;
        for (index, element) in tensor.elements().enumerate() {
            let mut buffer = ptr::null_mut();
            // SAFETY: `index` is below the value's element count, and the call returns room for
            // `element.len()` bytes. Unlike the C string calls it admits an embedded NUL.
            unsafe {
                check((ort::api().GetResizedStringTensorElementBuffer)(
                    raw,
                    index,
                    element.len(),
                    &raw mut buffer,
                ))?;
                ptr::copy_nonoverlapping(element.as_ptr(), buffer.cast(), element.len());
            }
        }
        Ok(value)
    }

    /// Takes ownership of a value that ONNX Runtime gave us.
    ///
    /// # Errors
    ///
    /// If there is none: an optional output without a value.
    pub(super) fn own(raw: *mut sys::OrtValue, aligned: Vec<u128>) -> Result<Self, RunError> {
        let raw = NonNull::new(raw).ok_or_else(missing)?;
        Ok(Self { raw, _aligned: aligned, _borrowed: PhantomData })
    }
}

impl Value<'static> {
    /// Turns an output into a tensor; large ones keep the value, and so the session, alive. None
    /// for an optional output that has no value.
    ///
    /// # Errors
    ///
    /// If the value is no tensor that the protocol can carry.
    pub(super) fn into_output(
        self,
        spec: &TensorSpec,
        session: &Arc<SharedSessionInner>,
    ) -> Result<Option<Tensor>, RunError> {
        if spec.optional && !self.is_there()? {
            return Ok(None);
        }
        self.into_tensor(spec.dtype, session).map(Some)
    }

    fn is_there(&self) -> Result<bool, RunError> {
        let mut there = 0;
        // SAFETY: the value is alive, and `there` is a place for the result.
        check(unsafe { (ort::api().HasValue)(self.raw.as_ptr(), &raw mut there) })?;
        Ok(there != 0)
    }

    fn into_tensor(
        self,
        expected: DataType,
        session: &Arc<SharedSessionInner>,
    ) -> Result<Tensor, RunError> {
        let shape = self.shape(expected)?;
        let data = match shape.bytes(expected) {
            Some(length) => self.into_bytes(length, session)?,
            None => self.strings(shape.elements())?,
        };
        Tensor::new(expected, shape, data).map_err(|error| failed(error.to_string()))
    }

    fn shape(&self, expected: DataType) -> Result<Shape, RunError> {
        let mut info = ptr::null_mut();
        let mut dims: SmallVec<[i64; 8]> = SmallVec::new();
        let mut found = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        // SAFETY: the value is alive; every out-pointer is a place of the right type, `dims` has
        // the announced length, and `info` is released on every path.
        let read = unsafe {
            check((ort::api().GetTensorTypeAndShape)(self.raw.as_ptr(), &raw mut info))?;
            let read = (|| {
                let mut rank = 0;
                check((ort::api().GetDimensionsCount)(info, &raw mut rank))?;
                dims.resize(rank, 0);
                check((ort::api().GetDimensions)(info, dims.as_mut_ptr(), rank))?;
                check((ort::api().GetTensorElementType)(info, &raw mut found))
            })();
            (ort::api().ReleaseTensorTypeAndShapeInfo)(info);
            read
        };
        read?;
        if found != element_type(expected) {
            return Err(failed(format!("output is {found:?}, but the model declares {expected}")));
        }
        Shape::new(&dims).map_err(|error| failed(error.to_string()))
    }

    fn into_bytes(
        self,
        length: usize,
        session: &Arc<SharedSessionInner>,
    ) -> Result<Bytes, RunError> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        let mut data = ptr::null_mut();
        // SAFETY: the value is alive and a tensor of fixed-size elements.
        check(unsafe { (ort::api().GetTensorMutableData)(self.raw.as_ptr(), &raw mut data) })?;
        let data = NonNull::new(data.cast::<u8>()).ok_or_else(missing)?;
        if length <= COPIED {
            // SAFETY: ONNX Runtime's tensor of this shape and type has `length` readable bytes.
            let bytes = unsafe { std::slice::from_raw_parts(data.as_ptr(), length) };
            return Ok(Bytes::copy_from_slice(bytes));
        }
        let session = Arc::clone(session);
        Ok(Bytes::from_owner(Output { value: self, data, length, _session: session }))
    }

    fn strings(&self, count: usize) -> Result<Bytes, RunError> {
        let mut length = 0;
        let mut offsets = vec![0_usize; count];
        let raw = self.raw.as_ptr();
        // SAFETY: `length` is a place for the result.
        check(unsafe { (ort::api().GetStringTensorDataLength)(raw, &raw mut length) })?;
        let mut text = vec![0_u8; length];
        // SAFETY: `text` and `offsets` have the lengths that are announced.
        check(unsafe {
            (ort::api().GetStringTensorContent)(
                raw,
                text.as_mut_ptr().cast(),
                length,
                offsets.as_mut_ptr(),
                count,
            )
        })?;
        let ends = offsets.iter().copied().skip(1).chain([length]);
        let mut wire = BytesMut::with_capacity(length + count * LENGTH);
        for (&start, end) in offsets.iter().zip(ends) {
            let element = text.get(start..end).unwrap_or_default();
            let announced = u32::try_from(element.len())
                .map_err(|_| failed("output string of over 4 GiB".to_owned()))?;
            wire.extend_from_slice(&announced.to_le_bytes());
            wire.extend_from_slice(element);
        }
        Ok(wire.freeze())
    }
}

impl Drop for Value<'_> {
    fn drop(&mut self) {
        // SAFETY: owned by us alone.
        unsafe { (ort::api().ReleaseValue)(self.raw.as_ptr()) }
    }
}

impl AsRef<[u8]> for Output {
    fn as_ref(&self) -> &[u8] {
        debug_assert!(!self.value.as_ptr().is_null(), "the value outlives its memory");
        // SAFETY: the value is alive with us, and nobody writes to it after its run.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.length) }
    }
}

/// Turns a status of ONNX Runtime into a result, and frees it.
pub(super) fn check(status: sys::OrtStatusPtr) -> Result<(), RunError> {
    let Some(status) = NonNull::new(status.0) else { return Ok(()) };
    // SAFETY: a status that is not null is ours to read and to release, once.
    let (code, message) = unsafe {
        let code = (ort::api().GetErrorCode)(status.as_ptr());
        let message = CStr::from_ptr((ort::api().GetErrorMessage)(status.as_ptr()));
        let message = message.to_string_lossy().into_owned();
        (ort::api().ReleaseStatus)(status.as_ptr());
        (code, message)
    };
    if message.contains(TERMINATED) {
        return Err(RunError::Stopped);
    }
    let of_values = OF_VALUES.iter().any(|part| message.contains(part));
    if of_values || code == sys::OrtErrorCode::ORT_INVALID_ARGUMENT {
        return Err(RunError::Rejected { message });
    }
    Err(failed(message))
}

fn aligned_copy(bytes: &[u8]) -> Vec<u128> {
    let words = bytes.len().div_ceil(size_of::<u128>());
    let mut copy: Vec<u128> = Vec::with_capacity(words);
    if let Some(last) = copy.spare_capacity_mut().get_mut(words.saturating_sub(1)) {
        last.write(0);
    }
    // SAFETY: the copy has room for `words`, which is room for all bytes; these fill every word but
    // the end of the last one, which was written above.
    unsafe {
        ptr::copy_nonoverlapping(bytes.as_ptr(), copy.as_mut_ptr().cast(), bytes.len());
        copy.set_len(words);
    }
    copy
}

fn element_type(dtype: DataType) -> sys::ONNXTensorElementDataType {
    use sys::ONNXTensorElementDataType as Onnx;
    match dtype {
        DataType::Bool => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        DataType::Uint8 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        DataType::Uint16 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        DataType::Uint32 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        DataType::Uint64 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        DataType::Int8 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        DataType::Int16 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        DataType::Int32 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        DataType::Int64 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        DataType::Fp16 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        DataType::Bf16 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        DataType::Fp32 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        DataType::Fp64 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        DataType::Bytes => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
    }
}

fn failed(message: String) -> RunError {
    RunError::Failed { message }
}

/// There is no value where ONNX Runtime promised one.
pub(super) fn missing() -> RunError {
    failed("ONNX Runtime gave no value".to_owned())
}

/// Outputs up to this many bytes are copied.
const COPIED: usize = 4096;

/// What ONNX Runtime says of a run that was stopped; it has no code of its own.
const TERMINATED: &str = "terminate flag";

/// What ONNX Runtime says of values that an operator cannot take, but with the code of a failed run.
/// Shapes that do not fit one another stay failures: the model may be wrong as well as its caller.
const OF_VALUES: [&str; 4] = [
    "Integer division by zero",
    "Integer modulo by zero",
    "k argument [",
    // Of a text that is no number.
    "while running Cast node",
];
