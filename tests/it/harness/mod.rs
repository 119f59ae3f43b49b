//! Real servers on free ports, the folders they serve, and the clients people have.

pub mod apart;
pub mod client;
pub mod collector;
pub mod debian;
pub mod grpc;
pub mod haproxy;
pub mod index;
pub mod iris;
pub mod otelcol;
pub mod process;
pub mod prometheus;
pub mod repository;
pub mod rpc;
pub mod server;
pub mod tools;
