//! The command line.

pub mod check;
pub mod command;
pub mod serve;
