//! Fuzzes `ringfort::fuzz::framing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringfort::fuzz::framing(bytes));
