//! A table of requests that are wrong, with the exact answer to each, over both protocols.

mod ask;
mod binary;
mod compressed;
mod grammar;
mod grpc_fits;
mod grpc_wire;
mod heads;
mod limits;
mod names;
mod row;
mod soak;
mod tables;
mod values;
