//! Fuzzes `ringfort::fuzz::control`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringfort::fuzz::control(bytes));
