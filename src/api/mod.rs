//! How callers speak to us.

pub mod admin;
pub mod body;
pub mod coding;
pub mod layers;
pub mod listen;
pub mod oip;
pub mod patience;
pub mod platform;
pub mod predict;
pub mod probes;
pub mod session;
pub mod status;
pub mod traced;
pub mod unheard;
