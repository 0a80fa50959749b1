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
    /// One from a leader is on its way.
    receiving: bool,
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
        self.snapshot.send_modify(|reach| *reach = Reach { next: next.max(reach.next), ..Reach::default() });
    }

    /// One from a leader is on its way.
    pub fn snapshot_comes(&self) {
        self.snapshot.send_modify(|reach| reach.receiving = true);
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
        let held = watch.wait_for(|reach| reach.failed || !reach.receiving || reach.next > upto).await;
        match held {
            Ok(reach) if reach.failed => Err(io::Error::other("the snapshot of the leader could not be written")),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
