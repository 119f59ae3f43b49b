//! Models in memory: their states, and what of them is served.

pub mod fit;
pub mod footprint;
pub mod lease;
pub mod prepare;
pub mod reaper;
pub mod sharing;
pub mod snapshot;
pub mod state;
pub mod version;
pub mod warmup;
