//! The command line.

pub mod check;
pub mod command;
pub mod serve;
pub mod try_load;
