//! Typed arrays over shared bytes.

pub mod buffer;
pub mod classify;
pub mod compare;
pub mod dtype;
pub mod half;
pub mod json;
pub mod object;
pub mod rows;
pub mod shape;
