//! Builds a session from a model file, and reads its signature.

use std::path::Path;
use std::sync::Arc;

use ort::ep::{self, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::{Outlet, TensorElementType, ValueType};

use crate::domain::signature::{Dim, Signature, TensorSpec};
use crate::domain::tensor::dtype::DataType;
use crate::serving::runtime::device::Provider;
use crate::serving::runtime::engine::{Facts, Limits};
use crate::serving::runtime::onnx::library::Library;
use crate::serving::runtime::onnx::shared_session::SharedSession;

/// How a session allocates while it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Memory {
    /// For runs of microseconds: no arena, whose lock two threads would fight for.
    Light,
    /// For runs of milliseconds: arena and memory pattern, so that intermediates are reused.
    Heavy,
}

/// How a model file is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The file.
    pub path: &'a Path,
    /// How its session allocates.
    pub memory: Memory,
    /// Runs at once.
    pub concurrency: usize,
    /// What runs it, the preferred one first; the processor if there is none.
    pub providers: &'a [Provider],
}

/// Why a model file became no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// ONNX Runtime refused the file.
    #[error("ONNX Runtime refused the model: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// An input or output that the protocol cannot carry.
    #[error("{place} '{name}' is {found}, which the protocol cannot carry{hint}")]
    Type {
        /// `input` or `output`.
        place: &'static str,
        /// Its name.
        name: String,
        /// Its type, in ONNX's words.
        found: String,
        /// What could be done about it; may be empty.
        hint: &'static str,
    },
}

/// What a model file says of itself.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Inputs and outputs.
    pub signature: Signature,
    /// Version of the standard operators.
    pub opset: Option<u32>,
    /// What wrote the file.
    pub producer: Option<String>,
}

/// Reads what a model file says of itself.
///
/// Takes as long as opening it: call it on a thread that may block.
///
/// # Errors
///
/// [`SessionError`], with ONNX Runtime's reason.
pub fn inspect(library: &Library, path: &Path) -> Result<Inspection, SessionError> {
    let opening = Opening { path, memory: Memory::Light, concurrency: 1, providers: &[] };
    let session = build(library, &opening).map_err(|error| refused(&error))?;
    let producer = session.metadata().ok().and_then(|metadata| metadata.producer());
    let opset = session.opset_for_domain("");
    Ok(Inspection { signature: signature(&session)?, opset, producer })
}

/// Opens a model file as a session that several threads may run at once.
///
/// Takes milliseconds to seconds of one processor: call it on a thread that may block.
///
/// # Errors
///
/// [`SessionError`], with ONNX Runtime's reason.
pub fn open(library: &Library, opening: &Opening<'_>) -> Result<SharedSession, SessionError> {
    let session = build(library, opening).map_err(|error| refused(&error))?;
    let signature = signature(&session)?;
    // Batching over several requests comes with the combining queue; until then nobody asks.
    let concurrency = opening.concurrency;
    let limits = Limits { concurrency, can_batch: false, elsewhere: false };
    let facts = Facts { providers: asked(opening).to_vec(), ..Facts::default() };
    let shared = SharedSession::new(&session, Arc::new(signature), limits, facts);
    shared.map_err(|error| refused(&error))
}

fn refused(error: &dyn std::error::Error) -> SessionError {
    SessionError::Refused { reason: error.to_string().trim().to_owned() }
}

fn signature(session: &Session) -> Result<Signature, SessionError> {
    let inputs = session.inputs().iter().map(|outlet| spec("input", outlet));
    let outputs = session.outputs().iter().map(|outlet| spec("output", outlet));
    Ok(Signature {
        inputs: inputs.collect::<Result<_, _>>()?,
        outputs: outputs.collect::<Result<_, _>>()?,
    })
}

fn asked<'a>(opening: &Opening<'a>) -> &'a [Provider] {
    if opening.providers.is_empty() { &[Provider::Cpu] } else { opening.providers }
}

fn build(library: &Library, opening: &Opening<'_>) -> ort::Result<Session> {
    let light = opening.memory == Memory::Light;
    let providers: Vec<_> =
        asked(opening).iter().map(|&provider| execution(provider, light)).collect();
    let options = |builder: SessionBuilder| -> ort::Result<SessionBuilder> {
        let builder = builder
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_parallel_execution(false)?
            // Spinning threads halve the throughput of a shared machine.
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .with_memory_pattern(!light)?
            .with_execution_providers(&providers)?;
        Ok(builder)
    };
    let mut builder = options(Session::builder(library.environment())?)?;
    builder.commit_from_file(opening.path)
}

// Never a silent fallback: a provider that cannot be had is an error.
fn execution(provider: Provider, light: bool) -> ExecutionProviderDispatch {
    let dispatch = match provider {
        Provider::Cpu => ep::CPU::default().with_arena_allocator(!light).build(),
        Provider::Cuda => ep::CUDA::default().build(),
        Provider::TensorRt => ep::TensorRT::default().build(),
        Provider::OpenVino => ep::OpenVINO::default().build(),
    };
    dispatch.error_on_failure()
}

fn spec(place: &'static str, outlet: &Outlet) -> Result<TensorSpec, SessionError> {
    let name = outlet.name();
    let refused =
        |found: String, hint| SessionError::Type { place, name: name.to_owned(), found, hint };
    let (ty, shape, symbols) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, dimension_symbols } => (ty, shape, dimension_symbols),
        ValueType::Sequence(_) | ValueType::Map { .. } => {
            let hint = "; a classifier converted from scikit-learn gives a tensor with the option \
                        zipmap=False";
            return Err(refused("a sequence or map".to_owned(), hint));
        }
        ValueType::Optional(_) => return Err(refused("an optional value".to_owned(), "")),
    };
    let dtype = data_type(*ty).ok_or_else(|| refused(format!("a tensor of {ty}"), ""))?;
    let symbols = symbols.iter().map(String::as_str).chain(std::iter::repeat(""));
    let dims = shape.iter().zip(symbols).map(|(&size, symbol)| match size {
        size if size >= 0 => Dim::Fixed(size),
        _ => Dim::Any((!symbol.is_empty()).then(|| symbol.into())),
    });
    Ok(TensorSpec { name: name.into(), dtype, dims: dims.collect() })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the list of ONNX's types is open")]
fn data_type(ty: TensorElementType) -> Option<DataType> {
    match ty {
        TensorElementType::Bool => Some(DataType::Bool),
        TensorElementType::Uint8 => Some(DataType::Uint8),
        TensorElementType::Uint16 => Some(DataType::Uint16),
        TensorElementType::Uint32 => Some(DataType::Uint32),
        TensorElementType::Uint64 => Some(DataType::Uint64),
        TensorElementType::Int8 => Some(DataType::Int8),
        TensorElementType::Int16 => Some(DataType::Int16),
        TensorElementType::Int32 => Some(DataType::Int32),
        TensorElementType::Int64 => Some(DataType::Int64),
        TensorElementType::Float16 => Some(DataType::Fp16),
        TensorElementType::Bfloat16 => Some(DataType::Bf16),
        TensorElementType::Float32 => Some(DataType::Fp32),
        TensorElementType::Float64 => Some(DataType::Fp64),
        TensorElementType::String => Some(DataType::Bytes),
        _ => None,
    }
}
