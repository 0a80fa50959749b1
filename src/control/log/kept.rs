//! What the log keeps in memory: its entries since the last purge, each with its place in the journal, so that what the
//! journal may forget is known.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::ops::RangeBounds;

use openraft::Entry;
use openraft::EntryPayload;

use crate::control::log::record::Base;
use crate::control::log::record::Record;
use crate::control::types::Ballot;
use crate::control::types::Id;
use crate::control::types::Members;
use crate::control::types::Types;
use crate::store::journal::JournalError;
use crate::store::journal::Position;
use crate::store::journal::writer::Sequence;

/// An entry and where it is.
struct Place {
    entry: Entry<Types>,
    bytes: usize,
    group: Group,
}

/// The group of the journal that a record is in.
#[derive(Clone, Copy)]
enum Group {
    /// The first one that was replayed: where it begins is where the journal begins.
    First,
    /// It begins here.
    At(Position),
    /// The one that ends with this sequence or a later one.
    With(Sequence),
    /// On its way.
    None,
}

/// See the module.
#[derive(Default)]
pub struct Kept {
    lines: BTreeMap<u64, Place>,
    /// The entries among them that change who is in the group.
    members: BTreeMap<u64, Members>,
    /// The last entry that is not kept.
    pub purged: Option<Id>,
    /// The last vote.
    pub ballot: Option<Ballot>,
    /// The last entry known to be committed.
    pub committed: Option<Id>,
    /// Bytes of records since it was last set to 0.
    pub logged: u64,
    /// Where the next group of the journal begins; none before the first one is known.
    next: Option<Position>,
    /// The groups of this open, each with its last sequence and where it begins.
    groups: VecDeque<(Sequence, Position)>,
}

impl Kept {
    /// Takes one group of the journal, at its open.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`].
    pub fn replay(&mut self, records: &[&[u8]], behind: Position) -> Result<(), JournalError> {
        let group = self.next.map_or(Group::First, Group::At);
        for bytes in records {
            let record = Record::unseal(bytes).map_err(|error| corrupt(error.to_string()))?;
            self.replay_one(record, bytes.len(), group)?;
        }
        self.next = Some(behind);
        Ok(())
    }

    fn replay_one(&mut self, record: Record, bytes: usize, group: Group) -> Result<(), JournalError> {
        match record {
            Record::Line(line) => {
                let index = line.id.index;
                if self.last().is_some_and(|last| last.index + 1 != index) {
                    return Err(corrupt(format!("entry {index} does not follow on the one before it")));
                }
                let entry = line.entry().ok_or_else(|| corrupt(format!("entry {index} names no group")))?;
                self.append_one(entry, bytes, group);
            }
            Record::Ballot(ballot) => self.ballot = Some(ballot),
            Record::Truncate { since } => self.truncate(since),
            Record::Base(Base { purged, ballot, committed }) => {
                self.purge(purged);
                (self.ballot, self.committed) = (ballot, committed);
            }
            Record::Committed(id) => self.committed = Some(id),
        }
        Ok(())
    }

    /// After the last group: judges whether the log goes on where the snapshot ends.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] where entries between the two are missing.
    pub fn settle(&mut self, snapshot: Option<Id>) -> Result<(), JournalError> {
        let first = self.lines.keys().next().copied();
        if first.is_some_and(|first| first != self.purged.map_or(0, |purged| purged.index + 1)) {
            return Err(corrupt(format!("entries before {} are missing", first.unwrap_or_default())));
        }
        if let Some(purged) = self.purged.filter(|purged| snapshot.is_none_or(|known| known.index < purged.index)) {
            return Err(corrupt(format!("entries up to {} are in a snapshot that is not there", purged.index)));
        }
        if self.lines.is_empty() {
            self.purged = snapshot.or(self.purged);
        }
        Ok(())
    }

    /// Where the first group after the open begins.
    pub fn opened_at(&mut self, position: Position) {
        self.next = Some(position);
    }

    /// A group of this open is durable.
    pub fn group_ended(&mut self, last: Sequence, behind: Position) {
        if let Some(begins) = self.next.replace(behind) {
            self.groups.push_back((last, begins));
        }
    }

    /// Entries `first` and following got these sequences.
    pub fn placed(&mut self, first: u64, sequences: &[Sequence]) {
        for (place, sequence) in self.lines.range_mut(first..).map(|(_, place)| place).zip(sequences) {
            place.group = Group::With(*sequence);
        }
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> Option<Id> {
        self.lines.values().next_back().map(|place| place.entry.log_id.into()).or(self.purged)
    }

    /// Who is in the group by the entries that are kept; none where they do not say.
    #[must_use]
    pub fn members(&self) -> Option<&Members> {
        self.members.values().next_back()
    }

    /// Entries in this range: the first, and further ones up to this many bytes.
    #[must_use]
    pub fn entries(&self, range: impl RangeBounds<u64>, bytes_max: usize) -> Vec<Entry<Types>> {
        let mut bytes = 0;
        let mut entries = Vec::new();
        for place in self.lines.range(range).map(|(_, place)| place) {
            bytes += place.bytes;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(place.entry.clone());
        }
        entries
    }

    /// Adds entries behind the last one.
    pub fn append(&mut self, entries: impl Iterator<Item = (Entry<Types>, usize)>) {
        for (entry, bytes) in entries {
            self.append_one(entry, bytes, Group::None);
        }
    }

    fn append_one(&mut self, entry: Entry<Types>, bytes: usize, group: Group) {
        if let EntryPayload::Membership(membership) = &entry.payload {
            self.members.insert(entry.log_id.index, membership.into());
        }
        self.lines.insert(entry.log_id.index, Place { entry, bytes, group });
    }

    /// Cuts off this entry and all behind it.
    pub fn truncate(&mut self, since: u64) {
        self.lines.split_off(&since);
        self.members.split_off(&since);
    }

    /// Forgets entries up to this one.
    pub fn purge(&mut self, upto: Id) {
        self.purged = self.purged.filter(|known| known.index > upto.index).or(Some(upto));
        self.drop_upto(upto.index);
    }

    fn drop_upto(&mut self, upto: u64) {
        self.lines = self.lines.split_off(&(upto + 1));
        self.members = self.members.split_off(&(upto + 1));
    }

    /// Where the journal must be replayed from, now that a record with these sequences says what the ones before said.
    pub fn oldest_needed(&mut self, base: &[Sequence]) -> Option<Position> {
        let at_base = self.begins(Group::With(*base.first()?))?;
        let needed = match self.lines.values().next() {
            None => at_base,
            Some(place) => {
                self.begins(place.group).map(|oldest| if oldest.group < at_base.group { oldest } else { at_base })?
            }
        };
        while self.groups.get(1).is_some_and(|(_, begins)| begins.group <= needed.group) {
            self.groups.pop_front();
        }
        Some(needed)
    }

    fn begins(&self, group: Group) -> Option<Position> {
        match group {
            Group::First | Group::None => None,
            Group::At(position) => Some(position),
            Group::With(sequence) => {
                self.groups.iter().find(|(last, _)| *last >= sequence).map(|(_, position)| *position)
            }
        }
    }
}

fn corrupt(reason: String) -> JournalError {
    JournalError::Corrupt { place: "a control record".to_owned(), reason }
}
