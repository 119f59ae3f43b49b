//! Hands what libFuzzer makes up to the body of the same name.
#![no_main]

#[path = "../bodies/json.rs"]
mod json;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    json::body(data);
});
