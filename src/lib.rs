//! Ringfort: a store for devices in one static binary. The map of the house is ARCHITECTURE.md; floors import only
//! downward, which `tests/it/tidy.rs` holds.

pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod console;
pub mod control;
pub mod front;
#[doc(hidden)]
pub mod fuzz;
pub mod http;
pub mod net;
pub mod node;
pub mod proto;
pub mod store;
