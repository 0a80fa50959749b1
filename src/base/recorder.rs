//! The flight recorder: what the cores were told last, in memory that outlives this process where its supervisor made it.
//! Always on, so it costs some dozens of stores to memory for each tape: no lock, no system call, no allocation.
//!
//! ```text
//! for each kind   word 0          tapes kept so far
//!                 then SLOTS of   word 0  number of the tape, from 1 << 16 | bytes of it    0 = none, or being written
//!                                 word 1  steady milliseconds
//!                                 word 2  CRC32C of the tape and its number
//!                                 words   the tape, 8 bytes each, little-endian
//! ```
//! Whoever is killed while it writes leaves a slot whose checksum does not fit: that one tape is lost.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::base::checksum;
use crate::base::limits::RECORDER_SLOTS;
use crate::base::limits::RECORDER_TAPE_BYTES_MAX;

/// Kinds of cores that are told apart, each with a ring of its own: many reads do not push an election out.
pub const KINDS: usize = 7;

/// Words before a slot's tape.
const SLOT_HEAD: usize = 3;
const SLOT_WORDS: usize = SLOT_HEAD + RECORDER_TAPE_BYTES_MAX.div_ceil(8);
const RING_WORDS: usize = 1 + RECORDER_SLOTS * SLOT_WORDS;
/// Words of the whole recorder.
pub const WORDS: usize = KINDS * RING_WORDS;

static RECORDER: OnceLock<&'static [AtomicU64]> = OnceLock::new();

/// A tape that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Of which kind of core.
    pub kind: usize,
    /// Its number among its kind.
    pub number: u64,
    /// When it was kept, by the steady clock of its process.
    pub at_ms: u64,
    /// The tape.
    pub tape: Vec<u8>,
}

/// Keeps tapes in these words from now on; the first word counts. Fewer than [`WORDS`] keep nothing.
pub fn begin(words: &'static [AtomicU64]) {
    let _already = RECORDER.set(words);
}

/// Keeps a tape; the oldest of its kind goes. False where there is no recorder, no such kind, or the tape is longer than
/// [`RECORDER_TAPE_BYTES_MAX`].
pub fn keep(kind: usize, at_ms: u64, tape: &[u8]) -> bool {
    RECORDER.get().is_some_and(|words| keep_in(words, kind, at_ms, tape))
}

pub(super) fn keep_in(words: &[AtomicU64], kind: usize, at_ms: u64, tape: &[u8]) -> bool {
    let ring = words.get(kind * RING_WORDS..(kind + 1) * RING_WORDS).and_then(<[AtomicU64]>::split_first);
    let Some((count, slots)) = ring.filter(|_| kind < KINDS && tape.len() <= RECORDER_TAPE_BYTES_MAX) else {
        return false;
    };
    let number = count.fetch_add(1, Ordering::Relaxed) + 1;
    let at = usize::try_from(number % RECORDER_SLOTS as u64).unwrap_or(0) * SLOT_WORDS;
    let Some([head, when, check, body @ ..]) = slots.get(at..at + SLOT_WORDS) else { return false };
    head.store(0, Ordering::Release);
    when.store(at_ms, Ordering::Relaxed);
    check.store(checksum_of(number, tape), Ordering::Relaxed);
    for (word, bytes) in body.iter().zip(tape.chunks(8)) {
        let mut padded = [0; 8];
        padded.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        word.store(u64::from_le_bytes(padded), Ordering::Relaxed);
    }
    head.store(number << 16 | tape.len() as u64, Ordering::Release);
    true
}

fn checksum_of(number: u64, tape: &[u8]) -> u64 {
    u64::from(checksum::crc32c(&[&number.to_le_bytes(), tape]))
}

/// The tapes in these words, as a process left them; oldest first within a kind.
#[must_use]
pub fn read(words: &[u64]) -> Vec<Kept> {
    let mut all = Vec::new();
    for (kind, ring) in words.chunks_exact(RING_WORDS).take(KINDS).enumerate() {
        let slots = ring.get(1..).unwrap_or_default().chunks_exact(SLOT_WORDS);
        let mut of_kind: Vec<_> = slots.filter_map(|slot| read_slot(kind, slot)).collect();
        of_kind.sort_by_key(|kept| kept.number);
        all.append(&mut of_kind);
    }
    all
}

fn read_slot(kind: usize, slot: &[u64]) -> Option<Kept> {
    let [head, at_ms, check, body @ ..] = slot else { return None };
    let (number, len) = (head >> 16, usize::from((head & 0xffff) as u16));
    let mut tape: Vec<u8> = body.iter().flat_map(|word| word.to_le_bytes()).collect();
    if number == 0 || len > tape.len() {
        return None;
    }
    tape.truncate(len);
    (checksum_of(number, &tape) == *check).then_some(Kept { kind, number, at_ms: *at_ms, tape })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering;

    use super::KINDS;
    use super::RING_WORDS;
    use super::SLOT_WORDS;
    use super::WORDS;
    use super::keep_in;
    use super::read;
    use crate::base::limits::RECORDER_SLOTS;
    use crate::base::limits::RECORDER_TAPE_BYTES_MAX;

    fn empty() -> Vec<AtomicU64> {
        (0..WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    fn left(words: &[AtomicU64]) -> Vec<u64> {
        words.iter().map(|word| word.load(Ordering::SeqCst)).collect()
    }

    #[test]
    fn the_last_tapes_of_each_kind_are_there_and_no_kind_pushes_another_out() {
        let words = empty();
        assert!(keep_in(&words, 3, 7, b"an election"));
        for at in 0..RECORDER_SLOTS as u64 + 5 {
            assert!(keep_in(&words, 0, at, format!("write {at}").as_bytes()));
        }
        let kept = read(&left(&words));
        assert_eq!(kept.len(), RECORDER_SLOTS + 1);
        assert_eq!((kept[0].at_ms, kept[0].tape.as_slice()), (5, &b"write 5"[..]));
        assert!(kept.windows(2).all(|two| (two[0].kind, two[0].number) < (two[1].kind, two[1].number)));
        assert_eq!(kept.last().map(|kept| (kept.kind, kept.tape.as_slice())), Some((3, &b"an election"[..])));
    }

    #[test]
    fn a_tape_that_was_being_written_is_lost_and_no_other() {
        let words = empty();
        keep_in(&words, 1, 1, &[9; 100]);
        keep_in(&words, 1, 2, &[8; RECORDER_TAPE_BYTES_MAX]);
        let mut torn = left(&words);
        // The process ended before the last word was stored over what was there.
        torn[RING_WORDS + 1 + 2 * SLOT_WORDS + SLOT_WORDS - 1] ^= 1;
        let kept = read(&torn);
        assert_eq!(kept.iter().map(|kept| kept.at_ms).collect::<Vec<_>>(), [1]);
        assert_eq!(read(&left(&words)).len(), 2);
        assert!(read(&[]).is_empty() && read(&vec![u64::MAX; WORDS]).is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let words = empty();
        assert!(
            !keep_in(&words, KINDS, 0, b"no such kind") && !keep_in(&words, 0, 0, &[0; RECORDER_TAPE_BYTES_MAX + 1])
        );
        assert!(!keep_in(&words[..RING_WORDS - 1], 0, 0, b"too little room"));
        assert!(read(&left(&words)).is_empty());
    }

    #[test]
    fn many_threads_keep_tapes_at_once_and_each_that_is_read_is_whole() {
        let words = empty();
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let words = &words;
                scope.spawn(move || {
                    for _ in 0..5_000 {
                        keep_in(words, 2, u64::from(thread), &[thread; 48]);
                    }
                });
            }
        });
        let kept = read(&left(&words));
        assert!(kept.iter().all(|kept| kept.tape == [u8::try_from(kept.at_ms).unwrap(); 48]));
        assert!(kept.len() > RECORDER_SLOTS / 2, "{}", kept.len());
    }

    #[test]
    fn a_tape_is_kept_within_a_microsecond() {
        let words = empty();
        let begun = crate::base::time::mono();
        let count = 100_000_u32;
        for at in 0..count {
            keep_in(&words, 0, u64::from(at), &[7; 160]);
        }
        let each = begun.elapsed() / count;
        println!("a tape of 160 bytes is kept in {each:?}");
        assert!(each.as_micros() < 20, "{each:?}: even on a busy machine, built without optimisation");
    }
}
