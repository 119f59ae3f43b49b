//! Inference requests and answers as JSON, straight into tensors and back.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::api::oip::binary::{BinaryError, Parts};
use crate::domain::failure::{Code, Failure};
use crate::domain::inference::Answer;
use crate::domain::json::{JsonError, Next, Scanner};
use crate::domain::signature::{NamedTensor, Requested};
use crate::domain::tensor::buffer::{Tensor, TensorError};
use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::json::{self, DataError};
use crate::domain::tensor::shape::{Shape, ShapeError};

/// A request body, read.
#[derive(Debug, Default)]
pub struct InferBody {
    /// The caller's own id, echoed.
    pub id: Option<String>,
    /// Inputs, in the caller's order.
    pub inputs: Vec<NamedTensor>,
    /// Outputs asked for; none means all.
    pub requested: Vec<Requested>,
    /// Microseconds the caller allows.
    pub timeout_us: Option<u64>,
    /// How outputs are to be written.
    pub form: OutputForm,
}

/// Which outputs are written as binary data.
#[derive(Debug, Default)]
pub struct OutputForm {
    all_binary: bool,
    /// Outputs that say for themselves.
    each: Vec<(String, bool)>,
}

/// Why a body is no request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BodyError {
    /// Broken JSON.
    #[error("request body is not valid JSON: {0}")]
    Json(#[from] JsonError),
    /// Tensor bytes that do not add up.
    #[error(transparent)]
    Binary(#[from] BinaryError),
    /// A member that is not what it should be.
    #[error("{member} is {found}, expected {expected}")]
    Member {
        /// Where.
        member: String,
        /// What came.
        found: String,
        /// What should have come.
        expected: &'static str,
    },
    /// An input's values do not make the tensor it declares.
    #[error("input '{input}': {source}")]
    Data {
        /// Which input.
        input: String,
        /// Why.
        source: DataError,
    },
    /// An input's shape is none.
    #[error("input '{input}': {source}")]
    Shape {
        /// Which input.
        input: String,
        /// Why.
        source: ShapeError,
    },
    /// A parameter that cannot act here.
    #[error("parameter '{name}' is not supported: {reason}")]
    Parameter {
        /// Which one.
        name: String,
        /// Why.
        reason: &'static str,
    },
}

impl Failure for BodyError {
    fn code(&self) -> Code {
        match self {
            Self::Json(_) | Self::Binary(_) | Self::Member { .. } => Code::Malformed,
            Self::Data { .. } | Self::Shape { .. } => Code::Input,
            Self::Parameter { .. } => Code::Parameter,
        }
    }
}

/// One input while it is read: its members may come in any order.
#[derive(Default)]
struct Input<'a> {
    name: Option<String>,
    dtype: Option<DataType>,
    shape: Option<Shape>,
    data: Option<Data<'a>>,
    binary_size: Option<u64>,
}

enum Data<'a> {
    /// Read already, because type and shape came first.
    Tensor(Tensor),
    /// To be read once type and shape are known.
    Text(&'a [u8], usize),
}

/// Reads a request.
///
/// # Errors
///
/// [`BodyError`].
pub fn read(mut parts: Parts) -> Result<InferBody, BodyError> {
    let mut body = InferBody::default();
    let text = parts.json.clone();
    let mut scanner = Scanner::new(&text);
    let mut inputs = Vec::new();
    scanner.object(|key, scanner| -> Result<(), BodyError> {
        match key {
            "id" => body.id = Some(scanner.string()?.into_owned()),
            "inputs" => scanner.array(|scanner| {
                inputs.push(read_input(scanner)?);
                Ok::<(), BodyError>(())
            })?,
            "outputs" => scanner.array(|scanner| read_output(scanner, &mut body))?,
            "parameters" => read_parameters(scanner, &mut body)?,
            _ => drop(scanner.skip()?),
        }
        Ok(())
    })?;
    scanner.end()?;
    for input in inputs {
        body.inputs.push(input.finish(&mut parts)?);
    }
    parts.end()?;
    Ok(body)
}

fn read_input<'a>(scanner: &mut Scanner<'a>) -> Result<Input<'a>, BodyError> {
    let mut input = Input::default();
    scanner.object(|key, scanner| -> Result<(), BodyError> {
        match key {
            "name" => input.name = Some(scanner.string()?.into_owned()),
            "datatype" => input.dtype = Some(read_dtype(scanner)?),
            "shape" => input.shape = Some(read_shape(scanner, input.name.as_deref())?),
            "data" => input.data = Some(input.read_data(scanner)?),
            "parameters" => input.binary_size = read_binary_size(scanner)?,
            _ => drop(scanner.skip()?),
        }
        Ok(())
    })?;
    Ok(input)
}

fn read_dtype(scanner: &mut Scanner<'_>) -> Result<DataType, BodyError> {
    let name = scanner.string()?;
    DataType::from_name(&name).ok_or_else(|| BodyError::Member {
        member: "datatype".to_owned(),
        found: format!("'{}'", excerpt(&name)),
        expected: "one of BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64, BYTES",
    })
}

fn read_shape(scanner: &mut Scanner<'_>, input: Option<&str>) -> Result<Shape, BodyError> {
    let mut dims: SmallVec<[i64; 8]> = SmallVec::new();
    scanner.array(|scanner| -> Result<(), BodyError> {
        let text = scanner.number()?;
        let dim = text.parse().map_err(|_| member("a dimension of a shape", text, "an integer"))?;
        dims.push(dim);
        Ok(())
    })?;
    let input = input.unwrap_or("(not yet named)").to_owned();
    Shape::new(&dims).map_err(|source| BodyError::Shape { input, source })
}

fn read_binary_size(scanner: &mut Scanner<'_>) -> Result<Option<u64>, BodyError> {
    let mut size = None;
    scanner.object(|key, scanner| -> Result<(), BodyError> {
        match key {
            "binary_data_size" => size = Some(read_u64(scanner, key)?),
            _ if key.starts_with("shared_memory") => return Err(shared_memory(key)),
            _ => drop(scanner.skip()?),
        }
        Ok(())
    })?;
    Ok(size)
}

fn read_output(scanner: &mut Scanner<'_>, body: &mut InferBody) -> Result<(), BodyError> {
    let (mut name, mut binary) = (None, None);
    scanner.object(|key, scanner| -> Result<(), BodyError> {
        match key {
            "name" => name = Some(scanner.string()?.into_owned()),
            "parameters" => scanner.object(|key, scanner| -> Result<(), BodyError> {
                match key {
                    "binary_data" => binary = Some(scanner.bool()?),
                    "classification" => {
                        let (name, reason) = (key.to_owned(), "it comes in a later release");
                        return Err(BodyError::Parameter { name, reason });
                    }
                    _ if key.starts_with("shared_memory") => return Err(shared_memory(key)),
                    _ => drop(scanner.skip()?),
                }
                Ok(())
            })?,
            _ => drop(scanner.skip()?),
        }
        Ok(())
    })?;
    let name = name.ok_or_else(|| member("name of an output", "missing", "a string"))?;
    body.form.each.extend(binary.map(|binary| (name.clone(), binary)));
    body.requested.push(Requested { name });
    Ok(())
}

fn read_parameters(scanner: &mut Scanner<'_>, body: &mut InferBody) -> Result<(), BodyError> {
    scanner.object(|key, scanner| -> Result<(), BodyError> {
        match key {
            "binary_data_output" => body.form.all_binary = scanner.bool()?,
            "timeout" => body.timeout_us = Some(read_u64(scanner, key)?),
            "sequence_id" | "sequence_start" | "sequence_end" => {
                // Clients send `false` and 0 by default; only a real sequence is refused.
                let text = scanner.skip()?;
                if !matches!(text, b"false" | b"0" | b"\"\"" | b"null") {
                    let (name, reason) = (key.to_owned(), "sequences are not offered");
                    return Err(BodyError::Parameter { name, reason });
                }
            }
            _ => drop(scanner.skip()?),
        }
        Ok(())
    })
}

fn read_u64(scanner: &mut Scanner<'_>, key: &str) -> Result<u64, BodyError> {
    if scanner.peek()? != Next::Number {
        return Err(member(key, &excerpt(&String::from_utf8_lossy(scanner.skip()?)), COUNT));
    }
    let text = scanner.number()?;
    text.parse().map_err(|_| member(key, text, COUNT))
}

impl<'a> Input<'a> {
    fn read_data(&self, scanner: &mut Scanner<'a>) -> Result<Data<'a>, BodyError> {
        if let (Some(dtype), Some(shape)) = (self.dtype, &self.shape) {
            let read = json::read(scanner, dtype, shape.clone());
            read.map(Data::Tensor).map_err(|error| self.data_error(error))
        } else {
            scanner.peek()?;
            let at = scanner.offset();
            Ok(Data::Text(scanner.skip()?, at))
        }
    }

    fn finish(mut self, parts: &mut Parts) -> Result<NamedTensor, BodyError> {
        let missing = |what: &str| member(what, "missing", "there");
        let name = self.name.clone().ok_or_else(|| missing("name of an input"))?;
        let dtype = self.dtype.ok_or_else(|| missing(&format!("datatype of input '{name}'")))?;
        let shape =
            self.shape.take().ok_or_else(|| missing(&format!("shape of input '{name}'")))?;
        let tensor = match (self.data.take(), self.binary_size) {
            (None, Some(size)) => {
                let data = parts.take(&name, size)?;
                let tensor = Tensor::new(dtype, shape, data);
                tensor.map_err(|error: TensorError| self.data_error(error.into()))?
            }
            (Some(Data::Tensor(tensor)), None) => tensor,
            (Some(Data::Text(text, at)), None) => {
                json::read(&mut Scanner::new_at(text, at), dtype, shape)
                    .map_err(|error| self.data_error(error))?
            }
            (Some(_), Some(_)) => {
                let member_name = format!("input '{name}'");
                return Err(member(
                    &member_name,
                    "given as data and as binary data",
                    "one of them",
                ));
            }
            (None, None) => return Err(missing(&format!("data of input '{name}'"))),
        };
        Ok(NamedTensor { name, tensor })
    }

    fn data_error(&self, source: DataError) -> BodyError {
        let input = self.name.clone().unwrap_or_else(|| "(not yet named)".to_owned());
        BodyError::Data { input, source }
    }
}

/// An answer's JSON part, and the binary outputs that follow it.
#[derive(Debug)]
pub struct AnswerBody {
    /// JSON, then each binary output.
    pub chunks: SmallVec<[Bytes; 4]>,
    /// Bytes of the JSON part, if binary outputs follow.
    pub json_length: Option<usize>,
}

/// Writes an answer.
///
/// # Errors
///
/// [`DataError`], for an output that has no form in JSON; nothing was written then.
pub fn write(
    answer: &Answer,
    id: Option<&str>,
    form: &OutputForm,
) -> Result<AnswerBody, DataError> {
    let mut out = Vec::with_capacity(512);
    let mut binary = SmallVec::<[Bytes; 4]>::new();
    write_head(answer, id, &mut out);
    for (index, (name, tensor)) in answer.named_outputs().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        json::string(name, &mut out);
        out.extend_from_slice(b",\"datatype\":\"");
        out.extend_from_slice(tensor.dtype().name().as_bytes());
        out.extend_from_slice(b"\",\"shape\":");
        write_shape(tensor.shape(), &mut out);
        if form.is_binary(name) {
            out.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
            number(tensor.data().len(), &mut out);
            out.extend_from_slice(b"}}");
            binary.push(tensor.data().clone());
        } else {
            out.extend_from_slice(b",\"data\":");
            json::write(tensor, &mut out)?;
            out.push(b'}');
        }
    }
    out.extend_from_slice(b"]}");
    let json_length = (!binary.is_empty()).then_some(out.len());
    binary.insert(0, Bytes::from(out));
    Ok(AnswerBody { chunks: binary, json_length })
}

fn write_head(answer: &Answer, id: Option<&str>, out: &mut Vec<u8>) {
    let labels = &answer.origin.labels;
    let members = [
        ("{\"model_name\":", Some(Cow::Borrowed(answer.origin.model.as_str()))),
        (",\"model_version\":", Some(Cow::Borrowed(labels.version.as_str()))),
        (",\"id\":", id.map(Cow::Borrowed)),
        (",\"parameters\":{\"tidegate_inference_id\":", Some(Cow::Owned(answer.id.to_string()))),
        (",\"tidegate_version\":", Some(Cow::Borrowed(labels.version.as_str()))),
        (",\"tidegate_variant\":", Some(Cow::Borrowed(answer.variant))),
        (",\"tidegate_digest\":", Some(Cow::Borrowed(labels.digest.as_str()))),
    ];
    for (key, value) in members {
        if let Some(value) = value {
            out.extend_from_slice(key.as_bytes());
            json::string(&value, out);
        }
    }
    out.extend_from_slice(b"},\"outputs\":[");
}

fn write_shape(shape: &Shape, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, &dim) in shape.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        number(dim, out);
    }
    out.push(b']');
}

fn number(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

impl OutputForm {
    fn is_binary(&self, output: &str) -> bool {
        let own = self.each.iter().find(|(name, _)| name == output);
        own.map_or(self.all_binary, |(_, binary)| *binary)
    }
}

fn member(member: &str, found: &str, expected: &'static str) -> BodyError {
    BodyError::Member { member: excerpt(member), found: excerpt(found), expected }
}

fn shared_memory(name: &str) -> BodyError {
    BodyError::Parameter { name: excerpt(name), reason: "client shared memory is not offered" }
}

fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

const COUNT: &str = "a whole number";
