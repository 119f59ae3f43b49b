//! Typed arrays over shared bytes.

pub mod buffer;
pub mod dtype;
pub mod json;
pub mod shape;
