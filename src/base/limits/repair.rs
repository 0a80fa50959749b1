//! Limits of anti-entropy: how fast partitions are looked through and compared.

use std::time::Duration;

/// How often it is looked for partitions that have to be looked through.
pub const SURVEY_TICK: Duration = Duration::from_millis(500);
/// How long a partition has to be left alone before it is looked through: while writes go on it would be for nothing.
pub const SURVEY_QUIET: Duration = Duration::from_secs(1);
/// How often one is looked through that is written to all the time.
pub const SURVEY_BUSY: Duration = Duration::from_secs(10);
/// How often one that nobody writes to is read as a whole, so that damage on its disk is found before it is on two.
pub const SURVEY_AGAIN: Duration = Duration::from_secs(24 * 3600);
/// How long one that cannot be read to its end is left alone: damage does not pass by itself.
pub const SURVEY_FAILED: Duration = Duration::from_secs(60);
/// Bytes of objects read a second to look through partitions: 100 MB take four seconds, and a disk does far more.
pub const SURVEY_BYTES_PER_SECOND: u64 = 32 * 1024 * 1024;
/// The same where no other owner is that it could be compared with: nobody waits for it.
pub const SURVEY_BYTES_PER_SECOND_ALONE: u64 = 4 * 1024 * 1024;
/// Bytes read at a time, between two rests.
pub const SURVEY_PAGE_BYTES: u64 = 1024 * 1024;

/// How often two owners compare the roots of what both own: 256 of them are 4 KiB.
pub const ROOTS_EVERY: Duration = Duration::from_secs(5);
/// Comparisons of partitions under way on a node. Most of them rest between two looks; more would only hold more names in
/// memory.
pub const COMPARISONS_AT_ONCE: usize = 64;
/// Of these at work: reading, bringing and sending objects, each as fast as a slot may come (`HANDOFF_BYTES_PER_SECOND`).
pub const COMPARISONS_AT_WORK: usize = 4;
/// Bytes on their way to the index above which repair waits: devices go first. A quarter of what makes them wait.
pub const REPAIR_OVERLAY_BYTES: usize = crate::base::limits::OVERLAY_BYTES_MAX / 4;

/// How often it is looked for graves that may go.
pub const PURGE_TICK: Duration = Duration::from_secs(1);
/// How long a partition is left alone after its graves went, or did not: some member is away, or some owner is behind.
pub const PURGE_AGAIN: Duration = Duration::from_secs(10);
/// Graves of one partition that all members are asked about at a time: with the longest keys 512 KiB.
pub const GRAVES_AT_ONCE: usize = 500;
