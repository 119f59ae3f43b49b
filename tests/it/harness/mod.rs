//! Real servers on free ports, the folders they serve, and the clients people have.

pub mod server;
pub mod tools;
