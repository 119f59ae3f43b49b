//! Rows of numbers as text, a line a row: what `text/csv` is to `SageMaker`.

use crate::api::predict::request::{Form, PredictBody, PredictError};
use crate::domain::failure::{Code, Failure};
use crate::domain::json::Scanner;
use crate::domain::signature::{NamedTensor, Signature};
use crate::domain::spec::Dim;
use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::json;
use crate::domain::tensor::shape::Shape;

/// Why lines are not the model's input.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CsvError {
    /// The body is not text.
    #[error("text/csv is not UTF-8")]
    Text,
    /// The model cannot be asked this way.
    #[error("text/csv needs a model with one input of numbers, but this one has {found}")]
    Model {
        /// What it has.
        found: String,
    },
    /// Lines of different length.
    #[error("line {line} has {found} values, expected {expected}")]
    Line {
        /// Which line, from 1.
        line: usize,
        /// Values that it has.
        found: usize,
        /// Values that the first line has.
        expected: usize,
    },
    /// Cells that do not make the tensor.
    #[error(transparent)]
    Values(#[from] PredictError),
}

impl Failure for CsvError {
    fn code(&self) -> Code {
        match self {
            Self::Text => Code::Malformed,
            Self::Model { .. } | Self::Line { .. } => Code::Input,
            Self::Values(error) => error.code(),
        }
    }
}

/// Reads lines of numbers, without a head, for a model with one input.
///
/// # Errors
///
/// [`CsvError`].
pub fn read(signature: &Signature, body: &[u8]) -> Result<PredictBody, CsvError> {
    let text = std::str::from_utf8(body).map_err(|_| CsvError::Text)?;
    let mut required = signature.required();
    let (Some(spec), None) = (required.next(), required.next()) else {
        let found = signature.required().count();
        return Err(CsvError::Model { found: format!("{found} inputs that must be given") });
    };
    if spec.dtype == DataType::Bytes {
        return Err(CsvError::Model { found: format!("an input of {}", spec.dtype) });
    }
    let (mut cells, mut rows, mut width) = (String::with_capacity(body.len() + 2), 0, 0);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let found = line.split(',').count();
        width = if rows == 0 { found } else { width };
        if found != width {
            return Err(CsvError::Line { line: rows + 1, found, expected: width });
        }
        cells.push(if rows == 0 { '[' } else { ',' });
        cells.push_str(line);
        rows += 1;
    }
    cells.push_str(if rows == 0 { "[]" } else { "]" });
    // A line holds the values of one row in their order, whatever their shape is.
    let inner = spec.outer().iter().skip(1).map(Dim::wire);
    let fixed = inner.clone().product::<i64>() == size(width) && inner.clone().all(|size| size > 0);
    let mut sizes = vec![size(rows)];
    if fixed {
        sizes.extend(inner);
    } else {
        sizes.push(size(width));
    }
    let mut scanner = Scanner::new(cells.as_bytes());
    let data = |source| PredictError::Data { input: spec.name.to_string(), source };
    let shape = Shape::new(&sizes).map_err(PredictError::from)?;
    let tensor = json::read(&mut scanner, spec.dtype, shape).map_err(data)?;
    scanner.end().map_err(PredictError::from)?;
    let inputs = vec![NamedTensor { name: spec.name.to_string(), tensor }];
    Ok(PredictBody { inputs, form: Form::Rows })
}

fn size(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::domain::signature::Signature;
    use crate::domain::spec::{Dim, TensorSpec};
    use crate::domain::tensor::dtype::DataType;

    fn model(dims: Vec<Dim>) -> Signature {
        let spec = TensorSpec::new("x", DataType::Fp32, dims);
        Signature { inputs: vec![spec], outputs: Vec::new() }
    }

    fn shape(signature: &Signature, text: &str) -> Result<String, String> {
        let read = read(signature, text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(read.inputs[0].tensor.shape().to_string())
    }

    #[test]
    fn a_line_is_a_row_in_the_shape_of_the_model() {
        let rows = model(vec![Dim::Any(None), Dim::Fixed(4)]);
        assert_eq!(shape(&rows, "1,2,3,4\r\n5,6,7.5,-8e1\n").unwrap(), "[2,4]");
        let image = model(vec![Dim::Any(None), Dim::Fixed(1), Dim::Fixed(2), Dim::Fixed(2)]);
        assert_eq!(shape(&image, "1,2,3,4").unwrap(), "[1,1,2,2]");
        let column = model(vec![Dim::Any(None)]);
        assert_eq!(shape(&column, "1\n2\n3").unwrap(), "[3]");
    }

    #[test]
    fn what_is_no_row_is_named() {
        let rows = model(vec![Dim::Any(None), Dim::Fixed(2)]);
        assert_eq!(shape(&rows, "1,2\n3").unwrap_err(), "line 2 has 1 values, expected 2");
        let head = shape(&rows, "a,b\n1,2").unwrap_err();
        assert!(head.contains("input 'x'") && head.contains("at byte 1"), "{head}");
        let smuggled = shape(&rows, "1,2]").unwrap_err();
        assert!(smuggled.contains("after the value"), "{smuggled}");
        let none = Signature { inputs: Vec::new(), outputs: Vec::new() };
        assert!(shape(&none, "1").unwrap_err().contains("0 inputs"));
    }
}
