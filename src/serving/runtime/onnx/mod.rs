//! ONNX Runtime: library, sessions, and the unsafe surface.

pub mod division;
pub mod graph;
pub mod head;
pub mod kept;
pub mod library;
pub mod providers;
pub mod session;
pub mod shared_session;
pub mod trial;
pub mod values;
