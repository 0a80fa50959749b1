//! Partitions looked through, one after the other: what is in them, for the comparison with others, and whether it can be
//! read at all. Those that were written to come first, the rest once a day.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;
use std::time::Instant;

use crate::base::id::BucketId;
use crate::base::id::PartitionId;
use crate::base::limits::REPAIR_OVERLAY_BYTES;
use crate::base::limits::SURVEY_AGAIN;
use crate::base::limits::SURVEY_BUSY;
use crate::base::limits::SURVEY_BYTES_PER_SECOND;
use crate::base::limits::SURVEY_BYTES_PER_SECOND_ALONE;
use crate::base::limits::SURVEY_FAILED;
use crate::base::limits::SURVEY_PAGE_BYTES;
use crate::base::limits::SURVEY_QUIET;
use crate::base::limits::SURVEY_TICK;
use crate::base::time;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::node::repair::count;
use crate::node::repair::lock;
use crate::node::vnode::memory;
use crate::node::worker;
use crate::proto::key::IndexKey;
use crate::proto::merkle;
use crate::proto::object::Content;
use crate::proto::object::Object;
use crate::proto::purge;
use crate::store::journal::writer::Sequence;

/// What was found in a partition.
#[derive(Debug, Clone)]
pub(in crate::node) struct Survey {
    /// Everything up to this record is in it.
    pub(super) as_of: Sequence,
    /// When it was made.
    pub(super) at: Instant,
    /// The root of each bucket's tree, sorted.
    sums: Vec<(BucketId, u64)>,
    /// Objects, graves included.
    pub(super) keys: u64,
    /// Their bytes, about.
    pub(super) bytes: u64,
    /// From when on some of them may go (`proto::purge`), by the steady clock.
    pub(super) graves_from_ms: Option<u64>,
}

impl Survey {
    fn begin(as_of: Sequence) -> Self {
        Self { as_of, at: time::mono(), sums: Vec::new(), keys: 0, bytes: 0, graves_from_ms: None }
    }

    /// In order: objects of a bucket follow each other.
    fn add(&mut self, place: &IndexKey, object: &Object) -> u64 {
        let entry = merkle::entry(place.as_bytes(), object.fingerprint());
        match self.sums.last_mut() {
            Some((bucket, sum)) if *bucket == place.bucket() => *sum = sum.wrapping_add(entry),
            Some(_) | None => self.sums.push((place.bucket(), entry)),
        }
        self.keys += 1;
        let memory = memory();
        if let Some(in_ms) = purge::goes_in_ms(object, memory, time::wall_ms()) {
            let from_ms = memory.now_ms.saturating_add(in_ms);
            self.graves_from_ms = Some(self.graves_from_ms.map_or(from_ms, |first| first.min(from_ms)));
        }
        let bytes = place.as_bytes().len() as u64 + size_of_values(object);
        self.bytes += bytes;
        bytes
    }

    /// The root of some buckets together.
    pub(super) fn sum_of(&self, counts: impl Fn(BucketId) -> bool) -> u64 {
        let counted = self.sums.iter().filter(|(bucket, _)| counts(*bucket));
        counted.fold(0, |sum, (_, more)| sum.wrapping_add(*more))
    }
}

fn size_of_values(object: &Object) -> u64 {
    let size = |content: &Content| match content {
        Content::Value { body, .. } => body.0.len() as u64,
        Content::Tombstone => 0,
    };
    object.siblings.iter().map(|sibling| size(&sibling.content)).sum()
}

/// When a partition was last seen to change, and when it could not be read.
#[derive(Default)]
struct Seen {
    changes: BTreeMap<PartitionId, (Sequence, Instant)>,
    failed: BTreeMap<PartitionId, Instant>,
}

impl Seen {
    /// Whether a partition should be looked through now.
    fn is_due(&mut self, node: &Node, partition: PartitionId, now: Instant) -> bool {
        let changed = node.0.store.changed(partition);
        let last = self.changes.entry(partition).or_insert((changed, now));
        if last.0 != changed {
            *last = (changed, now);
        }
        let is_quiet = now.saturating_duration_since(last.1) >= SURVEY_QUIET;
        if self.failed.get(&partition).is_some_and(|at| now.saturating_duration_since(*at) < SURVEY_FAILED) {
            return false;
        }
        let surveys = lock(&node.0.cluster.repair.surveys);
        let Some(survey) = surveys.get(&partition) else { return true };
        let age = now.saturating_duration_since(survey.at);
        if survey.as_of < changed { is_quiet || age >= SURVEY_BUSY } else { age >= SURVEY_AGAIN }
    }
}

impl Node {
    /// Looks through this node's partitions until the node stops.
    pub async fn keep_surveyed(self) {
        let mut seen = Seen::default();
        loop {
            for partition in PartitionId::all() {
                if self.is_draining() {
                    return;
                }
                self.survey_if_due(&mut seen, partition).await;
            }
            tokio::select! {
                () = self.drained() => return,
                () = tokio::time::sleep(SURVEY_TICK) => {}
            }
        }
    }

    async fn survey_if_due(&self, seen: &mut Seen, partition: PartitionId) {
        let repair = &self.0.cluster.repair;
        if !self.is_serving() || !self.may_give(&self.view(), partition) {
            lock(&repair.surveys).remove(&partition);
            return;
        }
        if self.0.store.overlay_bytes() >= REPAIR_OVERLAY_BYTES || !seen.is_due(self, partition, time::mono()) {
            return;
        }
        match self.survey(partition).await {
            Ok(survey) => {
                seen.failed.remove(&partition);
                count(&repair.counts.surveyed, 1);
                lock(&repair.surveys).insert(partition, survey);
            }
            Err(error) => {
                tracing::warn!(%partition, %error, "a partition cannot be read to its end; it is not compared with others");
                seen.failed.insert(partition, time::mono());
                lock(&repair.surveys).remove(&partition);
            }
        }
    }

    /// Reads a partition from end to end, with rests.
    async fn survey(&self, partition: PartitionId) -> Result<Survey, DoorError> {
        // Whatever was durable by now will be in it; what is on its way makes it one of before.
        let store = &self.0.store;
        let mut survey = Survey::begin(store.changed(partition).min(store.journal().durable()));
        let mut after = None;
        loop {
            let (began, node) = (time::mono(), self.clone());
            let page = worker::block("looking through a partition", move || {
                node.wait_for_all_of_it()?;
                let (mut bytes, mut last) = (0, None);
                node.0.store.scan_partition(partition, after.as_ref(), &mut |place, object| {
                    bytes += survey.add(place, &object);
                    if bytes < SURVEY_PAGE_BYTES {
                        return ControlFlow::Continue(());
                    }
                    last = Some(place.clone());
                    ControlFlow::Break(())
                })?;
                Ok((survey, bytes, last))
            });
            let (so_far, bytes, last) = page.await?;
            self.0.cluster.repair.counts.surveyed_bytes.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            let pace = if self.state().layout.nodes.len() > 1 {
                SURVEY_BYTES_PER_SECOND
            } else {
                SURVEY_BYTES_PER_SECOND_ALONE
            };
            tokio::time::sleep(Duration::from_micros(bytes * 1_000_000 / pace).saturating_sub(began.elapsed())).await;
            survey = so_far;
            let Some(last) = last else { return Ok(survey) };
            after = Some(last);
        }
    }
}
