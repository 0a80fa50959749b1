//! A whole cluster in one thread under one seed.

#[path = "../../../src"]
mod shipped {
    pub mod base;
    pub mod proto;
}

pub use shipped::base;
pub use shipped::proto;
