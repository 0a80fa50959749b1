//! Floor 0: ids, limits, time as an input, codecs, randomness, redaction, sharing. Knows nothing of the product above it.

pub mod backoff;
pub mod busy;
pub mod checksum;
pub mod codec;
pub mod exit;
pub mod file;
pub mod file_size;
pub mod flight;
pub mod id;
pub mod limits;
pub mod listen;
pub mod memory;
pub mod open_files;
pub mod program;
pub mod pulse;
pub mod recorder;
pub mod redact;
pub mod rng;
pub mod shared;
pub mod tasks;
pub mod time;
