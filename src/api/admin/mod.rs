//! The operators' interface: what is there, and how to change it.

pub mod origin;
pub mod versions;
