//! Floor 5, the face for devices and programs. A handler extracts, calls the door once, renders; it decides nothing.
//! Who may call what is checked once, in front ([`front`]), by the one table of [`routes`].

pub mod admin;
pub mod batch;
pub mod body;
pub mod bucket;
pub mod error;
pub mod front;
pub mod kv;
pub mod linger;
pub mod openapi;
pub mod path;
pub mod query;
pub mod routes;
pub mod server;
pub mod status;
pub mod transfer;
