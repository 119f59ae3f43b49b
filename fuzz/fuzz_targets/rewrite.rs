//! Hands what libFuzzer makes up to the body of the same name.
#![no_main]

#[path = "../bodies/rewrite.rs"]
mod rewrite;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    rewrite::body(data);
});
