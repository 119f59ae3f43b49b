//! `model.toml`: what one may want to say of a model.
//!
//! It lies beside the version folders and counts for all versions. Nothing needs to be said; what is
//! said acts or is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::tensor::dtype::DataType;
use crate::serving::runtime::device::{Cuda, OpenVino, Providers, TensorRt, Wishes};
use crate::serving::runtime::tuning::{SessionOptions, Threads};

/// What a model's owner says of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manifest {
    /// Version of the file's format; 1 is the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<u32>,
    /// Name of the model's file in each version's folder; `model.onnx` if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What runs its versions, the preferred one first; the server's `runtime.providers` if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub providers: Option<Providers>,
    /// Options of `cuda`, in place of the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda: Option<Cuda>,
    /// Options of `tensorrt`, in place of the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensorrt: Option<TensorRt>,
    /// Options of `openvino`, in place of the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openvino: Option<OpenVino>,
    /// Which versions serve; the latest one if not said. What an operator sets wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions: Option<Versions>,
    /// How many rows come together.
    #[serde(skip_serializing_if = "is_default")]
    pub batching: Batching,
    /// How requests wait.
    #[serde(skip_serializing_if = "is_default")]
    pub queue: Waiting,
    /// Runs side by side.
    #[serde(skip_serializing_if = "is_default")]
    pub instances: Instances,
    /// Threads of its sessions.
    #[serde(skip_serializing_if = "is_default")]
    pub threads: Threads,
    /// Options of its sessions.
    #[serde(skip_serializing_if = "is_default")]
    pub session: SessionOptions,
    /// What inputs must be, by name; checked against the file.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, DeclaredTensor>,
    /// What outputs must be, by name; checked against the file.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, DeclaredTensor>,
    /// Names of classes, by output.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Labels>,
    /// Names of the values of a row, by input.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<String, Vec<String>>,
    /// How its versions are warmed.
    #[serde(skip_serializing_if = "is_default")]
    pub warmup: Warmup,
}

/// The rule by which versions on disk are chosen to serve.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Versions {
    /// The highest numbers, at most this many.
    Latest(usize),
    /// Every version; `true` is the only word for it.
    All(bool),
    /// Exactly these, where they exist.
    Specific(Vec<u64>),
}

/// How many rows come together.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batching {
    /// Rows that one request may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    /// Whether requests that come at once share runs, where that changes no answer; the server's
    /// `serving.share_runs` if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_runs: Option<bool>,
    /// Microseconds that a request may wait for others to share its run. None ever waits, so every
    /// bound is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_delay_us: Option<u64>,
}

/// How requests wait for an inference thread.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Waiting {
    /// Requests that may wait; the server's `serving.queue_capacity` if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<usize>,
    /// Microseconds after which one that still waits is refused; no limit if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_us: Option<u64>,
}

/// Runs side by side.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Instances {
    /// Runs at once on the inference threads; as many as there are threads if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
}

/// What an input or output must be.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeclaredTensor {
    /// Its type, as the protocol names it: `FP32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datatype: Option<String>,
    /// Its shape as callers see it, -1 for any size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<i64>>,
    /// Its shape in the model, where callers see another one of as many elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_shape: Option<Vec<i64>>,
    /// Whether requests may leave it out.
    #[serde(skip_serializing_if = "is_default")]
    pub optional: bool,
}

/// Names of classes, in the order of their numbers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Labels {
    /// The names themselves.
    Names(Vec<String>),
    /// A file in the model's folder, a name on each line.
    File(String),
}

/// How a version is warmed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Warmup {
    /// Sizes of dimensions by symbol (`batch = 8`); without one, a golden case's, or 1.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dims: BTreeMap<String, i64>,
    /// Requests to run; one that fails refuses the version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Sample>,
}

/// A request that a version is warmed with.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// What messages call it.
    pub name: String,
    /// How often its inputs stand one below the other, in a new first dimension; without it, shapes
    /// are whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u32>,
    /// How often it is run; a few times if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// All inputs, by name.
    pub inputs: BTreeMap<String, SampleInput>,
}

/// An input of such a request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SampleInput {
    /// Its type, as the protocol names it.
    pub datatype: String,
    /// Its shape.
    pub shape: Vec<i64>,
    /// Its values.
    pub data: SampleData,
}

/// Values of such an input.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleData {
    /// Zeros, or empty strings.
    Zeros,
    /// The same chance values each time: fractions below 1, any integers, short words.
    Random,
    /// A file in the model's folder, with the values as they go over the wire.
    File(String),
}

/// Why `model.toml` cannot be obeyed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ManifestError {
    /// It says something that we do not know.
    #[error("model.toml: {0}")]
    Parse(toml::de::Error),
    /// A newer format.
    #[error("model.toml has schema {found}, expected 1")]
    Schema {
        /// What it says.
        found: u32,
    },
    /// A value that cannot act.
    #[error("{key} is {found}, expected {expected}")]
    Value {
        /// Which key.
        key: String,
        /// What it says.
        found: String,
        /// What would act.
        expected: &'static str,
    },
}

impl Manifest {
    /// What it says of devices.
    pub fn devices(&self) -> Wishes {
        Wishes {
            providers: self.providers.clone(),
            cuda: self.cuda.clone(),
            tensorrt: self.tensorrt.clone(),
            openvino: self.openvino.clone(),
        }
    }
}

/// Reads the text of a `model.toml`.
///
/// # Errors
///
/// [`ManifestError`]; a setting that cannot act is never ignored.
pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
    let manifest: Manifest = toml::from_str(text).map_err(ManifestError::Parse)?;
    if let Some(found) = manifest.schema.filter(|&schema| schema != 1) {
        return Err(ManifestError::Schema { found });
    }
    manifest.check().map_err(in_file)?;
    Ok(manifest)
}

fn in_file(error: ManifestError) -> ManifestError {
    match error {
        ManifestError::Value { key, found, expected } => {
            ManifestError::Value { key: format!("model.toml: {key}"), found, expected }
        }
        ManifestError::Parse(_) | ManifestError::Schema { .. } => error,
    }
}

impl Manifest {
    /// Name of the model's file in each version's folder.
    pub fn file_name(&self) -> &str {
        self.file.as_deref().unwrap_or(MODEL)
    }

    /// The text of a `model.toml` that says the same.
    pub fn to_text(&self) -> String {
        // Maps with texts for keys, numbers and texts: nothing there can fail.
        toml::to_string(self).unwrap_or_default()
    }

    /// Refuses values that cannot act, whatever the model.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Value`].
    pub fn check(&self) -> Result<(), ManifestError> {
        let file = self.file.as_deref().filter(|file| !is_plain(file));
        refuse("file", file, "the name of a file in each version's folder, without '/'")?;
        self.check_versions()?;
        let numbers = [
            ("batching.max_rows", self.batching.max_rows == Some(0)),
            ("queue.capacity", self.queue.capacity == Some(0)),
            ("queue.timeout_us", self.queue.timeout_us == Some(0)),
            ("instances.count", self.instances.count == Some(0)),
        ];
        let zero = numbers.into_iter().find_map(|(key, is_zero)| is_zero.then_some(key));
        zero.map_or(Ok(()), |key| Err(value(key, "0", "1 or more")))?;
        for (place, declared) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            for (name, tensor) in declared {
                tensor.check(&format!("{place}.{name}"))?;
            }
        }
        for (name, labels) in &self.labels {
            let empty = matches!(labels, Labels::Names(names) if names.is_empty());
            refuse(&format!("labels.{name}"), empty.then_some("empty"), "one name at least")?;
        }
        self.warmup.check()
    }

    fn check_versions(&self) -> Result<(), ManifestError> {
        let expected = "1 or more";
        match &self.versions {
            Some(Versions::Latest(0)) => Err(value("versions.latest", "0", expected)),
            Some(Versions::All(false)) => Err(value("versions.all", "false", "true")),
            Some(Versions::Specific(numbers)) if numbers.is_empty() || numbers.contains(&0) => {
                Err(value("versions.specific", format!("{numbers:?}"), "version numbers, from 1"))
            }
            _ => Ok(()),
        }
    }
}

impl DeclaredTensor {
    fn check(&self, key: &str) -> Result<(), ManifestError> {
        data_type(key, self.datatype.as_deref())?;
        let dims = self.shape.iter().chain(&self.model_shape).flatten();
        let wrong = dims.copied().find(|&dim| dim == 0 || dim < -1).map(|dim| dim.to_string());
        refuse(&format!("{key}.shape"), wrong.as_deref(), "sizes of 1 or more, or -1 for any")?;
        let (Some(model), outer) = (&self.model_shape, self.shape.as_deref().unwrap_or_default())
        else {
            return Ok(());
        };
        let open = |dims: &[i64]| dims.iter().filter(|&&dim| dim == -1).count();
        let rest = |dims: &[i64]| {
            dims.iter().filter(|&&dim| dim > 0).try_fold(1_i64, |all, &dim| all.checked_mul(dim))
        };
        if open(model) == open(outer) && rest(model) == rest(outer) && self.shape.is_some() {
            return Ok(());
        }
        let found = format!("{model:?} for the shape {outer:?}");
        Err(value(&format!("{key}.model_shape"), found, "one of as many elements, and as many -1"))
    }
}

impl Warmup {
    fn check(&self) -> Result<(), ManifestError> {
        let mut sizes = self.dims.iter();
        if let Some((symbol, found)) = sizes.find(|&(_, &size)| size < 1) {
            let key = format!("warmup.dims.{symbol}");
            return Err(value(&key, found.to_string(), "1 or more"));
        }
        for sample in &self.samples {
            let key = format!("warmup.samples '{}'", sample.name);
            let zero = (sample.rows == Some(0) || sample.count == Some(0)).then_some("0");
            refuse(&format!("{key}, rows or count"), zero, "1 or more")?;
            for (name, input) in &sample.inputs {
                let key = format!("{key}, input '{name}'");
                data_type(&key, Some(&input.datatype))?;
                let negative = input.shape.iter().find(|&&dim| dim < 0).map(ToString::to_string);
                refuse(&format!("{key}, shape"), negative.as_deref(), "sizes of 0 or more")?;
            }
        }
        Ok(())
    }
}

/// Whether a text names a file in a folder, and nothing else.
pub fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}

fn data_type(key: &str, name: Option<&str>) -> Result<(), ManifestError> {
    let unknown = name.filter(|name| DataType::from_name(name).is_none());
    let expected = "a type of the protocol, such as FP32, INT64 or BYTES";
    refuse(&format!("{key}.datatype"), unknown, expected)
}

fn refuse(key: &str, found: Option<&str>, expected: &'static str) -> Result<(), ManifestError> {
    found.map_or(Ok(()), |found| Err(value(key, format!("'{found}'"), expected)))
}

fn value(key: &str, found: impl Into<String>, expected: &'static str) -> ManifestError {
    ManifestError::Value { key: key.to_owned(), found: found.into(), expected }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// File name of a model whose owner does not say.
pub const MODEL: &str = "model.onnx";

#[cfg(test)]
mod tests {
    use super::{Labels, SampleData, Versions, parse};
    use crate::serving::runtime::tuning::Graph;

    fn refusal(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn all_that_can_be_said_is_read_and_written_as_it_was() {
        let text = include_str!("../../../tests/data/model.toml");
        let read = parse(text).unwrap();
        assert_eq!(read.versions, Some(Versions::Specific(vec![1, 2])));
        assert_eq!(read.session.graph, Some(Graph::Extended));
        assert_eq!(read.labels["probabilities"], Labels::File("labels.txt".to_owned()));
        assert_eq!(read.warmup.samples[0].inputs["input"].data, SampleData::Random);
        assert_eq!(parse(&read.to_text()).unwrap(), read);
        assert_eq!(parse("").unwrap(), super::Manifest::default());
    }

    #[test]
    fn what_cannot_act_is_refused_with_its_key() {
        for (text, problem) in [
            ("schema = 2", "model.toml has schema 2, expected 1"),
            ("[warmup]\ndims = { batch = 0 }", "warmup.dims.batch is 0, expected 1 or more"),
            ("file = '../x.onnx'", "file is '../x.onnx', expected the name of a file"),
            ("versions = { latest = 0 }", "versions.latest is 0, expected 1 or more"),
            ("versions = { all = false }", "versions.all is false, expected true"),
            ("versions = { specific = [] }", "versions.specific is [], expected version numbers"),
            ("batching = { max_rows = 0 }", "batching.max_rows is 0, expected 1 or more"),
            ("queue = { capacity = 0 }", "queue.capacity is 0, expected 1 or more"),
            ("instances = { count = 0 }", "instances.count is 0, expected 1 or more"),
            ("inputs.x.datatype = 'FLOAT'", "inputs.x.datatype is 'FLOAT', expected a type of"),
            ("inputs.x.shape = [0]", "inputs.x.shape is '0', expected sizes of 1 or more"),
            (
                "inputs.x = { shape = [-1, 2], model_shape = [-1] }",
                "inputs.x.model_shape is [-1] for the shape [-1, 2], expected one of as many",
            ),
            ("labels.y = []", "labels.y is 'empty', expected one name at least"),
        ] {
            let found = refusal(text);
            assert!(found.contains(problem), "{text}: {found}");
        }
        assert!(refusal("[warm]").contains("unknown field `warm`"));
        assert!(refusal("[session]\ngraph = 'max'").contains("unknown variant `max`"));
    }
}
