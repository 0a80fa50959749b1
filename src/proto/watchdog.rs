//! When a process that still lives is dead nevertheless: it beats, and its runtime does not turn. One that does not beat
//! either is stopped or starved, and is left alone: killing it would turn slow into dead.

use crate::base::flight::Beats;
use crate::base::limits::RUNTIME_SILENCE_MAX;
use crate::base::limits::WATCH_GAP;
use crate::base::time::millis;

/// What is remembered between two looks.
#[derive(Debug, Clone, Default)]
pub struct Watchdog {
    last: Option<(u64, Beats)>,
    /// How long the process beat while its runtime did not.
    silent_ms: u64,
}

impl Watchdog {
    /// A look, and when it is. True where the process is to be ended.
    pub fn look(&mut self, now_ms: u64, beats: Beats) -> bool {
        let Some((then_ms, before)) = self.last.replace((now_ms, beats)) else { return false };
        let passed_ms = now_ms.saturating_sub(then_ms);
        let turns = beats.runtime != before.runtime || beats.runtime == 0;
        let is_still = beats.process == before.process;
        // Who was away knows nothing of the time between.
        if turns || is_still || passed_ms > millis(WATCH_GAP) {
            self.silent_ms = 0;
        } else {
            self.silent_ms += passed_ms;
        }
        self.silent_ms >= millis(RUNTIME_SILENCE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Watchdog;
    use crate::base::flight::Beats;

    /// Looks every 250 ms with so many beats in between; the look that ended it.
    fn first_bite(looks: impl Iterator<Item = (u64, u64)>) -> Option<usize> {
        let (mut dog, mut beats) = (Watchdog::default(), Beats { process: 1, runtime: 1 });
        let bites = looks.enumerate().map(|(number, (process, runtime))| {
            beats = Beats { process: beats.process + process, runtime: beats.runtime + runtime };
            (number, dog.look(number as u64 * 250, beats))
        });
        bites.into_iter().find(|(_, bites)| *bites).map(|(number, _)| number)
    }

    #[test]
    fn a_runtime_that_stands_while_its_process_beats_is_dead_after_three_seconds() {
        assert_eq!(first_bite(std::iter::repeat_n((2, 0), 100)), Some(12));
        assert_eq!(first_bite(std::iter::repeat_n((2, 1), 100)), None);
    }

    #[test]
    fn a_process_that_does_not_beat_is_left_alone_however_long() {
        assert_eq!(first_bite(std::iter::repeat_n((0, 0), 1000)), None);
        // Thawed, it needs a moment; that does not count for what it did before.
        let frozen = std::iter::repeat_n((2, 0), 8).chain(std::iter::repeat_n((0, 0), 40));
        assert_eq!(first_bite(frozen.chain(std::iter::repeat_n((2, 0), 8))), None);
    }

    #[test]
    fn one_that_never_turned_is_still_starting() {
        let mut dog = Watchdog::default();
        assert!((0..100).all(|tick| !dog.look(tick * 250, Beats { process: tick, runtime: 0 })));
    }

    #[test]
    fn a_gap_in_the_looks_begins_the_count_anew() {
        let mut dog = Watchdog::default();
        let look = |dog: &mut Watchdog, now_ms| dog.look(now_ms, Beats { process: now_ms, runtime: 1 });
        assert!((1..12).all(|tick| !look(&mut dog, tick * 250)));
        assert!(!look(&mut dog, 60_000));
        assert!((1..12).all(|tick| !look(&mut dog, 60_000 + tick * 250)));
        assert!(look(&mut dog, 60_000 + 12 * 250));
    }
}
