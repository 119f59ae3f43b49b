//! Whatever a caller gets wrong is refused as the table says, counted, and harms nobody else.

pub mod after;
mod fits_grpc;
mod fits_http;
mod limits;
mod wire_grpc;
mod wire_http;
