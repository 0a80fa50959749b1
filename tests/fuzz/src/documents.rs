//! Fuzzes `ringfort::fuzz::documents`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringfort::fuzz::documents(bytes));
