//! Where a model runs: execution providers, by the names people write.

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

impl Provider {
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

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
