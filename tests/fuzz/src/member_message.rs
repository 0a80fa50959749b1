//! Fuzzes `ringfort::fuzz::member_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringfort::fuzz::member_message(bytes));
