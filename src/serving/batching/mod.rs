//! Who runs when: a queue a version, and threads for heavy ones.

pub mod queue;
pub mod scheduler;
