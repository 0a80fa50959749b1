//! Floor 3: who orders the commands of `proto::control`: a group of voters, of one where a node is alone. The trait is what
//! the floors above see.

pub mod consensus;
pub mod log;
pub mod machine;
pub mod matched;
pub mod snapshot;
pub mod sole;
pub mod types;
