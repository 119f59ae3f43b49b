//! What runs a model: the seam, and ONNX Runtime behind it.

pub mod engine;
pub mod onnx;
