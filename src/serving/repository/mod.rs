//! Models at rest: what lies on disk, and what exactly it is.

pub mod digest;
pub mod golden;
pub mod layout;
pub mod manifest;
