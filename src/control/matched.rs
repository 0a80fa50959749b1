//! Our own table of what every voter is known to have, written where answers come in and before openraft sees them: no
//! entry is committed that a majority of it does not have. And how far a snapshot on disk reaches.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;

use tokio::sync::watch;

use crate::control::types::Ballot;
use crate::control::types::Id;
use crate::control::types::Members;

/// See the module.
pub struct Matched {
    me: u64,
    table: Mutex<Table>,
    snapshot: watch::Sender<Reach>,
}

#[derive(Default)]
struct Table {
    /// Under whose lead.
    ballot: Option<Ballot>,
    /// The last entry that a node is known to have, as its index.
    nodes: BTreeMap<u64, u64>,
    /// When the last question began that a node answered.
    heard: BTreeMap<u64, Instant>,
    /// Who is in the group by what is applied.
    members: Members,
}

/// How far the snapshot on disk reaches.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    /// Its last entry, and one; 0 where there is none.
    next: u64,
    /// Since the start one from a leader was on its way. From then on the log goes only as far as the disk has it: how far
    /// the next one reaches is known when all of it has come, and the log may be told first.
    received: bool,
    /// It could not be written.
    failed: bool,
}

impl Matched {
    /// Of this node, which knows nothing of the others yet.
    #[must_use]
    pub fn new(me: u64) -> Self {
        Self { me, table: Mutex::default(), snapshot: watch::Sender::new(Reach::default()) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the node whose table it is.
    #[must_use]
    pub fn is_of(&self, node: u64) -> bool {
        self.me == node
    }

    /// A node answered under this lead to what it was asked then; and that it has all entries up to this one.
    pub fn has(&self, ballot: Ballot, node: u64, last: Option<u64>, asked: Instant) {
        let mut table = self.table();
        if table.ballot != Some(ballot) {
            table.ballot = Some(ballot);
            table.nodes.clear();
            table.heard.clear();
        }
        table.heard.entry(node).and_modify(|known| *known = asked.max(*known)).or_insert(asked);
        if let Some(last) = last {
            let known = table.nodes.entry(node).or_default();
            *known = last.max(*known);
        }
    }

    /// Who is in the group by what is applied.
    pub fn seat(&self, members: Members) {
        self.table().members = members;
    }

    /// Whether a majority has an entry that is about to count as committed. Only its leader knows, whose own last entry is
    /// given, and who is in the group by the entries that it keeps.
    ///
    /// # Errors
    /// A sentence with the arithmetic.
    pub fn check(
        &self,
        committed: Id,
        own: Option<u64>,
        ballot: Option<Ballot>,
        members: Option<&Members>,
    ) -> Result<(), String> {
        if !ballot.is_some_and(|ballot| ballot.committed && ballot.node == self.me) {
            return Ok(());
        }
        let table = self.table();
        let members = members.unwrap_or(&table.members);
        let known = |node: &u64| if table.ballot == ballot { table.nodes.get(node).copied() } else { None };
        let has = |node: u64| {
            let last = if node == self.me { own } else { known(&node) };
            last.is_some_and(|last| last >= committed.index)
        };
        if members.voters.is_empty() || members.is_majority(has) {
            return Ok(());
        }
        let (index, voters) = (committed.index, &members.voters);
        Err(format!(
            "entry {index} counts as committed, but of voters {voters:?} only these have it: {own:?} {:?}",
            table.nodes
        ))
    }

    /// When a majority of these was last known to stand by this lead: when the questions began that it answered. None where
    /// that is not known.
    #[must_use]
    pub fn held_since(&self, ballot: Ballot, members: &Members, now: Instant) -> Option<Instant> {
        let table = self.table();
        let heard = |node: u64| {
            if node == self.me {
                return Some(now);
            }
            table.heard.get(&node).copied().filter(|_| table.ballot == Some(ballot))
        };
        let majority_of = |set: &BTreeSet<u64>| {
            let mut times: Vec<_> = set.iter().filter_map(|node| heard(*node)).collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            times.get(set.len() / 2).copied()
        };
        members.voters.iter().map(majority_of).min()?
    }

    /// The snapshot on disk has all entries up to this one.
    pub fn snapshot_is(&self, last: Option<u64>) {
        let next = last.map_or(0, |last| last + 1);
        self.snapshot.send_modify(|reach| reach.next = next.max(reach.next));
    }

    /// One from a leader is on its way.
    pub fn snapshot_comes(&self) {
        self.snapshot.send_modify(|reach| reach.received = true);
    }

    /// One from a leader could not be written.
    pub fn snapshot_failed(&self) {
        self.snapshot.send_modify(|reach| reach.failed = true);
    }

    /// Waits until the snapshot on its way, if there is one, is on disk and has this entry.
    ///
    /// # Errors
    /// Where it could not be written.
    pub async fn snapshot_holds(&self, upto: u64) -> io::Result<()> {
        let mut watch = self.snapshot.subscribe();
        let holds = |reach: &Reach| !reach.received || reach.next > upto;
        let held = watch.wait_for(|reach| reach.failed || holds(reach)).await;
        match held {
            Ok(reach) if !holds(&reach) => Err(io::Error::other("the snapshot of the leader could not be written")),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Matched;
    use crate::base::time;
    use crate::control::types::Ballot;
    use crate::control::types::Id;
    use crate::control::types::Members;

    const LEAD: Ballot = Ballot { term: 3, node: 1, committed: true };

    fn id(index: u64) -> Id {
        Id { term: 3, node: 1, index }
    }

    fn three() -> Members {
        Members { voters: vec![[1, 2, 3].into()], learners: [4].into() }
    }

    #[test]
    fn a_commit_that_no_majority_bears_out_is_a_breach() {
        let matched = Matched::new(1);
        let check = |index, own, ballot| matched.check(id(index), Some(own), Some(ballot), Some(&three()));
        let breach = check(5, 5, LEAD).unwrap_err();
        assert!(breach.contains("entry 5") && breach.contains("{1, 2, 3}"), "{breach}");
        matched.has(LEAD, 4, Some(9), time::mono());
        matched.has(LEAD, 2, Some(4), time::mono());
        assert!(check(5, 5, LEAD).is_err() && check(4, 5, LEAD).is_ok(), "a learner does not count");
        matched.has(LEAD, 2, Some(5), time::mono());
        matched.has(LEAD, 2, Some(3), time::mono());
        assert!(check(5, 5, LEAD).is_ok(), "a late answer takes nothing back");
        assert!(check(5, 4, LEAD).is_err(), "its own disk counts as any other");
        // Of an earlier lead nothing counts, and who does not lead is told what is committed.
        assert!(check(5, 5, Ballot { term: 4, ..LEAD }).is_err());
        assert!(check(5, 5, Ballot { node: 2, ..LEAD }).is_ok());
        // In the middle of a change either set needs its majority.
        let both = Members { voters: vec![[1, 2, 3].into(), [1, 4, 5].into()], learners: [].into() };
        let check = |index| matched.check(id(index), Some(9), Some(LEAD), Some(&both));
        assert!(check(5).is_ok() && check(6).is_err());
    }

    #[test]
    fn a_lead_is_held_since_the_questions_began_that_a_majority_answered() {
        let matched = Matched::new(1);
        let now = time::mono();
        let ago = |ms| now.checked_sub(Duration::from_millis(ms)).unwrap();
        let held = |members: &Members| matched.held_since(LEAD, members, now);
        assert_eq!((held(&Members::sole(1)), held(&three())), (Some(now), None));
        matched.has(LEAD, 2, None, ago(50));
        matched.has(LEAD, 3, None, ago(10));
        matched.has(LEAD, 3, None, ago(20));
        assert_eq!(held(&three()), Some(ago(10)));
        let both = Members { voters: vec![[1, 2, 3].into(), [2, 3].into()], learners: [].into() };
        assert_eq!(held(&both), Some(ago(50)), "two of two");
        assert_eq!(matched.held_since(Ballot { term: 4, ..LEAD }, &three(), now), None);
    }

    #[tokio::test]
    async fn what_a_sent_snapshot_replaces_stays_until_that_is_on_disk() {
        let matched = Matched::new(1);
        matched.snapshot_holds(7).await.unwrap();
        matched.snapshot_comes();
        let waits = |upto| tokio::time::timeout(Duration::from_millis(1), matched.snapshot_holds(upto));
        assert!(waits(7).await.is_err());
        matched.snapshot_is(Some(7));
        assert!(waits(7).await.is_ok_and(|held| held.is_ok()));
        matched.snapshot_comes();
        assert!(waits(7).await.is_ok() && waits(8).await.is_err());
        // A snapshot of its own is not the one that is on its way.
        matched.snapshot_is(Some(5));
        assert!(waits(7).await.is_ok() && waits(8).await.is_err());
        matched.snapshot_failed();
        assert!(waits(7).await.is_ok_and(|held| held.is_ok()));
        assert!(waits(8).await.is_ok_and(|held| held.is_err()));
    }
}
