//! Floor 3: who orders the commands of `proto::control`. Today one voter on its own journal; the trait is what the
//! floors above see, so that a second voter changes nothing for them.

pub mod consensus;
pub mod sole;
