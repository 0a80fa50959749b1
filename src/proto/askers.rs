//! Who asks most of late: a device that went wild, or a program that reads everything over and over. What is kept is bounded
//! however many ask; of whoever asks a good part at most one in [`ASKERS_KEPT`] requests is left out.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::limits::ASKERS_KEPT;
use crate::base::limits::ASKERS_STEP;
use crate::base::limits::ASKERS_WINDOW;
use crate::base::time::millis;

/// Somebody who asks: from there, by that name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asker {
    /// Where from; none through the control socket.
    pub from: Option<IpAddr>,
    /// Of the token or user.
    pub name: Arc<str>,
}

/// Requests of the last [`ASKERS_WINDOW`] by who asked.
#[derive(Debug, Clone, Default)]
pub struct Askers {
    steps: VecDeque<Step>,
}

#[derive(Debug, Clone, Default)]
struct Step {
    began_ms: u64,
    all: u64,
    /// After Misra and Gries: who does not fit takes one from each that is there.
    by: BTreeMap<Asker, u64>,
}

/// Who asked how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lately {
    /// Requests of all.
    pub all: u64,
    /// Those who asked most, most first, with how much at least.
    pub most: Vec<(Asker, u64)>,
}

impl Askers {
    /// Somebody asked.
    pub fn note(&mut self, asker: Asker, now_ms: u64) {
        self.look(now_ms);
        let is_new = |last: &Step| now_ms.saturating_sub(last.began_ms) >= millis(ASKERS_STEP);
        if self.steps.back().is_none_or(is_new) {
            self.steps.push_back(Step { began_ms: now_ms, ..Step::default() });
        }
        let Some(Step { all, by, .. }) = self.steps.back_mut() else { return };
        *all += 1;
        if let Some(count) = by.get_mut(&asker) {
            *count += 1;
        } else if by.len() < ASKERS_KEPT {
            by.insert(asker, 1);
        } else {
            by.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    /// What is old is forgotten.
    fn look(&mut self, now_ms: u64) {
        let is_old = |step: &Step| now_ms.saturating_sub(step.began_ms) >= millis(ASKERS_WINDOW);
        while self.steps.front().is_some_and(is_old) {
            self.steps.pop_front();
        }
    }

    /// So many of those who asked most.
    #[must_use]
    pub fn lately(&mut self, count: usize, now_ms: u64) -> Lately {
        self.look(now_ms);
        let mut sums: BTreeMap<&Asker, u64> = BTreeMap::new();
        for (asker, count) in self.steps.iter().flat_map(|step| &step.by) {
            *sums.entry(asker).or_default() += count;
        }
        let mut most: Vec<_> = sums.into_iter().map(|(asker, count)| (asker.clone(), count)).collect();
        most.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        most.truncate(count);
        Lately { all: self.steps.iter().map(|step| step.all).sum(), most }
    }
}

#[cfg(test)]
mod tests {
    use super::Asker;
    use super::Askers;
    use crate::base::limits::ASKERS_KEPT;

    fn asker(number: u32) -> Asker {
        Asker { from: Some(core::net::Ipv4Addr::from(number).into()), name: "devices".into() }
    }

    #[test]
    fn whoever_asks_much_is_found_among_very_many_and_in_bounded_room() {
        let mut askers = Askers::default();
        // Of ten requests one is of the wild one, the others are each of another device.
        for at in 0..50_000_u32 {
            let from = if at % 10 == 0 { 7 } else { 1_000 + at };
            askers.note(asker(from), u64::from(at));
            assert!(askers.steps.iter().all(|step| step.by.len() <= ASKERS_KEPT));
        }
        let lately = askers.lately(3, 50_000);
        let (who, count) = lately.most.first().unwrap();
        assert_eq!((lately.all, who), (50_000, &asker(7)));
        assert!((5_000 - 50_000 / ASKERS_KEPT as u64..=5_000).contains(count), "{lately:?}");
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut askers = Askers::default();
        (0..100).for_each(|at| askers.note(asker(1), at));
        (0..20).for_each(|at| askers.note(asker(2), 30_000 + at));
        assert_eq!(askers.lately(1, 59_999).most, [(asker(1), 100)]);
        assert_eq!(askers.lately(5, 60_000).most, [(asker(2), 20)]);
        assert_eq!(askers.lately(5, 90_000).all, 0);
    }
}
