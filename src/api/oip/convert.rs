//! Protobuf messages into domain values and back.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::api::oip::parameters::{self, FromProtobuf, ParameterError};
use crate::api::oip::pb::inference as pb;
use crate::api::oip::service::{Call, IndexEntry, ModelMetadata, ServerMetadata, TensorMetadata};
use crate::domain::failure::{Code, Failure, excerpt};
use crate::domain::inference::{Answer, LABELS};
use crate::domain::signature::{NamedTensor, Requested};
use crate::domain::spec::TensorSpec;
use crate::domain::tensor::buffer::{Tensor, TensorError};
use crate::domain::tensor::dtype::DataType;
use crate::domain::tensor::shape::{Shape, ShapeError};

/// Why a message is no inference.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MessageError {
    /// A type that the protocol does not have.
    #[error(
        "input '{input}' has data type '{found}', expected one of BOOL, UINT8 to UINT64, \
         INT8 to INT64, FP16, BF16, FP32, FP64, BYTES"
    )]
    DataType {
        /// Which input.
        input: String,
        /// What came.
        found: String,
    },
    /// A shape that is none.
    #[error("input '{input}': {source}")]
    Shape {
        /// Which input.
        input: String,
        /// Why.
        source: ShapeError,
    },
    /// Values that do not make the tensor.
    #[error("input '{input}': {source}")]
    Tensor {
        /// Which input.
        input: String,
        /// Why.
        source: TensorError,
    },
    /// A typed value that the declared type cannot hold.
    #[error("input '{input}': value {found} at position {index} is no {dtype}")]
    Value {
        /// Which input.
        input: String,
        /// Position of the value.
        index: usize,
        /// The value.
        found: i64,
        /// The declared type.
        dtype: DataType,
    },
    /// Both forms at once.
    #[error(
        "contents field must not be specified when using raw_input_contents for input '{input}'"
    )]
    BothForms {
        /// Which input.
        input: String,
    },
    /// Values in a field of another type.
    #[error("input '{input}' is {dtype}, expected its values in {expected}, found some in {found}")]
    Field {
        /// Which input.
        input: String,
        /// The declared type.
        dtype: DataType,
        /// The field of that type.
        expected: &'static str,
        /// The field that has values.
        found: &'static str,
    },
    /// Raw contents that are not one for each input.
    #[error("raw_input_contents has {found} entries, expected {expected}, one for each input")]
    RawCount {
        /// How many inputs there are.
        expected: usize,
        /// How many entries came.
        found: usize,
    },
    /// A type that has no field in typed contents.
    #[error("input '{input}': {dtype} has no field in contents, send it in raw_input_contents")]
    RawOnly {
        /// Which input.
        input: String,
        /// The declared type.
        dtype: DataType,
    },
    /// Parameters that cannot act here.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
}

impl Failure for MessageError {
    fn code(&self) -> Code {
        match self {
            Self::Parameter(error) => error.code(),
            Self::DataType { .. }
            | Self::Shape { .. }
            | Self::Tensor { .. }
            | Self::Value { .. }
            | Self::BothForms { .. }
            | Self::Field { .. }
            | Self::RawCount { .. }
            | Self::RawOnly { .. } => Code::Input,
        }
    }
}

/// What of a request stands in its answer again.
#[derive(Debug)]
pub struct Echo {
    /// The caller's own id.
    pub id: String,
    /// The caller's own parameters.
    pub parameters: BTreeMap<String, pb::InferParameter>,
}

/// Reads a request; raw tensors are slices of the message.
///
/// # Errors
///
/// [`MessageError`].
pub fn call(message: pb::ModelInferRequest) -> Result<(Call, Echo), MessageError> {
    let FromProtobuf { timeout, echo } = FromProtobuf::read(message.parameters)?;
    let raw_count = message.raw_input_contents.len();
    if raw_count > 0 && raw_count != message.inputs.len() {
        let expected = message.inputs.len();
        return Err(MessageError::RawCount { expected, found: raw_count });
    }
    let mut raw = message.raw_input_contents.into_iter();
    let mut inputs = Vec::with_capacity(message.inputs.len());
    for input in message.inputs {
        inputs.push(read_input(input, raw.next())?);
    }
    let requested = message.outputs.into_iter().map(read_output).collect::<Result<_, _>>()?;
    let (model, version) = (message.model_name, message.model_version);
    let call = Call { model, version, inputs, requested, timeout };
    Ok((call, Echo { id: message.id, parameters: echo }))
}

fn read_input(
    input: pb::model_infer_request::InferInputTensor,
    raw: Option<Bytes>,
) -> Result<NamedTensor, MessageError> {
    let name = input.name;
    if let Some(parameter) = shared_memory(&input.parameters) {
        return Err(parameter);
    }
    let Some(dtype) = DataType::from_name(&input.datatype) else {
        let found = excerpt(&input.datatype);
        return Err(MessageError::DataType { input: name, found });
    };
    let shape = match Shape::new(&input.shape) {
        Ok(shape) => shape,
        Err(source) => return Err(MessageError::Shape { input: name, source }),
    };
    let data = match (raw, input.contents) {
        (Some(_), Some(contents)) if contents != pb::InferTensorContents::default() => {
            return Err(MessageError::BothForms { input: name });
        }
        (Some(raw), _) => raw,
        (None, contents) => typed(&name, dtype, contents.unwrap_or_default())?,
    };
    match Tensor::new(dtype, shape, data) {
        Ok(tensor) => Ok(NamedTensor { name, tensor }),
        Err(source) => Err(MessageError::Tensor { input: name, source }),
    }
}

fn read_output(
    output: pb::model_infer_request::InferRequestedOutputTensor,
) -> Result<Requested, MessageError> {
    if let Some(parameter) = shared_memory(&output.parameters) {
        return Err(parameter);
    }
    let classes = output.parameters.get("classification");
    let classes = classes.map(parameters::classes_of).transpose()?;
    Ok(Requested { name: output.name, classes })
}

fn typed(
    input: &str,
    dtype: DataType,
    contents: pb::InferTensorContents,
) -> Result<Bytes, MessageError> {
    let expected = field_of(dtype);
    if let Some(found) = filled(&contents).into_iter().flatten().find(|&found| found != expected) {
        return Err(MessageError::Field { input: input.to_owned(), dtype, expected, found });
    }
    let narrow = Narrow { input, dtype };
    let signed = |values: Vec<i32>| values.into_iter().map(i64::from);
    let unsigned = |values: Vec<u32>| values.into_iter().map(i64::from);
    match dtype {
        DataType::Bool => Ok(contents.bool_contents.into_iter().map(u8::from).collect()),
        DataType::Int8 => narrow.all(signed(contents.int_contents), i8::to_le_bytes),
        DataType::Int16 => narrow.all(signed(contents.int_contents), i16::to_le_bytes),
        DataType::Int32 => Ok(flat(&contents.int_contents, i32::to_le_bytes)),
        DataType::Int64 => Ok(flat(&contents.int64_contents, i64::to_le_bytes)),
        DataType::Uint8 => narrow.all(unsigned(contents.uint_contents), u8::to_le_bytes),
        DataType::Uint16 => narrow.all(unsigned(contents.uint_contents), u16::to_le_bytes),
        DataType::Uint32 => Ok(flat(&contents.uint_contents, u32::to_le_bytes)),
        DataType::Uint64 => Ok(flat(&contents.uint64_contents, u64::to_le_bytes)),
        DataType::Fp32 => Ok(flat(&contents.fp32_contents, f32::to_le_bytes)),
        DataType::Fp64 => Ok(flat(&contents.fp64_contents, f64::to_le_bytes)),
        DataType::Bytes => Ok(strings(&contents.bytes_contents)),
        DataType::Fp16 | DataType::Bf16 => {
            Err(MessageError::RawOnly { input: input.to_owned(), dtype })
        }
    }
}

// The field that carries values of a type.
fn field_of(dtype: DataType) -> &'static str {
    match dtype {
        DataType::Bool => "bool_contents",
        DataType::Int8 | DataType::Int16 | DataType::Int32 => "int_contents",
        DataType::Int64 => "int64_contents",
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 => "uint_contents",
        DataType::Uint64 => "uint64_contents",
        DataType::Fp32 => "fp32_contents",
        DataType::Fp64 => "fp64_contents",
        DataType::Bytes => "bytes_contents",
        DataType::Fp16 | DataType::Bf16 => "raw_input_contents",
    }
}

// Fields that have values.
fn filled(contents: &pb::InferTensorContents) -> [Option<&'static str>; 8] {
    let name = |empty: bool, name| (!empty).then_some(name);
    [
        name(contents.bool_contents.is_empty(), "bool_contents"),
        name(contents.int_contents.is_empty(), "int_contents"),
        name(contents.int64_contents.is_empty(), "int64_contents"),
        name(contents.uint_contents.is_empty(), "uint_contents"),
        name(contents.uint64_contents.is_empty(), "uint64_contents"),
        name(contents.fp32_contents.is_empty(), "fp32_contents"),
        name(contents.fp64_contents.is_empty(), "fp64_contents"),
        name(contents.bytes_contents.is_empty(), "bytes_contents"),
    ]
}

/// Fits typed values into a narrower type than the field they came in.
struct Narrow<'a> {
    input: &'a str,
    dtype: DataType,
}

impl Narrow<'_> {
    fn all<T: TryFrom<i64>, const N: usize>(
        &self,
        values: impl ExactSizeIterator<Item = i64>,
        bytes: impl Fn(T) -> [u8; N],
    ) -> Result<Bytes, MessageError> {
        let mut out = Vec::with_capacity(values.len() * N);
        for (index, found) in values.enumerate() {
            let value = T::try_from(found).map_err(|_| MessageError::Value {
                input: self.input.to_owned(),
                index,
                found,
                dtype: self.dtype,
            })?;
            out.extend_from_slice(&bytes(value));
        }
        Ok(out.into())
    }
}

fn flat<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Bytes {
    let mut out = Vec::with_capacity(values.len() * N);
    for &value in values {
        out.extend_from_slice(&bytes(value));
    }
    out.into()
}

fn strings(elements: &[Bytes]) -> Bytes {
    let mut out = Vec::with_capacity(elements.iter().map(|element| element.len() + 4).sum());
    for element in elements {
        // A message is far below 4 GiB, and so is each element of it.
        let length = u32::try_from(element.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(element);
    }
    out.into()
}

/// Writes an answer; tensors are raw, as Triton's are whatever form the request had.
pub fn response(answer: &Answer, echo: Echo) -> pb::ModelInferResponse {
    let labels = &answer.origin.labels;
    let ours = [
        ("tidegate_inference_id", answer.id.to_string()),
        ("tidegate_version", labels.version.clone()),
        ("tidegate_variant", answer.variant.to_owned()),
        ("tidegate_digest", labels.digest.clone()),
    ];
    let ours = ours.into_iter().map(|(name, value)| (name.to_owned(), text(value)));
    let mut parameters: BTreeMap<_, _> = ours.collect();
    // None of them has a name of ours.
    parameters.extend(echo.parameters);
    let outputs =
        answer.present().map(|(spec, tensor)| pb::model_infer_response::InferOutputTensor {
            name: spec.name.to_string(),
            datatype: tensor.dtype().name().to_owned(),
            shape: tensor.shape().to_vec(),
            parameters: labels_of(spec),
            contents: None,
        });
    pb::ModelInferResponse {
        model_name: answer.origin.model.to_string(),
        model_version: labels.version.clone(),
        id: echo.id,
        parameters,
        outputs: outputs.collect(),
        raw_output_contents: answer.present().map(|(_, tensor)| tensor.data().clone()).collect(),
    }
}

fn labels_of(spec: &TensorSpec) -> BTreeMap<String, pb::InferParameter> {
    let labels = spec.labels_json.iter();
    labels.map(|labels| (LABELS.to_owned(), text(labels.to_string()))).collect()
}

/// Writes what the server says of itself.
pub fn server_metadata(metadata: &ServerMetadata) -> pb::ServerMetadataResponse {
    pb::ServerMetadataResponse {
        name: metadata.name.to_owned(),
        version: metadata.version.to_owned(),
        extensions: metadata.extensions.iter().map(|&name| name.to_owned()).collect(),
    }
}

/// Writes what a model says of itself.
pub fn model_metadata(metadata: ModelMetadata) -> pb::ModelMetadataResponse {
    let tensors = |tensors: Vec<TensorMetadata>| {
        let tensor = |tensor: TensorMetadata| pb::model_metadata_response::TensorMetadata {
            name: tensor.name,
            datatype: tensor.datatype.to_owned(),
            shape: tensor.shape,
        };
        tensors.into_iter().map(tensor).collect()
    };
    pb::ModelMetadataResponse {
        name: metadata.name,
        versions: metadata.versions,
        platform: metadata.platform.to_owned(),
        inputs: tensors(metadata.inputs),
        outputs: tensors(metadata.outputs),
        properties: metadata.properties,
    }
}

/// Writes the repository's index.
pub fn index(index: Vec<IndexEntry>) -> pb::RepositoryIndexResponse {
    let entry = |entry: IndexEntry| pb::repository_index_response::ModelIndex {
        name: entry.name,
        version: entry.version,
        state: entry.state.to_owned(),
        reason: entry.reason,
    };
    pb::RepositoryIndexResponse { models: index.into_iter().map(entry).collect() }
}

fn shared_memory(parameters: &BTreeMap<String, pb::InferParameter>) -> Option<MessageError> {
    let name = parameters.keys().find(|name| name.starts_with("shared_memory"))?;
    Some(ParameterError::shared_memory(name).into())
}

fn text(value: String) -> pb::InferParameter {
    let choice = pb::infer_parameter::ParameterChoice::StringParam(value);
    pb::InferParameter { parameter_choice: Some(choice) }
}
