//! The Open Inference Protocol, version 2, over gRPC and HTTP.

pub mod binary;
pub mod convert;
pub mod grpc;
pub mod infer_json;
pub mod pb;
pub mod rest;
pub mod rpc;
pub mod service;
