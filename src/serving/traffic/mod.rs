//! Which version answers: pure functions over the snapshot of what is served.

pub mod choose;
