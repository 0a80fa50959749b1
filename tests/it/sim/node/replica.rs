//! A node as an owner that is asked: it merges, and answers from what is durable.

use std::sync::Arc;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::disk::Place;
use crate::disk::Record;
use crate::io::Io;
use crate::node::Node;
use crate::node::ReplyTo;
use crate::node::Then;
use crate::proto::bucket::Kind;
use crate::proto::causal::Dot;
use crate::proto::mutant::Mutant;
use crate::proto::object::Object;
use crate::proto::object::Stamp;
use crate::proto::object::merge;
use crate::wire::Ask;
use crate::wire::Tell;
use crate::wire::Why;

/// Objects in one page of a slot: few, so that a page is something that can fail in the middle.
const PAGE: usize = 2;

impl Node {
    /// Answers a question of another node, or of this one.
    pub(super) fn answer(&mut self, io: &mut Io, from: NodeId, job: u64, (epoch, floor): (u64, u64), ask: Ask) {
        let Some(partition) = partition_of(io, &ask) else { return self.answer_comparison(io, from, job, ask) };
        let view = self.view(io);
        let slot = Self::slot(&view, partition);
        if slot.is_over(epoch) {
            return self.tell(io, from, job, Tell::Refused(Why::Stale));
        }
        match ask {
            Ask::Merge(place, object, round) => {
                let kind = view.buckets[io.bucket_of[usize::from(place)]].kind;
                let then = Then::Held { epoch, to: from, job, place, round };
                if !self.merge_for(io, place, &object, (kind, floor), then) {
                    let mine = self.floors_of(partition);
                    self.tell_at(io, from, job, mine, Tell::Refused(Why::BelowFloor));
                }
            }
            Ask::Digest(place) => {
                let object = self.disk.durable.objects[usize::from(place)].as_ref();
                let digest = object.map(|object| (object.context.clone(), object.top()));
                self.tell(io, from, job, Tell::Digest(digest));
            }
            Ask::Object(place) => {
                let object = self.disk.durable.objects[usize::from(place)].clone();
                self.tell(io, from, job, Tell::Object(object));
            }
            Ask::Forward(wanted, budget) => {
                self.write(io, ReplyTo::Node { node: from, job }, *wanted, Some(budget));
            }
            Ask::Graves(partition, floor, graves) => self.tell_agreed(io, from, job, partition, floor, &graves),
            Ask::Purge(partition, floor, graves) => self.tell_removed(io, from, job, partition, floor, &graves),
            Ask::PageOfObjects(partition, after) => {
                self.raise_floor(partition, floor);
                self.page(io, from, job, partition, after, true);
            }
            Ask::PageOfDigests(partition, after) => self.page(io, from, job, partition, after, false),
            Ask::These(partition, places) => {
                self.raise_floor(partition, floor);
                if !self.may_give(io, partition) {
                    return self.tell(io, from, job, Tell::Refused(Why::NotYet));
                }
                let object = |place: Place| Some((place, self.disk.durable.objects[usize::from(place)].clone()?));
                let objects = places.into_iter().filter_map(object).collect();
                let mine = self.floors_of(partition);
                self.tell_at(io, from, job, mine, Tell::Objects(objects, false));
            }
            Ask::Roots(_) | Ask::Leaves(_) | Ask::PageOfLeaves(..) | Ask::DigestsOf(..) => {
                self.answer_comparison(io, from, job, ask);
            }
        }
    }

    /// Merges an object, read elsewhere at a floor, into what is here; `then` follows when the result is durable. False
    /// where nothing is held and the floor is higher.
    pub(super) fn merge_for(
        &mut self,
        io: &mut Io,
        place: Place,
        object: &Arc<Object>,
        (kind, floor): (Kind, u64),
        then: Then,
    ) -> bool {
        if self.is_below_floor(io, place, floor) {
            return false;
        }
        let held = self.disk.newest.objects[usize::from(place)].as_ref();
        let merged = held.map_or_else(|| Object::clone(object), |held| merge::merge(held, object, kind));
        let record = if held.is_some_and(|held| **held == merged) {
            Record::Barrier
        } else {
            Record::Object(place, Arc::new(merged))
        };
        if Mutant::SkipTheFsync.is_on()
            && let Then::Held { epoch, to, job, place, round } = then
        {
            self.submit(io, record, None);
            self.tell_held(io, epoch, to, job, place, round);
            return true;
        }
        self.submit(io, record, Some(then));
        true
    }

    fn is_below_floor(&self, io: &Io, place: Place, floor: u64) -> bool {
        self.disk.newest.objects[usize::from(place)].is_none()
            && floor < self.floor(io.partition_of[usize::from(place)])
    }

    /// Merges an object into what is here; nobody waits for it. False as with [`Node::merge_for`].
    pub(super) fn merge_here(
        &mut self,
        io: &mut Io,
        place: Place,
        object: &Arc<Object>,
        (kind, floor): (Kind, u64),
    ) -> bool {
        if self.is_below_floor(io, place, floor) {
            return false;
        }
        let held = self.disk.newest.objects[usize::from(place)].as_ref();
        let merged = held.map_or_else(|| Object::clone(object), |held| merge::merge(held, object, kind));
        if held.is_none_or(|held| **held != merged) {
            self.submit(io, Record::Object(place, Arc::new(merged)), None);
        }
        true
    }

    /// What was asked to be merged is durable.
    pub(super) fn tell_held(&mut self, io: &mut Io, epoch: u64, to: NodeId, job: u64, place: Place, round: u32) {
        // While it became durable this node may have given the slot's new owners all that it had.
        if Self::slot(io.log.view(self.view), io.partition_of[usize::from(place)]).is_too_late(epoch) {
            return self.tell(io, to, job, Tell::Refused(Why::Stale));
        }
        let top = self.top(io, place);
        self.tell(io, to, job, Tell::Held(top, round));
    }

    /// What stands in an lww bucket's place.
    pub(super) fn top(&self, io: &Io, place: Place) -> Option<(Stamp, Dot)> {
        let kind = io.log.view(self.view).buckets[io.bucket_of[usize::from(place)]].kind;
        let object = self.disk.newest.objects[usize::from(place)].as_ref().filter(|_| kind == Kind::Lww);
        object.and_then(|object| object.top())
    }

    /// Whether this node may be a source of a slot: it is synced itself, and its adoption is durable.
    pub(super) fn may_give(&self, io: &Io, partition: PartitionId) -> bool {
        let view = io.log.view(self.view);
        let slot = Self::slot(view, partition);
        slot.may_give(self.id, self.marks.durable.adopted)
    }

    fn page(&mut self, io: &mut Io, to: NodeId, job: u64, partition: PartitionId, after: Option<Place>, whole: bool) {
        if !self.may_give(io, partition) {
            return self.tell(io, to, job, Tell::Refused(Why::NotYet));
        }
        let view = self.view(io);
        let (slot, mut found) = (Self::slot(&view, partition), Vec::new());
        for (number, object) in self.disk.durable.objects.iter().enumerate() {
            let place = Place::try_from(number).unwrap_or(Place::MAX);
            if let Some(object) = object
                && io.partition_of[number] == partition
                && after.is_none_or(|after| place > after)
                && slot.gives(self.id, to, view.buckets[io.bucket_of[number]].numbers)
            {
                found.push((place, Arc::clone(object)));
            }
        }
        let more = found.len() > PAGE;
        found.truncate(PAGE);
        let tell = if whole {
            Tell::Objects(found, more)
        } else {
            Tell::Digests(found.iter().map(|(place, object)| (*place, object.fingerprint())).collect(), more)
        };
        let mine = self.floors_of(partition);
        self.tell_at(io, to, job, mine, tell);
    }
}

/// None of a question about many.
pub(super) fn partition_of(io: &Io, ask: &Ask) -> Option<PartitionId> {
    let of = |place: Place| io.partition_of[usize::from(place)];
    Some(match ask {
        Ask::Merge(place, _, _) | Ask::Digest(place) | Ask::Object(place) => of(*place),
        Ask::Forward(wanted, _) => of(wanted.place),
        Ask::PageOfObjects(partition, _)
        | Ask::PageOfDigests(partition, _)
        | Ask::These(partition, _)
        | Ask::Leaves(partition)
        | Ask::PageOfLeaves(partition, ..)
        | Ask::DigestsOf(partition, _)
        | Ask::Graves(partition, ..)
        | Ask::Purge(partition, ..) => *partition,
        Ask::Roots(_) => return None,
    })
}
