//! Floor 6, the face for devices and programs. A handler extracts, calls the door once, renders; it decides nothing.
//! Who may call what is checked once, in front (`front::gate`), by the rows of [`routes`].

pub mod admin;
pub mod audit;
pub mod batch;
pub mod bucket;
pub mod cluster;
pub mod config;
pub mod crashes;
pub mod events;
pub mod kv;
pub mod logs;
pub mod nodes;
pub mod openapi;
pub mod rescue;
pub mod routes;
pub mod shared;
pub mod status;
pub mod timeline;
pub mod transfer;
