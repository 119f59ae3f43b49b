//! What runs a model: the seam, and ONNX Runtime behind it.

pub mod device;
pub mod engine;
pub mod onnx;
pub mod tuning;
