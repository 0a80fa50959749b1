//! Floor 3: who orders the commands of `proto::control`: a group of voters, of one where a node is alone. The trait is what
//! the floors above see.

pub mod consensus;
pub mod group;
pub mod lane;
pub mod log;
pub mod machine;
pub mod matched;
pub mod refound;
pub mod snapshot;
pub mod types;
pub mod words;
