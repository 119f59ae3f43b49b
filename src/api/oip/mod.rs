//! The Open Inference Protocol, version 2, over gRPC and HTTP.

pub mod binary;
pub mod cold;
pub mod convert;
pub mod grpc;
pub mod health;
pub mod infer_json;
pub mod model_config;
pub mod parameters;
pub mod pb;
pub mod raw;
pub mod rest;
pub mod rpc;
pub mod service;
pub mod statistics;
