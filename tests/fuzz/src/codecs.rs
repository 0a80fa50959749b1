//! Fuzzes `ringfort::fuzz::codecs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringfort::fuzz::codecs(bytes));
