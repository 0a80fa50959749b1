//! The debug module: what watches the process from outside and explains its end.

pub mod ask;
pub mod supervisor;
