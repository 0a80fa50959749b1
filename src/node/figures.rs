//! What a node says of how it does: its disk, how busy it is, what comes to it, what it holds in short. Made with every
//! sample of its history, so that nobody hears of it more often than people look.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::base::busy::Busy;
use crate::base::limits::SAMPLE_EVERY;
use crate::base::time;
use crate::node::Node;
use crate::node::series::Range;
use crate::proto::member::words::Digests;
use crate::proto::member::words::DiskNews;
use crate::proto::member::words::HandoffNews;

/// The last ones, and what the next ones are counted from.
#[derive(Debug, Default)]
pub struct Figures {
    now: Told,
    busy: Busy,
}

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Per cent of the machine's processors.
    pub load: u8,
    /// Requests a second, over the last minute.
    pub requests_per_s: u32,
    /// The disk.
    pub disk: DiskNews,
    /// What comes to it.
    pub handoff: HandoffNews,
    /// What it holds, in short; none before it has looked.
    pub digests: Option<Digests>,
    /// The wall clock then.
    pub wall_ms: u64,
}

impl Node {
    /// How this node does.
    #[must_use]
    pub fn figures(&self) -> Told {
        self.0.cluster.figures.lock().unwrap_or_else(PoisonError::into_inner).now
    }

    /// Looks anew.
    pub(super) fn note_figures(&self) {
        let requests_per_s = self.requests_per_s();
        let space = self.space();
        let disk = DiskNews {
            free: space.map_or(0, |space| space.free),
            total: space.map_or(0, |space| space.total),
            stored: self.surveyed_bytes().unwrap_or_else(|| self.0.store.index_bytes()),
        };
        let bytes = self.0.cluster.handed_off.load(Ordering::Relaxed);
        let eta_s = self.handoff_progress().eta.map(|eta| eta.as_secs());
        let digests = Some(self.digests_now());
        let mut figures = self.0.cluster.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let came = bytes.saturating_sub(figures.now.handoff.bytes);
        let handoff = HandoffNews { bytes, bytes_per_s: came / SAMPLE_EVERY.as_secs().max(1), eta_s };
        figures.now =
            Told { load: figures.busy.look(), requests_per_s, disk, handoff, digests, wall_ms: time::wall_ms() };
        drop(figures);
        self.note_syncs();
    }

    fn requests_per_s(&self) -> u32 {
        let Some(minute) = self.history(Range::Fine).last_minute else { return 0 };
        let all: u64 = minute.operations.iter().map(|operation| u64::from(operation.count)).sum();
        let per_s = (all * 1000).checked_div(minute.span_ms).unwrap_or(0);
        u32::try_from(per_s).unwrap_or(u32::MAX)
    }
}
