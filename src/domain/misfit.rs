//! Why a request does not fit a signature.

use std::sync::Arc;

use crate::domain::failure::{Code, Failure};
use crate::domain::tensor::classify::ClassifyError;
use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::shape::{Dimensions, Shape};

/// Why a request does not fit a signature.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SignatureError {
    /// An input is missing, unknown, or there twice.
    #[error("expected {expected} inputs but got {found}: expected [{wanted}], got [{got}]")]
    Inputs {
        /// How many the model takes.
        expected: String,
        /// How many came.
        found: usize,
        /// Their names.
        wanted: String,
        /// The names that came.
        got: String,
    },
    /// Another element type.
    #[error("input '{input}' has data type {found}, but the model expects {expected}")]
    DataType {
        /// Which input.
        input: Arc<str>,
        /// What the model has.
        expected: DataType,
        /// What came.
        found: DataType,
    },
    /// Another shape.
    #[error("input '{input}' has shape {found}, but the model expects {expected}")]
    Shape {
        /// Which input.
        input: Arc<str>,
        /// What the model has; -1 is any size.
        expected: Dimensions,
        /// What came.
        found: Shape,
    },
    /// Two inputs disagree about a dimension that they share.
    #[error(
        "input '{input}' has {found} for dimension '{symbol}', but another input has {expected}"
    )]
    Disagree {
        /// The later one.
        input: Arc<str>,
        /// The shared dimension's name.
        symbol: Arc<str>,
        /// What came first.
        expected: i64,
        /// What came here.
        found: i64,
    },
    /// More rows than its owner allows.
    #[error("inference request batch-size must be <= {most}, but the request has {found} rows")]
    Rows {
        /// What came.
        found: u64,
        /// What is allowed.
        most: u64,
    },
    /// An output that the model does not have.
    #[error("output '{output}' is not an output of the model, expected one of [{known}]")]
    UnknownOutput {
        /// What was asked for.
        output: String,
        /// What there is.
        known: String,
    },
    /// An output whose values have no classes.
    #[error("output '{output}': {source}")]
    Classes {
        /// Which one.
        output: String,
        /// Why.
        source: ClassifyError,
    },
    /// An output that was asked for twice.
    #[error("output '{output}' is asked for twice")]
    RepeatedOutput {
        /// Which one.
        output: String,
    },
    /// An optional output that was asked for by name and has no value.
    #[error("output '{output}' is optional, and has no value in the answer to these inputs")]
    AbsentOutput {
        /// Which one.
        output: Arc<str>,
    },
}

impl Failure for SignatureError {
    fn code(&self) -> Code {
        match self {
            Self::Inputs { .. }
            | Self::DataType { .. }
            | Self::Shape { .. }
            | Self::Disagree { .. }
            | Self::Rows { .. } => Code::Input,
            Self::UnknownOutput { .. }
            | Self::RepeatedOutput { .. }
            | Self::AbsentOutput { .. } => Code::Output,
            Self::Classes { source, .. } => source.code(),
        }
    }
}
