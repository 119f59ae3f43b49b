//! Answers of `:predict`: by row or by column, as the request was.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::api::predict::request::Form;
use crate::domain::failure::{Code, Failure};
use crate::domain::inference::Answer;
use crate::domain::spec::TensorSpec;
use crate::domain::tensor::buffer::Tensor;
use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::json::{self, DataError};
use crate::domain::tensor::shape::Shape;

/// Why an answer cannot be written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AnswerError {
    /// Outputs that have no rows, or not the same number.
    #[error(
        "output '{output}' has shape {shape}, expected {rows} rows as another output; send 'inputs' \
         instead of 'instances' to read outputs by column"
    )]
    Rows {
        /// Which output.
        output: String,
        /// Its shape.
        shape: Shape,
        /// What the first output has.
        rows: i64,
    },
    /// An output that has no form in JSON.
    #[error("output '{output}': {source}")]
    Data {
        /// Which output.
        output: String,
        /// Why.
        source: DataError,
    },
}

impl Failure for AnswerError {
    fn code(&self) -> Code {
        Code::Output
    }
}

/// Writes an answer.
///
/// # Errors
///
/// [`AnswerError`]; nothing was written then.
pub fn write(answer: &Answer, form: Form) -> Result<Vec<u8>, AnswerError> {
    let mut out = Vec::with_capacity(512);
    match form {
        Form::Columns => {
            out.extend_from_slice(b"{\"outputs\":");
            entry(answer, &mut out, |tensor, out| values(tensor, 0, tensor.shape(), out))?;
        }
        Form::Rows => {
            out.extend_from_slice(b"{\"predictions\":[");
            for row in 0..rows(answer)? {
                if row > 0 {
                    out.push(b',');
                }
                entry(answer, &mut out, |tensor, out| {
                    let inner = tensor.shape().get(1..).unwrap_or_default();
                    let width = inner.iter().product::<i64>();
                    let first = row.saturating_mul(width);
                    values(tensor, usize::try_from(first).unwrap_or(usize::MAX), inner, out)
                })?;
            }
            out.push(b']');
        }
    }
    out.push(b'}');
    Ok(out)
}

fn rows(answer: &Answer) -> Result<i64, AnswerError> {
    let first = answer.present().next();
    let rows = first.and_then(|(_, tensor)| tensor.shape().first().copied()).unwrap_or(1);
    match answer.present().find(|(_, tensor)| tensor.shape().first() != Some(&rows)) {
        None => Ok(rows),
        Some((spec, tensor)) => {
            let (output, shape) = (spec.name.to_string(), tensor.shape().clone());
            Err(AnswerError::Rows { output, shape, rows })
        }
    }
}

// The only output stands for itself, several are an object of those that have a value.
fn entry(
    answer: &Answer,
    out: &mut Vec<u8>,
    write: impl Fn(&Tensor, &mut Vec<u8>) -> Result<(), DataError>,
) -> Result<(), AnswerError> {
    let refuse = |spec: &TensorSpec, source| {
        let output = spec.name.to_string();
        AnswerError::Data { output, source }
    };
    if answer.outputs.len() == 1 {
        let Some((spec, tensor)) = answer.present().next() else {
            out.extend_from_slice(b"null");
            return Ok(());
        };
        return write(tensor, out).map_err(|source| refuse(spec, source));
    }
    out.push(b'{');
    for (index, (spec, tensor)) in answer.present().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::string(&spec.name, out);
        out.push(b':');
        write(tensor, out).map_err(|source| refuse(spec, source))?;
    }
    out.push(b'}');
    Ok(())
}

fn values(
    tensor: &Tensor,
    first: usize,
    sizes: &[i64],
    out: &mut Vec<u8>,
) -> Result<(), DataError> {
    let Some((&size, inner)) = sizes.split_first() else {
        return value(tensor, first, out);
    };
    let (size, width) = (size.unsigned_abs(), inner.iter().product::<i64>().unsigned_abs());
    out.push(b'[');
    for index in 0..size {
        if index > 0 {
            out.push(b',');
        }
        let step = usize::try_from(index.saturating_mul(width)).unwrap_or(usize::MAX);
        values(tensor, first.saturating_add(step), inner, out)?;
    }
    out.push(b']');
    Ok(())
}

// Bytes that are no text have no other form in JSON, and callers know it from their requests.
fn value(tensor: &Tensor, index: usize, out: &mut Vec<u8>) -> Result<(), DataError> {
    let bytes = tensor.element(index);
    if tensor.dtype() != DataType::Bytes || std::str::from_utf8(bytes).is_ok() {
        return json::write_value(tensor, index, out);
    }
    out.extend_from_slice(b"{\"b64\":\"");
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.extend_from_slice(b"\"}");
    Ok(())
}
