//! Hands what libFuzzer makes up to the body of the same name.
#![no_main]

#[path = "../bodies/message.rs"]
mod message;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    message::body(data);
});
