//! Who missed what, while this node wrote it: owners that were silent are told when they are back. Exact keys in memory, as
//! long as they are few; on disk only which partitions they are in (`store::marks`), so that a start, or too many of them,
//! lead to a comparison of those partitions and not to a loss. A hint never counts for an ack (HOUSE decision 11).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::HINTS_MAX;
use crate::proto::key::IndexKey;
use crate::store::marks::MarksFile;

/// What one node missed.
#[derive(Debug, Default)]
struct Missed {
    /// Keys by partition; a partition without an entry here is known only as a whole.
    keys: BTreeMap<PartitionId, HashSet<IndexKey>>,
    /// Partitions whose keys are not known.
    whole: BTreeSet<PartitionId>,
    /// Partitions that are on disk, or on their way there.
    marked: BTreeSet<PartitionId>,
    /// How many keys there are.
    count: usize,
}

/// What is to be told a node next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// These keys of a partition.
    Keys(PartitionId, Vec<IndexKey>),
    /// Whatever differs in it.
    Whole(PartitionId),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Hints(Mutex<BTreeMap<NodeId, Missed>>);

impl Hints {
    /// What an earlier life left.
    #[must_use]
    pub fn new(marks: &MarksFile) -> Self {
        let missed = marks.read(|marks| marks.missed.clone());
        let whole = |partitions: BTreeSet<PartitionId>| Missed {
            marked: partitions.clone(),
            whole: partitions,
            ..Missed::default()
        };
        Self(Mutex::new(missed.into_iter().map(|(node, partitions)| (node, whole(partitions))).collect()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Missed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node missed a key. Returns whether the partition has to be marked on disk.
    pub fn miss(&self, node: NodeId, place: &IndexKey) -> bool {
        let mut hints = self.lock();
        let missed = hints.entry(node).or_default();
        let partition = place.partition();
        if !missed.whole.contains(&partition) {
            if missed.count >= HINTS_MAX {
                let gone = missed.keys.remove(&partition).map_or(0, |keys| keys.len());
                missed.count -= gone;
                missed.whole.insert(partition);
            } else if missed.keys.entry(partition).or_default().insert(place.clone()) {
                missed.count += 1;
            }
        }
        missed.marked.insert(partition)
    }

    /// All that is marked, for the disk.
    #[must_use]
    pub fn marked(&self) -> BTreeMap<NodeId, BTreeSet<PartitionId>> {
        let marked = |(node, missed): (&NodeId, &Missed)| (*node, missed.marked.clone());
        self.lock().iter().map(marked).filter(|(_, partitions)| !partitions.is_empty()).collect()
    }

    /// Nodes that missed something.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.lock().keys().copied().collect()
    }

    /// How many keys a node missed, as far as they are known, and how many partitions beside them.
    #[must_use]
    pub fn waiting(&self, node: NodeId) -> (usize, usize) {
        self.lock().get(&node).map_or((0, 0), |missed| (missed.count, missed.whole.len()))
    }

    /// Whether a key is one that a node missed, as far as this is known.
    #[must_use]
    pub fn is_pending(&self, node: NodeId, place: &IndexKey) -> bool {
        let hints = self.lock();
        let Some(missed) = hints.get(&node) else { return false };
        let known = missed.keys.get(&place.partition()).is_some_and(|keys| keys.contains(place));
        known || missed.whole.contains(&place.partition())
    }

    /// Takes what a node is to be told next; what fails is put back with [`Hints::miss`] or [`Hints::miss_all`].
    #[must_use]
    pub fn take(&self, node: NodeId, at_most: usize) -> Option<Due> {
        let mut hints = self.lock();
        let missed = hints.get_mut(&node)?;
        if let Some(mut first) = missed.keys.first_entry() {
            let partition = *first.key();
            let keys: Vec<IndexKey> = first.get_mut().extract_if(|_any| true).take(at_most).collect();
            if first.get().is_empty() {
                first.remove();
            }
            missed.count -= keys.len();
            return Some(Due::Keys(partition, keys));
        }
        missed.whole.pop_first().map(Due::Whole)
    }

    /// A partition has to be compared as a whole.
    pub fn miss_all(&self, node: NodeId, partition: PartitionId) {
        let mut hints = self.lock();
        let missed = hints.entry(node).or_default();
        missed.whole.insert(partition);
        missed.marked.insert(partition);
    }

    /// Drops the marks of partitions that a node has been told all about. Returns whether the disk has to be told.
    pub fn settle(&self, node: NodeId) -> bool {
        let mut hints = self.lock();
        let Some(missed) = hints.get_mut(&node) else { return false };
        let before = missed.marked.len();
        let Missed { keys, whole, marked, .. } = missed;
        marked.retain(|partition| keys.contains_key(partition) || whole.contains(partition));
        let changed = marked.len() != before;
        if marked.is_empty() {
            hints.remove(&node);
        }
        changed
    }

    /// A node is gone for ever.
    pub fn forget(&self, node: NodeId) -> bool {
        self.lock().remove(&node).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::Due;
    use super::Hints;
    use crate::base::id::BucketId;
    use crate::base::id::NodeId;
    use crate::base::limits::HINTS_MAX;
    use crate::proto::key::IndexKey;
    use crate::proto::key::Key;
    use crate::store::marks::MarksFile;

    const THERE: NodeId = NodeId(2);

    fn place(number: usize) -> IndexKey {
        IndexKey::new(BucketId(1), &Key::new(number.to_string().into_bytes()).unwrap())
    }

    #[test]
    fn what_a_node_missed_is_told_key_by_key_and_then_no_mark_is_left() {
        let hints = Hints::default();
        assert!(hints.miss(THERE, &place(1)), "the partition is new");
        assert!(!hints.miss(THERE, &place(1)));
        assert!(hints.is_pending(THERE, &place(1)) && !hints.is_pending(NodeId(3), &place(1)));
        assert!(!hints.settle(THERE), "nothing is told yet");
        assert_eq!(hints.take(THERE, 10), Some(Due::Keys(place(1).partition(), vec![place(1)])));
        assert_eq!(hints.take(THERE, 10), None);
        assert!(hints.settle(THERE) && hints.marked().is_empty() && hints.nodes().is_empty());
    }

    #[test]
    fn too_many_keys_and_a_start_lead_to_whole_partitions() {
        let hints = Hints::default();
        for number in 0..HINTS_MAX + 1000 {
            hints.miss(THERE, &place(number));
        }
        let (keys, whole) = hints.waiting(THERE);
        assert!(keys <= HINTS_MAX && whole > 0);
        let dir = tempfile::tempdir().unwrap();
        let marks = MarksFile::open(dir.path()).unwrap();
        marks.change(|marks| marks.missed = hints.marked()).unwrap();
        let after = Hints::new(&MarksFile::open(dir.path()).unwrap());
        assert_eq!((after.waiting(THERE), after.marked()), ((0, 256), hints.marked()));
        assert!(after.is_pending(THERE, &place(3)));
        assert!(matches!(after.take(THERE, 10), Some(Due::Whole(_))));
    }
}
