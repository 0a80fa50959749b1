//! Floor 2: the network below the faces. Peers come with the cluster; today names become addresses here.

pub mod interfaces;
pub mod resolve;
