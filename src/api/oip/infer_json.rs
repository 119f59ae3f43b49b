//! Inference requests and answers as JSON, straight into tensors and back.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::api::oip::binary::{BinaryError, Parts};
use crate::api::oip::parameters::{self, FromJson, ParameterError};
use crate::domain::failure::{Code, Failure, excerpt};
use crate::domain::inference::{Answer, LABELS};
use crate::domain::json::{JsonError, Next, Scanner};
use crate::domain::signature::{NamedTensor, Requested};
use crate::domain::spec::TensorSpec;
use crate::domain::tensor::json::{self, DataError};
use crate::domain::tensor::object::{Object, ObjectError};
use crate::domain::tensor::shape::Shape;

/// A request body, read.
#[derive(Debug, Default)]
pub struct InferBody {
    /// The caller's own id, echoed.
    pub id: Option<String>,
    /// Inputs, in the caller's order.
    pub inputs: Vec<NamedTensor>,
    /// Outputs asked for; none means all.
    pub requested: Vec<Requested>,
    /// What the caller allows.
    pub timeout: Option<Duration>,
    /// The caller's own parameters, as members of an object that goes on.
    pub echo: Vec<u8>,
    /// How outputs are to be written.
    pub form: OutputForm,
}

/// Which outputs are written as binary data.
#[derive(Debug, Default)]
pub struct OutputForm {
    /// Unless they say for themselves.
    pub all_binary: bool,
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
    /// A tensor or member that is not what it should be.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Parameters that cannot act here.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
}

impl Failure for BodyError {
    fn code(&self) -> Code {
        match self {
            Self::Json(_)
            | Self::Binary(_)
            | Self::Object(
                ObjectError::Json(_)
                | ObjectError::Member { .. }
                | ObjectError::Data { source: DataError::Json(_), .. },
            ) => Code::Malformed,
            Self::Object(ObjectError::Data { .. } | ObjectError::Shape { .. }) => Code::Input,
            Self::Parameter(error) => error.code(),
        }
    }
}

/// Members that an object had so far, one bit for each that is known.
#[derive(Default)]
struct Once(u8);

/// One input while it is read.
#[derive(Default)]
struct Input<'a> {
    object: Object<'a>,
    binary_size: Option<u64>,
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
    let mut once = Once::default();
    scanner.object(|key, scanner| -> Result<(), BodyError> {
        once.seen(key, &["id", "inputs", "outputs", "parameters"])?;
        // Clients that write every member out mean nothing by a null.
        if scanner.peek()? == Next::Null {
            scanner.skip()?;
            return Ok(());
        }
        match key {
            "id" => body.id = Some(scanner.string()?.into_owned()),
            "inputs" => scanner.array(|scanner| {
                inputs.push(read_input(scanner)?);
                Ok::<(), BodyError>(())
            })?,
            "outputs" => scanner.array(|scanner| read_output(scanner, &mut body))?,
            "parameters" => {
                let parameters = FromJson::read(scanner)?;
                body.timeout = parameters.timeout;
                body.form.all_binary = parameters.all_binary;
                body.echo = parameters.echo;
            }
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
    let mut once = Once::default();
    scanner.object(|key, scanner| -> Result<(), BodyError> {
        once.seen(key, &["parameters"])?;
        if input.object.member(key, scanner)? {
            return Ok(());
        }
        match key {
            "parameters" => input.binary_size = read_binary_size(scanner)?,
            _ => drop(scanner.skip()?),
        }
        Ok(())
    })?;
    Ok(input)
}

fn read_binary_size(scanner: &mut Scanner<'_>) -> Result<Option<u64>, BodyError> {
    let mut size = None;
    let mut once = Once::default();
    scanner.object(|key, scanner| -> Result<(), BodyError> {
        once.seen(key, &["binary_data_size"])?;
        match key {
            "binary_data_size" => size = Some(read_u64(scanner, key)?),
            _ if key.starts_with("shared_memory") => {
                return Err(ParameterError::shared_memory(key).into());
            }
            _ => drop(scanner.skip()?),
        }
        Ok(())
    })?;
    Ok(size)
}

fn read_output(scanner: &mut Scanner<'_>, body: &mut InferBody) -> Result<(), BodyError> {
    let (mut name, mut binary, mut classes) = (None, None, None);
    let mut once = Once::default();
    scanner.object(|key, scanner| -> Result<(), BodyError> {
        once.seen(key, &["name", "parameters"])?;
        match key {
            "name" => name = Some(scanner.string()?.into_owned()),
            "parameters" => scanner.object(|key, scanner| -> Result<(), BodyError> {
                match key {
                    "binary_data" => binary = Some(scanner.bool()?),
                    "classification" => {
                        let text = std::str::from_utf8(scanner.skip()?).ok();
                        let found = text.and_then(|text| text.parse().ok());
                        classes = Some(parameters::classes(found)?);
                    }
                    _ if key.starts_with("shared_memory") => {
                        return Err(ParameterError::shared_memory(key).into());
                    }
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
    body.requested.push(Requested { name, classes });
    Ok(())
}

fn read_u64(scanner: &mut Scanner<'_>, key: &str) -> Result<u64, BodyError> {
    if scanner.peek()? != Next::Number {
        return Err(member(key, &excerpt(&String::from_utf8_lossy(scanner.skip()?)), COUNT));
    }
    let text = scanner.number()?;
    text.parse().map_err(|_| member(key, text, COUNT))
}

impl Once {
    // Of two values nobody knows which one was meant; another reader may take the other one.
    fn seen(&mut self, key: &str, known: &[&str]) -> Result<(), BodyError> {
        let Some(place) = known.iter().position(|&name| name == key) else { return Ok(()) };
        if self.0 & 1 << place != 0 {
            return Err(member(key, "there twice", "once"));
        }
        self.0 |= 1 << place;
        Ok(())
    }
}

impl Input<'_> {
    fn finish(self, parts: &mut Parts) -> Result<NamedTensor, BodyError> {
        let size = self.binary_size;
        self.object.finish(|name| match size {
            Some(size) => Ok(Some(parts.take(name, size)?)),
            None => Ok(None),
        })
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

/// Writes the answer to that request.
///
/// # Errors
///
/// [`DataError`], for an output that has no form in JSON; nothing was written then.
pub fn write(answer: &Answer, body: &InferBody) -> Result<AnswerBody, DataError> {
    let mut out = Vec::with_capacity(512);
    let mut binary = SmallVec::<[Bytes; 4]>::new();
    write_head(answer, body, &mut out);
    for (index, (spec, tensor)) in answer.present().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        json::string(&spec.name, &mut out);
        out.extend_from_slice(b",\"datatype\":\"");
        out.extend_from_slice(tensor.dtype().name().as_bytes());
        out.extend_from_slice(b"\",\"shape\":");
        write_shape(tensor.shape(), &mut out);
        let is_binary = body.form.is_binary(&spec.name);
        write_parameters(spec, is_binary.then(|| tensor.data().len()), &mut out);
        if is_binary {
            binary.push(tensor.data().clone());
        } else {
            out.extend_from_slice(b",\"data\":");
            json::write(tensor, &mut out)?;
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    let json_length = (!binary.is_empty()).then_some(out.len());
    binary.insert(0, Bytes::from(out));
    Ok(AnswerBody { chunks: binary, json_length })
}

fn write_head(answer: &Answer, body: &InferBody, out: &mut Vec<u8>) {
    let labels = &answer.origin.labels;
    let members = [
        ("{\"model_name\":", Some(Cow::Borrowed(answer.origin.model.as_str()))),
        (",\"model_version\":", Some(Cow::Borrowed(labels.version.as_str()))),
        (",\"id\":", body.id.as_deref().map(Cow::Borrowed)),
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
    out.extend_from_slice(&body.echo);
    out.extend_from_slice(b"},\"outputs\":[");
}

fn write_parameters(spec: &TensorSpec, binary_size: Option<usize>, out: &mut Vec<u8>) {
    if binary_size.is_none() && spec.labels_json.is_none() {
        return;
    }
    out.extend_from_slice(b",\"parameters\":{");
    if let Some(size) = binary_size {
        out.extend_from_slice(b"\"binary_data_size\":");
        number(size, out);
    }
    if let Some(labels) = &spec.labels_json {
        out.extend_from_slice(if binary_size.is_some() { b",\"" } else { b"\"" });
        out.extend_from_slice(LABELS.as_bytes());
        out.extend_from_slice(b"\":");
        json::string(labels, out);
    }
    out.push(b'}');
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
    ObjectError::member(member, found, expected).into()
}

const COUNT: &str = "a whole number";
