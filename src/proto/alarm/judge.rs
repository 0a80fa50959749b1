//! What figures say: whether a clock is wrong, a disk slow, a transfer stuck, many tokens refused.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::collections::VecDeque;

use crate::base::id::NodeId;
use crate::base::limits::ACCESS_REFUSED_ADDRESSES;
use crate::base::limits::ACCESS_REFUSED_MIN;
use crate::base::limits::ACCESS_REFUSED_OVER;
use crate::base::limits::ACCESS_REFUSED_STEP;
use crate::base::limits::ACCESS_REFUSED_STEPS_MIN;
use crate::base::limits::ACCESS_REFUSED_WINDOW;
use crate::base::limits::CLOCK_SKEW_MAX;
use crate::base::limits::FAULTS_STEP;
use crate::base::limits::FAULTS_STEPS;
use crate::base::limits::HELD_BACK_EVERY;
use crate::base::limits::LATE_AT_ONCE;
use crate::base::limits::SLOW_SYNC;
use crate::base::limits::SLOW_SYNCS_MIN;
use crate::base::limits::STARVED_WINDOW;
use crate::base::limits::SYNC_WINDOW_LOOKS;
use crate::base::limits::THREADS_MET_WITHIN;
use crate::base::time::millis;

/// Whose clocks are wrong, by so many milliseconds against the middle of all; `ahead_ms` says by how much each is ahead of
/// the one who asks, itself with 0. Of two nobody knows which is wrong: the other one is named.
#[must_use]
pub fn skewed(ahead_ms: &[(NodeId, i64)], me: NodeId) -> Vec<(NodeId, i64)> {
    let mut sorted: Vec<i64> = ahead_ms.iter().map(|(_, ahead)| *ahead).collect();
    sorted.sort_unstable();
    let middle = match ahead_ms.len() {
        0 => return Vec::new(),
        2 => 0,
        all => sorted.get((all - 1) / 2).copied().unwrap_or(0),
    };
    let max = i64::try_from(millis(CLOCK_SKEW_MAX)).unwrap_or(i64::MAX);
    let off = ahead_ms.iter().map(|(node, ahead)| (*node, ahead.saturating_sub(middle)));
    off.filter(|(node, off)| off.saturating_abs() > max && (ahead_ms.len() != 2 || *node != me)).collect()
}

/// Syncs by how long they took: bucket i holds those below 2^i milliseconds and not in the one before it.
pub const SYNC_BUCKETS: usize = 16;

/// The bucket of a sync.
#[must_use]
pub fn sync_bucket(took_ms: u64) -> usize {
    let bits = usize::try_from(u64::BITS - took_ms.leading_zeros()).unwrap_or(SYNC_BUCKETS);
    bits.min(SYNC_BUCKETS - 1)
}

/// The syncs of the last minute.
#[derive(Debug, Clone, Default)]
pub struct Syncs {
    looks: VecDeque<[u64; SYNC_BUCKETS]>,
}

impl Syncs {
    /// Notes how many there were since the start.
    pub fn look(&mut self, counts: [u64; SYNC_BUCKETS]) {
        if self.looks.len() >= SYNC_WINDOW_LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back(counts);
    }

    /// Milliseconds within which 99 of 100 syncs of the last minute ended, where that is too long.
    #[must_use]
    pub fn too_slow_ms(&self) -> Option<u64> {
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        let counts: Vec<u64> = last.iter().zip(first).map(|(now, then)| now.saturating_sub(*then)).collect();
        let all: u64 = counts.iter().sum();
        if all < SLOW_SYNCS_MIN {
            return None;
        }
        sync_p99_ms(&counts).filter(|ms| *ms > millis(SLOW_SYNC))
    }
}

/// Milliseconds within which 99 of 100 of these syncs ended, read at the upper end of a bucket; none where there were none.
#[must_use]
pub fn sync_p99_ms(counts: &[u64]) -> Option<u64> {
    let rank = (counts.iter().sum::<u64>() * 99).div_ceil(100);
    let mut below = 0;
    let fits = |(_, count): &(usize, &u64)| {
        below += **count;
        below >= rank.max(1)
    };
    counts.iter().enumerate().find(fits).map(|(bucket, _)| 1_u64 << bucket)
}

/// How late what was to run ran, of the last while.
#[derive(Debug, Clone, Default)]
pub struct Lateness {
    looks: VecDeque<Look>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    /// Milliseconds since the one before, and how many of them it was late; both as far as they count.
    took_ms: u64,
    counts_ms: u64,
    late_ms: u64,
}

impl Lateness {
    /// A look that was due after `due_ms` came `late_ms` later. A single long gap is no want of a processor: a process that is
    /// stopped and goes on has one.
    pub fn look(&mut self, due_ms: u64, late_ms: u64) {
        let counts_ms = late_ms.min(millis(LATE_AT_ONCE));
        self.looks.push_back(Look { took_ms: due_ms.saturating_add(counts_ms), counts_ms, late_ms });
        let mut all_ms: u64 = self.looks.iter().map(|look| look.took_ms).sum();
        while let Some(first) = self.looks.front().filter(|first| all_ms - first.took_ms >= millis(STARVED_WINDOW)) {
            all_ms -= first.took_ms;
            self.looks.pop_front();
        }
    }

    /// The hundredths of that time for which it was late, and the longest single time in milliseconds.
    #[must_use]
    pub fn late(&self) -> (u64, u64) {
        let all_ms: u64 = self.looks.iter().map(|look| look.took_ms).sum();
        let late_ms: u64 = self.looks.iter().map(|look| look.counts_ms).sum();
        let longest = self.looks.iter().map(|look| look.late_ms).max().unwrap_or(0);
        if all_ms < millis(STARVED_WINDOW) / 2 { (0, longest) } else { (late_ms * 100 / all_ms, longest) }
    }
}

/// How long a figure has stood still.
#[derive(Debug, Clone, Copy, Default)]
pub struct Still {
    seen: Option<((usize, u64), u64)>,
}

impl Still {
    /// What is left and what has come; returns the milliseconds for which neither changed. Nothing left is never still.
    pub fn look(&mut self, left: usize, came: u64, now_ms: u64) -> u64 {
        self.seen = match self.seen {
            _ if left == 0 => None,
            Some((figure, since_ms)) if figure == (left, came) => Some((figure, since_ms)),
            Some(_) | None => Some(((left, came), now_ms)),
        };
        self.seen.map_or(0, |(_, since_ms)| now_ms.saturating_sub(since_ms))
    }
}

/// For how long a limit held this process back, of the last [`STARVED_WINDOW`].
#[derive(Debug, Clone, Default)]
pub struct HeldBack {
    /// When it was looked, and for how long so far.
    looks: VecDeque<(u64, u64)>,
}

impl HeldBack {
    /// It was held back for so long so far. The hundredths of the window for which it was, at most 100; 0 as long as too
    /// little was seen to tell. Whoever looks more often than [`HELD_BACK_EVERY`] only asks.
    pub fn look(&mut self, now_ms: u64, held_back_ms: u64) -> u64 {
        if self.looks.back().is_some_and(|(_, last)| *last > held_back_ms) {
            // Another limit counts from its own beginning.
            self.looks.clear();
        }
        if self.looks.back().is_none_or(|(at_ms, _)| now_ms.saturating_sub(*at_ms) >= millis(HELD_BACK_EVERY)) {
            self.looks.push_back((now_ms, held_back_ms));
        }
        let is_old = |at_ms: u64| now_ms.saturating_sub(at_ms) > millis(STARVED_WINDOW);
        while self.looks.get(1).is_some_and(|(at_ms, _)| is_old(*at_ms)) {
            self.looks.pop_front();
        }
        let Some((since_ms, before_ms)) = self.looks.front().copied() else { return 0 };
        let (took_ms, held_ms) = (now_ms.saturating_sub(since_ms), held_back_ms.saturating_sub(before_ms));
        if took_ms < millis(STARVED_WINDOW) / 2 { 0 } else { (held_ms.saturating_mul(100) / took_ms).min(100) }
    }
}

/// Threads that the system refused, as it counts them.
#[derive(Debug, Clone, Copy, Default)]
pub struct RefusedThreads {
    seen: Option<u64>,
    rose_ms: Option<u64>,
}

impl RefusedThreads {
    /// So many were refused so far. Whether some were within the last [`THREADS_MET_WITHIN`], as far as this was looked at:
    /// what was refused before the first look is not told of.
    pub fn look(&mut self, now_ms: u64, refused: u64) -> bool {
        if self.seen.replace(refused).is_some_and(|seen| refused > seen) {
            self.rose_ms = Some(now_ms);
        }
        self.rose_ms.is_some_and(|rose| now_ms.saturating_sub(rose) <= millis(THREADS_MET_WITHIN))
    }
}

/// How often this process waited for a page of its memory to come from a disk.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// When it was looked, and how often so far.
    looks: VecDeque<(u64, u64)>,
}

impl Faults {
    /// It did so often so far. How often a second it did in each of the last [`FAULTS_STEPS`] steps at least: a start reads its
    /// program all at once, and not for long. 0 as long as it is too early to tell.
    pub fn look(&mut self, now_ms: u64, faults: u64) -> u64 {
        if self.looks.back().is_none_or(|(at_ms, _)| now_ms.saturating_sub(*at_ms) >= millis(FAULTS_STEP)) {
            self.looks.push_back((now_ms, faults));
        }
        while self.looks.len() > FAULTS_STEPS + 1 {
            self.looks.pop_front();
        }
        if self.looks.len() <= FAULTS_STEPS {
            return 0;
        }
        let steps = self.looks.iter().zip(self.looks.iter().skip(1));
        let rates = steps.map(|((since_ms, before), (at_ms, now))| {
            now.saturating_sub(*before).saturating_mul(1000) / at_ms.saturating_sub(*since_ms).max(1)
        });
        rates.min().unwrap_or(0)
    }
}

/// Why a token did not open what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    /// There was none.
    Missing,
    /// It is none of this cluster, is one no longer, or has ended.
    Unknown,
    /// It is one, for other things.
    NotEnough,
}

/// Requests that were refused for their token, of the last [`ACCESS_REFUSED_WINDOW`].
#[derive(Debug, Clone, Default)]
pub struct RefusedTokens {
    steps: VecDeque<Step>,
}

#[derive(Debug, Clone, Default)]
struct Step {
    began_ms: u64,
    missing: u64,
    unknown: u64,
    not_enough: u64,
    /// By where they came from; what does not fit is counted above only.
    from: BTreeMap<IpAddr, u64>,
    not_all: bool,
}

/// Many were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManyRefused {
    /// Of [`Shut::Missing`].
    pub missing: u64,
    /// Of [`Shut::Unknown`].
    pub unknown: u64,
    /// Of [`Shut::NotEnough`].
    pub not_enough: u64,
    /// Where they came from, as far as that was noted.
    pub addresses: usize,
    /// It was not noted of all.
    pub not_all: bool,
    /// From where most came, and how many at least.
    pub most: Option<(IpAddr, u64)>,
}

impl RefusedTokens {
    /// One more.
    pub fn note(&mut self, why: Shut, from: Option<IpAddr>, now_ms: u64) {
        self.forget(now_ms);
        let is_new = |last: &Step| now_ms.saturating_sub(last.began_ms) >= millis(ACCESS_REFUSED_STEP);
        if self.steps.back().is_none_or(is_new) {
            self.steps.push_back(Step { began_ms: now_ms, ..Step::default() });
        }
        let Some(step) = self.steps.back_mut() else { return };
        match why {
            Shut::Missing => step.missing += 1,
            Shut::Unknown => step.unknown += 1,
            Shut::NotEnough => step.not_enough += 1,
        }
        let has_room = step.from.len() < ACCESS_REFUSED_ADDRESSES;
        match from.map(|from| from.to_canonical()) {
            Some(from) if has_room || step.from.contains_key(&from) => *step.from.entry(from).or_default() += 1,
            Some(_) | None => step.not_all = true,
        }
    }

    /// What they are, where they are many, for some time, and not over.
    pub fn many(&mut self, now_ms: u64) -> Option<ManyRefused> {
        self.forget(now_ms);
        let last_ms = self.steps.back()?.began_ms;
        let sum = |of: fn(&Step) -> u64| self.steps.iter().map(of).sum::<u64>();
        let (missing, unknown, not_enough) =
            (sum(|step| step.missing), sum(|step| step.unknown), sum(|step| step.not_enough));
        let are_over = now_ms.saturating_sub(last_ms) >= millis(ACCESS_REFUSED_OVER);
        if are_over
            || self.steps.len() < ACCESS_REFUSED_STEPS_MIN
            || missing + unknown + not_enough < ACCESS_REFUSED_MIN
        {
            return None;
        }
        let mut from: BTreeMap<IpAddr, u64> = BTreeMap::new();
        for (address, count) in self.steps.iter().flat_map(|step| &step.from) {
            *from.entry(*address).or_default() += count;
        }
        let not_all = self.steps.iter().any(|step| step.not_all);
        let addresses = from.len();
        Some(ManyRefused {
            missing,
            unknown,
            not_enough,
            addresses,
            not_all,
            most: from.into_iter().max_by_key(|(_, count)| *count),
        })
    }

    fn forget(&mut self, now_ms: u64) {
        let is_old = |step: &Step| now_ms.saturating_sub(step.began_ms) >= millis(ACCESS_REFUSED_WINDOW);
        while self.steps.front().is_some_and(is_old) {
            self.steps.pop_front();
        }
    }
}
