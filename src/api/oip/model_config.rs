//! A model's configuration as Triton's clients read it.
//!
//! Clients that find a `max_batch_size` above 0 put a batch dimension before the `dims`, as
//! `perf_analyzer` does. Where the owner bounds no batch, only the size of a message does, so a model
//! whose inputs and outputs all begin with a dimension of any size shows the largest number there is.

use serde::Serialize;

use crate::api::oip::pb::inference as pb;
use crate::domain::model::ModelName;
use crate::domain::spec::TensorSpec;
use crate::domain::tensor::dtype::DataType;
use crate::serving::registry::version::Terms;

/// A model's configuration.
#[derive(Clone, Debug, Serialize)]
pub struct ModelConfig {
    name: String,
    platform: &'static str,
    backend: &'static str,
    max_batch_size: i32,
    default_model_filename: String,
    input: Vec<TensorConfig>,
    output: Vec<TensorConfig>,
}

#[derive(Clone, Debug, Serialize)]
struct TensorConfig {
    name: String,
    data_type: &'static str,
    /// Without the batch dimension, if the model has one; -1 for any size.
    dims: Vec<i64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    optional: bool,
    /// The same values' shape in the model, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    reshape: Option<Reshape>,
}

#[derive(Clone, Debug, Serialize)]
struct Reshape {
    shape: Vec<i64>,
}

impl ModelConfig {
    /// Describes a model by what requests must be.
    pub fn of(model: &ModelName, terms: &Terms) -> Self {
        let Terms { signature, max_rows, file, .. } = terms;
        let batched = signature.is_batched();
        let without_batch = |dims: Vec<i64>| dims.into_iter().skip(usize::from(batched)).collect();
        let describe = |specs: &[TensorSpec]| {
            let one = |spec: &TensorSpec| TensorConfig {
                name: spec.name.to_string(),
                data_type: type_name(spec.dtype),
                dims: without_batch(spec.shape()),
                optional: spec.optional,
                reshape: spec
                    .outside
                    .as_ref()
                    .and_then(|outside| outside.inside.clone())
                    .map(|inside| Reshape { shape: without_batch(inside) }),
            };
            specs.iter().map(one).collect()
        };
        let unbounded = if batched { i32::MAX } else { 0 };
        let bound = max_rows.map(|most| i32::try_from(most).unwrap_or(i32::MAX));
        Self {
            name: model.to_string(),
            platform: "onnxruntime_onnx",
            backend: "onnxruntime",
            max_batch_size: bound.unwrap_or(unbounded),
            default_model_filename: file.to_string(),
            input: describe(&signature.inputs),
            output: describe(&signature.outputs),
        }
    }

    /// The protobuf message.
    pub fn message(self) -> pb::ModelConfigResponse {
        let number = |name: &str| pb::DataType::from_str_name(name).unwrap_or_default().into();
        let input = self.input.into_iter().map(|tensor| pb::ModelInput {
            data_type: number(tensor.data_type),
            name: tensor.name,
            dims: tensor.dims,
            optional: tensor.optional,
            reshape: tensor.reshape.map(|Reshape { shape }| pb::ModelTensorReshape { shape }),
            ..pb::ModelInput::default()
        });
        let output = self.output.into_iter().map(|tensor| pb::ModelOutput {
            data_type: number(tensor.data_type),
            name: tensor.name,
            dims: tensor.dims,
            reshape: tensor.reshape.map(|Reshape { shape }| pb::ModelTensorReshape { shape }),
            ..pb::ModelOutput::default()
        });
        let config = pb::ModelConfig {
            name: self.name,
            platform: self.platform.to_owned(),
            backend: self.backend.to_owned(),
            max_batch_size: self.max_batch_size,
            default_model_filename: self.default_model_filename,
            input: input.collect(),
            output: output.collect(),
            ..pb::ModelConfig::default()
        };
        pb::ModelConfigResponse { config: Some(config) }
    }
}

fn type_name(dtype: DataType) -> &'static str {
    match dtype {
        DataType::Bool => "TYPE_BOOL",
        DataType::Uint8 => "TYPE_UINT8",
        DataType::Uint16 => "TYPE_UINT16",
        DataType::Uint32 => "TYPE_UINT32",
        DataType::Uint64 => "TYPE_UINT64",
        DataType::Int8 => "TYPE_INT8",
        DataType::Int16 => "TYPE_INT16",
        DataType::Int32 => "TYPE_INT32",
        DataType::Int64 => "TYPE_INT64",
        DataType::Fp16 => "TYPE_FP16",
        DataType::Bf16 => "TYPE_BF16",
        DataType::Fp32 => "TYPE_FP32",
        DataType::Fp64 => "TYPE_FP64",
        DataType::Bytes => "TYPE_STRING",
    }
}
