//! Fuzzes `ringfort::fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringfort::fuzz::request(bytes));
