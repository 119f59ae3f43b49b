//! ONNX Runtime: library, sessions, and the unsafe surface.

pub mod declared;
pub mod division;
pub mod graph;
pub mod head;
pub mod kept;
pub mod library;
pub mod locale;
pub mod node;
pub mod providers;
pub mod rewrite;
pub mod schema;
pub mod session;
pub mod shared_session;
pub mod signature;
pub mod trial;
pub mod values;
pub mod wire;
