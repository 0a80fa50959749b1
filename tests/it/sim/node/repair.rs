//! Anti-entropy in this world: what the drivers of `node::repair` do. A node's content is small, so its trees are made anew
//! whenever they are asked for.

use std::collections::BTreeMap;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::control::View;
use crate::disk::Place;
use crate::disk::Record;
use crate::io::Io;
use crate::io::node_of;
use crate::node::Node;
use crate::node::Then;
use crate::node::coordinate::BUDGET;
use crate::node::coordinate::Job;
use crate::node::coordinate::Work;
use crate::proto::exchange;
use crate::proto::exchange::Compare;
use crate::proto::exchange::Effect;
use crate::proto::exchange::Ledger;
use crate::proto::exchange::Pair;
use crate::proto::exchange::Root;
use crate::proto::merkle;
use crate::proto::merkle::Leaves;
use crate::proto::merkle::Tree;
use crate::proto::mutant::Mutant;
use crate::proto::object::Object;
use crate::queue::Us;
use crate::wire::Ask;
use crate::wire::Tell;
use crate::wire::Why;

/// How often roots are compared; sooner than in the product, for the world is short.
const ROOTS_EVERY: Us = 2_000_000;
/// Fingerprints in one page: few, so that a page is something that can fail in the middle.
const PAGE: usize = 2;

/// What a node knows of the others' copies.
#[derive(Debug, Default)]
pub struct Repairs {
    ledger: Ledger,
    comparing: BTreeMap<(NodeId, PartitionId), Comparing>,
    next_roots: Us,
}

#[derive(Debug)]
struct Comparing {
    core: Compare<Place>,
    /// In which it was begun: in another one nobody answers.
    epoch: u64,
    /// What was asked last.
    asked: Asked,
    /// Of the objects on their way to one of both disks, so many are not there yet,
    waits: usize,
    /// and so many are.
    done: usize,
}

#[derive(Debug)]
enum Asked {
    Nothing,
    Leaves,
    Digests(Leaves, Option<Place>),
    Again(Vec<Place>),
    Objects,
}

fn bytes(place: Place) -> [u8; 2] {
    place.to_le_bytes()
}

impl Node {
    /// Looks after comparisons.
    pub(super) fn repair(&mut self, io: &mut Io, view: &View) {
        let now_ms = io.now_ms();
        let due = self.repairs.comparing.iter().filter(|(_, comparing)| comparing.core.poll_timeout() <= now_ms);
        for (other, partition) in due.map(|(pair, _)| *pair).collect::<Vec<_>>() {
            self.compare_on(io, other, partition, |core, now_ms| core.handle_timeout(now_ms));
        }
        if io.queue.now() < self.repairs.next_roots {
            return;
        }
        self.repairs.next_roots = io.queue.now() + ROOTS_EVERY;
        let me = self.id;
        for other in (0..io.lives.len()).map(node_of).filter(|other| *other != me) {
            let asked = |number: &usize| {
                exchange::asks(me, other, io.partition_of[*number]) && self.shares(io, view, other, *number)
            };
            let mut slots: Vec<_> = (0..io.partition_of.len())
                .filter(asked)
                .map(|number| (io.partition_of[number], Self::slot(view, io.partition_of[number]).epoch))
                .collect();
            if slots.is_empty() {
                continue;
            }
            slots.sort_unstable();
            slots.dedup();
            let mut roots = Job::new(Work::Roots { other, slots: slots.clone() });
            roots.given_up_at = io.queue.now() + BUDGET;
            let job = self.new_job(io, roots);
            self.ask(io, other, job, 0, Ask::Roots(slots));
        }
    }

    /// Whether this node and another one both count for a key, and it is something of the same.
    fn shares(&self, io: &Io, view: &View, other: NodeId, number: usize) -> bool {
        let bucket = &view.buckets[io.bucket_of[number]];
        Self::slot(view, io.partition_of[number]).shares(self.id, other, bucket.numbers)
    }

    /// What this node and another one both hold of a partition: places with fingerprints.
    fn shared(&self, io: &Io, other: NodeId, partition: PartitionId) -> Vec<(Place, u64)> {
        let view = io.log.view(self.view);
        let held = |number: usize| {
            let counts = io.partition_of[number] == partition && self.shares(io, view, other, number);
            let print = self.disk.durable.print(number).filter(|_| counts)?;
            Some((Place::try_from(number).unwrap_or(Place::MAX), print))
        };
        (0..io.partition_of.len()).filter_map(held).collect()
    }

    fn tree(&self, io: &Io, other: NodeId, partition: PartitionId) -> Tree {
        let mut tree = Tree::default();
        self.shared(io, other, partition).iter().for_each(|(place, print)| tree.add(&bytes(*place), *print));
        tree
    }

    fn in_leaves(
        &self,
        io: &Io,
        other: NodeId,
        partition: PartitionId,
        leaves: Leaves,
        after: Option<Place>,
    ) -> Vec<(Place, u64)> {
        let mut all = self.shared(io, other, partition);
        all.retain(|(place, _)| after.is_none_or(|after| *place > after) && leaves.has(&bytes(*place)));
        all
    }

    fn root(&self, io: &Io, other: NodeId, partition: PartitionId, epoch: u64) -> Option<Root> {
        let view = io.log.view(self.view);
        if Self::slot(view, partition).epoch != epoch || !self.may_give(io, partition) {
            return None;
        }
        let mut root = Root { sum: 0, settled: true };
        for (number, of) in io.partition_of.iter().enumerate() {
            let place = Place::try_from(number).unwrap_or(Place::MAX);
            if *of != partition {
                continue;
            }
            root.settled &= self.disk.is_durable(place);
            if let Some(print) = self.disk.durable.print(number)
                && self.shares(io, view, other, number)
            {
                root.sum = root.sum.wrapping_add(merkle::entry(&bytes(place), print));
            }
        }
        Some(root)
    }

    /// Answers what another owner wants to know for a comparison.
    pub(super) fn answer_comparison(&mut self, io: &mut Io, from: NodeId, job: u64, ask: Ask) {
        let tell = match ask {
            Ask::Roots(slots) => {
                Tell::Roots(slots.iter().map(|(partition, epoch)| self.root(io, from, *partition, *epoch)).collect())
            }
            Ask::Leaves(partition) if self.may_give(io, partition) => Tell::Leaves(self.tree(io, from, partition)),
            Ask::PageOfLeaves(partition, leaves, after) if self.may_give(io, partition) => {
                let mut page = self.in_leaves(io, from, partition, leaves, after);
                let more = page.len() > PAGE;
                page.truncate(PAGE);
                Tell::Digests(page, more)
            }
            Ask::DigestsOf(partition, places) if self.may_give(io, partition) => {
                let digest = |place: Place| Some((place, self.newest_print(place)?));
                Tell::Digests(places.into_iter().filter_map(digest).collect(), false)
            }
            _ => Tell::Refused(Why::NotYet),
        };
        self.tell(io, from, job, tell);
    }

    fn newest_print(&self, place: Place) -> Option<u64> {
        self.disk.newest.objects[usize::from(place)].as_deref().map(Object::fingerprint)
    }

    /// What another owner holds of slots.
    pub(super) fn told_roots(&mut self, io: &mut Io, other: NodeId, slots: Vec<(PartitionId, u64)>, tell: Tell) {
        let Tell::Roots(roots) = tell else { return };
        let now_ms = io.now_ms();
        for ((partition, epoch), theirs) in slots.into_iter().zip(roots) {
            let Some((mine, theirs)) = self.root(io, other, partition, epoch).zip(theirs) else { continue };
            if !self.repairs.ledger.roots(self.id, other, partition, (mine, theirs), now_ms) {
                continue;
            }
            io.compared_at = io.queue.now();
            let core = Compare::begin(now_ms);
            let comparing = Comparing { core, epoch, asked: Asked::Nothing, waits: 0, done: 0 };
            self.repairs.comparing.insert((other, partition), comparing);
            self.compare_on(io, other, partition, |_, _| {});
        }
    }

    /// Tells a comparison something, and does what it wants done.
    fn compare_on(
        &mut self,
        io: &mut Io,
        other: NodeId,
        partition: PartitionId,
        tell: impl FnOnce(&mut Compare<Place>, u64),
    ) {
        let (pair, now_ms) = ((other, partition), io.now_ms());
        let Some(comparing) = self.repairs.comparing.get_mut(&pair) else { return };
        tell(&mut comparing.core, now_ms);
        while let Some(effect) =
            self.repairs.comparing.get_mut(&pair).and_then(|comparing| comparing.core.poll_effect())
        {
            self.perform(io, other, partition, effect);
        }
        if let Some(comparing) = self.repairs.comparing.get(&pair)
            && comparing.core.has_ended()
        {
            let outcome = comparing.core.outcome();
            self.repairs.comparing.remove(&pair);
            self.repairs.ledger.ended(other, partition, outcome, now_ms);
            io.trace(|| format!("n{} has compared {partition:?} with n{other}: {outcome:?}", self.id));
        }
    }

    fn perform(&mut self, io: &mut Io, other: NodeId, partition: PartitionId, effect: Effect<Place>) {
        let (question, asked, ask) = match effect {
            Effect::AskLeaves { question } => (question, Asked::Leaves, Ask::Leaves(partition)),
            Effect::AskDigests { question, leaves, after } => {
                (question, Asked::Digests(leaves, after), Ask::PageOfLeaves(partition, leaves, after))
            }
            Effect::LookAgain { question, places } => {
                (question, Asked::Again(places.clone()), Ask::DigestsOf(partition, places))
            }
            Effect::Bring { question, places } => (question, Asked::Objects, Ask::These(partition, places)),
            Effect::Send { question, places } => return self.send_differing(io, other, partition, question, places),
        };
        let Some(comparing) = self.repairs.comparing.get_mut(&(other, partition)) else { return };
        comparing.asked = asked;
        let epoch = comparing.epoch;
        let job = self.compare_job(io, Work::Compare { other, partition, question });
        self.ask(io, other, job, epoch, ask);
    }

    fn compare_job(&mut self, io: &mut Io, work: Work) -> u64 {
        let mut job = Job::new(work);
        job.given_up_at = io.queue.now() + BUDGET;
        self.new_job(io, job)
    }

    /// An answer to a comparison's question.
    pub(super) fn told_comparison(
        &mut self,
        io: &mut Io,
        other: NodeId,
        partition: PartitionId,
        question: u64,
        (floor, tell): (u64, Tell),
    ) {
        let Some(comparing) = self.repairs.comparing.get_mut(&(other, partition)) else { return };
        match (std::mem::replace(&mut comparing.asked, Asked::Nothing), tell) {
            (Asked::Leaves, Tell::Leaves(theirs)) => {
                let differing = self.tree(io, other, partition).differing(&theirs);
                self.compare_on(io, other, partition, |core, now_ms| core.leaves(question, differing, now_ms));
            }
            (Asked::Digests(leaves, after), Tell::Digests(theirs, more)) => {
                let last = theirs.last().map(|(place, _)| *place).filter(|_| more);
                let mut mine = self.in_leaves(io, other, partition, leaves, after);
                mine.retain(|(place, _)| last.is_none_or(|last| *place <= last));
                self.compare_on(io, other, partition, |core, now_ms| {
                    core.digests(question, mine, theirs, last, now_ms)
                });
            }
            (Asked::Again(places), Tell::Digests(theirs, _)) => {
                let theirs: BTreeMap<Place, u64> = theirs.into_iter().collect();
                let pair = |place: &Place| Pair { mine: self.newest_print(*place), theirs: theirs.get(place).copied() };
                let now: BTreeMap<Place, Pair> = places.iter().map(|place| (*place, pair(place))).collect();
                self.compare_on(io, other, partition, |core, now_ms| core.looked_again(question, &now, now_ms));
            }
            (Asked::Objects, Tell::Objects(objects, _)) => {
                comparing.waits = objects.len();
                comparing.done = 0;
                let view = self.view(io);
                for (place, object) in objects {
                    let then = Then::Repaired { other, partition, question };
                    io.repaired += u64::from(self.newest_print(place) != Some(object.fingerprint()));
                    if Mutant::RepairOverwrites.is_on() {
                        self.submit(io, Record::Object(place, object), Some(then));
                    } else {
                        let kind = view.buckets[io.bucket_of[usize::from(place)]].kind;
                        if !self.merge_for(io, place, &object, (kind, floor), then) {
                            return self.compare_on(io, other, partition, |core, _| core.refused(question));
                        }
                    }
                }
            }
            _ => self.compare_on(io, other, partition, |core, _| core.refused(question)),
        }
    }

    /// An object of the other owner is durable here.
    pub(super) fn repaired(&mut self, io: &mut Io, other: NodeId, partition: PartitionId, question: u64) {
        let Some(comparing) = self.repairs.comparing.get_mut(&(other, partition)) else { return };
        comparing.waits = comparing.waits.saturating_sub(1);
        comparing.done += 1;
        if comparing.waits == 0 {
            let done = comparing.done;
            self.compare_on(io, other, partition, |core, now_ms| core.brought(question, done, now_ms));
        }
    }

    fn send_differing(
        &mut self,
        io: &mut Io,
        other: NodeId,
        partition: PartitionId,
        question: u64,
        places: Vec<(Place, Option<u64>)>,
    ) {
        let here = |place: Place| self.disk.durable.objects[usize::from(place)].clone();
        let differing: Vec<_> = places
            .into_iter()
            .filter_map(|(place, theirs)| Some((place, here(place).filter(|mine| Some(mine.fingerprint()) != theirs)?)))
            .collect();
        let Some(comparing) = self.repairs.comparing.get_mut(&(other, partition)) else { return };
        (comparing.waits, comparing.done) = (differing.len(), 0);
        let epoch = comparing.epoch;
        if differing.is_empty() {
            return comparing.core.sent(question, 0, io.now_ms());
        }
        for (place, object) in differing {
            io.repaired += 1;
            let job = self.compare_job(io, Work::Mend { other, partition, question });
            self.ask(io, other, job, epoch, Ask::Merge(place, object, 0));
        }
    }

    /// The other owner has merged an object, or not.
    pub(super) fn mended(
        &mut self,
        io: &mut Io,
        other: NodeId,
        partition: PartitionId,
        question: u64,
        (floor, tell): (u64, &Tell),
    ) {
        let Some(comparing) = self.repairs.comparing.get_mut(&(other, partition)) else { return };
        if !matches!(tell, Tell::Held(..)) {
            self.raise_floor(partition, floor);
            return self.compare_on(io, other, partition, |core, _| core.refused(question));
        }
        comparing.waits = comparing.waits.saturating_sub(1);
        comparing.done += 1;
        if comparing.waits == 0 {
            let done = comparing.done;
            self.compare_on(io, other, partition, |core, now_ms| core.sent(question, done, now_ms));
        }
    }
}
