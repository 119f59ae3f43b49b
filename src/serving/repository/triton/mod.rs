//! Triton's `config.pbtxt`, translated into a manifest of ours or refused.

pub mod config;
pub mod fields;
pub mod optimization;
pub mod scheduling;
pub mod tensors;
pub mod translation;
pub mod warmup;
