//! The wire contract as Rust, generated from `proto/` by `make proto`: `inference` holds messages,
//! server and client of package `inference`, and `descriptor.bin` beside it the same contract as an
//! encoded `FileDescriptorSet`, for reflection. Nothing here is edited by hand, and
//! `tests/it/protocol_files.rs` fails if it is not what `proto/` says.

#[rustfmt::skip]
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated: which lints it trips is for its generator to say"
)]
pub mod inference;
