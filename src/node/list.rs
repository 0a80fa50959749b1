//! Lists: the keys of a bucket in byte order or against it, merged over all partitions, page by page. A page is
//! complete or an error; it may be short, and says where to go on.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::VecDeque;
use std::ops::Bound;
use std::ops::ControlFlow;

use crate::base::id::BucketId;
use crate::base::id::PartitionId;
use crate::base::limits::LIST_PAGE_MAX;
use crate::base::limits::OPERATION_BUDGET;
use crate::base::limits::PARTITIONS;
use crate::base::time;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::node::worker;
use crate::proto::key::IndexKey;
use crate::proto::object::Object;
use crate::store::partition::StoreError;

/// A key in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The key.
    pub key: Vec<u8>,
    /// Bytes of its value, of all siblings together.
    pub size: u64,
    /// Wall milliseconds of the last write.
    pub at_ms: u64,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In the order of the way.
    pub keys: Vec<Listed>,
    /// The last key, if more may follow.
    pub next: Option<Vec<u8>>,
}

/// In which order keys are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In byte order.
    Forward,
    /// Against it.
    Back,
}

/// Which keys.
#[derive(Debug, Clone)]
pub struct Range {
    /// Only keys that begin so.
    pub prefix: Vec<u8>,
    /// Only keys beyond this one on the way: greater ones forward, smaller ones back.
    pub after: Vec<u8>,
    /// In which order.
    pub way: Way,
}

/// Walks the live keys of a bucket in byte order, or against it.
pub struct Cursor {
    node: Node,
    bucket: BucketId,
    prefix: Vec<u8>,
    now_ms: u64,
    /// Keys fetched from a partition at a time.
    chunk: usize,
    sources: Vec<Source>,
    way: Way,
    heap: BinaryHeap<Head>,
}

/// The next key of a partition; the greatest head is the next one of all.
#[derive(PartialEq, Eq)]
struct Head {
    key: Vec<u8>,
    at: u8,
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
    ready: VecDeque<Listed>,
    after: Vec<u8>,
    more: bool,
}

impl Node {
    /// A page of a bucket's keys.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn list(&self, bucket: &str, range: Range, limit: usize) -> Result<Page, DoorError> {
        let bucket = self.bucket(bucket)?.id;
        let limit = limit.clamp(1, LIST_PAGE_MAX);
        let turn = self.list_turn().await?;
        let node = self.clone();
        worker::block("listing keys", move || {
            // Held here: a client that goes away does not end the work.
            let _turn = turn;
            // Twice the even share: few partitions are asked a second time.
            let mut cursor = Cursor::open(&node, bucket, range, limit * 2 / PARTITIONS + 2)?;
            let mut keys = Vec::with_capacity(limit);
            while keys.len() < limit {
                match cursor.advance_one()? {
                    Some(listed) => keys.push(listed),
                    None => return Ok(Page { keys, next: None }),
                }
            }
            let more = cursor.advance_one()?.is_some();
            let next = keys.last().filter(|_| more).map(|last| last.key.clone());
            Ok(Page { keys, next })
        })
        .await
    }
}

impl Cursor {
    /// Stands before the first key of the range. Blocks until the index has everything acked so far.
    ///
    /// # Errors
    /// [`DoorError`].
    pub fn open(node: &Node, bucket: BucketId, range: Range, chunk: usize) -> Result<Self, DoorError> {
        let store = &node.0.store;
        let caught_up = store.progress().wait_for(store.journal().durable(), time::mono() + OPERATION_BUDGET);
        caught_up.map_err(|_stalled| DoorError::TooSlow { budget: OPERATION_BUDGET })?;
        let source = |partition| Source { partition, ready: VecDeque::new(), after: range.after.clone(), more: true };
        let mut cursor = Self {
            node: node.clone(),
            bucket,
            prefix: range.prefix,
            now_ms: time::wall_ms(),
            chunk,
            way: range.way,
            sources: PartitionId::all().map(source).collect(),
            heap: BinaryHeap::with_capacity(PARTITIONS),
        };
        for at in 0..=u8::MAX {
            cursor.advance(at)?;
        }
        Ok(cursor)
    }

    /// The next key; `None` at the end.
    ///
    /// # Errors
    /// [`DoorError`].
    pub fn advance_one(&mut self) -> Result<Option<Listed>, DoorError> {
        let Some(Head { at, .. }) = self.heap.pop() else { return Ok(None) };
        let listed = self.sources.get_mut(usize::from(at)).and_then(|source| source.ready.pop_front());
        self.advance(at)?;
        Ok(listed)
    }

    /// Puts the partition's next key into the heap, fetching more where needed.
    fn advance(&mut self, at: u8) -> Result<(), DoorError> {
        let Some(source) = self.sources.get_mut(usize::from(at)) else { return Ok(()) };
        if source.ready.is_empty() && source.more {
            let walk = Walk { bucket: self.bucket, prefix: &self.prefix, now_ms: self.now_ms, way: self.way };
            source.fetch(&self.node, &walk, self.chunk)?;
        }
        if let Some(first) = source.ready.front() {
            self.heap.push(Head { key: first.key.clone(), at, way: self.way });
        }
        Ok(())
    }
}

/// What all partitions are asked for.
struct Walk<'w> {
    bucket: BucketId,
    prefix: &'w [u8],
    now_ms: u64,
    way: Way,
}

impl Source {
    fn fetch(&mut self, node: &Node, walk: &Walk<'_>, chunk: usize) -> Result<(), StoreError> {
        let Self { partition, ready, after, more } = self;
        *more = false;
        let (last, prefix) = (after.clone(), walk.prefix);
        let mut visit = |place: &IndexKey, object: Object| {
            let key = place.user_key();
            if !key.starts_with(prefix) {
                return ControlFlow::Break(());
            }
            if ready.len() == chunk {
                *more = true;
                return ControlFlow::Break(());
            }
            let (mut size, mut at_ms) = (0, None);
            for sibling in object.live(walk.now_ms) {
                size += sibling.live(walk.now_ms).map_or(0, |(_, body)| body.0.len() as u64);
                at_ms = at_ms.max(Some(sibling.at_ms()));
            }
            *after = key.to_vec();
            if let Some(at_ms) = at_ms {
                ready.push_back(Listed { key: key.to_vec(), size, at_ms });
            }
            ControlFlow::Continue(())
        };
        let store = &node.0.store;
        match walk.way {
            Way::Back => {
                let end = end_of(prefix).filter(|end| *end < last).unwrap_or(last);
                store.scan_back(*partition, walk.bucket, prefix..&end, &mut visit)
            }
            Way::Forward if last.as_slice() < prefix => {
                store.scan(*partition, walk.bucket, Bound::Included(prefix), &mut visit)
            }
            Way::Forward => store.scan(*partition, walk.bucket, Bound::Excluded(&last), &mut visit),
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
