//! The debug module: what watches the process from outside and explains its end.

pub mod ask;
pub mod blackbox;
pub mod book;
pub mod logs;
pub mod supervisor;
