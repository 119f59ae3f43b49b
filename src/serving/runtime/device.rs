//! Where a model runs: execution providers and their options.
//!
//! The same tables stand in the server's configuration and in `model.toml`; a model's table takes
//! the place of the server's as a whole. Why it is an error if one cannot be had: decision 0012.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One way of ONNX Runtime to run a graph's nodes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The processor; runs whatever the others leave.
    Cpu,
    /// NVIDIA GPUs, by CUDA and cuDNN.
    Cuda,
    /// NVIDIA GPUs, by `TensorRT`.
    TensorRt,
    /// Intel processors and GPUs, by `OpenVINO`.
    OpenVino,
}

/// Providers in order, the preferred one first: at least one, none twice, `cpu` last.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Vec<Provider>", into = "Vec<Provider>")]
pub struct Providers(Vec<Provider>);

/// Why a list of providers, or a table of options, cannot act.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DeviceError {
    /// A list of nothing.
    #[error("providers is empty, expected at least one of cpu, cuda, tensorrt, openvino")]
    Empty,
    /// One is named twice.
    #[error("providers names '{0}' twice, expected once")]
    Twice(Provider),
    /// Something comes after `cpu`.
    #[error(
        "providers names '{0}' after 'cpu', expected 'cpu' last: it runs what the others leave"
    )]
    AfterCpu(Provider),
    /// A device that `OpenVINO` has no name for.
    #[error("device is '{0}', expected CPU, GPU or NPU, with a number where there are several")]
    OpenVinoDevice(String),
    /// Options of a provider that is not asked for.
    #[error("model.toml has [{table}], but the model's providers are {providers}: add '{table}'")]
    Unused {
        /// Whose options.
        table: Provider,
        /// What is asked for.
        providers: Providers,
    },
}

/// Where a version is to run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Devices {
    /// What runs it.
    pub providers: Providers,
    /// Options of `cuda`.
    pub cuda: Cuda,
    /// Options of `tensorrt`.
    pub tensorrt: TensorRt,
    /// Options of `openvino`.
    pub openvino: OpenVino,
}

/// What a model's owner says of devices; what is not said is the server's.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wishes {
    /// What runs its versions.
    pub providers: Option<Providers>,
    /// Options of `cuda`.
    pub cuda: Option<Cuda>,
    /// Options of `tensorrt`.
    pub tensorrt: Option<TensorRt>,
    /// Options of `openvino`.
    pub openvino: Option<OpenVino>,
}

/// Options of the provider `cuda`.
///
/// CUDA graphs are absent: they need inputs and outputs at fixed places of the device's memory.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cuda {
    /// Number of the GPU, as `nvidia-smi` counts.
    pub device: u16,
    /// Bytes of the GPU's memory that the arena of each session may take; 0 is no limit.
    pub memory_limit_bytes: u64,
    /// How the arena grows: `next_power_of_two` or `same_as_requested`.
    pub arena: Arena,
    /// How algorithms for convolutions are found: `exhaustive`, `heuristic` or `default`.
    pub conv_search: ConvSearch,
    /// Whether products of 32-bit floats may round their factors to `TensorFloat-32`.
    pub tf32: bool,
}

/// Options of the provider `tensorrt`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TensorRt {
    /// Number of the GPU, as `nvidia-smi` counts.
    pub device: u16,
    /// Bytes of the GPU's memory that `TensorRT` may take while it builds and runs; 0 is no limit.
    pub workspace_bytes: u64,
    /// Whether 32-bit floats may be computed as 16-bit ones.
    pub fp16: bool,
}

/// Options of the provider `openvino`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenVino {
    /// `CPU`, `GPU` or `NPU`; with a number where there are several: `GPU.1`.
    pub device: OpenVinoDevice,
    /// Threads for each session on the processor; 0 leaves it to `OpenVINO`.
    pub threads: u16,
}

/// How CUDA's arena grows.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arena {
    /// By larger and larger pieces.
    #[default]
    NextPowerOfTwo,
    /// By what is needed.
    SameAsRequested,
}

/// How algorithms for convolutions are found.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConvSearch {
    /// By trying all, at the first run of each shape.
    #[default]
    Exhaustive,
    /// By cuDNN's rules.
    Heuristic,
    /// Not at all: always the same one.
    Default,
}

/// A device by the name that `OpenVINO` gives it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct OpenVinoDevice(String);

impl Provider {
    /// Every provider.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Cuda, Self::TensorRt, Self::OpenVino];

    /// The name in configuration, metadata and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::OpenVino => "openvino",
        }
    }
}

impl Providers {
    /// The providers in order, if they can act.
    ///
    /// # Errors
    ///
    /// [`DeviceError`]: an empty list, a name given twice, or one after `cpu`.
    pub fn new(list: Vec<Provider>) -> Result<Self, DeviceError> {
        let mut seen: Vec<Provider> = Vec::with_capacity(list.len());
        for &provider in &list {
            if seen.contains(&provider) {
                return Err(DeviceError::Twice(provider));
            }
            if seen.contains(&Provider::Cpu) {
                return Err(DeviceError::AfterCpu(provider));
            }
            seen.push(provider);
        }
        if seen.is_empty() { Err(DeviceError::Empty) } else { Ok(Self(list)) }
    }

    /// The providers, the preferred one first.
    pub fn as_slice(&self) -> &[Provider] {
        &self.0
    }

    /// Whether the processor alone runs everything.
    pub fn is_cpu_alone(&self) -> bool {
        self.0 == [Provider::Cpu]
    }

    /// Whether the processor may run what the others leave.
    pub fn has_cpu(&self) -> bool {
        self.0.contains(&Provider::Cpu)
    }
}

impl Devices {
    /// What the owner of a model wishes, and this where nothing is said.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Unused`], if the owner gives options that nothing would read.
    pub fn for_model(&self, wishes: &Wishes) -> Result<Self, DeviceError> {
        let providers = wishes.providers.as_ref().unwrap_or(&self.providers);
        let tables = [
            (Provider::Cuda, wishes.cuda.is_some()),
            (Provider::TensorRt, wishes.tensorrt.is_some()),
            (Provider::OpenVino, wishes.openvino.is_some()),
        ];
        let unused = |&(table, given): &(Provider, bool)| given && !providers.0.contains(&table);
        if let Some(&(table, _)) = tables.iter().find(|table| unused(table)) {
            return Err(DeviceError::Unused { table, providers: providers.clone() });
        }
        Ok(Self {
            providers: providers.clone(),
            cuda: wishes.cuda.as_ref().unwrap_or(&self.cuda).clone(),
            tensorrt: wishes.tensorrt.as_ref().unwrap_or(&self.tensorrt).clone(),
            openvino: wishes.openvino.as_ref().unwrap_or(&self.openvino).clone(),
        })
    }
}

impl OpenVinoDevice {
    /// The name that `OpenVINO` knows.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Providers {
    fn default() -> Self {
        Self(vec![Provider::Cpu])
    }
}

impl Default for Cuda {
    fn default() -> Self {
        // What ONNX Runtime does where nothing is said; nothing else was measured.
        Self {
            device: 0,
            memory_limit_bytes: 0,
            arena: Arena::default(),
            conv_search: ConvSearch::default(),
            tf32: true,
        }
    }
}

impl Default for OpenVinoDevice {
    fn default() -> Self {
        Self("CPU".to_owned())
    }
}

impl TryFrom<Vec<Provider>> for Providers {
    type Error = DeviceError;

    fn try_from(list: Vec<Provider>) -> Result<Self, DeviceError> {
        Self::new(list)
    }
}

impl From<Providers> for Vec<Provider> {
    fn from(providers: Providers) -> Self {
        providers.0
    }
}

impl TryFrom<String> for OpenVinoDevice {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        let (kind, number) = text.split_once('.').unwrap_or((&text, "0"));
        let is_known = matches!(kind, "CPU" | "GPU" | "NPU") && number.parse::<u16>().is_ok();
        if is_known { Ok(Self(text)) } else { Err(DeviceError::OpenVinoDevice(text)) }
    }
}

impl From<OpenVinoDevice> for String {
    fn from(device: OpenVinoDevice) -> Self {
        device.0
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, provider) in self.0.iter().enumerate() {
            write!(f, "{}{provider}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Cuda, DeviceError, Devices, OpenVino, Provider, Providers, Wishes};
    use Provider::{Cpu, Cuda as CudaProvider};

    #[test]
    fn a_list_that_cannot_act_is_refused() {
        for (list, text) in [
            (vec![], "providers is empty, expected at least one of"),
            (vec![CudaProvider, CudaProvider, Cpu], "providers names 'cuda' twice"),
            (vec![Cpu, CudaProvider], "providers names 'cuda' after 'cpu', expected 'cpu' last"),
        ] {
            let error = Providers::new(list).unwrap_err().to_string();
            assert!(error.starts_with(text), "{error}");
        }
        let good = Providers::new(vec![Provider::TensorRt, CudaProvider, Cpu]).unwrap();
        assert_eq!(good.to_string(), "tensorrt,cuda,cpu");
    }

    #[test]
    fn a_table_of_options_has_known_keys_and_values() {
        for (text, expected) in [
            ("devise = 1", "unknown field `devise`"),
            ("device = -1", "invalid value: integer `-1`"),
            ("arena = \"big\"", "unknown variant `big`"),
        ] {
            let error = toml::from_str::<Cuda>(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = toml::from_str::<OpenVino>("device = \"TPU\"").unwrap_err().to_string();
        assert!(error.contains("device is 'TPU', expected CPU, GPU or NPU"), "{error}");
        assert!(toml::from_str::<OpenVino>("device = \"GPU.1\"").is_ok());
    }

    #[test]
    fn a_models_table_replaces_the_servers_and_is_never_idle() {
        let server_cuda = Cuda { device: 3, memory_limit_bytes: 7, ..Cuda::default() };
        let server = Devices { cuda: server_cuda.clone(), ..Devices::default() };
        let providers = Some(Providers::new(vec![CudaProvider, Cpu]).unwrap());
        let wishes = Wishes { providers: providers.clone(), ..Wishes::default() };
        assert_eq!(server.for_model(&wishes).unwrap().cuda, server_cuda);
        let own = Cuda { device: 1, ..Cuda::default() };
        let wishes = Wishes { providers, cuda: Some(own.clone()), ..Wishes::default() };
        assert_eq!(server.for_model(&wishes).unwrap().cuda, own);
        let idle = Wishes { cuda: Some(own), ..Wishes::default() };
        let error = server.for_model(&idle).unwrap_err();
        assert!(matches!(error, DeviceError::Unused { table: CudaProvider, .. }), "{error}");
    }
}
