//! A node as a coordinator: a device's request becomes a core, and the core's effects become questions to owners.

use std::sync::Arc;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::KEYED_OP_TTL;
use crate::base::limits::OPERATION_BUDGET;
use crate::check::body_of;
use crate::control::View;
use crate::disk::Place;
use crate::disk::Record;
use crate::faults::Fault;
use crate::io::Event;
use crate::io::Io;
use crate::node::Node;
use crate::node::Then;
use crate::node::graves;
use crate::proto::bucket::Kind;
use crate::proto::causal::Context;
use crate::proto::causal::Dot;
use crate::proto::forward;
use crate::proto::forward::Forward;
use crate::proto::object::Action;
use crate::proto::object::Basis;
use crate::proto::object::Condition;
use crate::proto::object::Mint;
use crate::proto::object::Object;
use crate::proto::object::Stamp;
use crate::proto::object::Update;
use crate::proto::object::apply;
use crate::proto::object::apply::Outcome;
use crate::proto::quorum::Quorum;
use crate::proto::quorum::read;
use crate::proto::quorum::read::Read;
use crate::proto::quorum::write;
use crate::proto::quorum::write::Write;
use crate::proto::ring::layout;
use crate::queue::Us;
use crate::wire::Ask;
use crate::wire::Ended;
use crate::wire::Tell;
use crate::wire::Wanted;
use crate::wire::Why;
use crate::wire::Word;
use crate::words;

/// How long a request may take here.
pub(super) const BUDGET: Us = 2_000_000;

/// Who waits for a request.
#[derive(Debug, Clone)]
pub enum ReplyTo {
    /// A device.
    Client {
        /// Which.
        client: usize,
        /// Its turn.
        turn: u64,
    },
    /// A node that forwarded it.
    Node {
        /// Which.
        node: NodeId,
        /// Its job.
        job: u64,
    },
    /// A write that waits for what its device has seen to be here.
    Write {
        /// What is to be written.
        wanted: Box<Wanted>,
        /// The slot's floor before it was read.
        floor: u64,
        /// Until when.
        deadline: Us,
        /// Who waits for that.
        reply: Box<ReplyTo>,
    },
    /// Nobody.
    Nobody,
}

/// What a job is about.
#[derive(Debug)]
pub enum Work {
    /// A write that this node minted.
    Write {
        /// The core.
        core: Box<Write>,
        /// The key.
        place: Place,
        /// What was asked for, to mint it again above a higher stamp.
        wanted: Box<Wanted>,
        /// What was minted, of which all that is sent has heard.
        dot: Dot,
    },
    /// A read.
    Read {
        /// The core.
        core: Box<Read>,
        /// The key.
        place: Place,
    },
    /// A write that an owner does.
    Forward {
        /// The core.
        core: Forward,
        /// What.
        wanted: Box<Wanted>,
        /// Until when.
        deadline: Us,
    },
    /// An owner is told what it missed.
    Hint {
        /// Who.
        to: NodeId,
        /// The key.
        place: Place,
    },
    /// A question about a slot on its way.
    Question {
        /// Which.
        partition: PartitionId,
        /// Its number there.
        question: u64,
    },
    /// A question about many slots.
    Roots {
        /// Who.
        other: NodeId,
        /// With their epochs.
        slots: Vec<(PartitionId, u64)>,
    },
    /// A question of a comparison.
    Compare {
        /// With whom.
        other: NodeId,
        /// Of what.
        partition: PartitionId,
        /// Its number there.
        question: u64,
    },
    /// A question about graves.
    Purge {
        /// Of which slot.
        partition: PartitionId,
    },
    /// Another owner is to merge what stands here.
    Mend {
        /// Who.
        other: NodeId,
        /// Of what.
        partition: PartitionId,
        /// The number that its comparison gave.
        question: u64,
    },
}

/// Something under way.
#[derive(Debug)]
pub struct Job {
    work: Work,
    reply: ReplyTo,
    /// The epoch in which it asks.
    epoch: u64,
    /// The slot's floor before it read what it sends.
    floor: u64,
    /// How far an owner's view has come by which it is of an older epoch.
    ahead: usize,
    /// A read that begins again when this node's view has come as far.
    begins_again: bool,
    /// For what is asked again by itself: when it counts as not answered.
    pub(super) given_up_at: Us,
    /// When its timer is set for.
    pub timer_at: Us,
}

impl Job {
    /// Nobody waits for it.
    pub fn new(work: Work) -> Self {
        Self {
            work,
            reply: ReplyTo::Nobody,
            epoch: 0,
            floor: 0,
            ahead: 0,
            begins_again: false,
            given_up_at: Us::MAX,
            timer_at: Us::MAX,
        }
    }

    /// When it wants to be called, in milliseconds.
    pub fn timeout(&self) -> Option<u64> {
        match &self.work {
            Work::Write { core, .. } => core.poll_timeout(),
            Work::Read { core, .. } => core.poll_timeout(),
            Work::Forward { core, .. } => core.poll_timeout(),
            _ => None,
        }
    }

    /// Whether it is a hint that nobody answered in time.
    pub fn is_given_up(&self, now: Us) -> bool {
        self.given_up_at <= now
    }

    /// Whether it delivers a hint.
    pub fn is_hint(&self) -> bool {
        matches!(self.work, Work::Hint { .. })
    }
}

/// A rule of the layout for a core.
fn rule(rule: layout::Quorum<'_>) -> Quorum {
    Quorum { owners: rule.owners.into_owned(), need: rule.need }
}

impl Node {
    /// A device, or a node that may not mint, wants something written.
    pub(super) fn write(&mut self, io: &mut Io, reply: ReplyTo, wanted: Wanted, budget: Option<Us>) {
        let view = self.view(io);
        let bucket = &view.buckets[io.bucket_of[usize::from(wanted.place)]];
        let slot = Self::slot(&view, io.partition_of[usize::from(wanted.place)]);
        let deadline = io.queue.now() + budget.unwrap_or(BUDGET);
        let owns = slot.is_owner(self.id, bucket.numbers);
        match (&reply, owns) {
            (ReplyTo::Node { node, job }, true) => self.tell(io, *node, *job, Tell::Received),
            (ReplyTo::Node { node, job }, false) => return self.tell(io, *node, *job, Tell::Refused(Why::NotOwner)),
            (ReplyTo::Client { .. } | ReplyTo::Write { .. } | ReplyTo::Nobody, true) => {}
            (ReplyTo::Client { .. } | ReplyTo::Write { .. } | ReplyTo::Nobody, false) => {
                let owners = self.nearest(io, slot.write_owners(bucket.numbers).collect());
                let core = Forward::new(owners, io.now_ms(), deadline / 1000);
                let epoch = slot.epoch;
                let work = Work::Forward { core, wanted: Box::new(wanted), deadline };
                let job = self.new_job(io, Job { reply, epoch, ..Job::new(work) });
                return self.drive(io, job);
            }
        }
        let here = self.disk.newest.objects[usize::from(wanted.place)].as_ref();
        let seen = wanted.basis.as_ref();
        if seen.is_some_and(|seen| here.is_none_or(|here| !here.context.includes(seen))) {
            // The device has seen what has not come here: the one thing it replaces might be here under another dot.
            let place = wanted.place;
            let floor = self.floor(io.partition_of[usize::from(place)]);
            let reply = ReplyTo::Write { wanted: Box::new(wanted), floor, deadline, reply: Box::new(reply) };
            return self.begin_read(io, reply, place, false, deadline);
        }
        self.mint(io, reply, &wanted, deadline, &view);
    }

    /// What a write waited for is read, or cannot be.
    fn write_on(
        &mut self,
        io: &mut Io,
        wanted: &Wanted,
        (floor, deadline): (u64, Us),
        reply: ReplyTo,
        found: Result<Option<Arc<Object>>, String>,
    ) {
        let view = self.view(io);
        let bucket = &view.buckets[io.bucket_of[usize::from(wanted.place)]];
        let slot = Self::slot(&view, io.partition_of[usize::from(wanted.place)]);
        let found = match found {
            Ok(found) if slot.is_owner(self.id, bucket.numbers) => found,
            Ok(_) => return self.reply(io, &reply, Ended::Failed("no owner any more".to_owned())),
            Err(why) => return self.reply(io, &reply, Ended::Failed(why)),
        };
        if let Some(object) = found
            && !self.merge_here(io, wanted.place, &object, (bucket.kind, floor))
        {
            // It was purged meanwhile, perhaps: once more.
            return self.write(io, reply, wanted.clone(), Some(deadline.saturating_sub(io.queue.now())));
        }
        self.mint(io, reply, wanted, deadline, &view);
    }

    fn update_of(&self, io: &Io, wanted: &Wanted, view: &View) -> Update {
        let action = if wanted.delete {
            Action::Delete
        } else {
            Action::Put { content_type: String::new(), body: body_of(wanted.op), ttl_ms: None }
        };
        let kept = if wanted.keyed { KEYED_OP_TTL } else { OPERATION_BUDGET };
        let kept = if io.graves { graves::MEMORY_MS } else { u64::try_from(kept.as_millis()).unwrap_or(u64::MAX) };
        Update {
            kind: view.buckets[io.bucket_of[usize::from(wanted.place)]].kind,
            action,
            basis: Basis::Read(wanted.basis.clone()),
            condition: Condition::None,
            op: wanted.op,
            keyed: wanted.keyed,
            op_until_ms: self.steady_ms(io) + kept,
        }
    }

    fn next_mint(&self, io: &Io, place: Place) -> Mint {
        let partition = io.partition_of[usize::from(place)];
        let counter = self.minted.get(&partition).copied().unwrap_or(0) + 1;
        let above = self.highest.get(&partition).copied().flatten();
        Mint { actor: self.actor, counter, now_ms: self.wall_ms(io), above, memory: self.memory(io) }
    }

    /// The serial owner of a partition: read, decide, hand to the journal, all at once.
    fn mint(&mut self, io: &mut Io, reply: ReplyTo, wanted: &Wanted, deadline: Us, view: &Arc<View>) {
        let place = wanted.place;
        let floor = self.floor(io.partition_of[usize::from(place)]);
        let old = self.disk.newest.objects[usize::from(place)].clone();
        let update = self.update_of(io, wanted, view);
        let mint = self.next_mint(io, place);
        let (object, dot, stamp, fresh) = match apply::apply(old.as_deref(), &update, mint) {
            Outcome::Applied { object, stamp, .. } => {
                let dot = Dot { actor: mint.actor, counter: mint.counter };
                (Arc::new(object), dot, stamp, true)
            }
            Outcome::Duplicate { .. } => {
                let Some(old) = old else { return };
                let Some(seen) = old.ops.iter().find(|seen| seen.id == wanted.op).cloned() else { return };
                (old, seen.dot, seen.stamp, false)
            }
            Outcome::Refused(refusal) => {
                return self.reply(io, &reply, Ended::Failed(refusal.to_string()));
            }
        };
        let record = if fresh { Record::Object(place, Arc::clone(&object)) } else { Record::Barrier };
        let bucket = &view.buckets[io.bucket_of[usize::from(place)]];
        let slot = Self::slot(view, io.partition_of[usize::from(place)]);
        let wins = (update.kind == Kind::Lww).then_some((stamp, dot));
        let rules = slot.writes(bucket.numbers).map(rule).collect();
        let core = Write::new(self.id, rules, object, wins, io.now_ms(), deadline / 1000);
        let work = Work::Write { core: Box::new(core), place, wanted: Box::new(wanted.clone()), dot };
        let id = self.new_job(io, Job { reply, epoch: slot.epoch, floor, ..Job::new(work) });
        if fresh {
            self.count(io, wanted, mint);
        }
        self.submit(io, record, Some(Then::OwnHeld { job: id, round: 0 }));
        self.drive(io, id);
    }

    fn count(&mut self, io: &mut Io, wanted: &Wanted, mint: Mint) {
        let bucket = io.bucket_of[usize::from(wanted.place)];
        if self.clock_ms != 0 && io.log.last().buckets[bucket].kind == Kind::Lww && io.faults.has(Fault::Clock) {
            io.faults.hit(Fault::Clock);
        }
        let partition = io.partition_of[usize::from(wanted.place)];
        self.minted.insert(partition, mint.counter);
        let dot = Dot { actor: mint.actor, counter: mint.counter };
        io.trace(|| format!("n{} mints {} for {:?} of k{}", self.id, words::dot(dot), wanted.op, wanted.place));
        let checked = io.reference.minted(io.queue.now(), usize::from(wanted.place), wanted.op, dot);
        io.check(checked);
    }

    /// The own copy of a write is durable.
    pub(super) fn own_held(&mut self, io: &mut Io, job: u64, round: u32) {
        self.feed(io, job, self.id, &Tell::Held(None, round));
    }

    /// A device wants to read.
    pub(super) fn read(&mut self, io: &mut Io, reply: ReplyTo, place: Place, all: bool) {
        let deadline = io.queue.now() + BUDGET;
        self.begin_read(io, reply, place, all, deadline);
    }

    fn begin_read(&mut self, io: &mut Io, reply: ReplyTo, place: Place, all: bool, deadline: Us) {
        let view = self.view(io);
        let bucket = &view.buckets[io.bucket_of[usize::from(place)]];
        let slot = Self::slot(&view, io.partition_of[usize::from(place)]);
        let mut read = rule(slot.reads(bucket.numbers));
        read.owners = self.nearest(io, read.owners);
        if all {
            read.need = read.owners.len();
        }
        let settle = slot.settles(bucket.numbers).map(rule).collect();
        let core = Read::new(bucket.kind, read, settle, io.now_ms(), deadline / 1000);
        let work = Work::Read { core: Box::new(core), place };
        let floor = self.floor(io.partition_of[usize::from(place)]);
        let job = self.new_job(io, Job { reply, epoch: slot.epoch, floor, ..Job::new(work) });
        self.drive(io, job);
    }

    /// The slot that a job pulls, if it does.
    pub(super) fn pulled_by(&self, job: u64) -> Option<PartitionId> {
        match self.jobs.get(&job)?.work {
            Work::Question { partition, .. } => Some(partition),
            _ => None,
        }
    }

    /// An answer of an owner.
    pub(super) fn told(&mut self, io: &mut Io, from: NodeId, job: u64, floor: u64, tell: Tell) {
        match self.jobs.get(&job).map(|job| &job.work) {
            Some(Work::Question { partition, question }) => {
                let (partition, question) = (*partition, *question);
                self.jobs.remove(&job);
                self.told_of_slot(io, question, partition, floor, tell);
            }
            Some(Work::Hint { to, place }) => {
                let (to, place) = (*to, *place);
                self.jobs.remove(&job);
                if matches!(tell, Tell::Held(..)) {
                    self.hints.remove(&(to, place));
                } else {
                    self.raise_floor(io.partition_of[usize::from(place)], floor);
                }
            }
            Some(Work::Roots { .. } | Work::Compare { .. } | Work::Mend { .. } | Work::Purge { .. }) => {
                match self.jobs.remove(&job).map(|job| job.work) {
                    Some(Work::Roots { other, slots }) => self.told_roots(io, other, slots, tell),
                    Some(Work::Compare { other, partition, question }) => {
                        self.told_comparison(io, other, partition, question, (floor, tell));
                    }
                    Some(Work::Mend { other, partition, question }) => {
                        self.mended(io, other, partition, question, (floor, &tell));
                    }
                    Some(Work::Purge { partition }) => self.told_of_graves(io, from, partition, (floor, &tell)),
                    _ => {}
                }
            }
            Some(_) if matches!(tell, Tell::Refused(Why::BelowFloor)) => self.send_again(io, job, from, floor),
            Some(_) => self.feed(io, job, from, &tell),
            None => {}
        }
    }

    /// A node is not there.
    pub(super) fn unreachable(&mut self, io: &mut Io, from: NodeId, job: u64) {
        self.told(io, from, job, 0, Tell::Refused(Why::NotYet));
    }

    /// Hands an answer to the core of a job.
    fn feed(&mut self, io: &mut Io, id: u64, from: NodeId, tell: &Tell) {
        let now_ms = io.now_ms();
        let Some(job) = self.jobs.get_mut(&id) else { return };
        match &mut job.work {
            Work::Write { core, .. } => match tell {
                Tell::Held(top, round) => core.handle(from, write::Input::Held { round: *round, top: *top }, now_ms),
                Tell::Refused(Why::Stale) => core.handle(from, write::Input::Stale, now_ms),
                Tell::Refused(_) => core.handle(from, write::Input::Refused, now_ms),
                _ => {}
            },
            Work::Read { core, .. } => match tell {
                Tell::Held(_, round) => core.handle(from, read::Input::Held { round: *round }, now_ms),
                Tell::Digest(digest) => {
                    let context = digest.as_ref().map(|(context, _)| context.clone());
                    core.handle(from, read::Input::Digest(context), now_ms);
                }
                Tell::Object(object) => core.handle(from, read::Input::Object(object.clone()), now_ms),
                Tell::Refused(Why::Stale) => core.handle(from, read::Input::Stale, now_ms),
                Tell::Refused(_) => core.handle(from, read::Input::Refused, now_ms),
                _ => {}
            },
            Work::Forward { core, .. } => match tell {
                Tell::Received => core.handle(from, forward::Input::Received, now_ms),
                Tell::Refused(_) => core.handle(from, forward::Input::NotDone, now_ms),
                Tell::Ended(Ended::Failed(_)) => core.handle(from, forward::Input::Failed, now_ms),
                Tell::Ended(ended) => {
                    let ended = ended.clone();
                    let Some(job) = self.jobs.remove(&id) else { return };
                    return self.reply(io, &job.reply, ended);
                }
                _ => {}
            },
            _ => {}
        }
        self.drive(io, id);
    }

    /// A job's time may be over.
    pub fn timer(&mut self, io: &mut Io, id: u64) {
        let now_ms = io.now_ms();
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.timer_at = Us::MAX;
        match &mut job.work {
            Work::Write { core, .. } => core.handle_timeout(now_ms),
            Work::Read { core, .. } => core.handle_timeout(now_ms),
            Work::Forward { core, .. } => core.handle_timeout(now_ms),
            _ => {}
        }
        self.drive(io, id);
    }

    /// Does what the core of a job wants done.
    fn drive(&mut self, io: &mut Io, id: u64) {
        loop {
            let Some(job) = self.jobs.get_mut(&id) else { return };
            let more = match &mut job.work {
                Work::Write { core, place, .. } => {
                    let (effect, place) = (core.poll_effect(), *place);
                    effect.map(|effect| self.do_write(io, id, place, effect))
                }
                Work::Read { core, place } => {
                    let (effect, place) = (core.poll_effect(), *place);
                    effect.map(|effect| self.do_read(io, id, place, effect))
                }
                Work::Forward { core, .. } => core.poll_effect().map(|effect| self.do_forward(io, id, effect)),
                _ => None,
            };
            if more.is_none() {
                break;
            }
        }
        let done = match self.jobs.get(&id).map(|job| &job.work) {
            Some(Work::Write { core, .. }) => core.is_done(),
            Some(Work::Read { core, .. }) => core.is_done(),
            _ => false,
        };
        if done {
            self.jobs.remove(&id);
        } else {
            self.set_timer(io, id);
        }
    }

    fn do_write(&mut self, io: &mut Io, id: u64, place: Place, effect: write::Effect) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (epoch, floor, reply) = (job.epoch, job.floor, job.reply.clone());
        match effect {
            write::Effect::Send { to, object, round } => {
                self.ask_at(io, to, id, (epoch, floor), Ask::Merge(place, object, round));
            }
            write::Effect::Hint { to } => drop(self.hints.insert((to, place))),
            write::Effect::Remint { above } => self.remint(io, id, place, above),
            // When this node's view has come as far as the owner's, all writes of older epochs begin again.
            write::Effect::Refresh if self.view >= job.ahead => self.refresh_write(io, id, place),
            write::Effect::Refresh => {}
            write::Effect::Answer(write::Answer::Ok { acked_by }) => {
                io.trace(|| format!("n{} acks k{place}: {acked_by:?}", self.id));
                let context = self.context_for_writer(id);
                self.reply(io, &reply, Ended::Ok(context));
            }
            write::Effect::Answer(write::Answer::Unknown { acked_by }) => {
                let why = format!("only {acked_by:?} hold it");
                self.reply(io, &reply, Ended::Unknown(why));
            }
        }
    }

    /// What a device may say it has seen, after its write: what it had seen before and its own write.
    fn context_for_writer(&self, id: u64) -> Context {
        let Some(Work::Write { core, wanted, .. }) = self.jobs.get(&id).map(|job| &job.work) else {
            return Context::new();
        };
        let mut context = wanted.basis.clone().unwrap_or_default();
        if let Some(seen) = core.object().ops.iter().find(|seen| seen.id == wanted.op) {
            match &seen.answer {
                Some(answer) => context.merge(answer),
                None => context.add(seen.dot),
            }
        }
        context
    }

    fn remint(&mut self, io: &mut Io, id: u64, place: Place, above: Stamp) {
        let Some(Work::Write { wanted, .. }) = self.jobs.get(&id).map(|job| &job.work) else { return };
        let wanted = wanted.clone();
        let mint = self.next_mint(io, place);
        let floor = self.floor(io.partition_of[usize::from(place)]);
        let Some(old) = self.disk.newest.objects[usize::from(place)].clone() else { return };
        let Some(Outcome::Applied { object, stamp, .. }) = apply::remint(&old, wanted.op, above, mint) else { return };
        self.count(io, &wanted, mint);
        let dot = Dot { actor: mint.actor, counter: mint.counter };
        let object = Arc::new(object);
        let mut round = 0;
        if let Some(job) = self.jobs.get_mut(&id)
            && let Work::Write { core, dot: minted, .. } = &mut job.work
        {
            core.resend(Arc::clone(&object), (stamp, dot), io.now_ms());
            (round, *minted, job.floor) = (core.round(), dot, floor);
        }
        self.submit(io, Record::Object(place, object), Some(Then::OwnHeld { job: id, round }));
    }

    /// Writes under way that speak of an older epoch than this node knows now begin again.
    pub(super) fn refresh_writes(&mut self, io: &mut Io) {
        let view = self.view(io);
        let stale = self.jobs.iter().filter_map(|(id, job)| match &job.work {
            Work::Write { place, .. } => {
                let slot = Self::slot(&view, io.partition_of[usize::from(*place)]);
                (slot.epoch != job.epoch).then_some((*id, *place))
            }
            _ => None,
        });
        for (id, place) in stale.collect::<Vec<_>>() {
            self.refresh_write(io, id, place);
            self.drive(io, id);
        }
    }

    /// The rules of the newest epoch that this node knows.
    fn refresh_write(&mut self, io: &mut Io, id: u64, place: Place) {
        let view = self.view(io);
        let bucket = &view.buckets[io.bucket_of[usize::from(place)]];
        let slot = Self::slot(&view, io.partition_of[usize::from(place)]);
        let now_ms = io.now_ms();
        let again = self.object_again(io, id, place);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.epoch = slot.epoch;
            // New owners know no floor of before: they get what was read in their epoch.
            if let (Work::Write { core, .. }, Some(object)) = (&mut job.work, again) {
                core.restart(slot.writes(bucket.numbers).map(rule).collect(), object, now_ms);
            }
        }
    }

    /// What stands here now of a write's key, with the write in it or what came after it; and notes the floor.
    fn object_again(&mut self, io: &Io, id: u64, place: Place) -> Option<Arc<Object>> {
        let floor = self.floor(io.partition_of[usize::from(place)]);
        let job = self.jobs.get_mut(&id)?;
        job.floor = floor;
        let Work::Write { dot, .. } = &job.work else { return None };
        let newest = self.disk.newest.objects[usize::from(place)].clone();
        newest.filter(|object| object.context.covers(*dot))
    }

    /// An owner holds nothing of a key, and its floor is higher than that at which what was sent was read.
    fn send_again(&mut self, io: &mut Io, id: u64, to: NodeId, floor: u64) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (epoch, place) = match &job.work {
            Work::Write { place, .. } => (job.epoch, *place),
            // Read once more, by the same rules.
            _ => {
                if let Work::Read { place, .. } = &job.work {
                    let partition = io.partition_of[usize::from(*place)];
                    self.raise_floor(partition, floor);
                }
                return self.feed(io, id, to, &Tell::Refused(Why::Stale));
            }
        };
        self.raise_floor(io.partition_of[usize::from(place)], floor);
        let again = self.object_again(io, id, place);
        let Some((object, job)) = again.zip(self.jobs.get(&id)) else {
            return self.feed(io, id, to, &Tell::Refused(Why::NotYet));
        };
        let Work::Write { core, .. } = &job.work else { return };
        let (round, floor) = (core.round(), job.floor);
        self.ask_at(io, to, id, (epoch, floor), Ask::Merge(place, object, round));
    }

    /// An owner has refused a job's question as of an older epoch.
    pub(super) fn behind(&mut self, job: u64, view: usize) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.ahead = job.ahead.max(view);
        }
    }

    /// Reads that wait for the view that this node has now begin again.
    pub(super) fn refresh_reads(&mut self, io: &mut Io) {
        let ready = self.jobs.iter().filter(|(_, job)| job.begins_again && self.view >= job.ahead).map(|(id, _)| *id);
        for id in ready.collect::<Vec<_>>() {
            self.read_again(io, id);
        }
    }

    fn read_again(&mut self, io: &mut Io, id: u64) {
        let Some(job) = self.jobs.remove(&id) else { return };
        let deadline = job.timeout().map_or(0, |ms| ms.saturating_mul(1000));
        if let Work::Read { place, .. } = job.work {
            self.begin_read(io, job.reply, place, false, deadline);
        }
    }

    fn do_read(&mut self, io: &mut Io, id: u64, place: Place, effect: read::Effect) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (epoch, floor, reply) = (job.epoch, job.floor, job.reply.clone());
        match effect {
            read::Effect::AskObject { to } => self.ask(io, to, id, epoch, Ask::Object(place)),
            read::Effect::AskDigest { to } => self.ask(io, to, id, epoch, Ask::Digest(place)),
            read::Effect::WriteBack { to, object, round } => {
                self.ask_at(io, to, id, (epoch, floor), Ask::Merge(place, object, round));
            }
            read::Effect::Refresh if self.view >= job.ahead => self.read_again(io, id),
            read::Effect::Refresh => job.begins_again = true,
            read::Effect::Answer(read::Answer::Found(found)) => self.found(io, &reply, Ok(found)),
            read::Effect::Answer(answer) => self.found(io, &reply, Err(format!("{answer:?}"))),
        }
    }

    fn do_forward(&mut self, io: &mut Io, id: u64, effect: forward::Effect) {
        let Some(job) = self.jobs.get(&id) else { return };
        let Work::Forward { wanted, deadline, .. } = &job.work else { return };
        let left = deadline.saturating_sub(io.queue.now());
        match effect {
            forward::Effect::Ask(to) => {
                let (epoch, wanted) = (job.epoch, wanted.clone());
                self.ask(io, to, id, epoch, Ask::Forward(wanted, left));
            }
            forward::Effect::GiveUp { perhaps_done } => {
                let Some(job) = self.jobs.remove(&id) else { return };
                let why = "no owner answered".to_owned();
                let ended = if perhaps_done { Ended::Unknown(why) } else { Ended::Failed(why) };
                self.reply(io, &job.reply, ended);
            }
        }
    }

    fn reply(&mut self, io: &mut Io, reply: &ReplyTo, ended: Ended) {
        match reply {
            ReplyTo::Node { node, job } => self.tell(io, *node, *job, Tell::Ended(ended)),
            ReplyTo::Client { client, turn } => self.answer_client(io, *client, Word::Became { turn: *turn, ended }),
            ReplyTo::Write { .. } | ReplyTo::Nobody => {}
        }
    }

    fn found(&mut self, io: &mut Io, reply: &ReplyTo, found: Result<Option<Arc<Object>>, String>) {
        match reply {
            ReplyTo::Client { client, turn } => self.answer_client(io, *client, Word::Found { turn: *turn, found }),
            ReplyTo::Write { wanted, floor, deadline, reply } => {
                self.write_on(io, wanted, (*floor, *deadline), ReplyTo::clone(reply), found);
            }
            ReplyTo::Node { .. } | ReplyTo::Nobody => {}
        }
    }

    fn answer_client(&mut self, io: &mut Io, client: usize, word: Word) {
        if self.lives_on(io) {
            let (to, delay) = (io.lives.len() + client, io.rng.within(50, 500));
            io.queue.after(delay, Event::Word { to, life: 0, word });
        }
    }
}
