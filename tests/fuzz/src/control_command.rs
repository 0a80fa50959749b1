//! Fuzzes `ringfort::fuzz::control_command`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringfort::fuzz::control_command(bytes));
