//! Metrics and traces: what we count, how it is kept and written out.

pub mod batches;
pub mod catalog;
pub mod exemplars;
pub mod histogram;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod page;
pub mod sharded;
pub mod text;
pub mod traces;
pub mod versions;
