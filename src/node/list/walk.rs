//! A list over its owners: asks as many of each partition's as a read needs, this node first, and merges what they tell.
//! Where one of them is silent, cannot read something or knows a newer layout, the list begins again behind the last key
//! that was complete, with others or by the newer layout. Owners are asked again only when there is nobody else.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use futures_util::future::join_all;

use crate::base::codec::Blob;
use crate::base::id::BucketId;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::KEY_BYTES_MAX;
use crate::base::limits::OPERATION_BUDGET;
use crate::base::limits::PARTITIONS;
use crate::base::limits::ROWS_BUDGET;
use crate::base::limits::ROWS_MAX;
use crate::base::limits::ROWS_STALE_MAX;
use crate::base::time;
use crate::node::Node;
use crate::node::cluster::Lane;
use crate::node::cluster::View;
use crate::node::cluster::draw;
use crate::node::cluster::now_ms;
use crate::node::cluster::rule;
use crate::node::error::DoorError;
use crate::node::list::Range;
use crate::node::list::here::Gathered;
use crate::node::list::here::Here;
use crate::node::list::here::Part;
use crate::node::list::here::has_moved;
use crate::node::places::Place;
use crate::node::worker;
use crate::proto::message::Answer;
use crate::proto::message::Ask;
use crate::proto::message::Question;
use crate::proto::message::Tell;
use crate::proto::message::Why;
use crate::proto::quorum::Quorum;
use crate::proto::rows;
use crate::proto::rows::Depth;
use crate::proto::rows::Entry;
use crate::proto::rows::Merging;
use crate::proto::rows::Partitions;
use crate::proto::rows::Step;
use crate::proto::rows::TooFew;
use crate::proto::rows::Way;
use crate::proto::rows::Wish;

/// Walks what enough owners hold of a bucket, dead and alive, in one order of keys.
pub(in crate::node) struct Walk {
    node: Node,
    bucket: BucketId,
    /// From behind the last key that was complete.
    range: Range,
    depth: Depth,
    /// Entries wanted at a time.
    limit: usize,
    run: Option<Run>,
    /// What nodes could not tell.
    without: BTreeMap<NodeId, Partitions>,
    /// Why this node could not.
    why: Option<DoorError>,
    /// Kept by whatever works for this, also for a client that went away.
    turn: Arc<Place>,
}

/// A walk by one view of the layout, over certain owners.
struct Run {
    view: Arc<View>,
    merging: Merging,
    here: Option<Box<Here>>,
}

/// What comes next.
pub(in crate::node) enum Ready {
    /// This.
    Entry(Box<Entry>),
    /// First [`Walk::fill`].
    Wanting,
    /// Nothing.
    End,
}

/// What an owner told.
enum Heard {
    /// Its next rows, and whether more follow.
    Rows(Vec<Entry>, bool),
    /// Nothing of these; for this node, with the reason.
    Without(Partitions, Option<DoorError>),
    /// It knows a layout that has come so far.
    Stale(u64),
}

impl Walk {
    /// Stands before the first key of the range.
    pub(in crate::node) fn new(
        node: &Node,
        bucket: BucketId,
        mut range: Range,
        depth: Depth,
        limit: usize,
        turn: Arc<Place>,
    ) -> Self {
        cut(&mut range);
        let (node, without) = (node.clone(), BTreeMap::new());
        Self { node, bucket, range, depth, limit, run: None, without, why: None, turn }
    }

    /// The last key that was complete, or where it began.
    pub(in crate::node) fn behind(&self) -> &[u8] {
        &self.range.after
    }

    /// What comes next, without waiting for anything.
    pub(in crate::node) fn ready(&mut self) -> Ready {
        // No key is as long: nothing begins so.
        if self.range.prefix.len() > KEY_BYTES_MAX {
            return Ready::End;
        }
        let Some(run) = &mut self.run else { return Ready::Wanting };
        match run.merging.step() {
            Step::Entry(entry) => {
                self.range.after.clear();
                self.range.after.extend_from_slice(entry.key());
                Ready::Entry(entry)
            }
            Step::Wanting => Ready::Wanting,
            Step::End => Ready::End,
        }
    }

    /// Hears from all whose rows are needed next.
    ///
    /// # Errors
    /// [`DoorError::TooFewOwners`] where some partition has too few owners that answer, [`DoorError::TooSlow`].
    pub(in crate::node) async fn fill(&mut self, until_ms: u64) -> Result<(), DoorError> {
        // Those who could not answer long ago may be back.
        let mut forgivable = !self.without.is_empty();
        let mut stale = 0;
        while now_ms() < until_ms && stale <= ROWS_STALE_MAX {
            let mut run = match self.run.take().map_or_else(|| self.begin(), |run| Ok(Ok(run)))? {
                Ok(run) => run,
                Err(_) if forgivable => {
                    forgivable = false;
                    self.without.clear();
                    continue;
                }
                Err(too_few) => return Err(self.too_few(too_few)),
            };
            let (mut is_whole, mut ahead) = (true, None);
            for (from, heard) in self.hear(&mut run, until_ms).await {
                is_whole &= self.took(&mut run, from, heard, &mut ahead);
            }
            if is_whole {
                self.run = Some(run);
                // Otherwise what was read may be what is left of it.
                return self.node.view().bucket(self.bucket).map(|_| ()).ok_or_else(|| self.bucket_gone());
            }
            if let Some(ahead) = ahead {
                stale += 1;
                self.node.reach(ahead, until_ms).await;
            }
        }
        Err(DoorError::TooSlow { budget: OPERATION_BUDGET })
    }

    /// By the present view, with those that are not known to be of no use.
    fn begin(&self) -> Result<Result<Run, TooFew>, DoorError> {
        let (view, me) = (self.node.view(), self.node.who().node);
        let known = view.bucket(self.bucket).ok_or_else(|| self.bucket_gone())?;
        let slots = view.state.layout.slots();
        let rules: Vec<(PartitionId, Quorum)> =
            slots.map(|(partition, slot)| (partition, rule(slot.reads(known.numbers)))).collect();
        let plan = match rows::plan(&rules, &self.classes(&rules), &self.without) {
            Ok(plan) => plan,
            Err(too_few) => return Ok(Err(too_few)),
        };
        let part = |partitions: &Partitions| Part {
            bucket: self.bucket,
            kind: known.kind,
            partitions: *partitions,
            range: self.range.clone(),
            depth: self.depth,
        };
        let here = plan.get(&me).map(|mine| Box::new(Here::new(&self.node, part(mine), self.limit)));
        let merging = Merging::new(plan, self.range.way, known.kind, &self.range.after);
        Ok(Ok(Run { view, merging, here }))
    }

    /// All owners: this node, those that answer, those that were silent. Of those that answer it begins with another one
    /// each time, so that not all lists are made by the same.
    fn classes(&self, rules: &[(PartitionId, Quorum)]) -> [Vec<NodeId>; 3] {
        let owners: BTreeSet<NodeId> = rules.iter().flat_map(|(_, rule)| rule.owners.iter().copied()).collect();
        let (mine, others): (Vec<_>, Vec<_>) = owners.into_iter().partition(|owner| *owner == self.node.who().node);
        let (silent, mut loud): (Vec<_>, Vec<_>) = others.into_iter().partition(|owner| self.node.is_silent(*owner));
        if loud.len() > 1 {
            let first = usize::try_from(draw() % loud.len() as u64).unwrap_or_default();
            loud.rotate_left(first);
        }
        [mine, loud, silent]
    }

    async fn hear(&self, run: &mut Run, until_ms: u64) -> Vec<(NodeId, Heard)> {
        let me = self.node.who().node;
        let (mut looks, mut asks) = (None, Vec::new());
        for (node, partitions, after) in run.merging.wanted() {
            if node == me {
                looks = run.here.take();
            } else {
                asks.push(self.ask(&run.view, node, partitions, after, until_ms));
            }
        }
        let look = async {
            match looks {
                Some(here) => Some(self.look_here(&run.view, here).await),
                None => None,
            }
        };
        let (looked, mut heard) = join(look, join_all(asks)).await;
        if let Some((here, mine)) = looked {
            run.here = here;
            heard.push((me, mine));
        }
        heard
    }

    async fn look_here(&self, view: &View, mut here: Box<Here>) -> (Option<Box<Here>>, Heard) {
        if !self.node.is_serving() {
            return (None, Heard::Without(Partitions::ALL, None));
        }
        let (limit, turn, partitions) = (self.limit, Arc::clone(&self.turn), here.partitions());
        let looked = worker::block("listing keys", move || {
            let _turn = turn;
            let gathered = here.gather(limit);
            Ok((here, gathered))
        });
        let (mut here, Gathered { entries, more }) = match looked.await {
            Ok(looked) => looked,
            Err(why) => return (None, Heard::Without(Partitions::ALL, Some(why))),
        };
        if has_moved(&self.node.view(), view.state.layout.version, partitions) {
            return (None, Heard::Stale(0));
        }
        if !here.lost.is_empty() {
            return (None, Heard::Without(here.lost, here.why.take()));
        }
        (Some(here), Heard::Rows(entries, more))
    }

    fn ask(
        &self,
        view: &View,
        to: NodeId,
        partitions: Partitions,
        after: &[u8],
        until_ms: u64,
    ) -> impl Future<Output = (NodeId, Heard)> + use<> {
        // Its share, and some more: they are not spread evenly, and some are dead.
        let share = self.limit * partitions.len() * 5 / (PARTITIONS * 4) + 16;
        let wish = Wish {
            partitions,
            bucket: self.bucket,
            prefix: Blob(bytes::Bytes::copy_from_slice(&self.range.prefix)),
            after: Blob(bytes::Bytes::copy_from_slice(after)),
            way: self.range.way,
            limit: u32::try_from(share.min(ROWS_MAX)).unwrap_or(u32::MAX),
            depth: self.depth,
        };
        let left_ms = until_ms.saturating_sub(now_ms()).min(time::millis(ROWS_BUDGET));
        let epoch = view.state.layout.version;
        let ask = Ask::Rows(Box::new(wish));
        let (steady_ms, stamp) = (time::steady_ms().0, self.node.stamp());
        let question = Question { epoch, view: view.index, steady_ms, left_ms, floor: 0, stamp, ask };
        let lane = match self.depth {
            Depth::Brief => Lane::Requests,
            Depth::Whole => Lane::Bulk,
        };
        let answer = self.node.ask(to, lane, question.encode(), Duration::from_millis(left_ms));
        let bucket = self.bucket;
        async move {
            let heard = match answer.await {
                Ok(Answer { tell: Tell::Rows { rows, more, without }, .. }) if without.is_empty() => {
                    let entries: Option<Vec<Entry>> = rows.into_iter().map(|row| row.open(bucket)).collect();
                    entries.map(|entries| Heard::Rows(entries, more))
                }
                Ok(Answer { tell: Tell::Rows { without, .. }, .. }) => Some(without.common(partitions))
                    .filter(|some| !some.is_empty())
                    .map(|some| Heard::Without(some, None)),
                Ok(Answer { tell: Tell::Refused(Why::Stale), view, .. }) => Some(Heard::Stale(view)),
                Ok(_) | Err(_) => None,
            };
            (to, heard.unwrap_or(Heard::Without(Partitions::ALL, None)))
        }
    }

    /// Whether the walk can go on with what an owner told.
    fn took(&mut self, run: &mut Run, from: NodeId, heard: Heard, ahead: &mut Option<u64>) -> bool {
        match heard {
            Heard::Rows(entries, more) => {
                let taken = run.merging.take(from, entries, more);
                if taken.is_err() {
                    tracing::warn!(%from, "rows of another node are not those that it was asked for");
                    self.without.insert(from, Partitions::ALL);
                }
                taken.is_ok()
            }
            Heard::Without(partitions, why) => {
                self.without.entry(from).or_default().extend(partitions);
                self.why = why.or_else(|| self.why.take());
                false
            }
            Heard::Stale(index) => {
                *ahead = (*ahead).max(Some(index));
                false
            }
        }
    }

    /// Where this node is the only owner, what is wrong here says more.
    fn too_few(&mut self, TooFew { there, need }: TooFew) -> DoorError {
        let why = self.why.take().filter(|_| (there, need) == (0, 1));
        why.unwrap_or(DoorError::TooFewOwners { answered: there, need })
    }

    fn bucket_gone(&self) -> DoorError {
        DoorError::NoSuchBucket { name: format!("number {}", self.bucket.0) }
    }
}

/// No key is longer than a key can be, so what lies beyond a longer one lies beyond its beginning, or is that.
fn cut(range: &mut Range) {
    if range.after.len() > KEY_BYTES_MAX {
        range.after.truncate(KEY_BYTES_MAX);
        if range.way == Way::Back {
            range.after.push(0);
        }
    }
}
