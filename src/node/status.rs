//! The node in one view: for `/v1/status`, the command line, and `/metrics`.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::base::time;
use crate::control::words;
use crate::node::Node;
use crate::node::handoff::Progress;
use crate::node::repair::Counts;
use crate::node::survival::Survives;
use crate::node::telemetry::Gauge;
use crate::node::worker;
use crate::proto::alarm::Alarm;
use crate::proto::ring::layout::Slot;

/// The release of this binary.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from.
pub const COMMIT: &str = env!("RINGFORT_COMMIT");

/// A node in one view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its number.
    pub node: u64,
    /// Its name.
    pub name: String,
    /// Its cluster.
    pub cluster: String,
    /// Its release.
    pub release: &'static str,
    /// The commit of it.
    pub commit: &'static str,
    /// The process that serves.
    pub worker_pid: u32,
    /// `yes`, `draining` or `recovering`.
    pub serving: &'static str,
    /// Where devices and programs reach it.
    pub addresses: Vec<String>,
    /// Seconds since its start.
    pub uptime_s: u64,
    /// Partitions it owns.
    pub partitions: usize,
    /// Buckets of the cluster.
    pub buckets: usize,
    /// Who owns what, in short.
    pub ring: RingCounts,
    /// This node in the control group.
    pub control: ControlView,
    /// What it survives.
    pub survives: Survives,
    /// What is wrong.
    pub alarms: Vec<Alarm>,
    /// Bytes of the disk.
    pub disk: Disk,
    /// The journal since the start.
    pub journal: JournalCounts,
}

/// A node in the control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ControlView {
    /// Who orders changes, where this node hears somebody who does.
    pub leader: Option<u64>,
    /// The last one in which it voted.
    pub term: u64,
    /// So many entries of the history are in its copy.
    pub applied: u64,
    /// Rises when the control plane is recovered from a survivor.
    pub generation: u64,
    /// Milliseconds since it had contact with a leader that a majority stands by; none: not since its start.
    pub contact_ms: Option<u64>,
}

/// The layout in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RingCounts {
    /// Its version.
    pub version: u64,
    /// Nodes that are to own data.
    pub nodes: Vec<u64>,
    /// Partitions whose owners are changing.
    pub moving: usize,
    /// Partitions of which an owner does not have everything yet.
    pub behind: usize,
    /// Partitions that this node still has to merge.
    pub to_merge: usize,
    /// Bytes of objects that came for partitions since the start.
    pub merged_bytes: u64,
}

/// Bytes of the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Free.
    pub free: u64,
    /// All.
    pub total: u64,
    /// Kept free of new data.
    pub reserve: u64,
    /// Of the index.
    pub index: u64,
}

/// The journal since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalCounts {
    /// Records made durable.
    pub records: u64,
    /// Syncs that it took.
    pub groups: u64,
    /// Bytes of the records.
    pub bytes: u64,
    /// Bytes not yet in the index.
    pub overlay_bytes: u64,
}

impl Node {
    fn owned_partitions(&self) -> usize {
        let (state, me) = (self.state(), self.who().node);
        let owns = |slot: &Slot| slot.lists().any(|list| list.owners.contains(&me));
        state.layout.slots().filter(|(_, slot)| owns(slot)).count()
    }

    fn ring_counts(&self) -> RingCounts {
        let state = self.state();
        let layout = &state.layout;
        let behind = |slot: &Slot| slot.lists().any(|list| list.owners.iter().any(|owner| !list.is_synced(*owner)));
        let Progress { slots, bytes, .. } = self.handoff_progress();
        RingCounts {
            version: layout.version,
            nodes: layout.nodes.keys().map(|node| node.0).collect(),
            moving: layout.slots().filter(|(_, slot)| slot.next.is_some()).count(),
            behind: layout.slots().filter(|(_, slot)| behind(slot)).count(),
            to_merge: slots,
            merged_bytes: bytes,
        }
    }

    fn control_view(&self) -> ControlView {
        let words::Status { leader, term, next, generation, contact_ms, .. } = self.0.consensus.status();
        ControlView { leader, term, applied: next, generation, contact_ms }
    }

    /// This node in one view.
    #[must_use]
    pub fn status(&self) -> Status {
        let space = self.space();
        let stats = self.0.store.journal().stats();
        Status {
            node: self.who().node.0,
            name: self.who().name.clone(),
            cluster: self.who().cluster.to_string(),
            release: RELEASE,
            commit: COMMIT,
            worker_pid: std::process::id(),
            serving: match (self.sends_away(), self.is_serving()) {
                (true, _) => "draining",
                (false, true) => "yes",
                (false, false) => "recovering",
            },
            addresses: self.addresses(),
            uptime_s: time::mono().saturating_duration_since(self.0.started).as_secs(),
            partitions: self.owned_partitions(),
            buckets: self.state().buckets.len(),
            ring: self.ring_counts(),
            control: self.control_view(),
            survives: self.survives(),
            alarms: self.alarms(),
            disk: Disk {
                free: space.map_or(0, |space| space.free),
                total: space.map_or(0, |space| space.total),
                reserve: self.disk_reserve(),
                index: self.0.store.index_bytes(),
            },
            journal: JournalCounts {
                records: stats.records.load(Ordering::Relaxed),
                groups: stats.groups.load(Ordering::Relaxed),
                bytes: stats.bytes.load(Ordering::Relaxed),
                overlay_bytes: self.0.store.overlay_bytes() as u64,
            },
        }
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn metrics(&self) -> String {
        let status = self.status();
        let busy_us = self.0.store.journal().stats().busy_ns.load(Ordering::Relaxed) / 1000;
        let gauge = |name, help, value| Gauge { name, help, value };
        let counts = &self.0.cluster.repair.counts;
        let repair = |name, help, of: fn(&Counts) -> &AtomicU64| gauge(name, help, of(counts).load(Ordering::Relaxed));
        self.0.telemetry.prometheus(&[
            gauge("ringfort_journal_records_total", "Records made durable.", status.journal.records),
            gauge("ringfort_journal_syncs_total", "Commit groups made durable, one sync each.", status.journal.groups),
            gauge("ringfort_journal_bytes_total", "Bytes of records made durable.", status.journal.bytes),
            gauge("ringfort_journal_busy_microseconds_total", "Time spent writing and syncing groups.", busy_us),
            gauge(
                "ringfort_overlay_bytes",
                "Bytes durable or on their way and not yet in the index.",
                status.journal.overlay_bytes,
            ),
            repair("ringfort_repair_compared_total", "Partitions compared with another owner, by their roots.", |c| {
                &c.compared
            }),
            repair(
                "ringfort_repair_differing_total",
                "Keys that differed from another owner's, looked at twice.",
                |c| &c.differing,
            ),
            repair("ringfort_repair_brought_total", "Keys that another owner's copy changed here.", |c| &c.brought),
            repair("ringfort_repair_sent_total", "Keys that another owner merged from here.", |c| &c.sent),
            repair("ringfort_repair_bytes_total", "Bytes of objects moved to repair keys, in both directions.", |c| {
                &c.bytes
            }),
            repair("ringfort_survey_partitions_total", "Partitions looked through.", |c| &c.surveyed),
            repair("ringfort_survey_bytes_total", "Bytes of objects read for that.", |c| &c.surveyed_bytes),
            repair("ringfort_purged_graves_total", "Deleted and expired keys that went for good.", |c| &c.purged),
            gauge("ringfort_index_bytes", "Bytes of the index on disk.", status.disk.index),
            gauge("ringfort_disk_free_bytes", "Free bytes of the data directory's file system.", status.disk.free),
            gauge("ringfort_disk_reserve_bytes", "Free bytes below which writes are refused.", status.disk.reserve),
            gauge("ringfort_alarms", "Alarms raised now.", status.alarms.len() as u64),
            gauge("ringfort_tasks", "Tasks running now.", worker::running() as u64),
            gauge("ringfort_uptime_seconds", "Seconds since the process began to serve.", status.uptime_s),
        ])
    }
}
