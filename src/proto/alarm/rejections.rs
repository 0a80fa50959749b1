//! What devices were refused of late, and what for: one who asks for something wrong is nothing to wake anybody for, a good part
//! of all that is asked is.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::collections::VecDeque;

use crate::base::limits::REJECTED_ADDRESSES;
use crate::base::limits::REJECTED_CODES;
use crate::base::limits::REJECTED_MIN;
use crate::base::limits::REJECTED_OVER;
use crate::base::limits::REJECTED_PERCENT;
use crate::base::limits::REJECTED_STEP;
use crate::base::limits::REJECTED_STEPS_MIN;
use crate::base::limits::REJECTED_THEIRS_PERCENT;
use crate::base::limits::REJECTED_WINDOW;
use crate::base::time::millis;

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The cluster's: what was asked was right.
    Ours,
    /// Of whoever asks.
    Theirs,
}

/// One refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection<'t> {
    /// The code of the problem, or of what happened before there was a request.
    pub code: &'static str,
    /// Whose fault.
    pub fault: Fault,
    /// What was said, or why, for people.
    pub text: &'t str,
    /// Who asked.
    pub from: Option<IpAddr>,
    /// It was one of the requests that are counted.
    pub counted: bool,
}

/// What was refused in the last [`REJECTED_WINDOW`].
#[derive(Debug, Clone, Default)]
pub struct Rejections {
    steps: VecDeque<Step>,
}

#[derive(Debug, Clone, Default)]
struct Step {
    began_ms: u64,
    /// Requests since the start, when it began.
    asked: u64,
    by_code: BTreeMap<&'static str, Count>,
    /// Refusals of what is no request: connections.
    uncounted: u64,
}

#[derive(Debug, Clone)]
struct Count {
    times: u64,
    fault: Fault,
    last: String,
    /// What does not fit is counted above only.
    from: BTreeMap<IpAddr, u64>,
}

/// So much was refused that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManyRejected {
    /// Of so many.
    pub asked: u64,
    /// So many were refused, whose fault that is.
    pub refused: u64,
    /// Whose.
    pub fault: Fault,
    /// The commonest code, how often, and what was said the last time.
    pub code: &'static str,
    /// How often.
    pub times: u64,
    /// What was said the last time.
    pub last: String,
    /// From where most of these came, and how many at least.
    pub most: Option<(IpAddr, u64)>,
}

impl Rejections {
    /// One more; `asked`: requests since the start.
    pub fn note(&mut self, rejection: Rejection<'_>, asked: u64, now_ms: u64) {
        self.look(asked, now_ms);
        let Some(step) = self.steps.back_mut() else { return };
        step.uncounted += u64::from(!rejection.counted);
        if step.by_code.len() >= REJECTED_CODES && !step.by_code.contains_key(rejection.code) {
            return;
        }
        let new = Count { times: 0, fault: rejection.fault, last: String::new(), from: BTreeMap::new() };
        let count = step.by_code.entry(rejection.code).or_insert(new);
        count.times += 1;
        if count.last != rejection.text {
            rejection.text.clone_into(&mut count.last);
        }
        if let Some(from) = rejection.from.map(|from| from.to_canonical())
            && (count.from.len() < REJECTED_ADDRESSES || count.from.contains_key(&from))
        {
            *count.from.entry(from).or_default() += 1;
        }
    }

    /// Goes on with time; `asked`: requests since the start.
    pub fn look(&mut self, asked: u64, now_ms: u64) {
        let is_new = |last: &Step| now_ms.saturating_sub(last.began_ms) >= millis(REJECTED_STEP);
        if self.steps.back().is_none_or(is_new) {
            self.steps.push_back(Step { began_ms: now_ms, asked, ..Step::default() });
        }
        let is_old = |step: &Step| now_ms.saturating_sub(step.began_ms) >= millis(REJECTED_WINDOW);
        while self.steps.len() > 1 && self.steps.front().is_some_and(is_old) {
            self.steps.pop_front();
        }
    }

    /// What they are, where they are much, for some time, and not over.
    #[must_use]
    pub fn many(&mut self, asked: u64, now_ms: u64) -> Option<ManyRejected> {
        self.look(asked, now_ms);
        let asked =
            asked.saturating_sub(self.steps.front()?.asked) + self.steps.iter().map(|s| s.uncounted).sum::<u64>();
        let of = |fault, percent| self.many_of(fault, percent, asked, now_ms);
        of(Fault::Ours, REJECTED_PERCENT).or_else(|| of(Fault::Theirs, REJECTED_THEIRS_PERCENT))
    }

    fn many_of(&self, fault: Fault, percent: u64, asked: u64, now_ms: u64) -> Option<ManyRejected> {
        let counts = |step: &'_ Step| -> Vec<(&'static str, Count)> {
            let of_it = step.by_code.iter().filter(|(_, count)| count.fault == fault);
            of_it.map(|(code, count)| (*code, count.clone())).collect()
        };
        let with: Vec<(u64, Vec<_>)> = self
            .steps
            .iter()
            .map(|step| (step.began_ms, counts(step)))
            .filter(|(_, counts)| !counts.is_empty())
            .collect();
        let last_ms = with.last()?.0;
        let mut all: BTreeMap<&'static str, Count> = BTreeMap::new();
        for (code, count) in with.iter().flat_map(|(_, counts)| counts) {
            all.entry(*code).and_modify(|sum| sum.add(count)).or_insert_with(|| count.clone());
        }
        let refused: u64 = all.values().map(|count| count.times).sum();
        let is_over = now_ms.saturating_sub(last_ms) >= millis(REJECTED_OVER);
        if is_over
            || with.len() < REJECTED_STEPS_MIN
            || refused < REJECTED_MIN
            || refused.saturating_mul(100) < asked.saturating_mul(percent)
        {
            return None;
        }
        let (code, Count { times, last, from, .. }) = all.into_iter().max_by_key(|(_, count)| count.times)?;
        Some(ManyRejected {
            asked,
            refused,
            fault,
            code,
            times,
            last,
            most: from.into_iter().max_by_key(|(_, count)| *count),
        })
    }
}

impl Count {
    fn add(&mut self, later: &Self) {
        self.times += later.times;
        self.last.clone_from(&later.last);
        for (from, times) in &later.from {
            *self.from.entry(*from).or_default() += times;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Fault;
    use super::Rejection;
    use super::Rejections;
    use crate::base::limits::REJECTED_CODES;

    fn no(code: &'static str, fault: Fault, last: u8) -> Rejection<'static> {
        Rejection { code, fault, text: "two of three owners", from: Some([10, 0, 0, last].into()), counted: true }
    }

    /// So many requests in each of so many seconds, of which the last few are refused.
    fn after(seconds: u64, asked: u64, refused: &[Rejection<'_>]) -> (Rejections, u64) {
        let (mut away, mut all) = (Rejections::default(), 0);
        for second in 0..seconds {
            all += asked;
            away.look(all, second * 1000);
            refused.iter().for_each(|no| away.note(*no, all, second * 1000));
        }
        (away, all)
    }

    #[test]
    fn a_good_part_of_what_is_asked_is_told_with_its_commonest_reason() {
        let refused = [no("busy", Fault::Ours, 1), no("no_quorum", Fault::Ours, 2), no("no_quorum", Fault::Ours, 2)];
        let (mut away, all) = after(30, 20, &refused);
        let many = away.many(all, 29_000).unwrap();
        assert_eq!((many.code, many.times, many.refused), ("no_quorum", 60, 90));
        assert_eq!((many.fault, many.most), (Fault::Ours, Some(([10, 0, 0, 2].into(), 60))));
        assert_eq!(many.last, "two of three owners");
        assert!((560..=600).contains(&many.asked), "{}", many.asked);
        assert!(away.many(all, 29_000 + 60_000).is_none(), "it is over");
    }

    #[test]
    fn a_burst_a_small_part_and_what_a_few_ask_wrongly_are_not() {
        let ours = [no("busy", Fault::Ours, 1); 3];
        let (mut burst, all) = after(5, 20, &ours);
        assert!(burst.many(all, 4_000).is_none());
        let (mut few, all) = after(30, 1000, &ours);
        assert!(few.many(all, 29_000).is_none());
        let theirs = [no("no_such_bucket", Fault::Theirs, 1); 3];
        let (mut wrong, all) = after(30, 20, &theirs);
        assert!(wrong.many(all, 29_000).is_none());
        let (mut most, all) = after(30, 5, &theirs);
        assert_eq!(most.many(all, 29_000).unwrap().fault, Fault::Theirs);
    }

    #[test]
    fn connections_that_never_became_requests_count_among_what_was_asked() {
        let shut = [Rejection { counted: false, ..no("tls_handshake", Fault::Theirs, 1) }; 3];
        let (mut away, all) = after(30, 0, &shut);
        let many = away.many(all, 29_000).unwrap();
        assert_eq!((many.asked, many.refused), (90, 90));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut away = Rejections::default();
        for n in 0..100_000_u32 {
            let code: &'static str = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"][n as usize % 10];
            let [_, a, b, c] = n.to_be_bytes();
            away.note(Rejection { from: Some([10, a, b, c].into()), ..no(code, Fault::Ours, 0) }, 0, u64::from(n));
        }
        assert!(away.steps.len() <= 13, "{}", away.steps.len());
        for step in &away.steps {
            assert!(step.by_code.len() <= REJECTED_CODES);
            assert!(step.by_code.values().all(|count| count.from.len() <= 64));
        }
    }
}
