//! Reads a session's signature: what can be carried, and what is left out.

use std::sync::Arc;

use ort::session::Session;
use ort::value::{TensorElementType, ValueType};

use crate::domain::signature::Signature;
use crate::domain::spec::{Dim, TensorSpec};
use crate::domain::tensor::dtype::DataType;
use crate::serving::runtime::engine::RunError;
use crate::serving::runtime::onnx::declared::{Declared, Place, declared};
use crate::serving::runtime::onnx::rewrite::ZipMap;

/// A signature, and what was left out of it.
#[derive(Debug)]
pub struct Read {
    /// What callers see.
    pub signature: Signature,
    /// What they do not, one sentence each.
    pub notes: Vec<String>,
}

/// Why a session cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
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
    /// ONNX Runtime does not tell.
    #[error(transparent)]
    Session(#[from] RunError),
}

/// Reads what a session takes and gives.
///
/// Outputs that the protocol cannot carry are left out, and inputs too that have a default.
///
/// # Errors
///
/// [`ReadError::Type`] for any other input, and where no output is left.
pub fn read(session: &Session, zipmaps: &[ZipMap]) -> Result<Read, ReadError> {
    let mut notes = Vec::new();
    let mut inputs = Vec::new();
    for (index, outlet) in session.inputs().iter().enumerate() {
        let (found, name) = (declared(session, Place::Input, index)?, outlet.name());
        let spec = spec(name, outlet.dtype(), found).map_err(|error| error.of("input", name))?;
        inputs.push(spec);
    }
    // Defaults last: callers that know only the others find those first.
    for (index, outlet) in session.overridable_initializers().iter().enumerate() {
        let found = declared(session, Place::Initializer, index)?;
        match spec(outlet.name(), outlet.dtype(), found) {
            Ok(spec) => inputs.push(TensorSpec { optional: true, ..spec }),
            Err(error) => notes.push(error.note("input", outlet.name())),
        }
    }
    let mut outputs = Vec::new();
    let mut refused = None;
    for (index, outlet) in session.outputs().iter().enumerate() {
        let (found, name) = (declared(session, Place::Output, index)?, outlet.name());
        match spec(name, outlet.dtype(), found) {
            Ok(spec) => outputs.push(labelled(spec, zipmaps, &mut notes)),
            Err(error) => {
                notes.push(error.note("output", name));
                refused.get_or_insert(error.of("output", name));
            }
        }
    }
    if let Some(error) = refused.filter(|_| outputs.is_empty()) {
        return Err(error);
    }
    let without_shape = inputs.iter().chain(&outputs).filter(|spec| spec.any_shape);
    notes.extend(without_shape.map(|spec| {
        format!("'{}' declares no shape: it may have any, and is shown as []", spec.name)
    }));
    Ok(Read { signature: Signature { inputs, outputs }, notes })
}

/// A type that the protocol cannot carry.
struct NotCarried {
    found: String,
    hint: &'static str,
}

impl NotCarried {
    fn of(&self, place: &'static str, name: &str) -> ReadError {
        let (name, found, hint) = (name.to_owned(), self.found.clone(), self.hint);
        ReadError::Type { place, name, found, hint }
    }

    fn note(&self, place: &str, name: &str) -> String {
        let found = &self.found;
        format!("{place} '{name}' is left out: it is {found}, which the protocol cannot carry")
    }
}

fn labelled(spec: TensorSpec, zipmaps: &[ZipMap], notes: &mut Vec<String>) -> TensorSpec {
    let Some(zipmap) = zipmaps.iter().find(|zipmap| *zipmap.output == *spec.name) else {
        return spec;
    };
    notes.push(format!(
        "output '{}' of a ZipMap is answered as a tensor of {} columns, named in its parameter \
         'labels'",
        spec.name,
        zipmap.labels.len(),
    ));
    let (labels, json) = (Some(Arc::clone(&zipmap.labels)), Some(Arc::clone(&zipmap.json)));
    TensorSpec { labels, labels_json: json, ..spec }
}

fn spec(name: &str, kind: &ValueType, declared: Declared) -> Result<TensorSpec, NotCarried> {
    let refused = |found: String, hint| Err(NotCarried { found, hint });
    let (ty, shape, symbols) = match kind {
        ValueType::Tensor { .. } if declared.is_sparse => {
            return refused("a sparse tensor".to_owned(), "");
        }
        ValueType::Tensor { ty, shape, dimension_symbols } => (ty, shape, dimension_symbols),
        ValueType::Sequence(_) | ValueType::Map { .. } => {
            let hint = "; give a tensor instead, as SequenceAt, ConcatFromSequence and, for \
                        classifiers of scikit-learn, the option zipmap=False do";
            return refused("a sequence or map".to_owned(), hint);
        }
        // ONNX Runtime takes and gives a plain tensor for an optional one.
        ValueType::Optional(inner) if matches!(**inner, ValueType::Tensor { .. }) => {
            let spec = spec(name, inner, declared)?;
            return Ok(TensorSpec { optional: true, ..spec });
        }
        ValueType::Optional(_) => return refused("an optional sequence".to_owned(), ""),
    };
    let Some(dtype) = data_type(*ty) else { return refused(format!("a tensor of {ty}"), "") };
    let symbols = symbols.iter().map(String::as_str).chain(std::iter::repeat(""));
    let dims = shape.iter().zip(symbols).map(|(&size, symbol)| match size {
        size if size >= 0 => Dim::Fixed(size),
        _ => Dim::Any((!symbol.is_empty()).then(|| symbol.into())),
    });
    let spec = TensorSpec::new(name, dtype, dims.collect());
    Ok(TensorSpec { any_shape: !declared.has_shape, ..spec })
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
