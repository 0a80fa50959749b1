//! What is wrong with this node right now: free space, the index's progress. Looked at every half second.

use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use serde::Serialize;

use crate::base::exit;
use crate::base::exit::Exit;
use crate::base::limits::DISK_CHECK_EVERY;
use crate::base::limits::INDEX_STALL_ALARM;
use crate::base::limits::INDEX_STALL_EXIT;
use crate::base::limits::OVERLAY_BYTES_MAX;
use crate::base::limits::RESTING_REQUESTS_MAX;
use crate::base::memory;
use crate::base::time;
use crate::node::Node;
use crate::node::debug::gasp;
use crate::node::error::DoorError;
use crate::node::standing::LossView;
use crate::node::worker;
use crate::store::index::salvage;
use crate::store::space;
use crate::store::space::Space;

/// What was found at the last look.
#[derive(Debug, Clone, Default)]
pub struct Health {
    space: Option<Space>,
    disk_full: bool,
    index_slow: bool,
    /// The index failed, and there was no room when it did.
    index_lacked_room: bool,
}

/// Something an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// Stable name.
    pub code: &'static str,
    /// `warning` or `critical`.
    pub severity: &'static str,
    /// What is wrong and what to do, in one sentence each.
    pub text: String,
}

/// Notices when a burst of requests is over.
#[derive(Default)]
struct Rest {
    seen: u64,
    was_busy: bool,
}

impl Rest {
    /// Whether the node was busy and is no more, from how many requests it has answered so far.
    fn begins(&mut self, answered: u64) -> bool {
        let busy = answered.saturating_sub(self.seen) > RESTING_REQUESTS_MAX;
        let begins = self.was_busy && !busy;
        (self.seen, self.was_busy) = (answered, busy);
        begins
    }
}

impl Node {
    /// Refuses new data while free space is below the reserve.
    ///
    /// # Errors
    /// [`DoorError::DiskFull`].
    pub(super) fn check_space(&self) -> Result<(), DoorError> {
        if self.health().disk_full {
            return Err(DoorError::DiskFull { reserve_mib: self.disk_reserve() / (1024 * 1024) });
        }
        Ok(())
    }

    fn health(&self) -> Health {
        self.0.health.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Free and total space as last seen.
    #[must_use]
    pub fn space(&self) -> Option<Space> {
        self.health().space
    }

    /// Looks at free space and the index now.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn look_at_disk(&self) -> std::io::Result<()> {
        let space = space::look(&self.0.data_dir)?;
        let disk_full = space.free < self.disk_reserve();
        let index_slow = self.0.store.progress().busy_for() > INDEX_STALL_ALARM;
        let mut health = self.0.health.write().unwrap_or_else(PoisonError::into_inner);
        if disk_full != health.disk_full {
            tracing::warn!(disk_full, free = space.free, reserve = self.disk_reserve(), "the disk's state changed");
        }
        *health = Health { space: Some(space), disk_full, index_slow, ..health.clone() };
        Ok(())
    }

    /// Watches for ever: what was counted, space, and the index's thread, which ends the process when it is stuck or broken.
    pub fn watch(&self) {
        self.keep_history();
        let node = self.clone();
        worker::keep("health", move || node.clone().keep_healthy());
    }

    async fn keep_healthy(self) {
        let node = self;
        let mut every = tokio::time::interval(DISK_CHECK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rest = Rest::default();
        loop {
            every.tick().await;
            if rest.begins(node.telemetry().total()) {
                let _only_later = worker::block("giving memory back", || {
                    memory::give_back();
                    Ok(())
                })
                .await;
            }
            if let Err(error) = node.look_at_disk() {
                tracing::error!(%error, "free space cannot be seen");
            }
            node.look_at_index();
            node.tell_failures().await;
        }
    }

    fn look_at_index(&self) {
        let progress = self.0.store.progress();
        let index = self.0.data_dir.join("index");
        if let Some(failure) = progress.failure() {
            let mut health = self.0.health.write().unwrap_or_else(PoisonError::into_inner);
            health.index_lacked_room |= failure.full || health.disk_full;
            let lacked_room = health.index_lacked_room;
            // A new start does not help before there is room.
            let room = health.space.is_some_and(|space| space.free >= self.disk_reserve());
            drop(health);
            if room && !self.is_draining() {
                if lacked_room {
                    // Its tables are whole and the journal has the rest: no rebuild, which would need as much room again.
                    tracing::error!(reason = failure.reason, "the index found no room; the process starts anew");
                    // Without last words: there is room, so writes would be taken while they are said.
                    exit::die(Exit::TryAgain);
                }
                end_for_rebuild(&index, &failure.reason);
            }
        } else if progress.busy_for() > INDEX_STALL_EXIT {
            tracing::error!("the index has made no progress for a minute; the process starts anew");
            gasp::last_words("its index made no progress for a minute");
            exit::die(Exit::TryAgain);
        }
    }

    /// What an operator should know now, worst first.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        let health = self.health();
        let mut alarms = Vec::new();
        let mut raise = |code, severity, text: String| alarms.push(Alarm { code, severity, text });
        if health.disk_full {
            let (free, reserve) = (mib(health.space.map_or(0, |space| space.free)), mib(self.disk_reserve()));
            let text = format!(
                "Only {free} MiB are free, {reserve} MiB are kept in reserve: writes are refused, reads and deletes go \
                 on. Make room on {}; writes go on by themselves then.",
                self.0.data_dir.display()
            );
            raise("disk_full", "critical", text);
        }
        if let Some(failure) = self.0.store.progress().failure() {
            let reason = failure.reason;
            let text = if health.index_lacked_room {
                format!("The index does not take changes ({reason}). The node starts anew when there is room.")
            } else {
                format!("The index does not take changes ({reason}). The node starts anew and rebuilds it.")
            };
            raise("index_failed", "critical", text);
        }
        alarms.extend(self.alarms_of_the_cluster());
        let mut raise = |code, severity, text: String| alarms.push(Alarm { code, severity, text });
        for (node, there) in self.twins() {
            let text = format!(
                "Two machines show the number of node {node}, one of them at {there}: a data directory was copied, or put \
                 back from a copy. The one that was started later is spoken with. Stop the other for ever."
            );
            raise("twin", "critical", text);
        }
        if health.index_slow {
            let busy = self.0.store.progress().busy_for();
            raise(
                "index_slow",
                "warning",
                format!("The index is busy with one step for {} s. Look at the disk.", seconds(busy)),
            );
        }
        if self.0.store.overlay_bytes() > OVERLAY_BYTES_MAX / 2 {
            raise(
                "index_behind",
                "warning",
                "Writes come faster than the index follows; some may be answered 503.".to_owned(),
            );
        }
        if let Some(LossView { why: Some(why), merged, slots }) = self.loss() {
            let text = format!(
                "This node has lost what it had acked: {why}. It serves nothing before it has it back from the other owners: \
                 {merged} of {slots} partitions are merged. Look at its disk."
            );
            alarms.push(Alarm { code: "recovering", severity: "critical", text });
        }
        if let Some(why) = self.0.cast_out.get() {
            let text = format!(
                "The cluster refuses this node for ever ({why}). Stop it, keep its directory aside, and let the machine join \
                 again with an empty one and an invite of that cluster."
            );
            alarms.push(Alarm { code: "removed", severity: "critical", text });
        }
        if let Some(text) = self.settings().certificate.as_ref().and_then(|view| view.warning(time::wall_ms())) {
            alarms.push(Alarm { code: "certificate_ends", severity: "warning", text });
        }
        alarms
    }
}

/// The next start reads what the index's tables still hold into a new one.
fn end_for_rebuild(index: &Path, reason: &str) {
    tracing::error!(reason, "the index failed; the process starts anew and rebuilds it");
    if let Err(error) = salvage::ask_for_rebuild(index, reason) {
        tracing::error!(%error, "the wish for a rebuild could not be noted");
    }
    // Its report says why; last words would only keep those waiting whom the next start serves.
    exit::die(Exit::TryAgain);
}

fn mib(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs()
}
