//! Ringfort: a store for devices in one static binary. The map of the house is ARCHITECTURE.md; floors import only
//! downward, which `tests/it/tidy.rs` holds.

pub mod base;
pub mod proto;
pub mod store;
