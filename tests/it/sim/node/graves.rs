//! Graves that nobody needs, in this world: what the driver of `node::repair::graves` does.

use std::collections::BTreeMap;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::control::View;
use crate::disk::Place;
use crate::disk::Record;
use crate::io::Io;
use crate::io::node_of;
use crate::marks::Note;
use crate::node::Node;
use crate::node::Then;
use crate::node::coordinate::BUDGET;
use crate::node::coordinate::Job;
use crate::node::coordinate::Work;
use crate::proto::object::Memory;
use crate::proto::object::Object;
use crate::proto::object::Stamp;
use crate::proto::purge;
use crate::proto::purge::Effect;
use crate::proto::purge::Purge;
use crate::queue::Us;
use crate::wire::Ask;
use crate::wire::Tell;
use crate::wire::Why;

/// How long operations are remembered in a world whose graves go: longer than any request, and than its messages take.
pub const MEMORY_MS: u64 = 3_000;
/// How often it is looked for graves.
const AGAIN: Us = 1_000_000;

/// Who waits for an answer, which of its jobs, and what it is.
type Agreed = (NodeId, u64, Vec<bool>);

/// Graves that are about to go.
#[derive(Debug, Default)]
pub struct Purges {
    running: BTreeMap<PartitionId, Purge<Place>>,
    next_look: Us,
    /// A floor is on its way to the disk: which, and who waits for it with which answer; none: this node's own purge.
    raising: Vec<(PartitionId, u64, Option<Agreed>)>,
    /// Removals on their way to the disk, by whom they were asked for.
    removing: BTreeMap<(NodeId, u64), usize>,
}

impl Node {
    /// The floor of a partition.
    pub(super) fn floor(&self, partition: PartitionId) -> u64 {
        self.floors.get(&partition).copied().unwrap_or(0)
    }

    /// Raises it; whether it was lower.
    pub(super) fn raise_floor(&mut self, partition: PartitionId, to: u64) -> bool {
        let floor = self.floors.entry(partition).or_default();
        let was_lower = *floor < to;
        *floor = to.max(*floor);
        was_lower
    }

    /// The floor, and the highest stamp of what was purged.
    pub(super) fn floors_of(&self, partition: PartitionId) -> (u64, Option<Stamp>) {
        (self.floor(partition), self.highest.get(&partition).copied().flatten())
    }

    /// What is minted where nothing is goes above this from now on.
    pub(super) fn raise_highest(&mut self, partition: PartitionId, to: Option<Stamp>) {
        let highest = self.highest.entry(partition).or_default();
        *highest = (*highest).max(to);
    }

    fn is_grave(&self, io: &Io, object: &Object) -> bool {
        purge::may_go(object, self.memory(io), self.wall_ms(io))
    }

    /// Whether this node holds a grave that it could do without for a while; for the end of a run.
    pub fn could_purge(&self, io: &Io, number: usize) -> bool {
        let memory = self.memory(io);
        let then = Memory { now_ms: memory.now_ms.saturating_sub(MEMORY_MS), ..memory };
        let object = self.disk.durable.objects[number].as_ref();
        object.is_some_and(|object| purge::may_go(object, then, self.wall_ms(io)))
    }

    /// Whether graves are on their way out at this node's word.
    pub fn is_purging(&self) -> bool {
        !self.purges.running.is_empty()
    }

    fn may_purge(&self, view: &View, partition: PartitionId) -> bool {
        let slot = Self::slot(view, partition);
        let synced = slot.now.owners.iter().all(|owner| slot.now.is_synced(*owner));
        slot.next.is_none() && synced && self.marks.durable.adopted >= slot.epoch
    }

    /// Looks after graves.
    pub(super) fn purge(&mut self, io: &mut Io, view: &View) {
        if !io.graves {
            return;
        }
        let now_ms = io.now_ms();
        let due = self.purges.running.iter().filter(|(_, purge)| purge.poll_timeout() <= now_ms);
        for partition in due.map(|(partition, _)| *partition).collect::<Vec<_>>() {
            self.purge_on(io, partition, |core, now_ms| core.handle_timeout(now_ms));
        }
        if self.purges.next_look > io.queue.now() {
            return;
        }
        self.purges.next_look = io.queue.now() + AGAIN;
        for (partition, graves) in self.graves_by_partition(io, view) {
            if self.purges.running.contains_key(&partition) || !self.may_purge(view, partition) {
                continue;
            }
            let others = (0..io.lives.len()).map(node_of).filter(|node| *node != self.id).collect();
            let core = Purge::begin(others, self.floor(partition) + 1, graves, now_ms);
            self.purges.running.insert(partition, core);
            self.purge_on(io, partition, |_, _| {});
        }
    }

    /// Graves that may go, of partitions of which this node is the first owner.
    fn graves_by_partition(&self, io: &Io, view: &View) -> BTreeMap<PartitionId, Vec<(Place, u64)>> {
        let mut graves: BTreeMap<PartitionId, Vec<(Place, u64)>> = BTreeMap::new();
        for (number, partition) in io.partition_of.iter().enumerate() {
            let Some(object) = &self.disk.durable.objects[number] else { continue };
            let numbers = view.buckets[io.bucket_of[number]].numbers;
            let slot = Self::slot(view, *partition);
            if slot.now.owners.first() == Some(&self.id) && slot.is_owner(self.id, numbers) && self.is_grave(io, object)
            {
                let place = Place::try_from(number).unwrap_or(Place::MAX);
                graves.entry(*partition).or_default().push((place, object.fingerprint()));
            }
        }
        graves
    }

    fn purge_on(&mut self, io: &mut Io, partition: PartitionId, tell: impl FnOnce(&mut Purge<Place>, u64)) {
        let now_ms = io.now_ms();
        let Some(core) = self.purges.running.get_mut(&partition) else { return };
        tell(core, now_ms);
        while let Some(effect) = self.purges.running.get_mut(&partition).and_then(Purge::poll_effect) {
            match effect {
                Effect::Ask { to, floor, graves } => {
                    self.ask_about_graves(io, to, partition, Ask::Graves(partition, floor, graves));
                }
                Effect::Raise { floor } => {
                    if !self.agree(io, partition, floor, None)
                        && let Some(core) = self.purges.running.get_mut(&partition)
                    {
                        core.refused();
                    }
                }
                Effect::Remove { graves } => drop(self.remove(io, &graves, None)),
                Effect::Tell { to, floor, graves } => {
                    self.ask_about_graves(io, to, partition, Ask::Purge(partition, floor, graves));
                }
            }
        }
        if self.purges.running.get(&partition).is_some_and(Purge::has_ended) {
            self.purges.running.remove(&partition);
        }
    }

    fn ask_about_graves(&mut self, io: &mut Io, to: NodeId, partition: PartitionId, ask: Ask) {
        let epoch = Self::slot(io.log.view(self.view), partition).epoch;
        let mut job = Job::new(Work::Purge { partition });
        job.given_up_at = io.queue.now() + BUDGET;
        let job = self.new_job(io, job);
        self.ask(io, to, job, epoch, ask);
    }

    /// An answer about graves.
    pub(super) fn told_of_graves(
        &mut self,
        io: &mut Io,
        from: NodeId,
        partition: PartitionId,
        (floor, tell): (u64, &Tell),
    ) {
        if matches!(tell, Tell::Refused(_)) {
            // The next try has to go higher than one that came to nothing.
            self.raise_floor(partition, floor);
        }
        self.purge_on(io, partition, |core, now_ms| match tell {
            Tell::Agreed(agreed) => core.agreed(from, agreed, now_ms),
            Tell::Removed => core.removed(from),
            _ => core.refused(),
        });
    }

    /// Raises a floor, where it is lower; goes on when that is durable.
    fn agree(&mut self, io: &mut Io, partition: PartitionId, floor: u64, reply: Option<Agreed>) -> bool {
        if !self.raise_floor(partition, floor) {
            return false;
        }
        for number in (0..io.partition_of.len()).filter(|number| io.partition_of[*number] == partition) {
            let grave = self.disk.newest.objects[number].as_ref().filter(|object| self.is_grave(io, object));
            let top = grave.and_then(|object| object.top());
            self.raise_highest(partition, top.map(|(stamp, _)| stamp));
        }
        self.purges.raising.push((partition, floor, reply));
        let (_, highest) = self.floors_of(partition);
        self.note(io, Note::Floor(partition, floor, highest));
        true
    }

    /// The marks are written: floors in them are agreed to.
    pub(super) fn floors_are_noted(&mut self, io: &mut Io) {
        let durable = &self.marks.durable.floors;
        let is_noted = |(partition, floor, _): &mut (PartitionId, u64, _)| {
            durable.get(partition).is_some_and(|noted| *noted >= *floor)
        };
        for (partition, floor, reply) in self.purges.raising.extract_if(.., is_noted).collect::<Vec<_>>() {
            match reply {
                Some((to, job, agreed)) => self.tell_at(io, to, job, (floor, None), Tell::Agreed(agreed)),
                None => self.purge_on(io, partition, |core, now_ms| core.raised(now_ms)),
            }
        }
    }

    /// As a member: which of these graves may go. First it is looked, then the floor rises.
    pub(super) fn tell_agreed(
        &mut self,
        io: &mut Io,
        from: NodeId,
        job: u64,
        partition: PartitionId,
        floor: u64,
        graves: &[(Place, u64)],
    ) {
        let view = self.view(io);
        if !self.may_purge(&view, partition) {
            return self.tell(io, from, job, Tell::Refused(Why::NotYet));
        }
        let agrees = |(place, print): &(Place, u64)| {
            let numbers = view.buckets[io.bucket_of[usize::from(*place)]].numbers;
            let owned = Self::slot(&view, partition).is_owner(self.id, numbers);
            match &self.disk.newest.objects[usize::from(*place)] {
                Some(object) if owned => {
                    object.fingerprint() == *print && self.disk.is_durable(*place) && self.is_grave(io, object)
                }
                Some(_) => false,
                None => !owned,
            }
        };
        let agreed = graves.iter().map(agrees).collect();
        if !self.agree(io, partition, floor, Some((from, job, agreed))) {
            let mine = self.floors_of(partition);
            self.tell_at(io, from, job, mine, Tell::Refused(Why::NotYet));
        }
    }

    /// As an owner: all have agreed.
    pub(super) fn tell_removed(
        &mut self,
        io: &mut Io,
        from: NodeId,
        job: u64,
        partition: PartitionId,
        floor: u64,
        graves: &[(Place, u64)],
    ) {
        if self.floor(partition) < floor {
            return self.tell(io, from, job, Tell::Refused(Why::NotYet));
        }
        if self.remove(io, graves, Some((from, job))) == 0 {
            self.tell(io, from, job, Tell::Removed);
        }
    }

    /// Removes what is unchanged; how many that is.
    fn remove(&mut self, io: &mut Io, graves: &[(Place, u64)], to: Option<(NodeId, u64)>) -> usize {
        let mut count = 0;
        for (place, print) in graves {
            let held = self.disk.newest.objects[usize::from(*place)].clone();
            if let Some(grave) = held.filter(|held| held.fingerprint() == *print) {
                let checked = io.reference.purged(usize::from(*place), &grave);
                io.check(checked);
                io.trace(|| format!("n{} lets the grave of k{place} go", self.id));
                count += 1;
                io.purged += 1;
                if let Some(to) = to {
                    *self.purges.removing.entry(to).or_default() += 1;
                }
                self.submit(io, Record::Forgotten(*place), Some(Then::Purged { to }));
            }
        }
        count
    }

    /// A removal is durable.
    pub(super) fn purged(&mut self, io: &mut Io, to: Option<(NodeId, u64)>) {
        let Some(to) = to else { return };
        let Some(left) = self.purges.removing.get_mut(&to) else { return };
        *left -= 1;
        if *left == 0 {
            self.purges.removing.remove(&to);
            self.tell(io, to.0, to.1, Tell::Removed);
        }
    }
}
