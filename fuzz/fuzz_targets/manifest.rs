//! Hands what libFuzzer makes up to the body of the same name.
#![no_main]

#[path = "../bodies/manifest.rs"]
mod manifest;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    manifest::body(data);
});
