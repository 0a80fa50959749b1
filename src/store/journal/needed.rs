//! Which segments the next open needs, as the thread that owns the log tells whoever looks after them.

use std::ops::RangeInclusive;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// The first and the last. Both only rise.
#[derive(Debug)]
pub struct Needed([AtomicU64; 2]);

impl Needed {
    /// At the open.
    #[must_use]
    pub fn new(needed: &RangeInclusive<u64>) -> Self {
        Self([AtomicU64::new(*needed.start()), AtomicU64::new(*needed.end())])
    }

    /// Before anything in the last one is acked, and before one that is not needed any more is removed.
    pub fn note(&self, needed: &RangeInclusive<u64>) {
        let [first, last] = &self.0;
        last.store(*needed.end(), Ordering::Release);
        first.store(*needed.start(), Ordering::Release);
    }

    /// One that is not there, and is among those that this says afterwards, was taken away.
    #[must_use]
    pub fn segments(&self) -> RangeInclusive<u64> {
        let [first, last] = &self.0;
        first.load(Ordering::Acquire)..=last.load(Ordering::Acquire)
    }
}
