//! How one request becomes one answer.

pub mod batching;
pub mod gateway;
pub mod registry;
pub mod repository;
pub mod runtime;
pub mod traffic;
