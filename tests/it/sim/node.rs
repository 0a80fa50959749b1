//! A node of this world: the shipped cores over the twins of journal, index and peers' lanes. What stands here is what the
//! drivers of floor `node` do: carry messages and effects between cores, and wait for the disk.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::id::Incarnation;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::MEMORY_GRACE;
use crate::control::Change;
use crate::control::View;
use crate::disk::Disk;
use crate::disk::Place;
use crate::disk::Record;
use crate::faults::Fault;
use crate::io::Event;
use crate::io::Io;
use crate::io::host_of;
use crate::io::node_of;
use crate::marks::MarksFile;
use crate::marks::Note;
use crate::net::Host;
use crate::proto::causal::Actor;
use crate::proto::mutant::Mutant;
use crate::proto::object::Memory;
use crate::proto::object::Stamp;
use crate::proto::ring::layout::Slot;
use crate::queue::Us;
use crate::wire::Ask;
use crate::wire::Tell;
use crate::wire::Why;
use crate::wire::Word;

mod coordinate;
pub mod graves;
mod handoff;
mod repair;
mod replica;

use coordinate::BUDGET;
pub use coordinate::Job;
pub use coordinate::ReplyTo;

/// How often a node looks after its slots and hints.
pub const TICK: Us = 200_000;
/// Hints delivered at a time.
const HINTS_AT_ONCE: usize = 8;

/// What happens when a record is durable.
#[derive(Debug)]
pub enum Then {
    /// A question is answered: what was asked is merged.
    Held {
        /// The epoch of the question.
        epoch: u64,
        /// Who asked.
        to: NodeId,
        /// Its job.
        job: u64,
        /// The key.
        place: Place,
        /// The number that it gave.
        round: u32,
    },
    /// The own copy of a write counts.
    OwnHeld {
        /// The job.
        job: u64,
        /// Which minting it was.
        round: u32,
    },
    /// An object of a slot on its way is stored.
    Pulled {
        /// The slot.
        partition: PartitionId,
        /// The question that brought it.
        question: u64,
    },
    /// An object that another owner held is merged.
    Repaired {
        /// The other owner.
        other: NodeId,
        /// The slot.
        partition: PartitionId,
        /// The question that brought it.
        question: u64,
    },
    /// A grave is removed.
    Purged {
        /// Who waits for it; none: this node began the purge.
        to: Option<(NodeId, u64)>,
    },
    /// What a source has of a slot is here; what is missing is asked for.
    Compared {
        /// The slot.
        partition: PartitionId,
        /// The question that brought the digests.
        question: u64,
        /// Places at which something else stands.
        differing: Vec<Place>,
        /// The last of the page.
        last: Option<Place>,
        /// More follow.
        more: bool,
    },
}

/// A node.
pub struct Node {
    /// Who.
    pub id: NodeId,
    /// Where.
    pub host: Host,
    /// What survives it: data,
    pub disk: Disk,
    /// and what it has to remember of its part in the ring.
    pub marks: MarksFile,
    /// Who missed what; the marks know only in which slots.
    pub hints: BTreeSet<(NodeId, Place)>,
    /// The node in its present life.
    pub actor: Actor,
    /// Dots minted in this life, by partition.
    pub minted: BTreeMap<PartitionId, u64>,
    /// How far its copy of the control state has come; kept over a crash.
    pub view: usize,
    /// What it is doing.
    pub jobs: BTreeMap<u64, Job>,
    /// Slots on their way here.
    pub pulls: handoff::Pulls,
    /// Floors of partitions, as the running process goes by them.
    floors: BTreeMap<PartitionId, u64>,
    /// The highest stamps of what was purged in partitions.
    highest: BTreeMap<PartitionId, Option<Stamp>>,
    /// Graves that it is about to let go.
    purges: graves::Purges,
    /// What it knows of the others' copies.
    repairs: repair::Repairs,
    /// The view in which its slots were looked at last.
    looked_at: Option<usize>,
    next_job: u64,
    waiters: VecDeque<(u64, Then)>,
    /// Questions that wait for this node's view to come as far as theirs, and until when.
    early: Vec<(Us, Word)>,
    /// Events that wait for a process that stands still.
    pub deferred: Vec<Event>,
    /// Whether it stands still, and since when.
    pub paused: Option<Us>,
    /// How far its wall clock is off, in milliseconds.
    pub clock_ms: i64,
    /// When the process started, and what its wall clock said.
    started_ms: u64,
    steady_at_start_ms: u64,
    /// Its journal stands still until then; its marks do not.
    pub stuck_until: Us,
    /// After so many more effects it dies.
    pub crash_in: Option<u32>,
    /// It has died in the middle of something.
    pub dying: bool,
    /// Who was silent lately, and until when that is remembered.
    silent_until: BTreeMap<NodeId, Us>,
}

impl Node {
    /// A node with an empty disk.
    pub fn new(host: Host, disk: Disk) -> Self {
        let id = node_of(host);
        Self {
            id,
            host,
            disk,
            marks: MarksFile::default(),
            hints: BTreeSet::new(),
            actor: Actor { node: id, incarnation: Incarnation(1) },
            minted: BTreeMap::new(),
            view: 0,
            jobs: BTreeMap::new(),
            pulls: handoff::Pulls::new(),
            floors: BTreeMap::new(),
            highest: BTreeMap::new(),
            purges: graves::Purges::default(),
            repairs: repair::Repairs::default(),
            looked_at: None,
            next_job: 1,
            waiters: VecDeque::new(),
            early: Vec::new(),
            deferred: Vec::new(),
            paused: None,
            clock_ms: 0,
            started_ms: 0,
            steady_at_start_ms: 0,
            stuck_until: 0,
            crash_in: None,
            dying: false,
            silent_until: BTreeMap::new(),
        }
    }

    /// The process begins a life.
    pub fn start(&mut self, io: &mut Io) {
        let (life, runs) = &mut io.lives[self.host];
        *runs = true;
        let life = *life;
        self.actor.incarnation = Incarnation(u64::from(life) << 16);
        self.begin_incarnation();
        self.floors = self.marks.durable.floors.clone();
        self.highest = self.marks.durable.purged.clone();
        (self.started_ms, self.steady_at_start_ms) = (io.now_ms(), self.wall_ms(io));
        // Jobs of an earlier life must not get answers that are meant for it.
        self.next_job = u64::from(life) << 32 | 1;
        let delay = io.rng.within(1, TICK);
        io.queue.after(delay, Event::Tick { host: self.host, life });
        // Of what others missed only the slots are known: everything in them is told.
        for (number, partition) in io.partition_of.iter().enumerate() {
            let place = Place::try_from(number).unwrap_or(Place::MAX);
            let missed = self.marks.durable.missed.iter().filter(|(_, slot)| slot == partition);
            self.hints.extend(missed.map(|(to, _)| (*to, place)));
        }
        self.adopt(io);
    }

    /// From now on dots are minted by another actor: an actor knows all that it ever wrote to a key, and this node does
    /// not any more.
    fn begin_incarnation(&mut self) {
        let next = self.actor.incarnation.0 + 1;
        self.actor.incarnation = Incarnation(if Mutant::ReuseAnIncarnation.is_on() { 1 } else { next });
        self.minted.clear();
    }

    /// The process dies.
    pub fn crash(&mut self, io: &mut Io) {
        let written = io.rng.chance(500_000);
        let lost = self.disk.crash(written);
        self.marks.crash(io.rng.chance(500_000));
        self.hints.clear();
        let (life, runs) = &mut io.lives[self.host];
        *runs = false;
        *life += 1;
        io.trace(|| format!("n{} dies, {lost} records lost", self.id));
        self.jobs.clear();
        self.pulls.clear();
        self.repairs = repair::Repairs::default();
        self.purges = graves::Purges::default();
        self.looked_at = None;
        self.waiters.clear();
        self.early.clear();
        self.deferred.clear();
        self.silent_until.clear();
        self.paused = None;
        self.crash_in = None;
        self.dying = false;
    }

    /// The wall clock.
    pub fn wall_ms(&self, io: &Io) -> u64 {
        // Far enough from zero for any jump.
        (1_000_000_000 + io.now_ms()).saturating_add_signed(self.clock_ms)
    }

    /// A clock that never jumps while the process lives: the wall clock at its start, and the time since.
    pub fn steady_ms(&self, io: &Io) -> u64 {
        self.steady_at_start_ms + (io.now_ms() - self.started_ms)
    }

    /// Which operations are remembered.
    fn memory(&self, io: &Io) -> Memory {
        let grace_ms = if io.graves { graves::MEMORY_MS } else { MEMORY_GRACE.as_millis() as u64 };
        let just_begun = io.now_ms() - self.started_ms < grace_ms;
        Memory { now_ms: self.steady_ms(io), just_begun }
    }

    /// Whether the process is still there for one more effect.
    fn lives_on(&mut self, io: &mut Io) -> bool {
        if self.dying {
            return false;
        }
        let Some(left) = &mut self.crash_in else { return true };
        if *left == 0 {
            self.dying = true;
            io.faults.hit(Fault::Crash);
            return false;
        }
        *left -= 1;
        true
    }

    fn send(&mut self, io: &mut Io, to: Host, word: Word) {
        if self.lives_on(io) {
            io.send(self.host, to, word);
        }
    }

    fn ask(&mut self, io: &mut Io, to: NodeId, job: u64, epoch: u64, ask: Ask) {
        let floor = replica::partition_of(io, &ask).map_or(0, |partition| self.floor(partition));
        self.ask_at(io, to, job, (epoch, floor), ask);
    }

    /// Asks with what was read at a floor.
    fn ask_at(&mut self, io: &mut Io, to: NodeId, job: u64, (epoch, floor): (u64, u64), ask: Ask) {
        let word = Word::Ask { from: self.id, job, epoch, view: self.view, steady_ms: self.steady_ms(io), floor, ask };
        self.send(io, host_of(to), word);
    }

    fn tell(&mut self, io: &mut Io, to: NodeId, job: u64, tell: Tell) {
        self.tell_at(io, to, job, (0, None), tell);
    }

    /// Answers what is about a slot with this floor.
    fn tell_at(&mut self, io: &mut Io, to: NodeId, job: u64, (floor, purged): (u64, Option<Stamp>), tell: Tell) {
        let word =
            Word::Tell { from: self.id, job, view: self.view, steady_ms: self.steady_ms(io), floor, purged, tell };
        self.send(io, host_of(to), word);
    }

    /// Hands a record to the journal, and says what follows when it is durable.
    fn submit(&mut self, io: &mut Io, record: Record, then: Option<Then>) {
        if !self.lives_on(io) {
            return;
        }
        let number = self.disk.submit(record);
        if let Some(then) = then {
            self.waiters.push_back((number, then));
        }
        self.sync(io);
    }

    fn sync(&mut self, io: &mut Io) {
        if self.disk.begin() {
            let took = io.faults.sync_time(&mut io.rng).max(self.stuck_until.saturating_sub(io.queue.now()));
            let life = io.lives[self.host].0;
            io.queue.after(took, Event::Synced { host: self.host, life });
        }
    }

    /// A group is durable.
    pub fn synced(&mut self, io: &mut Io) {
        self.disk.end();
        while let Some((number, _)) = self.waiters.front()
            && *number <= self.disk.synced()
            && let Some((_, then)) = self.waiters.pop_front()
        {
            self.durable(io, then);
        }
        self.sync(io);
    }

    /// Hands a note to the marks.
    fn note(&mut self, io: &mut Io, note: Note) {
        if self.lives_on(io) {
            self.marks.note(note);
            self.write_marks(io);
        }
    }

    fn write_marks(&mut self, io: &mut Io) {
        if self.marks.begin() {
            // The file, and then its directory.
            let took = io.faults.sync_time(&mut io.rng) + io.rng.within(200, 1_500);
            let life = io.lives[self.host].0;
            io.queue.after(took, Event::Noted { host: self.host, life });
        }
    }

    /// The marks are written.
    pub fn noted(&mut self, io: &mut Io) {
        self.marks.end();
        self.floors_are_noted(io);
        self.write_marks(io);
    }

    fn durable(&mut self, io: &mut Io, then: Then) {
        match then {
            Then::Held { epoch, to, job, place, round } => self.tell_held(io, epoch, to, job, place, round),
            Then::OwnHeld { job, round } => self.own_held(io, job, round),
            Then::Pulled { partition, question } => self.pulled(io, partition, question),
            Then::Purged { to } => self.purged(io, to),
            Then::Repaired { other, partition, question } => self.repaired(io, other, partition, question),
            Then::Compared { partition, question, differing, last, more } => {
                self.compared(io, partition, question, differing, last, more);
            }
        }
    }

    /// The control state as this node knows it.
    pub fn view(&self, io: &Io) -> Arc<View> {
        Arc::clone(io.log.view(self.view))
    }

    /// The slot of a partition in a view.
    fn slot(view: &View, partition: PartitionId) -> &Slot {
        view.layout.slot(partition)
    }

    /// Its copy of the control state has come so far.
    pub fn learn(&mut self, io: &mut Io, index: usize) {
        if index > self.view && index < io.log.len() {
            self.view = index;
            self.adopt(io);
            self.refresh_writes(io);
            self.refresh_reads(io);
            for (_, word) in std::mem::take(&mut self.early) {
                self.word(io, word);
            }
        }
    }

    /// Questions from a future that did not come in time.
    fn refuse_early(&mut self, io: &mut Io) {
        let now = io.queue.now();
        for (_, word) in self.early.extract_if(.., |(until, _)| *until <= now).collect::<Vec<_>>() {
            if let Word::Ask { from, job, .. } = word {
                self.tell(io, from, job, Tell::Refused(Why::NotYet));
            }
        }
    }

    /// From now on older epochs are refused; it may say so when that is durable.
    fn adopt(&mut self, io: &mut Io) {
        let version = io.log.view(self.view).layout.version;
        if self.marks.newest.adopted < version {
            self.note(io, Note::Adopted(version));
        }
    }

    /// A message arrives.
    pub fn word(&mut self, io: &mut Io, word: Word) {
        match word {
            Word::Ask { from, job, epoch, view, steady_ms, floor, mut ask } => {
                // A question from the future waits for the layout that it speaks of.
                if view > self.view {
                    let until = io.queue.now() + BUDGET;
                    self.early.push((until, Word::Ask { from, job, epoch, view, steady_ms, floor, ask }));
                    return;
                }
                if let Ask::Merge(_, object, _) = &mut ask {
                    Arc::make_mut(object).rebase(steady_ms, self.steady_ms(io));
                }
                self.answer(io, from, job, (epoch, floor), ask);
            }
            Word::Tell { from, job, view, steady_ms, floor, purged, mut tell } => {
                if let Some(partition) = self.pulled_by(job) {
                    // Before anything is minted on what is not here any more.
                    self.raise_highest(partition, purged);
                }
                let mine_ms = self.steady_ms(io);
                match &mut tell {
                    Tell::Object(Some(object)) => Arc::make_mut(object).rebase(steady_ms, mine_ms),
                    Tell::Objects(objects, _) => {
                        objects.iter_mut().for_each(|(_, object)| Arc::make_mut(object).rebase(steady_ms, mine_ms));
                    }
                    _ => {}
                }
                self.silent_until.remove(&from);
                // A refusal says how far one has to come to know why.
                if matches!(tell, Tell::Refused(Why::Stale)) {
                    self.behind(job, view);
                }
                self.told(io, from, job, floor, tell);
            }
            Word::Unreachable { from, job } => {
                self.silent_until.insert(from, io.queue.now() + 1_000_000);
                self.unreachable(io, from, job);
            }
            Word::Read { client, turn, place, all } => self.read(io, ReplyTo::Client { client, turn }, place, all),
            Word::Write { client, turn, wanted } => self.write(io, ReplyTo::Client { client, turn }, *wanted, None),
            Word::Found { .. } | Word::Became { .. } => {}
        }
    }

    fn new_job(&mut self, io: &mut Io, job: Job) -> u64 {
        let id = self.next_job;
        self.next_job += 1;
        self.jobs.insert(id, job);
        self.set_timer(io, id);
        id
    }

    /// Sees to it that a job is called when its time is over.
    fn set_timer(&mut self, io: &mut Io, id: u64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(at) = job.timeout().map(|ms| ms.saturating_mul(1000)) else { return };
        if at < job.timer_at {
            job.timer_at = at;
            let life = io.lives[self.host].0;
            io.queue.after(at.saturating_sub(io.queue.now()), Event::Timer { host: self.host, life, job: id });
        }
    }

    /// The nodes of a list in the order in which they should be asked: this one first, those that were silent last.
    fn nearest(&self, io: &Io, mut owners: Vec<NodeId>) -> Vec<NodeId> {
        let silent = |node: &NodeId| self.silent_until.get(node).is_some_and(|until| *until > io.queue.now());
        owners.sort_by_key(|node| (*node != self.id, silent(node)));
        owners
    }

    /// Looks after reports, slots and hints.
    pub fn tick(&mut self, io: &mut Io) {
        let life = io.lives[self.host].0;
        io.queue.after(TICK, Event::Tick { host: self.host, life });
        self.refuse_early(io);
        let view = self.view(io);
        // A view that was looked at, and has nothing on its way, asks for nothing new.
        if self.looked_at != Some(self.view) || !self.pulls.is_empty() {
            self.pull_slots(io, &view);
            self.forget(io, &view);
            self.looked_at = Some(self.view);
        }
        self.report(io, &view);
        self.deliver_hints(io, &view);
        self.repair(io, &view);
        self.purge(io, &view);
    }

    /// Tells the log how far this node is, until the log shows it.
    fn report(&mut self, io: &mut Io, view: &View) {
        let adopted = self.marks.durable.adopted;
        let unknown = |(partition, since): &(&PartitionId, &u64)| {
            let mut lists = Self::slot(view, **partition).lists();
            lists.any(|list| list.since == **since && !list.is_synced(self.id))
        };
        let known = view.layout.adopted.get(&self.id).copied().unwrap_or(0);
        let synced = self.marks.durable.synced.iter();
        if known < adopted || synced.clone().any(|one| unknown(&one)) {
            let synced = synced.map(|(partition, since)| (*partition, *since)).collect();
            let change = Change::Report { node: self.id, adopted, synced };
            let delay = io.rng.within(1_000, 50_000);
            if self.lives_on(io) {
                io.queue.after(delay, Event::Change(change));
            }
        }
    }

    fn deliver_hints(&mut self, io: &mut Io, view: &View) {
        // No answer came: they are due again.
        self.jobs.retain(|_, job| !job.is_given_up(io.queue.now()));
        let under_way = self.jobs.values().filter(|job| job.is_hint()).count();
        let slots: BTreeSet<_> =
            self.hints.iter().map(|(to, place)| (*to, io.partition_of[usize::from(*place)])).collect();
        if slots != self.marks.newest.missed {
            self.note(io, Note::Missed(slots));
        }
        let due: Vec<_> = self.hints.iter().copied().collect();
        for (to, place) in due.into_iter().take(HINTS_AT_ONCE.saturating_sub(under_way)) {
            self.deliver_hint(io, view, to, place);
        }
    }
}
