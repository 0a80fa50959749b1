//! Where one HTTP/2 frame ends and the next begins, and how many of them ask for nothing but an answer (PING, SETTINGS).
//! The HTTP/2 library answers each for as long as they come. Past a limit one is spoilt here before it is read, which
//! makes the library say goodbye (GOAWAY) and close.

use std::time::Instant;

use crate::base::limits::H2_CONTROL_FRAMES_EVERY;
use crate::base::limits::H2_CONTROL_FRAMES_MAX;
use crate::base::time;

/// ```text
/// length (3) ‖ type (1) ‖ flags (1) ‖ stream (4)
/// ```
/// Numbers are big-endian (RFC 9113 §4.1).
const HEAD_BYTES: usize = 9;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

/// What a stream's number becomes: neither kind belongs to a stream, so this is an error of the connection.
const SPOILT: u8 = 1;

/// Follows the bytes of one connection, from behind the preface.
#[derive(Debug, Default)]
pub struct Frames {
    /// The head so far.
    head: [u8; HEAD_BYTES],
    head_len: usize,
    /// Bytes of the payload that are still to come.
    payload_left: usize,
    count: Count,
    over: bool,
}

impl Frames {
    /// Looks at bytes that came, and spoils the frame that is one too many.
    pub fn inspect(&mut self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.over {
            let used = if self.payload_left > 0 { self.skip(rest.len()) } else { self.read_head(rest) };
            rest = rest.split_at_mut_checked(used).map_or(&mut [][..], |(_, rest)| rest);
        }
    }

    fn skip(&mut self, here: usize) -> usize {
        let used = self.payload_left.min(here);
        self.payload_left -= used;
        used
    }

    fn read_head(&mut self, rest: &mut [u8]) -> usize {
        let used = (HEAD_BYTES - self.head_len).min(rest.len());
        let Some(here) = rest.get_mut(..used) else { return used };
        if let Some(to) = self.head.get_mut(self.head_len..self.head_len + used) {
            to.copy_from_slice(here);
        }
        self.head_len += used;
        if self.head_len < HEAD_BYTES {
            return used;
        }
        self.head_len = 0;
        let [a, b, c, kind, ..] = self.head;
        self.payload_left = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
        if matches!(kind, SETTINGS | PING) && self.count.is_too_many(time::mono()) {
            self.over = true;
            if let Some(last) = here.last_mut() {
                *last |= SPOILT;
            }
        }
        used
    }
}

/// Frames within a while.
#[derive(Debug, Default)]
struct Count {
    since: Option<Instant>,
    frames: u32,
}

impl Count {
    /// Counts one more.
    fn is_too_many(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= H2_CONTROL_FRAMES_EVERY {
            *self = Self { since: Some(now), frames: 0 };
        }
        self.frames += 1;
        self.frames > H2_CONTROL_FRAMES_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Count;
    use super::Frames;
    use super::PING;
    use super::SETTINGS;
    use crate::base::limits::H2_CONTROL_FRAMES_EVERY;
    use crate::base::limits::H2_CONTROL_FRAMES_MAX;
    use crate::base::time;

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const MAX: usize = H2_CONTROL_FRAMES_MAX as usize;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&len[1..], &[kind, 0, 0, 0, 0, 0], payload].concat()
    }

    /// The bytes as they are read, coming in pieces of that size.
    fn inspected(bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut frames = Frames::default();
        let mut bytes = bytes.to_vec();
        bytes.chunks_mut(piece).for_each(|piece| frames.inspect(piece));
        bytes
    }

    #[test]
    fn the_frame_that_is_one_too_many_belongs_to_a_stream_however_it_arrives() {
        for kind in [PING, SETTINGS] {
            let one = frame(kind, b"a frame!");
            let flood = one.repeat(MAX + 10);
            for piece in [1, 2, 9, 17, 4096, flood.len()] {
                let read = inspected(&flood, piece);
                let changed: Vec<_> = (0..flood.len()).filter(|at| read[*at] != flood[*at]).collect();
                assert_eq!(changed, [MAX * one.len() + 8], "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn frames_that_ask_for_something_and_what_is_in_them_are_left_alone() {
        let looks_like_pings = frame(PING, b"a frame!").repeat(MAX + 10);
        let other = [frame(DATA, &looks_like_pings), frame(HEADERS, &[]).repeat(3 * MAX)].concat();
        let within = [frame(SETTINGS, &[]), other.clone(), frame(PING, b"a frame!").repeat(MAX - 1), other].concat();
        for piece in [1, 10, 4096] {
            assert!(inspected(&within, piece) == within, "in pieces of {piece}");
        }
    }

    #[test]
    fn who_pings_now_and_then_does_so_for_ever() {
        let (mut count, mut now) = (Count::default(), time::mono());
        for _ in 0..10 * MAX {
            assert!(!count.is_too_many(now));
            now += Duration::from_millis(100);
        }
        // A burst is within the limit again after a while.
        for _ in 0..3 {
            now += H2_CONTROL_FRAMES_EVERY;
            assert!((0..MAX).all(|_| !count.is_too_many(now)));
            assert!(count.is_too_many(now));
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            parts in prop::collection::vec((0_u8..10, 0_usize..40), 0..3 * MAX),
            piece in 1_usize..100,
        ) {
            let bytes: Vec<u8> = parts.iter().flat_map(|(kind, len)| frame(*kind, &vec![6; *len])).collect();
            prop_assert!(inspected(&bytes, piece) == inspected(&bytes, bytes.len().max(1)));
        }
    }
}
