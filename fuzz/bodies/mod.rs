//! What is fuzzed: each body takes any bytes, and panics if a promise is broken.
//!
//! `make test` runs them on the committed corpus, `make fuzz` on what it makes of it. A further one
//! is a file here, a line in [`ALL`], a folder in `fuzz/corpus`, and a target in `fuzz_targets`.

pub mod binary;
pub mod graph;
pub mod json;
pub mod manifest;
pub mod message;
pub mod rewrite;

/// A body. What it returns tells apart what it saw: inputs with something new are kept.
pub type Body = fn(&[u8]) -> String;

/// Every body, by the name of its folder in the corpus.
pub const ALL: &[(&str, Body)] = &[
    ("binary", binary::body),
    ("graph", graph::body),
    ("json", json::body),
    ("manifest", manifest::body),
    ("message", message::body),
    ("rewrite", rewrite::body),
];
