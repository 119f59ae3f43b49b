//! How it is put together and started.

pub mod cli;
pub mod config;
pub mod platform;
pub mod run;
pub mod screen;
pub mod start;
pub mod traces;
pub mod wiring;
