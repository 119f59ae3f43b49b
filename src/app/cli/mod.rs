//! The command line.

pub mod command;
pub mod serve;
