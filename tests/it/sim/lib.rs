//! A whole cluster in one thread under one seed: the shipped cores over twins of the network, the journal and the index,
//! under every fault that the house is built for, against a reference that knows only what clients were told.
//!
//! The same seed gives the same run. A run in which a fault of its plan never hit has shown nothing and is rejected.

#[path = "../../../src"]
mod shipped {
    pub mod base;
    pub mod proto;
}

pub use shipped::base;
pub use shipped::proto;

mod campaign;
mod check;
mod client;
mod control;
mod disk;
mod faults;
mod io;
mod marks;
mod net;
mod node;
mod queue;
mod replay;
mod rng;
mod wire;
mod words;
mod world;

pub use campaign::ALL_MUTANTS;
pub use campaign::Campaign;
pub use campaign::fault_named;
pub use campaign::mutant_named;
pub use campaign::promise_named;
pub use check::Promise;
pub use faults::Fault;
pub use proto::mutant::Mutant;
pub use replay::Replayed;
pub use replay::replay;
pub use world::Plan;
pub use world::Report;
pub use world::run;
