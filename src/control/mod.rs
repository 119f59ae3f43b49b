//! Who may change what is served, and how.

pub mod change;
pub mod policy;
pub mod versions;
