//! Versioned documents and an append-only journal.

pub mod journal;
pub mod memory;
