//! Fuzzes `ringfort::fuzz::import_ndjson`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringfort::fuzz::import_ndjson(bytes));
