//! Fuzzes `ringfort::fuzz::import_csv`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringfort::fuzz::import_csv(bytes));
