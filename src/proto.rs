//! Floor 1: pure cores. No I/O, no clock, no entropy, no spawn, no lock, no async: whatever varies is an argument.

pub mod audit;
pub mod bucket;
pub mod campaign;
pub mod causal;
pub mod certificate;
pub mod control;
pub mod elsewhere;
pub mod event;
pub mod forward;
pub mod handoff;
pub mod invite;
pub mod join;
pub mod key;
pub mod lab;
pub mod member;
pub mod message;
pub mod mutant;
pub mod object;
pub mod password;
pub mod quorum;
pub mod ring;
pub mod rows;
pub mod scope;
pub mod shared;
pub mod throttle;
pub mod voters;
