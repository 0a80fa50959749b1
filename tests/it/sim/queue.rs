//! What happens next: events in the order of their times, and of their making where the times are equal.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Virtual microseconds since the run began.
pub type Us = u64;

/// A queue of events.
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<(Us, u64, usize)>>,
    events: Vec<Option<E>>,
    free: Vec<usize>,
    made: u64,
    now: Us,
}

impl<E> Queue<E> {
    /// Nothing happens.
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), made: 0, now: 0 }
    }

    /// The present.
    pub fn now(&self) -> Us {
        self.now
    }

    /// Something happens so much later.
    pub fn after(&mut self, delay: Us, event: E) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[slot] = Some(event);
        self.made += 1;
        self.heap.push(Reverse((self.now + delay, self.made, slot)));
    }

    /// The next event; the present moves to it.
    pub fn next(&mut self) -> Option<E> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.now = at;
        self.free.push(slot);
        self.events[slot].take()
    }
}
