//! `:predict`, as TensorFlow Serving's REST API and KServe v1 have it.

pub mod answer;
pub mod csv;
pub mod models;
pub mod nesting;
pub mod request;
pub mod target;
