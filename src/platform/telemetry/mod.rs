//! Metrics: what we count, how it is kept without locks, how it is written out.

pub mod batches;
pub mod catalog;
pub mod histogram;
pub mod page;
pub mod sharded;
pub mod versions;
