//! The command line.

pub mod answer;
pub mod change;
pub mod check;
pub mod client;
pub mod command;
pub mod completions;
pub mod doctor;
pub mod exit;
pub mod infer;
pub mod models;
pub mod print;
pub mod ready;
pub mod serve;
pub mod stats;
pub mod try_load;
pub mod version;
