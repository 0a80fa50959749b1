//! Floor 2: the network below the faces: how nodes speak with each other, and how names become addresses. The only floor
//! that opens peer sockets.

pub mod interfaces;
mod neighbours;
pub mod peer;
pub mod resolve;
mod routes;
mod task;
pub mod tls;
pub mod wire;
