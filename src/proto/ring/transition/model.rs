//! Random histories of one slot against a model of its nodes: whatever plans, changes of numbers, stale coordinators,
//! late messages, losses and deaths there are, a read finds what was acked before it began. And when the trouble ends,
//! every transition does.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use proptest::prelude::any;
use proptest::prelude::prop;
use proptest::proptest;
use proptest::test_runner::Config;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::PARTITIONS;
use crate::proto::ring::layout::Candidate;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::layout::Slot;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::numbers::Numbers;
use crate::proto::ring::plan::Plan;
use crate::proto::ring::sources::Sources;

const P: PartitionId = PartitionId(3);
const NODES: u64 = 7;

/// Strict ones: a weak bucket promises nothing here.
const NUMBERS: [(u8, u8, u8); 8] =
    [(3, 2, 2), (3, 1, 3), (3, 3, 1), (5, 3, 3), (5, 2, 4), (4, 3, 2), (2, 1, 2), (1, 1, 1)];

fn numbers(pick: u8) -> Numbers {
    let (n, r, w) = NUMBERS[usize::from(pick) % NUMBERS.len()];
    Numbers { n, r, w }
}

/// The control state after one command.
#[derive(Clone)]
struct Control {
    layout: Layout,
    buckets: Vec<BucketNumbers>,
}

impl Control {
    fn slot(&self) -> &Slot {
        self.layout.slot(P)
    }
}

/// Writes by bucket.
type Data = BTreeMap<usize, BTreeSet<usize>>;

#[derive(Default)]
struct Node {
    /// What it has adopted: an index into the log.
    knows: usize,
    data: Data,
    /// What it merged, by the list it is for and the list it is from.
    merged: BTreeMap<(u64, u64), BTreeSet<NodeId>>,
    synced: BTreeSet<u64>,
    /// It lost its data and answers nothing until it has them again.
    refills: bool,
}

/// A request under way, with what its coordinator knew.
struct Request {
    knows: usize,
    bucket: usize,
    answered: BTreeSet<NodeId>,
}

struct World {
    log: Vec<Control>,
    nodes: BTreeMap<NodeId, Node>,
    gone: BTreeSet<NodeId>,
    writes: Vec<Request>,
    acked: BTreeSet<usize>,
    /// Reports under way.
    mail: Vec<(NodeId, u64, BTreeSet<u64>)>,
    reads: Vec<(Request, BTreeSet<usize>, BTreeSet<usize>)>,
    answered: usize,
}

type Step = (u8, u8, u8, u8);

impl World {
    fn new() -> Self {
        let layout = Layout::first(NodeId(1), Candidate { zone: String::new(), weight: 1 });
        let control = Control { layout, buckets: vec![numbers(0).into(), numbers(3).into()] };
        Self {
            log: vec![control],
            nodes: (1..=NODES).map(|id| (NodeId(id), Node::default())).collect(),
            gone: BTreeSet::new(),
            writes: Vec::new(),
            acked: BTreeSet::new(),
            mail: Vec::new(),
            reads: Vec::new(),
            answered: 0,
        }
    }

    fn newest(&self) -> &Control {
        self.log.last().unwrap()
    }

    fn step(&mut self, (kind, a, b, c): Step) {
        let node = NodeId(u64::from(a) % NODES + 1);
        match kind % 64 {
            0..8 => self.begin_write(a, b, c),
            8..16 => self.deliver_write(a, b),
            16..22 => self.begin_read(a, b),
            22..32 => self.deliver_read(a, b),
            32..34 => self.adopt(node, self.log.len() - 1),
            34..40 => self.merge(node, b, c),
            40..43 => self.report(node, b),
            43 => {
                if let Some(at) = usize::from(a).checked_rem(self.mail.len()) {
                    self.deliver_report(at);
                }
            }
            44..56 => self.work(node, b),
            56 | 57 => self.commit(b, c),
            58 => self.change_numbers(a, b),
            59 => self.settle(a, b),
            60 => self.forget(node),
            61 | 62 => self.wipe(node, b),
            _ => self.kill(node, b),
        }
    }

    /// A coordinator of some age.
    fn view(&self, pick: u8) -> usize {
        let age = if pick < 128 { 0 } else { usize::from(pick - 128) / 16 };
        self.log.len().saturating_sub(1 + age)
    }

    fn request(&self, view: u8, bucket: u8) -> Request {
        let knows = self.view(view);
        Request { knows, bucket: usize::from(bucket) % self.log[knows].buckets.len(), answered: BTreeSet::new() }
    }

    /// Whether a node takes a request that was made with this knowledge; where it knows less, it learns it first.
    fn takes(&mut self, node: NodeId, knows: usize) -> bool {
        let epoch = self.log[knows].slot().epoch;
        let mine = self.log[self.nodes[&node].knows].slot().epoch;
        if self.gone.contains(&node) || self.nodes[&node].refills || mine > epoch {
            return false;
        }
        self.adopt(node, knows);
        true
    }

    fn adopt(&mut self, node: NodeId, knows: usize) {
        let node = self.nodes.get_mut(&node).unwrap();
        node.knows = node.knows.max(knows);
    }

    fn begin_write(&mut self, view: u8, bucket: u8, mask: u8) {
        self.writes.push(self.request(view, bucket));
        let owners = self.write_owners(self.writes.len() - 1);
        for at in (0..owners.len()).filter(|at| mask & (1 << (at % 8)) != 0) {
            self.deliver_write(0, u8::try_from(at).unwrap());
        }
    }

    fn write_owners(&self, write: usize) -> Vec<NodeId> {
        let Request { knows, bucket, .. } = self.writes[write];
        self.log[knows].slot().write_owners(self.log[knows].buckets[bucket]).collect()
    }

    /// To one owner of one of the last writes.
    fn deliver_write(&mut self, back: u8, owner: u8) {
        let Some(write) = self.writes.len().checked_sub(1 + usize::from(back) % 4) else { return };
        let owners = self.write_owners(write);
        let to = owners[usize::from(owner) % owners.len()];
        let Request { knows, bucket, .. } = self.writes[write];
        if !self.takes(to, knows) {
            return;
        }
        self.nodes.get_mut(&to).unwrap().data.entry(bucket).or_default().insert(write);
        let answered = &mut self.writes[write].answered;
        answered.insert(to);
        let control = &self.log[knows];
        let reached = control
            .slot()
            .writes(control.buckets[bucket])
            .all(|quorum| quorum.owners.iter().filter(|node| answered.contains(node)).count() >= quorum.need);
        if reached {
            self.acked.insert(write);
        }
    }

    fn begin_read(&mut self, view: u8, bucket: u8) {
        let request = self.request(view, bucket);
        let must = self.acked.iter().copied().filter(|write| self.writes[*write].bucket == request.bucket).collect();
        self.reads.push((request, must, BTreeSet::new()));
    }

    fn deliver_read(&mut self, pick: u8, owner: u8) {
        let Some(read) = usize::from(pick).checked_rem(self.reads.len()) else { return };
        let Request { knows, bucket, .. } = self.reads[read].0;
        let quorum = self.log[knows].slot().reads(self.log[knows].buckets[bucket]);
        let (need, owners) = (quorum.need, quorum.owners.into_owned());
        let Some(at) = usize::from(owner).checked_rem(owners.len()) else { return };
        if !self.takes(owners[at], knows) {
            return;
        }
        let (request, _, found) = &mut self.reads[read];
        request.answered.insert(owners[at]);
        found.extend(self.nodes[&owners[at]].data.get(&bucket).into_iter().flatten());
        if request.answered.len() >= need {
            let (request, must, found) = self.reads.swap_remove(read);
            assert!(must.is_subset(&found), "{:?} of {knows} missed {:?}", request.answered, &must - &found);
            self.answered += 1;
        }
    }

    fn sources(&self, node: NodeId) -> Vec<Sources> {
        let control = &self.log[self.nodes[&node].knows];
        control.slot().sources(node, &control.buckets)
    }

    /// One node merges another one, in one bucket after the other.
    fn merge(&mut self, node: NodeId, which: u8, from: u8) {
        if self.gone.contains(&node) {
            return;
        }
        let knows = self.nodes[&node].knows;
        let wiped = self.nodes[&node].refills;
        let sources = if wiped {
            let control = &self.log[knows];
            vec![control.slot().refill(node, &control.buckets)]
        } else {
            self.sources(node)
        };
        let Some(at) = usize::from(which).checked_rem(sources.len()) else { return };
        let sources = &sources[at];
        let others = sources.from();
        if let Some(at) = usize::from(from).checked_rem(others.len())
            && self.takes(others[at], knows)
        {
            let (other, data) = (others[at], self.nodes[&others[at]].data.clone());
            let giver = self.log[self.nodes[&other].knows].clone();
            // Of a bucket that it does not know yet it has only copies of others.
            let numbers = |bucket: usize| giver.buckets.get(bucket).copied();
            let gives = |bucket: usize| numbers(bucket).is_some_and(|numbers| giver.slot().gives(other, node, numbers));
            let node = self.nodes.get_mut(&node).unwrap();
            node.merged.entry((sources.since, sources.from_list)).or_default().insert(other);
            for (bucket, writes) in data.into_iter().filter(|(bucket, _)| gives(*bucket)) {
                node.data.entry(bucket).or_default().extend(writes);
            }
        }
        let mut merged = self.nodes[&node].merged.get(&(sources.since, sources.from_list)).cloned().unwrap_or_default();
        if !wiped {
            merged.insert(node);
        }
        // With W = 1 no others are enough, unless the operator knows that nothing was lost: a bucket with such numbers came
        // later.
        let Control { layout, buckets } = &self.log[knows];
        let mut all = buckets.iter().flat_map(|numbers| layout.slot(P).now.rule(*numbers).owners);
        let accepted = wiped && all.all(|other| *other == node || merged.contains(other));
        if accepted || sources.enough(&merged) {
            let node = self.nodes.get_mut(&node).unwrap();
            if wiped {
                node.refills = false;
                node.merged.clear();
            } else {
                node.synced.insert(sources.since);
            }
        }
    }

    fn report(&mut self, node: NodeId, late: u8) {
        let Node { knows, synced, refills, .. } = &self.nodes[&node];
        if self.gone.contains(&node) || *refills {
            return;
        }
        self.mail.push((node, self.log[*knows].layout.version, synced.clone()));
        if !late.is_multiple_of(4) {
            self.deliver_report(self.mail.len() - 1);
        }
    }

    fn deliver_report(&mut self, at: usize) {
        let (node, adopted, synced) = self.mail.swap_remove(at);
        // All partitions go through the same.
        let synced: Vec<_> = PartitionId::all().flat_map(|p| synced.iter().map(move |since| (p, *since))).collect();
        self.command(|control| {
            control.layout.report(node, adopted, &synced, &control.buckets);
        });
    }

    /// All that a node does of itself, with some of its peers.
    fn work(&mut self, node: NodeId, some: u8) {
        self.adopt(node, self.log.len() - 1);
        for from in 0..6_u8 {
            self.merge(node, some, from.wrapping_add(some));
        }
        self.report(node, 1);
    }

    fn command(&mut self, apply: impl FnOnce(&mut Control)) {
        let mut control = self.newest().clone();
        apply(&mut control);
        for list in control.slot().lists() {
            let owners: BTreeSet<_> = list.owners.iter().collect();
            assert!(owners.len() == list.owners.len() && (1..=9).contains(&owners.len()), "{list:?}");
            assert!(
                list.synced.is_sorted_by(|a, b| a < b) && list.synced.iter().all(|node| owners.contains(node)),
                "{list:?}"
            );
        }
        if control.layout != self.newest().layout || control.buckets != self.newest().buckets {
            self.log.push(control);
        }
    }

    fn commit(&mut self, first: u8, len: u8) {
        let mut ids: Vec<_> = (1..=NODES).map(NodeId).filter(|node| !self.gone.contains(node)).collect();
        let by = usize::from(first) % ids.len();
        ids.rotate_left(by);
        if first.is_multiple_of(2) {
            let third = 2 % ids.len();
            ids.swap(0, third);
        }
        ids.truncate(usize::from(len) % 6 + 1);
        self.commit_list(&ids);
    }

    fn commit_list(&mut self, owners: &[NodeId]) {
        let nodes = owners.iter().map(|id| (*id, Candidate { zone: String::new(), weight: 1 })).collect();
        let plan = Plan { base: self.newest().layout.planned, nodes, lists: vec![owners.to_vec(); PARTITIONS] };
        self.command(|control| {
            let _: Result<(), _> = control.layout.commit(plan, &control.buckets);
        });
    }

    fn change_numbers(&mut self, bucket: u8, to: u8) {
        self.command(|control| {
            let bucket = usize::from(bucket) % control.buckets.len();
            if let Ok(changed) = control.layout.change_numbers(control.buckets[bucket], numbers(to)) {
                control.buckets[bucket] = changed;
            }
        });
    }

    /// What the state machine does beside it: drops numbers that are settled, makes a bucket.
    fn settle(&mut self, which: u8, with: u8) {
        self.command(|control| {
            for bucket in &mut control.buckets {
                if control.layout.is_settled(*bucket) {
                    *bucket = bucket.now.into();
                }
            }
            if which.is_multiple_of(8) && control.buckets.len() < 4 {
                control.buckets.push(numbers(with).into());
            }
        });
    }

    fn forget(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let control = &self.log[node.knows];
        for (bucket, numbers) in control.buckets.iter().enumerate() {
            if control.layout.may_forget(id, P, *numbers) {
                node.data.remove(&bucket);
            }
        }
    }

    /// One at a time, and where the numbers are made for it.
    fn wipe(&mut self, id: NodeId, luck: u8) {
        if !luck.is_multiple_of(4) || !self.gone.is_empty() || self.nodes.values().any(|node| node.refills) {
            return;
        }
        // What a bucket lets one owner ack alone, that one alone can lose, and nothing brings it back.
        let Control { layout, buckets } = self.newest();
        let slot = layout.slot(P);
        if buckets.iter().any(|numbers| slot.is_owner(id, *numbers) && !slot.is_elsewhere(id, *numbers)) {
            return;
        }
        self.command(|control| control.layout.lost(id));
        let knows = self.log.len() - 1;
        self.nodes.insert(id, Node { knows, refills: true, ..Node::default() });
    }

    /// A node is gone for ever, and the operator goes on without it: what nobody else among the owners held is lost.
    fn kill(&mut self, id: NodeId, luck: u8) {
        if !luck.is_multiple_of(4) || self.gone.len() > 2 || self.nodes.values().any(|node| node.refills) {
            return;
        }
        self.gone.insert(id);
        self.force();
        self.commit(luck, 4);
        self.force();
    }

    fn force(&mut self) {
        let gone = self.gone.clone();
        let mut forced = Vec::new();
        self.command(|control| forced = control.layout.force(&gone, &control.buckets));
        if !forced.contains(&P) {
            return;
        }
        // What is under way is acked without them or not at all.
        for write in &mut self.writes {
            write.answered.retain(|node| !gone.contains(node));
        }
        if self.newest().slot().next.is_none() {
            return; // Only the old list was in the way.
        }
        let mut held = BTreeSet::new();
        for bucket in 0..self.newest().buckets.len() {
            for node in &self.newest().slot().now.owners {
                // An owner of before that is an owner again may not know it yet, and forget.
                let Node { knows, data, .. } = &self.nodes[node];
                let Control { layout, buckets } = &self.log[*knows];
                if !buckets.get(bucket).is_some_and(|numbers| layout.may_forget(*node, P, *numbers)) {
                    held.extend(data.get(&bucket).into_iter().flatten().copied());
                }
            }
        }
        self.acked.retain(|write| held.contains(write));
        for (_, must, _) in &mut self.reads {
            must.retain(|write| held.contains(write));
        }
    }

    /// All that is alive does all it can, and the dead are replaced.
    fn heal(&mut self) {
        let living: Vec<_> = self.nodes.keys().copied().filter(|node| !self.gone.contains(node)).collect();
        for _ in 0..12 {
            self.round(&living);
        }
        let owners: Vec<_> = living.iter().copied().take(5).collect();
        for _ in 0..3 {
            self.force();
            self.commit_list(&owners);
            self.force();
            for _ in 0..12 {
                self.round(&living);
            }
        }
        let control = self.newest().clone();
        assert!(control.layout.is_at_rest(), "{:?} without {:?}", control.slot(), self.gone);
        assert_eq!((&control.slot().now.owners, &control.slot().now.synced), (&owners, &owners));
        for (bucket, numbers) in control.buckets.iter().enumerate() {
            let acked = self.acked.iter().filter(|write| self.writes[**write].bucket == bucket).count();
            let quorum = control.slot().reads(*numbers);
            for skip in 0..=quorum.owners.len() - quorum.need {
                let asked = quorum.owners.iter().skip(skip).take(quorum.need);
                let found: BTreeSet<_> =
                    asked.filter_map(|node| self.nodes[node].data.get(&bucket)).flatten().collect();
                assert!(found.iter().filter(|write| self.acked.contains(write)).count() == acked);
            }
        }
    }

    fn round(&mut self, living: &[NodeId]) {
        for &node in living {
            self.adopt(node, self.log.len() - 1);
        }
        for &node in living {
            for pick in 0..32_u8 {
                self.merge(node, pick % 2, pick / 2);
            }
            self.report(node, 1);
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 300, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_read_finds_what_was_acked_and_every_transition_ends(steps in prop::collection::vec(any::<Step>(), 0..400)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.heal();
    }
}
