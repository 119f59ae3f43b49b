//! Who runs when, and with whom.

pub mod in_place;
pub mod queue;
pub mod scheduler;
pub mod together;
pub mod work;
