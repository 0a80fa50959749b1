//! The one integration binary: the product as its users meet it, mostly as real processes.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "tests fail by panicking"
)]

mod alone;
mod audit;
mod bad_input;
mod bad_peers;
mod bodies;
mod browser;
mod buckets;
mod causes;
mod cluster;
mod cluster_births;
mod cluster_control;
mod cluster_faces;
mod cluster_faults;
mod cluster_limits;
mod cluster_lists;
mod cluster_losses;
mod cluster_moves;
mod cluster_recovery;
mod commands;
mod console;
mod console_cluster;
mod console_data;
mod converge;
mod corpus;
mod cost;
mod crash;
mod crashes;
mod damage;
mod device_nodes;
mod events;
mod failures;
mod full_disk;
mod groups;
mod handoff;
mod inside;
mod links;
mod lists;
mod load;
mod logs;
mod machines;
mod million;
mod openapi;
mod refused;
mod rescue;
mod routes;
mod secrets;
mod sign_in;
mod sim;
mod styles;
mod supervised;
mod support;
mod syncs;
mod tidy;
mod timeline;
mod tls;
mod tls_files;
mod told;
mod transfer;
mod values;
mod wire;
