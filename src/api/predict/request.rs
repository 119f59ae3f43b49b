//! Bodies of `:predict`, by row or by column, straight into tensors.
//!
//! Neither types nor shapes stand in them: types are the model's, shapes are how values are nested.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::api::predict::nesting::{self, NestingError, Sizes};
use crate::domain::failure::{Code, Failure, excerpt};
use crate::domain::json::{JsonError, Next, Scanner};
use crate::domain::signature::{NamedTensor, Signature};
use crate::domain::spec::{Dim, TensorSpec};
use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::json::{DataError, Values};
use crate::domain::tensor::shape::{Shape, ShapeError};

/// A body, read.
#[derive(Debug)]
pub struct PredictBody {
    /// Inputs, in the model's order.
    pub inputs: Vec<NamedTensor>,
    /// How the caller wrote them, and wants to read outputs.
    pub form: Form,
}

/// How tensors are written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// `instances`, answered by `predictions`: one entry a row of the batch.
    Rows,
    /// `inputs`, answered by `outputs`: one entry a tensor.
    Columns,
}

/// Why a body cannot be predicted on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PredictError {
    /// Broken JSON.
    #[error("request body is not valid JSON: {0}")]
    Json(#[from] JsonError),
    /// Neither `instances` nor `inputs`, or both.
    #[error("request body has {found}, expected 'instances' or 'inputs'")]
    Members {
        /// What came.
        found: &'static str,
    },
    /// A signature that the model does not have.
    #[error("signature '{found}' is not found, expected '{SIGNATURE}'")]
    Signature {
        /// What was asked for.
        found: String,
    },
    /// Values without a name for a model with several inputs.
    #[error(
        "values at byte {at} name no input, expected an object with values for each of [{inputs}]"
    )]
    Unnamed {
        /// Where.
        at: usize,
        /// The model's inputs.
        inputs: String,
    },
    /// An input that the model does not have.
    #[error("input '{input}' is not an input of the model, expected [{inputs}]")]
    Unknown {
        /// What came.
        input: String,
        /// The model's inputs.
        inputs: String,
    },
    /// A row, or a set of columns, without an input or with one twice.
    #[error("instance {row} gives input '{input}' {found} times, expected once")]
    Times {
        /// Which row, from 0.
        row: usize,
        /// Which input.
        input: String,
        /// How often.
        found: usize,
    },
    /// Values without a shape.
    #[error("input '{input}': {source}")]
    Nesting {
        /// Which input.
        input: String,
        /// Why.
        source: NestingError,
    },
    /// Rows of different shape.
    #[error("instance {row} gives input '{input}' another shape than the instances before it")]
    Row {
        /// Which row, from 0.
        row: usize,
        /// Which input.
        input: String,
    },
    /// Text that is not base64.
    #[error("value at byte {at} is not base64: {reason}")]
    Base64 {
        /// Where.
        at: usize,
        /// Why.
        reason: base64::DecodeError,
    },
    /// Values that do not make the tensor.
    #[error("input '{input}': {source}")]
    Data {
        /// Which input.
        input: String,
        /// Why.
        source: DataError,
    },
    /// Rows that make no shape.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl Failure for PredictError {
    fn code(&self) -> Code {
        match self {
            Self::Json(_)
            | Self::Members { .. }
            | Self::Base64 { .. }
            | Self::Nesting { source: NestingError::Json(_), .. }
            | Self::Data { source: DataError::Json(_), .. } => Code::Malformed,
            Self::Signature { .. } => Code::Parameter,
            Self::Unnamed { .. }
            | Self::Unknown { .. }
            | Self::Times { .. }
            | Self::Nesting { .. }
            | Self::Row { .. }
            | Self::Data { .. }
            | Self::Shape(_) => Code::Input,
        }
    }
}

/// The inputs of a model while values for them are read.
struct Columns<'a> {
    each: Vec<Column<'a>>,
}

struct Column<'a> {
    spec: &'a TensorSpec,
    values: Values,
    /// Of one row, or of the whole column.
    sizes: Sizes,
    rows: usize,
}

/// Reads a body for a model of that signature.
///
/// # Errors
///
/// [`PredictError`].
pub fn read(signature: &Signature, json: &[u8]) -> Result<PredictBody, PredictError> {
    let mut scanner = Scanner::new(json);
    let mut read = None;
    scanner.object(|key, scanner| {
        let form = match key {
            "instances" => Form::Rows,
            "inputs" => Form::Columns,
            "signature_name" => return check_signature(scanner),
            _ => {
                scanner.skip()?;
                return Ok(());
            }
        };
        if read.is_some() {
            return Err(PredictError::Members { found: "both or one of them twice" });
        }
        let mut columns = Columns::of(signature);
        match form {
            Form::Rows => {
                let mut row = 0;
                scanner.array(|scanner| {
                    columns.read_row(scanner, row)?;
                    row += 1;
                    Ok::<(), PredictError>(())
                })?;
            }
            Form::Columns => columns.read_row(scanner, 0)?,
        }
        read = Some((form, columns));
        Ok(())
    })?;
    scanner.end()?;
    let (form, columns) = read.ok_or(PredictError::Members { found: "neither" })?;
    Ok(PredictBody { inputs: columns.finish(form)?, form })
}

/// Whether a body is a request of the Open Inference Protocol, whose inputs say their types, and
/// not one of `:predict`; what cannot be read is neither.
pub fn is_open_inference(json: &[u8]) -> bool {
    let mut found = false;
    let looked = Scanner::new(json).object(|key, scanner| {
        if key == "inputs" && scanner.peek()? == Next::Array {
            scanner.array(|scanner| {
                found = scanner.peek()? == Next::Object && first_key(scanner) != Some("b64".into());
                Err::<(), _>(Enough)
            })?;
        }
        if matches!(key, "inputs" | "instances") {
            return Err(Enough);
        }
        scanner.skip()?;
        Ok(())
    });
    looked.is_err() && found
}

/// Ends a look ahead.
struct Enough;

impl From<JsonError> for Enough {
    fn from(_: JsonError) -> Self {
        Self
    }
}

fn first_key(scanner: &Scanner<'_>) -> Option<String> {
    let mut first = None;
    let looked = scanner.clone().object(|key, _| {
        first = Some(key.to_owned());
        Err::<(), _>(Enough)
    });
    looked.err().and(first)
}

fn check_signature(scanner: &mut Scanner<'_>) -> Result<(), PredictError> {
    let found = scanner.string()?;
    if matches!(&*found, SIGNATURE | "") {
        return Ok(());
    }
    Err(PredictError::Signature { found: excerpt(&found) })
}

impl<'a> Columns<'a> {
    fn of(signature: &'a Signature) -> Self {
        let column = |spec: &'a TensorSpec| Column {
            spec,
            values: Values::with_room(spec.dtype, 0),
            sizes: Sizes::new(),
            rows: 0,
        };
        Self { each: signature.inputs.iter().map(column).collect() }
    }

    // An object gives values by input; anything else is of the only one that has no default.
    fn read_row(&mut self, scanner: &mut Scanner<'_>, row: usize) -> Result<(), PredictError> {
        let named = scanner.peek()? == Next::Object && first_key(scanner) != Some("b64".into());
        if named {
            scanner.object(|key, scanner| {
                let column = self.each.iter_mut().find(|column| *column.spec.name == *key);
                match column {
                    Some(column) => column.read(scanner, row),
                    None => {
                        Err(PredictError::Unknown { input: excerpt(key), inputs: self.names() })
                    }
                }
            })?;
        } else {
            let mut required = self.each.iter_mut().filter(|column| !column.spec.optional);
            let (Some(only), None) = (required.next(), required.next()) else {
                return Err(PredictError::Unnamed { at: scanner.offset(), inputs: self.names() });
            };
            only.read(scanner, row)?;
        }
        match self.each.iter().find(|column| column.rows != row + 1 && !column.is_left_out()) {
            None => Ok(()),
            Some(column) => {
                let found = column.rows.saturating_sub(row);
                Err(PredictError::Times { row, input: column.name(), found })
            }
        }
    }

    fn finish(self, form: Form) -> Result<Vec<NamedTensor>, PredictError> {
        let there = self.each.into_iter().filter(|column| !column.is_left_out());
        there.map(|column| column.finish(form)).collect()
    }

    fn names(&self) -> String {
        let names = self.each.iter().take(16).map(|column| format!("'{}'", column.spec.name));
        names.collect::<Vec<_>>().join(", ")
    }
}

impl Column<'_> {
    fn read(&mut self, scanner: &mut Scanner<'_>, row: usize) -> Result<(), PredictError> {
        let sizes = nesting::measure(scanner)
            .map_err(|source| PredictError::Nesting { input: self.name(), source })?;
        if self.rows == 0 {
            self.sizes = sizes;
        } else if self.sizes != sizes {
            return Err(PredictError::Row { row, input: self.name() });
        }
        self.rows += 1;
        if self.spec.dtype == DataType::Bytes {
            return self.read_texts(scanner);
        }
        self.values.read(scanner).map_err(|source| self.data(source))
    }

    fn read_texts(&mut self, scanner: &mut Scanner<'_>) -> Result<(), PredictError> {
        match scanner.peek()? {
            Next::Array => scanner.array(|scanner| self.read_texts(scanner)),
            Next::Object if first_key(scanner) == Some("b64".into()) => {
                scanner.object(|_, scanner| {
                    let (at, text) = (scanner.offset(), scanner.string()?);
                    let decoded = STANDARD.decode(text.as_bytes());
                    let bytes = decoded.map_err(|reason| PredictError::Base64 { at, reason })?;
                    self.values.push_bytes(&bytes, scanner).map_err(|source| self.data(source))
                })
            }
            Next::String | Next::Object | Next::Number | Next::Bool | Next::Null => {
                self.values.read(scanner).map_err(|source| self.data(source))
            }
        }
    }

    fn finish(self, form: Form) -> Result<NamedTensor, PredictError> {
        let mut sizes = self.sizes.clone();
        if form == Form::Rows {
            sizes.insert(0, i64::try_from(self.rows).unwrap_or(i64::MAX));
        }
        // Models made of tables have columns [rows, 1], which nobody writes as nested arrays.
        let inner = self.spec.outer().iter().skip(sizes.len());
        if inner.clone().all(|dim| matches!(dim, Dim::Fixed(1))) {
            sizes.extend(inner.map(|_| 1));
        }
        let (name, shape) = (self.name(), Shape::new(&sizes)?);
        match self.values.finish(shape) {
            Ok(tensor) => Ok(NamedTensor { name, tensor }),
            Err(source) => Err(PredictError::Data { input: name, source }),
        }
    }

    // An input with a default, of which no row said anything.
    fn is_left_out(&self) -> bool {
        self.spec.optional && self.rows == 0
    }

    fn name(&self) -> String {
        self.spec.name.to_string()
    }

    fn data(&self, source: DataError) -> PredictError {
        PredictError::Data { input: self.name(), source }
    }
}

/// The name of the only signature of every model here.
pub const SIGNATURE: &str = "serving_default";

#[cfg(test)]
mod tests {
    use super::{Form, is_open_inference, read};
    use crate::domain::signature::Signature;
    use crate::domain::spec::{Dim, TensorSpec};
    use crate::domain::tensor::dtype::DataType;

    fn model(inputs: &[(&str, DataType, Vec<Dim>)]) -> Signature {
        let spec = |(name, dtype, dims): &(&str, DataType, Vec<Dim>)| {
            TensorSpec::new(*name, *dtype, dims.clone())
        };
        Signature { inputs: inputs.iter().map(spec).collect(), outputs: Vec::new() }
    }

    #[test]
    fn a_request_of_the_open_protocol_is_known_by_objects_in_its_inputs() {
        for (body, open) in [
            (r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}"#, true),
            (r#"{"id": "a", "parameters": {"instances": 1}, "inputs": [{"name": "x"}]}"#, true),
            (r#"{"inputs": [1, 2]}"#, false),
            (r#"{"inputs": [{"b64": "AA=="}]}"#, false),
            (r#"{"inputs": {"x": [1]}}"#, false),
            (r#"{"inputs": []}"#, false),
            (r#"{"instances": [{"name": 1}]}"#, false),
            (r#"{"inputs": [{"name""#, true),
            ("4.9,2.5", false),
            ("", false),
        ] {
            assert_eq!(is_open_inference(body.as_bytes()), open, "{body}");
        }
    }

    #[test]
    fn rows_and_columns_of_the_same_values_are_the_same_tensors() {
        let rows = Dim::Any(Some("rows".into()));
        let signature = model(&[
            ("a", DataType::Fp32, vec![rows.clone(), Dim::Fixed(2)]),
            ("b", DataType::Bytes, vec![rows.clone()]),
            ("c", DataType::Int64, vec![rows, Dim::Fixed(1)]),
        ]);
        let by_row = r#"{"instances": [{"a": [1, 2], "b": "x", "c": 7},
            {"c": [8], "b": {"b64": "eQ=="}, "a": [3, 4]}]}"#;
        let by_column = r#"{"inputs": {"a": [[1, 2], [3, 4]], "b": ["x", "y"], "c": [7, 8]}}"#;
        // `c` of the second row is nested deeper than that of the first.
        assert!(read(&signature, by_row.as_bytes()).is_err());
        let by_row = by_row.replace("[8]", "8");
        let rows = read(&signature, by_row.as_bytes()).unwrap();
        let columns = read(&signature, by_column.as_bytes()).unwrap();
        assert_eq!((rows.form, columns.form), (Form::Rows, Form::Columns));
        for (row, column) in rows.inputs.iter().zip(&columns.inputs) {
            assert_eq!((&row.name, &row.tensor), (&column.name, &column.tensor));
        }
        assert_eq!(rows.inputs[2].tensor.shape().to_string(), "[2,1]");
    }
}
