//! What is due when, and chance from a seed.

use std::collections::BTreeMap;
use std::convert::Infallible;

use foca::Timer;
use rand_core::TryRng;

use crate::proto::member::identity::Id;

/// Timers of the protocol. Each is handed back once, in order.
#[derive(Default)]
pub(super) struct Timers {
    due: BTreeMap<(u64, u8, u64), Timer<Id>>,
    count: u64,
}

impl Timers {
    pub(super) fn add(&mut self, due_ms: u64, timer: Timer<Id>) {
        // Of those due together the protocol wants the second stage of a probe before the next probe.
        let rank = match timer {
            Timer::SendIndirectProbe { .. } => 0,
            Timer::ProbeRandomMember(_) => 1,
            Timer::ChangeSuspectToDown { .. }
            | Timer::PeriodicAnnounce(_)
            | Timer::PeriodicAnnounceDown(_)
            | Timer::PeriodicGossip(_)
            | Timer::RemoveDown(_) => 2,
        };
        self.count = self.count.wrapping_add(1);
        self.due.insert((due_ms, rank, self.count), timer);
    }

    pub(super) fn next_ms(&self) -> Option<u64> {
        self.due.first_key_value().map(|((due_ms, _, _), _)| *due_ms)
    }

    pub(super) fn pop(&mut self, now_ms: u64) -> Option<Timer<Id>> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now_ms).then(|| first.remove())
    }

    /// Puts everything off: for this node, time stood still.
    pub(super) fn put_off(&mut self, by_ms: u64) {
        let due = std::mem::take(&mut self.due);
        self.due =
            due.into_iter().map(|((due, rank, n), timer)| ((due.saturating_add(by_ms), rank, n), timer)).collect();
    }
}

/// Chance, the same for the same seed: SplitMix64 (Steele 2014). It decides who is asked first, nothing secret.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Something between the half of it and all of it.
    pub(super) fn jitter(&mut self, ms: u64) -> u64 {
        ms / 2 + self.next() % (ms / 2 + 1)
    }
}

impl TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let [a, b, c, d, ..] = self.next().to_le_bytes();
        Ok(u32::from_le_bytes([a, b, c, d]))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        for chunk in dst.chunks_mut(8) {
            chunk.copy_from_slice(self.next().to_le_bytes().get(..chunk.len()).unwrap_or_default());
        }
        Ok(())
    }
}
