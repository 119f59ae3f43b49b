//! Every promise to a user, kept end to end, and the house rules, in one binary.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test binary has no outside, and fails by panicking with what it saw"
)]

mod architecture;
mod broken_models;
mod checks;
mod command_line;
mod compat;
mod compression;
mod conformance;
mod crashing_models;
mod deadlines;
mod declared;
mod deployment;
mod devices;
mod dialects;
mod docs_are_current;
mod example_clients;
mod failures;
mod fuzzing;
mod harness;
mod health;
mod heavy_models;
mod hot_swap;
mod http2;
mod kill_restart;
mod lifecycle;
mod malformed;
mod metrics;
mod model_boundary;
mod oip_clients;
mod platforms;
mod predict;
mod prometheus;
mod protocol_files;
mod providers;
mod quiet;
mod rolling_restart;
mod serves;
mod shared_runs;
mod shared_session;
mod shutdown;
mod simulation;
mod sklearn_models;
mod swap_soak;
mod traces;
mod watch;
