//! Limits of what is judged before it is an alarm.

use std::time::Duration;

/// Round trips to another machine that take longer are told of: two continents are 200 ms apart.
pub const LINK_SLOW: Duration = Duration::from_millis(250);
/// Connections to a machine that break off at times that are closer are of one break: each lane has its own.
pub const BREAKS_APART: Duration = Duration::from_secs(1);
/// From so many in a minute on it is an alarm: a machine that restarts makes one or two.
pub const BREAKS_MIN: usize = 6;
/// Steps in which it is counted how often a process waits for its memory.
pub const FAULTS_STEP: Duration = Duration::from_secs(2);
/// It has to do so in so many steps one after the other.
pub const FAULTS_STEPS: usize = 4;
/// From so many a second on requests wait for it: each takes some milliseconds of a disk.
pub const FAULTS_PER_S: u64 = 50;
/// Over this time it is counted who asks.
pub const ASKERS_WINDOW: Duration = Duration::from_secs(60);
/// In steps of this.
pub const ASKERS_STEP: Duration = Duration::from_secs(10);
/// Of so many requests one is looked at: whoever asks too much makes thousands.
pub const ASKERS_SAMPLED: u64 = 16;
/// Those that are counted apart in each step: whoever asks a fiftieth of all is among them.
pub const ASKERS_KEPT: usize = 64;
/// Fewer requests in the window, and it says nothing who made them.
pub const ASKERS_MIN: u64 = 1_000;
/// So many are shown.
pub const ASKERS_SHOWN: usize = 5;
/// Whoever makes so many of a hundred requests is told of where there are too many.
pub const ASKERS_TOLD_PERCENT: u64 = 50;
/// Over this time it is counted what devices are refused.
pub const REJECTED_WINDOW: Duration = Duration::from_secs(60);
/// In steps of this.
pub const REJECTED_STEP: Duration = Duration::from_secs(5);
/// Fewer in that window are no alarm: a device that tries again each few seconds makes as many.
pub const REJECTED_MIN: u64 = 20;
/// Nor are those of fewer steps: the loss of a machine refuses some requests for a moment.
pub const REJECTED_STEPS_MIN: usize = 3;
/// Nor fewer of a hundred, where it is the cluster's fault.
pub const REJECTED_PERCENT: u64 = 5;
/// Nor fewer of a hundred, where it is the fault of who asks: some programs ask for what is not there.
pub const REJECTED_THEIRS_PERCENT: u64 = 50;
/// When there was none for so long they are over: devices try again within seconds.
pub const REJECTED_OVER: Duration = Duration::from_secs(15);
/// Kinds of refusals that are counted apart in each step.
pub const REJECTED_CODES: usize = 8;
/// Addresses of each kind that are counted apart in each step: of more it is only told how often. Below 300 KiB in all.
pub const REJECTED_ADDRESSES: usize = 64;
