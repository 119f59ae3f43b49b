//! Models at rest: what lies on disk, what exactly it is, and when it changes.

pub mod digest;
pub mod golden;
pub mod layout;
pub mod manifest;
pub mod settle;
pub mod sighting;
pub mod watch;
