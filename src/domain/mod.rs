//! The things we talk about: plain values, no I/O, no clock.

pub mod caller;
pub mod compat;
pub mod failure;
pub mod inference;
pub mod json;
pub mod misfit;
pub mod model;
pub mod phase;
pub mod prediction;
pub mod signature;
pub mod spec;
pub mod tensor;
pub mod trace;
