//! Hands what libFuzzer makes up to the body of the same name.
#![no_main]

#[path = "../bodies/graph.rs"]
mod graph;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    graph::body(data);
});
