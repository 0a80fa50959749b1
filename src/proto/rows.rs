//! Rows of a list or an export: what an owner tells of the keys of a bucket, who is asked for which partitions, and how
//! the answers become one list. Who asks, and how often, is the business of `node::list`.
//!
//! Each partition is asked of as many of its synced owners as a read needs. All of them tell all that they hold of it in
//! key order, the dead included, so that what one of them missed does not come back by another: a key counts only when
//! each of them is past it, and then as the merge of what they hold.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use serde::Deserialize;
use serde::Serialize;

use crate::base::codec::Blob;
use crate::base::id::BucketId;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::proto::bucket::Kind;
use crate::proto::causal::Context;
use crate::proto::causal::Dot;
use crate::proto::key::IndexKey;
use crate::proto::key::Key;
use crate::proto::message::Sealed;
use crate::proto::object::Content;
use crate::proto::object::Object;
use crate::proto::object::merge;
use crate::proto::quorum::Quorum;

#[cfg(test)]
mod tests;

/// In which order keys are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// In byte order.
    Forward,
    /// Against it.
    Back,
}

impl Way {
    /// Whether one key comes before another on this way.
    #[must_use]
    pub fn is_before(self, one: &[u8], other: &[u8]) -> bool {
        match self {
            Self::Forward => one < other,
            Self::Back => one > other,
        }
    }
}

/// How much of an object is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Depth {
    /// What it takes to merge it and to name it in a list.
    Brief,
    /// All.
    Whole,
}

/// Some of the 256 partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Partitions([u64; 4]);

impl Partitions {
    /// Each of them.
    pub const ALL: Self = Self([u64::MAX; 4]);

    fn word(partition: PartitionId) -> (usize, u64) {
        (usize::from(partition.0 / 64), 1 << (partition.0 % 64))
    }

    /// Adds one.
    pub fn insert(&mut self, partition: PartitionId) {
        let (at, bit) = Self::word(partition);
        if let Some(word) = self.0.get_mut(at) {
            *word |= bit;
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, partition: PartitionId) {
        let (at, bit) = Self::word(partition);
        if let Some(word) = self.0.get_mut(at) {
            *word &= !bit;
        }
    }

    /// Adds all of the other.
    pub fn extend(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
    }

    /// Whether one is among them.
    #[must_use]
    pub fn contains(&self, partition: PartitionId) -> bool {
        let (at, bit) = Self::word(partition);
        self.0.get(at).is_some_and(|word| word & bit != 0)
    }

    /// Those that both have.
    #[must_use]
    pub fn common(mut self, other: Self) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine &= theirs;
        }
        self
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = PartitionId> + use<> {
        let these = *self;
        PartitionId::all().filter(move |partition| these.contains(*partition))
    }
}

impl FromIterator<PartitionId> for Partitions {
    fn from_iter<I: IntoIterator<Item = PartitionId>>(partitions: I) -> Self {
        let mut some = Self::default();
        for partition in partitions {
            some.insert(partition);
        }
        some
    }
}

/// What an owner is asked for: its next rows of these partitions together, in key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Which partitions.
    pub partitions: Partitions,
    /// Of which bucket.
    pub bucket: BucketId,
    /// Only keys that begin so.
    pub prefix: Blob,
    /// Only keys beyond this one on the way.
    pub after: Blob,
    /// In which order.
    pub way: Way,
    /// So many at most; the owner may tell fewer.
    pub limit: u32,
    /// How much of each.
    pub depth: Depth,
}

/// A row as it travels: checked before it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    key: Blob,
    held: Held,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Held {
    /// The values without their bytes, and how many each had.
    Brief {
        object: Object,
        sizes: Vec<u64>,
    },
    Whole(Sealed),
}

impl Row {
    /// Of an entry of this depth.
    #[must_use]
    pub fn of(entry: &Entry, depth: Depth) -> Self {
        let held = match depth {
            Depth::Brief => Held::Brief {
                object: entry.object.clone(),
                sizes: entry.object.siblings.iter().map(|sibling| entry.size_of(sibling.dot)).collect(),
            },
            Depth::Whole => Held::Whole(Sealed::of(&entry.place, &entry.object)),
        };
        Self { key: Blob(bytes::Bytes::copy_from_slice(entry.key())), held }
    }

    /// What it says; `None` where it says nothing that can be.
    #[must_use]
    pub fn open(self, bucket: BucketId) -> Option<Entry> {
        let key = Key::new(self.key.0.into()).ok()?;
        let place = IndexKey::new(bucket, &key);
        match self.held {
            Held::Brief { object, sizes } => {
                let fits = sizes.len() == object.siblings.len();
                let sizes = object.siblings.iter().map(|sibling| sibling.dot).zip(sizes).collect();
                fits.then_some(Entry { place, object, sizes })
            }
            Held::Whole(sealed) => Some(Entry { object: sealed.open(&place).ok()?, place, sizes: Vec::new() }),
        }
    }
}

/// What is held at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub place: IndexKey,
    /// What; in brief without the bytes of its values.
    pub object: Object,
    /// In brief how many bytes each value had, by its write.
    sizes: Vec<(Dot, u64)>,
}

/// Bytes of an actor with a count, of numbers as long as they get.
const DOT_BYTES: usize = 32;

impl Entry {
    /// With nothing but what it takes to merge it and to name it in a list.
    #[must_use]
    pub fn brief(place: IndexKey, mut object: Object, kind: Kind) -> Self {
        let mut sizes = Vec::with_capacity(object.siblings.len());
        for sibling in &mut object.siblings {
            if let Content::Value { content_type, body } = &mut sibling.content {
                sizes.push((sibling.dot, body.0.len() as u64));
                content_type.clear();
                *body = Blob::default();
            }
        }
        match kind {
            // The highest stamp stays, whatever was seen.
            Kind::Lww => object = Object { siblings: object.siblings, ..Object::default() },
            Kind::Siblings => {
                // That there is an answer counts for which operations are forgotten first; what it is does not.
                for answer in object.ops.iter_mut().filter_map(|op| op.answer.as_mut()) {
                    *answer = Context::default();
                }
            }
        }
        Self { place, object, sizes }
    }

    /// With all that is there.
    #[must_use]
    pub fn whole(place: IndexKey, object: Object) -> Self {
        Self { place, object, sizes: Vec::new() }
    }

    /// The user's key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.place.user_key()
    }

    /// Bytes that it takes on the way, at most.
    #[must_use]
    pub fn weight(&self) -> usize {
        let of_value = |content: &Content| match content {
            Content::Value { content_type, body } => content_type.len() + body.0.len(),
            Content::Tombstone => 0,
        };
        let Object { context, siblings, ops } = &self.object;
        let values: usize = siblings.iter().map(|one| 2 * DOT_BYTES + of_value(&one.content)).sum();
        let answers: usize = ops.iter().map(|op| op.answer.as_ref().map_or(0, Context::parts)).sum();
        self.key().len() + values + (1 + context.parts() + answers + 3 * ops.len()) * DOT_BYTES
    }

    /// Bytes of all values that can be read, and when the last of them was written; `None` where there is none.
    #[must_use]
    pub fn live(&self, now_ms: u64) -> Option<(u64, u64)> {
        let mut live = None;
        for sibling in self.object.live(now_ms) {
            let (size, at_ms) = live.unwrap_or((0_u64, 0));
            live = Some((size.saturating_add(self.size_of(sibling.dot)), sibling.at_ms().max(at_ms)));
        }
        live
    }

    fn size_of(&self, dot: Dot) -> u64 {
        self.sizes.iter().find(|(of, _)| *of == dot).map_or(0, |(_, size)| *size)
    }

    fn merge(mut self, other: Self, kind: Kind) -> Self {
        self.object = merge::merge(&self.object, &other.object, kind);
        for (dot, size) in other.sizes {
            if !self.sizes.iter().any(|(known, _)| *known == dot) {
                self.sizes.push((dot, size));
            }
        }
        self
    }
}

/// Some partition has too few owners that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFew {
    /// So many can.
    pub there: usize,
    /// So many must.
    pub need: usize,
}

/// Which partitions each node is asked for, so that each partition is asked of as many of its owners as its rule needs.
/// Those of the first class are asked before those of the second; within a class whoever answers for the most partitions,
/// so that few are asked. `without`: what nodes cannot tell.
///
/// # Errors
/// [`TooFew`].
pub fn plan(
    rules: &[(PartitionId, Quorum)],
    classes: &[Vec<NodeId>],
    without: &BTreeMap<NodeId, Partitions>,
) -> Result<BTreeMap<NodeId, Partitions>, TooFew> {
    let mut can: BTreeMap<NodeId, Partitions> = BTreeMap::new();
    for (partition, rule) in rules {
        for owner in &rule.owners {
            if !without.get(owner).is_some_and(|lost| lost.contains(*partition)) {
                can.entry(*owner).or_default().insert(*partition);
            }
        }
    }
    let mut missing: BTreeMap<PartitionId, usize> =
        rules.iter().map(|(partition, rule)| (*partition, rule.need)).filter(|(_, need)| *need > 0).collect();
    let mut open: Partitions = missing.keys().copied().collect();
    let mut asked = BTreeMap::new();
    for class in classes {
        let gain = |can: &BTreeMap<NodeId, Partitions>, open: Partitions, node: &NodeId| {
            can.get(node).map_or(0, |these| these.common(open).len())
        };
        // Of several with the same gain `rev` makes the first one stay.
        while let Some(best) = class.iter().rev().max_by_key(|node| gain(&can, open, node))
            && gain(&can, open, best) > 0
        {
            let these = can.remove(best).unwrap_or_default().common(open);
            for partition in these.iter() {
                let left = missing.entry(partition).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    open.remove(partition);
                }
            }
            asked.insert(*best, these);
        }
    }
    match rules.iter().find(|(partition, _)| open.contains(*partition)) {
        None => Ok(asked),
        Some((partition, rule)) => {
            let left = missing.get(partition).copied().unwrap_or_default();
            Err(TooFew { there: rule.need.saturating_sub(left), need: rule.need })
        }
    }
}

/// An owner told rows that it was not asked for, or in another order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disorder;

/// What comes next of a list that is being merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// This, dead or alive.
    Entry(Box<Entry>),
    /// First somebody must tell more: see [`Merging::wanted`].
    Wanting,
    /// Nothing.
    End,
}

/// Rows of several owners on their way to one list.
#[derive(Debug, Clone)]
pub struct Merging {
    way: Way,
    kind: Kind,
    streams: BTreeMap<NodeId, Stream>,
}

#[derive(Debug, Clone)]
struct Stream {
    partitions: Partitions,
    ready: VecDeque<Entry>,
    after: Vec<u8>,
    more: bool,
}

impl Merging {
    /// Of a plan, from behind this key.
    #[must_use]
    pub fn new(plan: BTreeMap<NodeId, Partitions>, way: Way, kind: Kind, after: &[u8]) -> Self {
        let stream = |partitions| Stream { partitions, ready: VecDeque::new(), after: after.to_vec(), more: true };
        Self { way, kind, streams: plan.into_iter().map(|(node, these)| (node, stream(these))).collect() }
    }

    /// Who must tell more, of which partitions, from behind which key.
    pub fn wanted(&self) -> impl Iterator<Item = (NodeId, Partitions, &[u8])> {
        let wanted = self.streams.iter().filter(|(_, stream)| stream.is_wanted());
        wanted.map(|(node, stream)| (*node, stream.partitions, stream.after.as_slice()))
    }

    /// An owner's next rows.
    ///
    /// # Errors
    /// [`Disorder`]; nothing of it counts.
    pub fn take(&mut self, from: NodeId, rows: Vec<Entry>, more: bool) -> Result<(), Disorder> {
        let stream = self.streams.get_mut(&from).ok_or(Disorder)?;
        if more && rows.is_empty() {
            return Err(Disorder);
        }
        let mut last = stream.after.as_slice();
        for row in &rows {
            if !self.way.is_before(last, row.key()) || !stream.partitions.contains(row.place.partition()) {
                return Err(Disorder);
            }
            last = row.key();
        }
        if let Some(last) = rows.last() {
            stream.after = last.key().to_vec();
        }
        stream.more = more;
        stream.ready.extend(rows);
        Ok(())
    }

    /// The next key, as all who were asked for it hold it together.
    pub fn step(&mut self) -> Step {
        if self.streams.values().any(Stream::is_wanted) {
            return Step::Wanting;
        }
        let heads = self.streams.values().filter_map(|stream| stream.ready.front().map(Entry::key));
        let first = heads.reduce(|one, other| if self.way.is_before(other, one) { other } else { one });
        let Some(first) = first.map(<[u8]>::to_vec) else { return Step::End };
        let mut merged: Option<Entry> = None;
        for stream in self.streams.values_mut() {
            if let Some(entry) = stream.ready.pop_front_if(|entry| entry.key() == first) {
                merged = Some(match merged {
                    Some(known) => known.merge(entry, self.kind),
                    None => entry,
                });
            }
        }
        merged.map_or(Step::End, |entry| Step::Entry(Box::new(entry)))
    }
}

impl Stream {
    fn is_wanted(&self) -> bool {
        self.more && self.ready.is_empty()
    }
}
