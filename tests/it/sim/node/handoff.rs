//! A node that becomes an owner: it merges its slots from the old ones; and one that is no owner any more forgets.

use std::collections::BTreeMap;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::control::View;
use crate::disk::Place;
use crate::disk::Record;
use crate::io::Io;
use crate::marks::Note;
use crate::node::Job;
use crate::node::Node;
use crate::node::Then;
use crate::node::coordinate::BUDGET;
use crate::node::coordinate::Work;
use crate::proto::handoff::Effect;
use crate::proto::handoff::Here;
use crate::proto::handoff::Pull;
use crate::proto::mutant::Mutant;
use crate::proto::object::Object;
use crate::proto::ring::sources::Sources;
use crate::wire::Ask;
use crate::wire::Tell;

/// A slot on its way here.
#[derive(Debug)]
pub struct Pulling {
    sources: Sources,
    pull: Pull<Place>,
}

/// The slots on their way.
pub type Pulls = BTreeMap<PartitionId, Pulling>;

impl Node {
    /// Begins to merge the slots that this node is to own, and gives up those that it is not to own any more.
    pub(super) fn pull_slots(&mut self, io: &mut Io, view: &View) {
        let numbers = view.numbers();
        for (partition, slot) in view.layout.slots() {
            let done = self.marks.newest.synced.get(&partition).copied().unwrap_or(0);
            let Some(sources) = slot.sources(self.id, &numbers).into_iter().find(|sources| sources.since > done) else {
                self.pulls.remove(&partition);
                continue;
            };
            if self.pulls.get(&partition).is_some_and(|pulling| pulling.sources == sources) {
                self.pull_on(io, partition, Pull::handle_timeout);
                continue;
            }
            if !io.partition_of.contains(&partition) {
                // Nothing can be in it.
                self.note(io, Note::Synced(partition, sources.since));
                continue;
            }
            let from = self.nearest(io, sources.from());
            let here = match self.pulls.get(&partition) {
                _ if slot.now.is_synced(self.id) => Here::All,
                Some(before) => before.pull.here(),
                None => Here::Nothing,
            };
            let pull = Pull::new(self.id, from, here);
            self.pulls.insert(partition, Pulling { sources, pull });
            if !self.see_whether_enough(io, partition) {
                self.pull_on(io, partition, |pull, now_ms| pull.go_on(now_ms));
            }
        }
    }

    /// Tells a pull something, and does what it wants done.
    fn pull_on(&mut self, io: &mut Io, partition: PartitionId, tell: impl FnOnce(&mut Pull<Place>, u64)) {
        let now_ms = io.now_ms();
        let Some(pulling) = self.pulls.get_mut(&partition) else { return };
        tell(&mut pulling.pull, now_ms);
        while let Some(pulling) = self.pulls.get_mut(&partition)
            && let Some(effect) = pulling.pull.poll_effect()
        {
            let epoch = pulling.sources.epoch;
            let (from, question, ask) = match effect {
                Effect::AskObjects { from, question, after } => (from, question, Ask::PageOfObjects(partition, after)),
                Effect::AskDigests { from, question, after } => (from, question, Ask::PageOfDigests(partition, after)),
                Effect::AskThese { from, question, places } => (from, question, Ask::These(partition, places)),
                Effect::Merged { .. } => {
                    if !self.see_whether_enough(io, partition)
                        && let Some(pulling) = self.pulls.get_mut(&partition)
                    {
                        pulling.pull.go_on(now_ms);
                    }
                    continue;
                }
            };
            let job = self.new_job(io, Job::new(Work::Question { partition, question }));
            self.ask(io, from, job, epoch, ask);
        }
    }

    fn see_whether_enough(&mut self, io: &mut Io, partition: PartitionId) -> bool {
        let Some(pulling) = self.pulls.get(&partition) else { return false };
        if !pulling.sources.enough(pulling.pull.merged()) {
            return false;
        }
        let since = pulling.sources.since;
        self.pulls.remove(&partition);
        io.trace(|| format!("n{} has merged {partition:?} for the list of version {since}", self.id));
        let highest = self.highest.get(&partition).copied().flatten();
        self.note(io, Note::Purged(partition, highest));
        self.note(io, Note::Synced(partition, since));
        true
    }

    /// An answer to a question about a slot.
    pub(super) fn told_of_slot(&mut self, io: &mut Io, question: u64, partition: PartitionId, floor: u64, tell: Tell) {
        match tell {
            Tell::Objects(objects, more) => {
                let (count, last) = (objects.len(), objects.last().map(|(place, _)| *place));
                self.pull_on(io, partition, |pull, now_ms| pull.objects(question, count, last, more, now_ms));
                let view = self.view(io);
                for (place, object) in objects {
                    let kind = view.buckets[io.bucket_of[usize::from(place)]].kind;
                    if !self.merge_for(io, place, &object, (kind, floor), Then::Pulled { partition, question }) {
                        return self.pull_on(io, partition, |pull, now_ms| pull.refused(question, now_ms));
                    }
                }
            }
            Tell::Digests(digests, more) => {
                let last = digests.last().map(|(place, _)| *place);
                let mine =
                    |place: Place| self.disk.newest.objects[usize::from(place)].as_deref().map(Object::fingerprint);
                let differs = |(place, theirs): &(Place, u64)| mine(*place) != Some(*theirs);
                let (differing, same): (Vec<_>, Vec<_>) = digests.iter().partition(|digest| differs(digest));
                let differing = differing.into_iter().map(|(place, _)| place).collect();
                // What is the same here may be on its way to the disk still; the slot counts as merged only behind it.
                let waits = same.iter().any(|(place, _)| !self.disk.is_durable(*place));
                if waits && !Mutant::SyncedBeforeItIsDurable.is_on() {
                    let then = Then::Compared { partition, question, differing, last, more };
                    return self.submit(io, Record::Barrier, Some(then));
                }
                self.compared(io, partition, question, differing, last, more);
            }
            _ => self.pull_on(io, partition, |pull, now_ms| pull.refused(question, now_ms)),
        }
    }

    /// What a source has is compared with what is durable here.
    pub(super) fn compared(
        &mut self,
        io: &mut Io,
        partition: PartitionId,
        question: u64,
        differing: Vec<Place>,
        last: Option<Place>,
        more: bool,
    ) {
        self.pull_on(io, partition, |pull, now_ms| pull.digests(question, differing, last, more, now_ms));
    }

    /// An object of a slot is stored.
    pub(super) fn pulled(&mut self, io: &mut Io, partition: PartitionId, question: u64) {
        self.pull_on(io, partition, |pull, now_ms| pull.stored(question, now_ms));
    }

    /// Removes what this node has no business with any more.
    pub(super) fn forget(&mut self, io: &mut Io, view: &View) {
        let mut forgot = false;
        for number in 0..io.bucket_of.len() {
            let (partition, bucket) = (io.partition_of[number], &view.buckets[io.bucket_of[number]]);
            if self.disk.newest.objects[number].is_none() {
                continue;
            }
            if view.layout.may_forget(self.id, partition, bucket.numbers) {
                io.trace(|| format!("n{} forgets k{number}", self.id));
                self.submit(io, Record::Forgotten(Place::try_from(number).unwrap_or_default()), None);
                forgot = true;
            }
        }
        if forgot {
            self.begin_incarnation();
        }
    }

    /// An owner that was silent is told what it missed.
    pub(super) fn deliver_hint(&mut self, io: &mut Io, view: &View, to: NodeId, place: Place) {
        let slot = Self::slot(view, io.partition_of[usize::from(place)]);
        let bucket = &view.buckets[io.bucket_of[usize::from(place)]];
        let object = self.disk.durable.objects[usize::from(place)].clone();
        let owns = slot.is_owner(to, bucket.numbers);
        let Some(object) = object.filter(|_| owns) else {
            self.hints.remove(&(to, place));
            return;
        };
        let (epoch, given_up_at) = (slot.epoch, io.queue.now() + BUDGET);
        let mut hint = Job::new(Work::Hint { to, place });
        hint.given_up_at = given_up_at;
        let job = self.new_job(io, hint);
        self.ask(io, to, job, epoch, Ask::Merge(place, object, 0));
    }
}
