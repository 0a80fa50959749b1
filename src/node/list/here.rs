//! What this node holds of some partitions, in one order of keys, dead and alive: for a list of its own, or for another
//! node that makes one. Blocking; whoever asks does so from a thread of its own.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::VecDeque;
use std::ops::Bound;
use std::ops::ControlFlow;

use crate::base::id::BucketId;
use crate::base::id::PartitionId;
use crate::base::limits::KEY_BYTES_MAX;
use crate::base::limits::ROWS_BYTES;
use crate::base::limits::ROWS_MAX;
use crate::node::Node;
use crate::node::cluster::View;
use crate::node::error::DoorError;
use crate::node::list::Range;
use crate::node::worker;
use crate::proto::bucket::Kind;
use crate::proto::key::IndexKey;
use crate::proto::message::Tell;
use crate::proto::message::Why;
use crate::proto::object::Object;
use crate::proto::rows::Depth;
use crate::proto::rows::Entry;
use crate::proto::rows::Partitions;
use crate::proto::rows::Row;
use crate::proto::rows::Way;
use crate::proto::rows::Wish;
use crate::store::partition::StoreError;

/// What is walked.
#[derive(Debug, Clone)]
pub(in crate::node) struct Part {
    pub(in crate::node) bucket: BucketId,
    pub(in crate::node) kind: Kind,
    pub(in crate::node) partitions: Partitions,
    pub(in crate::node) range: Range,
    pub(in crate::node) depth: Depth,
}

/// The next entries.
pub(in crate::node) struct Gathered {
    pub(in crate::node) entries: Vec<Entry>,
    pub(in crate::node) more: bool,
}

/// Walks this node's part of a list.
pub(in crate::node) struct Here {
    node: Node,
    part: Part,
    /// Keys fetched from a partition at a time.
    chunk: usize,
    sources: Vec<Source>,
    heap: BinaryHeap<Head>,
    opened: bool,
    /// Did not fit into the last answer.
    held: Option<Entry>,
    /// Partitions that cannot be read, and why the first of them cannot.
    pub(in crate::node) lost: Partitions,
    pub(in crate::node) why: Option<DoorError>,
}

/// The next key of a partition; the greatest head is the next one of all.
#[derive(PartialEq, Eq)]
struct Head {
    key: Vec<u8>,
    at: usize,
    way: Way,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        match self.way {
            Way::Forward => other.key.cmp(&self.key),
            Way::Back => self.key.cmp(&other.key),
        }
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

struct Source {
    partition: PartitionId,
    ready: VecDeque<Entry>,
    after: Vec<u8>,
    more: bool,
}

impl Here {
    /// Stands before the first key. `limit`: how many are asked for at a time.
    pub(in crate::node) fn new(node: &Node, part: Part, limit: usize) -> Self {
        let after = &part.range.after;
        let source = |partition| Source { partition, ready: VecDeque::new(), after: after.clone(), more: true };
        Self {
            node: node.clone(),
            // Twice the even share: few partitions are asked a second time.
            chunk: limit * 2 / part.partitions.len().max(1) + 2,
            sources: part.partitions.iter().map(source).collect(),
            heap: BinaryHeap::with_capacity(part.partitions.len()),
            part,
            opened: false,
            held: None,
            lost: Partitions::default(),
            why: None,
        }
    }

    /// The next entries, as many as asked for and as are worth one answer. Blocks, before the first until the index has
    /// everything acked so far. Where a partition turns out to be lost, what is gathered does not count.
    pub(in crate::node) fn gather(&mut self, limit: usize) -> Gathered {
        self.open();
        let (mut entries, mut weight) = (Vec::new(), 0);
        while self.lost.is_empty() && entries.len() < limit && weight <= ROWS_BYTES {
            let Some(entry) = self.held.take().or_else(|| self.next()) else { break };
            weight += entry.weight();
            if weight > ROWS_BYTES && !entries.is_empty() {
                self.held = Some(entry);
                break;
            }
            entries.push(entry);
        }
        Gathered { entries, more: self.held.is_some() || !self.heap.is_empty() }
    }

    /// Which partitions it walks.
    pub(in crate::node) fn partitions(&self) -> Partitions {
        self.part.partitions
    }

    fn open(&mut self) {
        if self.opened {
            return;
        }
        self.opened = true;
        if let Err(why) = self.node.wait_for_all_of_it() {
            (self.lost, self.why) = (self.part.partitions, Some(why));
            return;
        }
        for at in 0..self.sources.len() {
            self.advance(at);
        }
    }

    /// The next entry; `None` also where one cannot be read.
    fn next(&mut self) -> Option<Entry> {
        loop {
            let Head { at, .. } = self.heap.pop()?;
            let brief = self.sources.get_mut(at)?.ready.pop_front()?;
            self.advance(at);
            if self.part.depth == Depth::Brief {
                return Some(brief);
            }
            // Read again: what was met may have changed since, and only so many bytes are wanted at a time.
            match self.node.0.store.read(&brief.place) {
                Ok(Some(object)) => return Some(Entry::whole(brief.place, object.as_ref().clone())),
                // Given up: the slot has moved, which is noticed behind this.
                Ok(None) => {}
                Err(why) => {
                    self.lose(at, why);
                    return None;
                }
            }
        }
    }

    /// Puts the partition's next key into the heap, fetching more where needed.
    fn advance(&mut self, at: usize) {
        let Some(source) = self.sources.get_mut(at) else { return };
        if source.ready.is_empty()
            && source.more
            && let Err(why) = source.fetch(&self.node, &self.part, self.chunk)
        {
            return self.lose(at, why);
        }
        if let Some(first) = source.ready.front() {
            self.heap.push(Head { key: first.key().to_vec(), at, way: self.part.range.way });
        }
    }

    fn lose(&mut self, at: usize, why: StoreError) {
        if let Some(source) = self.sources.get(at) {
            tracing::debug!(partition = %source.partition, %why, "a partition cannot be listed here");
            self.lost.insert(source.partition);
            self.why.get_or_insert(why.into());
        }
    }
}

impl Source {
    fn fetch(&mut self, node: &Node, part: &Part, chunk: usize) -> Result<(), StoreError> {
        let Self { partition, ready, after, more } = self;
        *more = false;
        let (last, prefix) = (after.clone(), part.range.prefix.as_slice());
        let mut visit = |place: &IndexKey, object: Object| {
            let key = place.user_key();
            if !key.starts_with(prefix) {
                return ControlFlow::Break(());
            }
            if ready.len() == chunk {
                *more = true;
                return ControlFlow::Break(());
            }
            *after = key.to_vec();
            ready.push_back(Entry::brief(place.clone(), object, part.kind));
            ControlFlow::Continue(())
        };
        let store = &node.0.store;
        match part.range.way {
            Way::Back => {
                let end = end_of(prefix).filter(|end| *end < last).unwrap_or(last);
                store.scan_back(*partition, part.bucket, prefix..&end, &mut visit)
            }
            Way::Forward if last.as_slice() < prefix => {
                store.scan(*partition, part.bucket, Bound::Included(prefix), &mut visit)
            }
            Way::Forward => store.scan(*partition, part.bucket, Bound::Excluded(&last), &mut visit),
        }
    }
}

/// The first key behind all that begin so; none where nothing is behind them.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// Whether one of these slots has changed since that version of the layout: what was read meanwhile may be a part.
pub(super) fn has_moved(view: &View, version: u64, partitions: Partitions) -> bool {
    partitions.iter().any(|partition| view.slot(partition).epoch > version)
}

impl Node {
    /// Tells another node what this one holds.
    pub(in crate::node) async fn rows(&self, view: &View, version: u64, wish: Wish) -> Tell {
        let Wish { partitions, bucket, prefix, after, way, limit, depth } = wish;
        // Longer ones are cut by whoever asks: every partition gets a copy of them.
        if prefix.0.len() > KEY_BYTES_MAX || after.0.len() > KEY_BYTES_MAX + 1 {
            return Tell::Refused(Why::NotYet);
        }
        if has_moved(view, version, partitions) {
            return Tell::Refused(Why::Stale);
        }
        let Some(known) = view.bucket(bucket) else { return Tell::Refused(Why::NotYet) };
        let me = self.who().node;
        let foreign = |partition: &PartitionId| !view.slot(*partition).reads(known.numbers).owners.contains(&me);
        let without: Partitions = partitions.iter().filter(foreign).collect();
        if !without.is_empty() {
            return Tell::Rows { rows: Vec::new(), more: false, without };
        }
        let Ok(turn) = self.rows_turn().await else { return Tell::Refused(Why::NotYet) };
        let range = Range { prefix: prefix.0.into(), after: after.0.into(), way };
        let part = Part { bucket, kind: known.kind, partitions, range, depth };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).clamp(1, ROWS_MAX);
        let mut here = Here::new(self, part, limit);
        let told = worker::block("telling rows", move || {
            // Held here: a node that gives up does not end the work.
            let _turn = turn;
            let Gathered { entries, more } = here.gather(limit);
            if here.lost.is_empty() {
                let rows = entries.iter().map(|entry| Row::of(entry, depth)).collect();
                return Ok(Tell::Rows { rows, more, without: Partitions::default() });
            }
            Ok(Tell::Rows { rows: Vec::new(), more: false, without: here.lost })
        });
        let told = told.await.unwrap_or(Tell::Refused(Why::NotYet));
        // What others own by now, or what nobody wants any more, may have gone under the scan.
        let view = self.view();
        if has_moved(&view, version, partitions) {
            return Tell::Refused(Why::Stale);
        }
        if view.bucket(bucket).is_some() { told } else { Tell::Refused(Why::NotYet) }
    }
}

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn what_follows_a_prefix_is_the_next_one_of_its_length_or_shorter() {
        assert_eq!(end_of(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(end_of(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!((end_of(b""), end_of(b"\xff\xff")), (None, None));
    }
}
