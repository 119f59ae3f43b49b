//! The request path: in, chosen, leased, run, out, told.

pub mod admission;
pub mod infer;
pub mod observer;
