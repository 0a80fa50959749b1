//! The debug module: what watches the process from outside and explains its end.

pub mod ask;
pub mod autopsy;
pub mod blackbox;
pub mod book;
pub mod boxes;
pub mod courier;
pub mod crashes;
pub mod figures;
pub mod gasp;
pub mod inside;
pub mod last;
pub mod logs;
pub mod machine;
pub mod panics;
pub mod refusal;
pub mod supervisor;
