//! Who may change what is served, and how.

pub mod action;
pub mod change;
pub mod follow;
pub mod plan;
pub mod policy;
pub mod versions;

#[cfg(test)]
mod races;
