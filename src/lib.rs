//! Tidegate: an ONNX model-serving gateway with lifecycle hooks.

pub mod api;
pub mod app;
pub mod control;
pub mod domain;
pub mod platform;
pub mod serving;
