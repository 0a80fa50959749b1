//! What is wrong with this node right now: free space, the index's progress. Looked at every half second.

use std::path::Path;
use std::sync::PoisonError;

use crate::base::exit;
use crate::base::exit::Exit;
use crate::base::limits::DISK_CHECK_EVERY;
use crate::base::limits::INDEX_STALL_ALARM;
use crate::base::limits::INDEX_STALL_EXIT;
use crate::base::limits::RESTING_REQUESTS_MAX;
use crate::base::memory;
use crate::node::Node;
use crate::node::debug::gasp;
use crate::node::error::DoorError;
use crate::node::worker;
use crate::store::index::salvage;
use crate::store::roots::Taken;
use crate::store::space;
use crate::store::space::Space;

mod files;

/// What was found at the last look.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Of the disk.
    pub(super) space: Option<Space>,
    /// A directory of this node that is not there any more, as a sentence begins.
    pub(super) gone: Option<String>,
    /// A single file that the next start needs and will not find.
    taken: Option<Taken>,
    /// Less is free than is kept in reserve, bytes or files.
    pub(super) disk_full: bool,
    /// The index hangs on one step.
    pub(super) index_slow: bool,
    /// The index failed, and there was no room when it did.
    pub(super) index_lacked_room: bool,
}

impl Health {
    /// What is written now would be found by no next start.
    fn keeps_nothing(&self) -> bool {
        self.gone.is_some() || matches!(self.taken, Some(Taken::Journal(_)))
    }
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
    /// [`DoorError::DiskFull`], [`DoorError::NoFiles`], [`DoorError::FilesGone`].
    pub(super) fn check_space(&self) -> Result<(), DoorError> {
        let health = self.health();
        if health.keeps_nothing() {
            return Err(DoorError::FilesGone);
        }
        let Health { space, disk_full, .. } = health;
        if let Some(left) = space.and_then(|space| space.short_of_files()) {
            return Err(DoorError::NoFiles { left });
        }
        if disk_full {
            return Err(DoorError::DiskFull { reserve_mib: self.disk_reserve() / (1024 * 1024) });
        }
        Ok(())
    }

    pub(super) fn health(&self) -> Health {
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
        self.look_at_roots();
        let space = space::look(&self.0.data_dir)?;
        let disk_full = space.is_short(self.disk_reserve());
        self.0.store.progress().hold_proofs(!space.has_files_for_a_proof());
        let index_slow = self.0.store.progress().busy_for() > INDEX_STALL_ALARM;
        let mut health = self.0.health.write().unwrap_or_else(PoisonError::into_inner);
        if disk_full != health.disk_full {
            let (free, reserve, files) = (space.free, self.disk_reserve(), space.files.map(|files| files.free));
            tracing::warn!(disk_full, free, reserve, files, "the disk's state changed");
        }
        *health = Health { space: Some(space), disk_full, index_slow, ..health.clone() };
        Ok(())
    }

    fn look_at_roots(&self) {
        let gone = self.0.roots.gone(&self.0.data_dir).map(|place| place.display().to_string());
        let mut health = self.0.health.write().unwrap_or_else(PoisonError::into_inner);
        if gone != health.gone {
            tracing::error!(gone, "whether the directories of this node are there changed");
            health.gone = gone;
            self.0.store.set_adrift(health.keeps_nothing());
        }
    }

    /// Watches for ever: what was counted, space, and the index's thread, which ends the process when it is stuck or broken.
    pub fn watch(&self) {
        self.keep_history();
        let figures = self.clone();
        worker::keep("figures", move || figures.clone().keep_figures());
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
            node.look_at_files().await;
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
            let room = health.space.is_some_and(|space| !space.is_short(self.disk_reserve()));
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
