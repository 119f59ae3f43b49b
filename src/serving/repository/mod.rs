//! Models at rest: what lies on disk, what exactly it is, and when it changes.

pub mod declared;
pub mod digest;
pub mod golden;
pub mod layout;
pub mod manifest;
pub mod pbtxt;
pub mod settle;
pub mod sighting;
pub mod triton;
pub mod watch;
