//! Frames that wait to be written to one connection, one behind the other in the bytes that will be written: the writer
//! takes all that is there at once, and two buffers change places for ever. Pure.

use crate::base::limits::GOSSIP_QUEUE_BYTES_MAX;
use crate::base::limits::PEER_QUEUE_BYTES_KEPT;
use crate::base::limits::PEER_QUEUE_BYTES_MAX;
use crate::base::limits::PEER_QUEUE_FRAMES_MAX;
use crate::net::wire;
use crate::net::wire::Lane;
use crate::net::wire::Ready;

/// A bounded queue of frames.
#[derive(Debug)]
pub(super) struct Waiting {
    bytes: Vec<u8>,
    /// Where the oldest frame begins: those before it were dropped.
    start: usize,
    frames: usize,
    bytes_max: usize,
    drops_oldest: bool,
    /// Bytes put in since the beginning, and up to which of them were taken or dropped.
    pushed: u64,
    taken: u64,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Waiting {
    /// For a lane of ours: gossip drops the oldest, the others refuse what is new.
    pub(super) fn to_peer(lane: Lane) -> Self {
        let drops_oldest = lane == Lane::Gossip;
        Self::new(if drops_oldest { GOSSIP_QUEUE_BYTES_MAX } else { PEER_QUEUE_BYTES_MAX }, drops_oldest)
    }

    /// For answers.
    pub(super) fn answers() -> Self {
        Self::new(PEER_QUEUE_BYTES_MAX, false)
    }

    fn new(bytes_max: usize, drops_oldest: bool) -> Self {
        Self { bytes: Vec::new(), start: 0, frames: 0, bytes_max, drops_oldest, pushed: 0, taken: 0 }
    }

    /// Puts a frame behind the others, or several that are one thing. Says where in all bytes ever put in it begins, and how many older ones were dropped
    /// for it.
    pub(super) fn push(&mut self, frame: &Ready<'_>) -> Result<(u64, usize), Full> {
        let mut dropped = 0;
        // What goes in parts is dropped whole or not at all.
        if self.drops_oldest && frame.is_long() {
            return Err(Full);
        }
        while self.is_full_for(frame.len()) {
            let oldest = self.bytes.get(self.start..).and_then(wire::first_len);
            let Some(oldest) = oldest.filter(|_| self.drops_oldest) else { return Err(Full) };
            self.start += oldest;
            self.frames -= 1;
            self.taken += oldest as u64;
            dropped += 1;
        }
        // What was dropped is cut off once it is the larger part: each byte is moved at most once for it.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let at = self.pushed;
        frame.append(&mut self.bytes);
        self.frames += 1;
        self.pushed += frame.len() as u64;
        Ok((at, dropped))
    }

    fn is_full_for(&self, len: usize) -> bool {
        self.frames > 0
            && (self.frames >= PEER_QUEUE_FRAMES_MAX || self.bytes.len() - self.start + len > self.bytes_max)
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Moves all that waits into `batch`, whose memory is used for what comes next. False where nothing waits.
    pub(super) fn take(&mut self, batch: &mut Vec<u8>) -> bool {
        batch.clear();
        if self.frames == 0 {
            return false;
        }
        if batch.capacity() > PEER_QUEUE_BYTES_KEPT {
            *batch = Vec::new();
        }
        core::mem::swap(&mut self.bytes, batch);
        batch.drain(..self.start);
        (self.start, self.frames, self.taken) = (0, 0, self.pushed);
        true
    }

    /// Drops all that waits. A frame that began here or later was never taken.
    pub(super) fn clear(&mut self) -> u64 {
        let untaken = self.taken;
        self.bytes = Vec::new();
        (self.start, self.frames, self.taken) = (0, 0, self.pushed);
        untaken
    }
}

#[cfg(test)]
mod tests {
    use super::Full;
    use super::Waiting;
    use crate::base::limits::GOSSIP_QUEUE_BYTES_MAX;
    use crate::base::limits::PEER_QUEUE_BYTES_KEPT;
    use crate::base::limits::PEER_QUEUE_BYTES_MAX;
    use crate::base::limits::PEER_QUEUE_FRAMES_MAX;
    use crate::net::wire::Kind;
    use crate::net::wire::Lane;
    use crate::net::wire::Ready;
    use crate::net::wire::decode::Decoder;

    fn push(waiting: &mut Waiting, body: &[u8]) -> Result<(u64, usize), Full> {
        waiting.push(&Ready::new(Kind::Message, 0, body).unwrap())
    }

    fn bodies(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut decoder = Decoder::default();
        decoder.trust();
        core::iter::from_fn(|| decoder.next(&mut bytes).unwrap()).map(|frame| frame.body).collect()
    }

    #[test]
    fn all_that_waits_is_taken_at_once_and_in_order() {
        let (mut waiting, mut batch) = (Waiting::to_peer(Lane::Requests), Vec::new());
        assert!(!waiting.take(&mut batch) && waiting.is_empty());
        assert_eq!((push(&mut waiting, b"a"), push(&mut waiting, b"bc")), (Ok((0, 0)), Ok((11, 0))));
        assert!(waiting.take(&mut batch) && waiting.is_empty());
        assert_eq!(bodies(&batch), [b"a".to_vec(), b"bc".to_vec()]);
        assert_eq!(push(&mut waiting, b"d"), Ok((23, 0)));
        assert_eq!(waiting.clear(), 23, "a and bc were taken, d was not");
        assert!(!waiting.take(&mut batch));
    }

    #[test]
    fn memory_is_used_again_but_not_kept_for_ever() {
        let (mut waiting, mut batch) = (Waiting::to_peer(Lane::Bulk), Vec::new());
        push(&mut waiting, &vec![1; 2 * PEER_QUEUE_BYTES_KEPT]).unwrap();
        for _ in 0..3 {
            assert!(waiting.take(&mut batch));
            push(&mut waiting, b"small").unwrap();
        }
        assert!(batch.capacity() + waiting.bytes.capacity() < PEER_QUEUE_BYTES_KEPT);
    }

    #[test]
    fn a_full_lane_refuses_what_is_new() {
        let mut waiting = Waiting::to_peer(Lane::Control);
        let large = vec![1; PEER_QUEUE_BYTES_MAX / 16];
        let taken = (0..100).take_while(|_| push(&mut waiting, &large).is_ok()).count();
        assert_eq!(taken, 15, "heads need room as well");
        let mut waiting = Waiting::answers();
        let taken = (0..100_000).take_while(|_| push(&mut waiting, b"x").is_ok()).count();
        assert_eq!(taken, PEER_QUEUE_FRAMES_MAX);
    }

    #[test]
    fn a_full_lane_of_gossip_drops_the_oldest() {
        let mut waiting = Waiting::to_peer(Lane::Gossip);
        let body = |number: u32| [number.to_le_bytes().as_slice(), &[0; 1000]].concat();
        let dropped: usize = (0..1000).map(|number| push(&mut waiting, &body(number)).unwrap().1).sum();
        assert!(waiting.bytes.len() <= 2 * GOSSIP_QUEUE_BYTES_MAX);
        let mut batch = Vec::new();
        assert!(waiting.take(&mut batch) && batch.len() <= GOSSIP_QUEUE_BYTES_MAX);
        let left = bodies(&batch);
        assert_eq!(left.len() + dropped, 1000);
        let first = u32::try_from(dropped).unwrap();
        assert_eq!(left, (first..1000).map(body).collect::<Vec<_>>());
    }
}
