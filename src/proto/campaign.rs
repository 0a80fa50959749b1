//! When a voter of the control group stands for election (HOUSE decision 14). It waits until it heard no leader for a
//! lease and a part of one more, drawn anew for every attempt, so that two that wait for each other do not wait for
//! ever. Then it asks the voters whether they hear a leader; only where a majority hears none does it raise its term, so
//! that one who was cut off cannot depose a leader by coming back. Who is alone asks nobody.
//!
//! No clock and no chance in here: time is milliseconds of a clock that does not jump, and a number drawn by the caller.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::proto::voters;

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Ask all other voters whether they hear a leader.
    Ask {
        /// To be repeated in the answer.
        attempt: u64,
    },
    /// Stand for election.
    Elect,
}

/// A question that waits for answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Asked {
    attempt: u64,
    hear_none: BTreeSet<NodeId>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    me: NodeId,
    lease_ms: u64,
    /// When a leader was heard.
    heard_ms: Option<u64>,
    /// What the patience counts from, and how long it lasts.
    since_ms: u64,
    patience_ms: u64,
    attempts: u64,
    asked: Option<Asked>,
}

impl Campaign {
    /// Of a node that starts now. For a lease it behaves as if it had just heard a leader: it may have promised one so
    /// before it stopped.
    #[must_use]
    pub fn new(me: NodeId, lease_ms: u64, now_ms: u64, draw: u64) -> Self {
        let patience_ms = lease_ms + draw % lease_ms.max(1);
        let heard_ms = Some(now_ms);
        Self { me, lease_ms, heard_ms, since_ms: now_ms, patience_ms, attempts: 0, asked: None }
    }

    /// A leader was heard on the raft lane.
    pub fn heard(&mut self, now_ms: u64, draw: u64) {
        self.heard_ms = Some(now_ms);
        self.wait(now_ms, self.lease_ms, draw);
    }

    /// This node gave its vote: who got it needs time to lead.
    pub fn voted(&mut self, now_ms: u64, draw: u64) {
        self.wait(now_ms, self.lease_ms, draw);
    }

    /// Something says that the leader is gone. Only the drawn part of the wait gets shorter: whoever says so may be wrong.
    pub fn leader_seems_gone(&mut self) {
        self.patience_ms = self.patience_ms.min(self.lease_ms + self.lease_ms / 8);
    }

    /// Whether this node hears a leader: its answer to those who ask.
    #[must_use]
    pub fn hears_leader(&self, now_ms: u64) -> bool {
        self.heard_ms.is_some_and(|heard| now_ms < heard + self.lease_ms)
    }

    /// Whether it hears a leader and asks nobody: another word of the leader changes nothing but the time.
    #[must_use]
    pub fn is_calm(&self, now_ms: u64) -> bool {
        self.hears_leader(now_ms) && self.asked.is_none()
    }

    /// To be called often. `voters` are the sets of which a majority each is needed.
    pub fn tick(&mut self, now_ms: u64, voters: &[BTreeSet<NodeId>], draw: u64) -> Option<Step> {
        if !voters.iter().any(|set| set.contains(&self.me)) {
            // Who has no vote never stands; its time begins when it gets one.
            self.since_ms = now_ms;
            self.asked = None;
            return None;
        }
        let alone = voters.iter().all(|set| set.len() == 1 && set.contains(&self.me));
        if alone && (self.attempts == 0 || self.is_over(now_ms)) {
            self.attempts += 1;
            self.wait(now_ms, self.lease_ms, draw);
            return Some(Step::Elect);
        }
        if !self.is_over(now_ms) {
            return None;
        }
        self.attempts += 1;
        self.asked = Some(Asked { attempt: self.attempts, hear_none: BTreeSet::from([self.me]) });
        // Should too few answer: sooner than the first time, as nobody was heard for long already.
        self.wait_with(now_ms, self.lease_ms / 4, draw);
        Some(Step::Ask { attempt: self.attempts })
    }

    /// A voter hears no leader and would vote for this node.
    pub fn hears_none(
        &mut self,
        from: NodeId,
        attempt: u64,
        now_ms: u64,
        voters: &[BTreeSet<NodeId>],
        draw: u64,
    ) -> Option<Step> {
        let asked = self.asked.as_mut().filter(|asked| asked.attempt == attempt)?;
        asked.hear_none.insert(from);
        if !voters::is_majority(voters, |node| asked.hear_none.contains(&node)) {
            return None;
        }
        self.asked = None;
        self.wait(now_ms, self.lease_ms, draw);
        Some(Step::Elect)
    }

    fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.since_ms + self.patience_ms
    }

    fn wait(&mut self, now_ms: u64, at_least_ms: u64, draw: u64) {
        self.asked = None;
        self.wait_with(now_ms, at_least_ms, draw);
    }

    fn wait_with(&mut self, now_ms: u64, at_least_ms: u64, draw: u64) {
        self.since_ms = now_ms;
        self.patience_ms = at_least_ms + draw % self.lease_ms.max(1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Campaign;
    use super::Step;
    use crate::base::id::NodeId;

    const LEASE: u64 = 750;

    fn three() -> Vec<BTreeSet<NodeId>> {
        vec![(1..=3).map(NodeId).collect()]
    }

    fn of(node: u64) -> Campaign {
        Campaign::new(NodeId(node), LEASE, 0, 0)
    }

    #[test]
    fn it_waits_for_a_lease_and_a_drawn_part_and_draws_anew_each_time() {
        let mut campaign = Campaign::new(NodeId(1), LEASE, 0, 200);
        assert_eq!(campaign.tick(949, &three(), 0), None);
        assert_eq!(campaign.tick(950, &three(), 100), Some(Step::Ask { attempt: 1 }));
        assert_eq!(campaign.tick(950 + LEASE / 4 + 99, &three(), 0), None);
        assert_eq!(campaign.tick(950 + LEASE / 4 + 100, &three(), 0), Some(Step::Ask { attempt: 2 }));
        campaign.heard(2000, 30);
        assert_eq!(campaign.tick(2000 + LEASE + 29, &three(), 0), None);
        assert!(campaign.tick(2000 + LEASE + 30, &three(), 0).is_some());
    }

    #[test]
    fn it_stands_only_where_a_majority_hears_no_leader() {
        let mut campaign = of(1);
        let Some(Step::Ask { attempt }) = campaign.tick(LEASE, &three(), 0) else { panic!() };
        assert_eq!(campaign.hears_none(NodeId(2), attempt + 1, LEASE, &three(), 0), None, "of another attempt");
        assert_eq!(campaign.hears_none(NodeId(7), attempt, LEASE, &three(), 0), None, "no voter");
        assert_eq!(campaign.hears_none(NodeId(2), attempt, LEASE, &three(), 0), Some(Step::Elect));
        assert_eq!(campaign.hears_none(NodeId(3), attempt, LEASE, &three(), 0), None, "it stands already");
        // In the middle of a change either set needs its majority.
        let mut campaign = of(1);
        let changing = vec![(1..=3).map(NodeId).collect(), [1, 4, 5].map(NodeId).into()];
        assert_eq!(campaign.tick(LEASE, &changing, 0), Some(Step::Ask { attempt: 1 }));
        assert_eq!(campaign.hears_none(NodeId(2), 1, LEASE, &changing, 0), None);
        assert_eq!(campaign.hears_none(NodeId(5), 1, LEASE, &changing, 0), Some(Step::Elect));
    }

    #[test]
    fn a_leader_that_is_heard_meanwhile_ends_the_attempt() {
        let mut campaign = of(1);
        assert_eq!(campaign.tick(LEASE, &three(), 0), Some(Step::Ask { attempt: 1 }));
        campaign.heard(LEASE + 1, 0);
        assert_eq!(campaign.hears_none(NodeId(2), 1, LEASE + 2, &three(), 0), None);
        assert!(campaign.hears_leader(LEASE + 1 + LEASE - 1) && !campaign.hears_leader(LEASE + 1 + LEASE));
    }

    #[test]
    fn who_is_alone_stands_at_once_and_who_has_no_vote_never() {
        let alone = vec![BTreeSet::from([NodeId(1)])];
        let mut campaign = of(1);
        assert_eq!(campaign.tick(0, &alone, 0), Some(Step::Elect));
        assert_eq!(campaign.tick(1, &alone, 0), None, "the first one is under way");
        assert_eq!(campaign.tick(LEASE, &alone, 0), Some(Step::Elect));
        let mut learner = of(4);
        assert_eq!(learner.tick(100 * LEASE, &three(), 0), None);
        let with_it = vec![[1, 2, 4].map(NodeId).into()];
        assert_eq!(learner.tick(100 * LEASE + 1, &with_it, 0), None, "its time begins with its vote");
        assert!(learner.tick(102 * LEASE, &with_it, 0).is_some());
    }

    #[test]
    fn a_start_counts_as_a_leader_heard_and_a_vote_given_as_time_to_lead() {
        let mut campaign = of(1);
        assert!(campaign.hears_leader(LEASE - 1));
        campaign.voted(LEASE - 1, 0);
        assert!(!campaign.hears_leader(LEASE), "a candidate is no leader");
        assert_eq!(campaign.tick(2 * LEASE - 2, &three(), 0), None);
        assert!(campaign.tick(2 * LEASE - 1, &three(), 0).is_some());
    }

    #[test]
    fn a_hint_shortens_only_the_drawn_part() {
        let mut campaign = Campaign::new(NodeId(1), LEASE, 0, LEASE - 1);
        campaign.leader_seems_gone();
        assert_eq!(campaign.tick(LEASE, &three(), 0), None);
        assert!(campaign.tick(LEASE + LEASE / 8, &three(), 0).is_some());
    }

    #[test]
    fn two_of_three_that_stand_at_the_same_time_are_told_apart_by_their_draws() {
        let mut draws = 1_u64;
        let mut draw = || {
            draws = draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            draws >> 33
        };
        for _ in 0..100 {
            let (mut one, mut two) = (of(1), of(2));
            let mut apart = None;
            for now in LEASE..20 * LEASE {
                let stand = (one.tick(now, &three(), draw()).is_some(), two.tick(now, &three(), draw()).is_some());
                if stand.0 != stand.1 {
                    apart = Some(now);
                    break;
                }
            }
            assert!(apart.is_some_and(|at| at < 4 * LEASE), "{apart:?}");
        }
    }
}
