//! Content codings: bodies that come compressed, and answers that may leave so.

pub mod accept;
pub mod deflate;
pub mod inflate;
