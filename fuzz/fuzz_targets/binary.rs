//! Hands what libFuzzer makes up to the body of the same name.
#![no_main]

#[path = "../bodies/binary.rs"]
mod binary;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    binary::body(data);
});
