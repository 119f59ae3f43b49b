//! Spans of kept traces, on their way to a collector (decision 0013).

pub mod exporter;
pub mod messages;
pub mod spans;
