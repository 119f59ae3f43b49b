//! What a session's inputs and outputs declare, beyond what `ort` tells.
//!
//! ONNX Runtime shows a missing shape as one without dimensions, which is a scalar's, and the crate
//! shows sparse tensors as dense ones.
#![expect(unsafe_code, reason = "asks ONNX Runtime's C API")]

use std::ptr::{self, NonNull};

use ort::AsPointer;
use ort::session::Session;
use ort::sys;

use crate::serving::runtime::engine::RunError;
use crate::serving::runtime::onnx::values::{check, missing};

/// Which list of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// Inputs that have no default.
    Input,
    /// Inputs that have one.
    Initializer,
    /// Outputs.
    Output,
}

/// A type as the model declares it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Declared {
    /// Whether there is a shape at all.
    pub has_shape: bool,
    /// Whether it is a sparse tensor.
    pub is_sparse: bool,
}

/// A type that is freed with us.
struct Type(NonNull<sys::OrtTypeInfo>);

/// Asks what an input or output declares.
///
/// # Errors
///
/// ONNX Runtime's own.
pub fn declared(session: &Session, place: Place, index: usize) -> Result<Declared, RunError> {
    let ask = match place {
        Place::Input => ort::api().SessionGetInputTypeInfo,
        Place::Initializer => ort::api().SessionGetOverridableInitializerTypeInfo,
        Place::Output => ort::api().SessionGetOutputTypeInfo,
    };
    let mut raw = ptr::null_mut();
    // SAFETY: the session is alive, and `raw` is a place for the result, which is ours.
    check(unsafe { ask(session.ptr(), index, &raw mut raw) })?;
    Type(NonNull::new(raw).ok_or_else(missing)?).declared()
}

impl Type {
    fn declared(&self) -> Result<Declared, RunError> {
        let mut kind = sys::ONNXType::ONNX_TYPE_UNKNOWN;
        // SAFETY: the type is alive, and `kind` is a place for the result.
        check(unsafe { (ort::api().GetOnnxTypeFromTypeInfo)(self.0.as_ptr(), &raw mut kind) })?;
        if kind == sys::ONNXType::ONNX_TYPE_OPTIONAL {
            return self.contained()?.declared();
        }
        let mut info = ptr::null();
        // SAFETY: as above; what `info` then points to belongs to the type. It is null for what is
        // no tensor, and is asked only where it is not.
        let has_shape = unsafe {
            check((ort::api().CastTypeInfoToTensorInfo)(self.0.as_ptr(), &raw mut info))?;
            !info.is_null() && (ort::api().TensorTypeAndShape_HasShape)(info)
        };
        Ok(Declared { has_shape, is_sparse: kind == sys::ONNXType::ONNX_TYPE_SPARSETENSOR })
    }

    fn contained(&self) -> Result<Self, RunError> {
        let (mut optional, mut raw) = (ptr::null(), ptr::null_mut());
        // SAFETY: the type is alive and an optional one, so `optional` is not null; both are
        // places for results, and the second one is ours.
        unsafe {
            check((ort::api().CastTypeInfoToOptionalTypeInfo)(self.0.as_ptr(), &raw mut optional))?;
            check((ort::api().GetOptionalContainedTypeInfo)(optional, &raw mut raw))?;
        }
        NonNull::new(raw).map(Self).ok_or_else(missing)
    }
}

impl Drop for Type {
    fn drop(&mut self) {
        // SAFETY: owned by us alone.
        unsafe { (ort::api().ReleaseTypeInfo)(self.0.as_ptr()) }
    }
}
