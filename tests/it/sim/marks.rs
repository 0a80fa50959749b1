//! The twin of `store::marks`: what a node has to remember of its part in the ring is a file of its own. It becomes durable
//! when its own sync ends, before or after what the journal was handed earlier: neither says anything of the other.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::proto::object::Stamp;

/// What changes.
#[derive(Debug, Clone)]
pub enum Note {
    /// A layout version was adopted.
    Adopted(u64),
    /// A slot was merged from enough owners to count in the list that came in this version.
    Synced(PartitionId, u64),
    /// A floor was agreed to, for graves with stamps up to this.
    Floor(PartitionId, u64, Option<Stamp>),
    /// What was purged in a slot had stamps up to this.
    Purged(PartitionId, Option<Stamp>),
    /// Who may have missed something, and in which slots: all of it.
    Missed(BTreeSet<(NodeId, PartitionId)>),
}

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// The newest layout version that was adopted.
    pub adopted: u64,
    /// Slots merged, and for which list.
    pub synced: BTreeMap<PartitionId, u64>,
    /// Floors of partitions.
    pub floors: BTreeMap<PartitionId, u64>,
    /// The highest stamps of what was purged in them.
    pub purged: BTreeMap<PartitionId, Option<Stamp>>,
    /// Who may have missed something in which slot.
    pub missed: BTreeSet<(NodeId, PartitionId)>,
}

impl Marks {
    fn apply(&mut self, note: &Note) {
        match note {
            Note::Adopted(version) => self.adopted = self.adopted.max(*version),
            Note::Synced(partition, since) => drop(self.synced.insert(*partition, *since)),
            Note::Floor(partition, floor, stamp) => {
                self.floors.insert(*partition, *floor);
                self.purged.insert(*partition, *stamp);
            }
            Note::Purged(partition, stamp) => drop(self.purged.insert(*partition, *stamp)),
            Note::Missed(missed) => self.missed.clone_from(missed),
        }
    }
}

/// The file of one machine.
#[derive(Debug, Default)]
pub struct MarksFile {
    /// What a power cut leaves, and all that a node may speak of.
    pub durable: Marks,
    /// What is on its way there.
    pub newest: Marks,
    writing: Vec<Note>,
    waiting: Vec<Note>,
}

impl MarksFile {
    /// Something is to be noted.
    pub fn note(&mut self, note: Note) {
        self.newest.apply(&note);
        self.waiting.push(note);
    }

    /// Begins to write what waits; false where a write is under way or nothing waits.
    pub fn begin(&mut self) -> bool {
        if !self.writing.is_empty() || self.waiting.is_empty() {
            return false;
        }
        std::mem::swap(&mut self.writing, &mut self.waiting);
        true
    }

    /// What was being written is durable.
    pub fn end(&mut self) {
        for note in self.writing.drain(..) {
            self.durable.apply(&note);
        }
    }

    /// The process dies. The file may have been renamed all the same.
    pub fn crash(&mut self, last_written: bool) {
        if last_written {
            self.end();
        }
        self.writing.clear();
        self.waiting.clear();
        self.newest = self.durable.clone();
    }
}
