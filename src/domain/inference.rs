//! One request and its answer, whatever the wire format.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use ulid::Ulid;

use crate::domain::caller::Caller;
use crate::domain::model::{Digest, ModelName, VersionChoice, VersionNumber};
use crate::domain::signature::{NamedTensor, Requested, Selection, Signature, Tensors};
use crate::domain::spec::TensorSpec;
use crate::domain::tensor::buffer::Tensor;

/// Identity of one inference, made here: answers, errors, logs and records carry it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InferenceId(pub Ulid);

/// Why an inference runs. Observers are told of live ones only.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A caller waits for the answer.
    Live,
    /// A copy of a live one, to compare versions.
    Shadow,
    /// Recorded traffic, again.
    Replay,
    /// Part of an explanation.
    Explain,
    /// Part of a gate's check.
    Gate,
    /// Before the version serves.
    Warmup,
}

/// A request to run a model.
#[derive(Clone, Debug)]
pub struct Inference {
    /// Ours.
    pub id: InferenceId,
    /// The model or route asked for.
    pub name: ModelName,
    /// The version asked for, if any.
    pub version: Option<VersionChoice>,
    /// Inputs, in the caller's order.
    pub inputs: Vec<NamedTensor>,
    /// Outputs asked for; none means all.
    pub requested: Vec<Requested>,
    /// When the answer is worth nothing any more.
    pub deadline: Option<Instant>,
    /// Who asks.
    pub caller: Caller,
    /// Why.
    pub purpose: Purpose,
}

/// Which version answered; made once a version, shared by all its answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The model.
    pub model: ModelName,
    /// The version.
    pub version: VersionNumber,
    /// The version's files.
    pub digest: Digest,
    /// The texts that every answer carries, so that no request formats them.
    pub labels: OriginLabels,
}

/// An origin as the wire shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OriginLabels {
    /// The version's number.
    pub version: String,
    /// First 12 hex digits of the digest.
    pub digest: String,
}

/// What a model answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The inference's id.
    pub id: InferenceId,
    /// Which version answered.
    pub origin: Arc<Origin>,
    /// Which variant of the route; `default` without a route.
    pub variant: &'static str,
    /// What the version answers.
    pub signature: Arc<Signature>,
    /// Which outputs follow, in the order asked for.
    pub selection: Selection,
    /// Their values.
    pub outputs: Tensors,
}

impl Answer {
    /// Each output that has a value, with its description, in the order asked for.
    pub fn present(&self) -> impl Iterator<Item = (&TensorSpec, &Tensor)> {
        self.selection.iter().zip(&self.outputs).filter_map(|(&position, tensor)| {
            Some((self.signature.outputs.get(position)?, tensor.as_ref()?))
        })
    }
}

impl Origin {
    /// Describes a version.
    pub fn new(model: ModelName, version: VersionNumber, digest: Digest) -> Self {
        let labels = OriginLabels { version: version.to_string(), digest: digest.short() };
        Self { model, version, digest, labels }
    }
}

impl fmt::Display for InferenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The variant of a request that no route splits.
pub const DEFAULT_VARIANT: &str = "default";

/// The parameter of an output that names the classes along its last dimension, as a JSON array.
pub const LABELS: &str = "labels";
