//! A world: machines, devices, and what befalls them, from a seed to a verdict.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::id::BucketId;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::check::Promise;
use crate::check::Reference;
use crate::check::Violation;
use crate::client::Client;
use crate::control::Bucket;
use crate::control::Change;
use crate::control::Log;
use crate::control::View;
use crate::disk::Disk;
use crate::faults::Fault;
use crate::faults::Faults;
use crate::io::Event;
use crate::io::Io;
use crate::io::node_of;
use crate::net::Host;
use crate::net::Net;
use crate::node::Node;
use crate::node::graves::MEMORY_MS;
use crate::proto::bucket::Kind;
use crate::proto::key::IndexKey;
use crate::proto::key::Key;
use crate::proto::mutant::Mutant;
use crate::proto::ring::numbers::Numbers;
use crate::queue::Us;
use crate::rng::Rng;
use crate::words;

/// How long things go wrong.
pub const ROUGH: Us = 20_000_000;
/// How long nothing does, before everything has to be well.
const CALM: Us = 12_000_000;
/// How much longer a purge may take that began before the end, and how often it is looked.
const PURGE_TIME: Us = 10_000_000;
/// See [`PURGE_TIME`].
const PURGE_LOOK: Us = 50_000;
/// Devices.
const CLIENTS: usize = 5;
/// The mean time between two operations of one device: ten a second.
const PAUSE: Us = 100_000;
/// Keys of each bucket.
const KEYS: usize = 4;
/// Answers come from the calm: a device has asked for so long when its question must be answered.
pub const LAST_READS: Us = 6_000_000;

/// What a run is made from.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Everything that varies.
    pub seed: u64,
    /// Only these faults; `None` = drawn.
    pub faults: Option<Vec<Fault>>,
    /// Whether lines are kept for a person to read.
    pub traced: bool,
    /// A rule that is broken.
    pub mutant: Option<Mutant>,
    /// Only this promise counts as broken; `None` = all.
    pub looks_for: Option<Promise>,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Report {
    /// The first promise that was broken.
    pub violation: Option<Violation>,
    /// Faults that never hit: the run has shown nothing.
    pub missed: Vec<Fault>,
    /// Faults of this run.
    pub faults: Vec<Fault>,
    /// A hash over all that happened.
    pub fingerprint: u64,
    /// Events handled.
    pub events: u64,
    /// Simulated time.
    pub simulated: Us,
    /// Answers that were checked.
    pub checked: u64,
    /// Writes that were answered with `ok`.
    pub acked: u64,
    /// Graves that went.
    pub purged: u64,
    /// Objects that were moved because two owners did not hold the same.
    pub repaired: u64,
    /// The last lines, where the run was traced.
    pub trace: Vec<String>,
}

pub struct World {
    io: Io,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    next_op: u128,
    /// Of the last reads, those that are answered.
    last_reads: Vec<bool>,
    calm: bool,
    ended: bool,
    acked: u64,
    /// What vanished, and is back where it is here no more.
    gone: BTreeSet<(Host, usize)>,
    /// How many machines make the first plan.
    first_machines: usize,
}

mod devices;
mod rest;
mod vanish;

/// Runs a world to its end.
pub fn run(plan: &Plan) -> Report {
    Mutant::switch(plan.mutant);
    let mut world = World::new(plan);
    world.io.looks_for = plan.looks_for;
    world.begin();
    while !world.ended
        && world.io.violation.is_none()
        && let Some(event) = world.io.queue.next()
    {
        world.io.events += 1;
        world.handle(event);
    }
    let missed = world.io.faults.missed(world.io.net.counts);
    Report {
        violation: world.io.violation.clone(),
        missed,
        faults: world.io.faults.enabled().to_vec(),
        fingerprint: world.io.fingerprint,
        events: world.io.events,
        simulated: world.io.queue.now(),
        checked: world.io.reference.checked,
        acked: world.acked,
        purged: world.io.purged,
        repaired: world.io.repaired,
        trace: world.io.take_trace(),
    }
}

/// The buckets of this world.
fn buckets() -> Vec<Bucket> {
    let bucket = |kind, n, r, w| Bucket { kind, numbers: Numbers { n, r, w }.into() };
    vec![bucket(Kind::Siblings, 3, 2, 2), bucket(Kind::Lww, 3, 2, 2), bucket(Kind::Siblings, 5, 3, 3)]
}

impl World {
    fn new(plan: &Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let faults = plan.faults.as_deref().map_or_else(|| Faults::draw(&mut rng), Faults::only);
        let moves = faults.enabled().contains(&Fault::Layout);
        let hosts = if moves { 6 } else { *rng.pick(&[3, 3, 5]) };
        let buckets = buckets();
        let (partition_of, bucket_of) = keys(buckets.len());
        let kinds: Vec<_> = bucket_of.iter().map(|bucket| buckets[*bucket].kind).collect();
        let first_machines = if moves { 3 } else { hosts };
        let log = Log::new(View::first(&[node_of(0)], buckets));
        let net = Net::new(faults.weather());
        let nodes = (0..hosts).map(|host| Node::new(host, Disk::new(partition_of.len()))).collect();
        let clients = (0..CLIENTS).map(|_| Client::new(bucket_of.len(), PAUSE)).collect();
        let last_reads = vec![false; bucket_of.len()];
        let graves = rng.chance(500_000);
        let memory = if graves { MEMORY_MS * 1000 } else { Us::MAX };
        let reference = Reference::new(&kinds, memory);
        let mut io = Io::new(net, rng, log, reference, faults, hosts, partition_of, bucket_of, plan.traced);
        io.graves = graves;
        Self {
            io,
            nodes,
            clients,
            next_op: 1,
            last_reads,
            calm: false,
            ended: false,
            acked: 0,
            gone: BTreeSet::new(),
            first_machines,
        }
    }

    fn begin(&mut self) {
        for node in &mut self.nodes {
            node.start(&mut self.io);
        }
        if self.io.faults.has(Fault::OldView) {
            let host = self.io.rng.below(self.nodes.len() as u64) as usize;
            self.old_view(host);
        }
        // A cluster begins with one machine; the others join while devices are at work.
        let machines = (0..self.first_machines).map(node_of).collect();
        self.change(&Change::Machines(machines));
        for client in 0..self.clients.len() {
            let delay = self.io.rng.within(1, PAUSE);
            self.io.queue.after(delay, Event::Client { client, turn: 0 });
        }
        self.io.queue.after(1_000_000, Event::Nemesis);
        self.io.queue.after(ROUGH, Event::Calm);
        self.io.queue.after(ROUGH + CALM, Event::End);
    }

    fn handle(&mut self, event: Event) {
        let (host, life) = match &event {
            Event::Word { to, life, .. } if *to < self.nodes.len() => (*to, *life),
            Event::Synced { host, life }
            | Event::Noted { host, life }
            | Event::Timer { host, life, .. }
            | Event::Tick { host, life } => (*host, *life),
            _ => return self.handle_other(event),
        };
        if self.io.lives[host] != (life, true) {
            return;
        }
        let node = &mut self.nodes[host];
        if node.paused.is_some() {
            return node.deferred.push(event);
        }
        self.io.mix(self.io.queue.now() << 8 | host as u64);
        match event {
            Event::Word { word, .. } => node.word(&mut self.io, word),
            Event::Synced { .. } => node.synced(&mut self.io),
            Event::Noted { .. } => node.noted(&mut self.io),
            Event::Timer { job, .. } => node.timer(&mut self.io, job),
            Event::Tick { .. } => node.tick(&mut self.io),
            _ => {}
        }
        if node.dying {
            node.crash(&mut self.io);
            let back = self.io.rng.within(50_000, 3_000_000);
            self.io.queue.after(back, Event::Restart(host));
        }
    }

    fn handle_other(&mut self, event: Event) {
        match event {
            Event::Word { to, word, .. } => self.client_word(to - self.nodes.len(), word),
            Event::Client { client, turn } => self.client_turn(client, turn),
            Event::View { host, index } => self.view_comes(host, index),
            Event::Change(change) => self.change(&change),
            Event::Nemesis => self.nemesis(),
            Event::Mend => self.io.net.mend(),
            Event::Restart(host) => {
                if !self.io.lives[host].1 {
                    self.nodes[host].start(&mut self.io);
                }
            }
            Event::Resume(host) => self.resume(host),
            Event::Calm => self.calm(),
            Event::End => self.end(),
            Event::Synced { .. } | Event::Noted { .. } | Event::Timer { .. } | Event::Tick { .. } => {}
        }
    }

    /// A node's copy of the control state comes so far, unless it stands still.
    fn view_comes(&mut self, host: Host, index: usize) {
        let now = self.io.queue.now();
        let until = self.io.old_view_until[host];
        let node = &mut self.nodes[host];
        if until > now || node.paused.is_some() || !self.io.lives[host].1 {
            if until > now && index > node.view {
                self.io.faults.hit(Fault::OldView);
            }
            let again = until.saturating_sub(now).max(100_000);
            return self.io.queue.after(again, Event::View { host, index });
        }
        node.learn(&mut self.io, index);
    }

    fn change(&mut self, change: &Change) {
        if !self.io.log.apply(change) {
            return;
        }
        let index = self.io.log.len() - 1;
        self.io.trace(|| format!("log {index}: {}", words::change(change)));
        for host in 0..self.nodes.len() {
            let delay = self.io.rng.within(1_000, 200_000);
            self.io.queue.after(delay, Event::View { host, index });
        }
    }

    fn resume(&mut self, host: Host) {
        let node = &mut self.nodes[host];
        let Some(since) = node.paused.take() else { return };
        let stood = self.io.queue.now() - since;
        self.io.trace(|| format!("n{} goes on after {stood} us", node_of(host)));
        let deferred = std::mem::take(&mut node.deferred);
        // After a gap it drops its connections: whoever asked has moved on.
        let keeps = |event: &Event| stood < 500_000 || !matches!(event, Event::Word { .. });
        for event in deferred.into_iter().filter(keeps) {
            self.io.queue.after(0, event);
        }
    }

    fn calm(&mut self) {
        self.calm = true;
        self.io.trace(|| "from now on nothing goes wrong".to_owned());
        self.io.net.heal();
        self.io.old_view_until.fill(0);
        for host in 0..self.nodes.len() {
            self.nodes[host].crash_in = None;
            self.nodes[host].clock_ms = 0;
            if self.nodes[host].paused.is_some() {
                self.resume(host);
            }
            if !self.io.lives[host].1 {
                self.nodes[host].start(&mut self.io);
            }
        }
    }

    /// Every key must answer a last read by now.
    fn end(&mut self) {
        let going = |node: &Node| node.is_purging() || !node.disk.is_idle();
        if self.nodes.iter().any(going) && self.io.queue.now() < ROUGH + CALM + PURGE_TIME {
            // Graves that go are gone from one owner, and from one disk, before the other.
            return self.io.queue.after(PURGE_LOOK, Event::End);
        }
        if self.last_reads.iter().all(|read| *read) || self.io.violation.is_some() {
            self.ended = true;
            let checked = self.is_at_rest();
            self.io.check(checked);
            return;
        }
        let silent: Vec<_> = (0..self.last_reads.len()).filter(|place| !self.last_reads[*place]).collect();
        self.io.check(Err(Violation(
            Promise::Well,
            format!("long after all is well, nobody can read the keys {silent:?}"),
        )));
    }

    fn nemesis(&mut self) {
        if self.calm || self.io.faults.enabled().is_empty() {
            return;
        }
        let again = self.io.rng.within(200_000, 2_000_000);
        self.io.queue.after(again, Event::Nemesis);
        let fault = self.next_fault();
        let host = self.io.rng.below(self.nodes.len() as u64) as usize;
        let other = self.io.rng.below(self.nodes.len() as u64) as usize;
        self.io.trace(|| format!("nemesis: {fault:?} at n{}", node_of(host)));
        match fault {
            Fault::Loss | Fault::Twice | Fault::Late => {}
            Fault::SlowDisk => self.slow_disks(100_000),
            Fault::OneWay => {
                // Never from itself.
                let other = if other == host { (host + 1) % self.nodes.len() } else { other };
                self.io.net.cut(host, other, fault);
                self.mend_later();
            }
            Fault::Split => self.split(host),
            Fault::Crash => self.nodes[host].crash_in = Some(self.io.rng.below(40) as u32),
            Fault::PowerCut => self.power_cut(),
            Fault::Pause => self.pause(host),
            Fault::Clock => {
                self.nodes[host].clock_ms = self.io.rng.below(7_200_000) as i64 - 3_600_000;
            }
            Fault::Layout => self.other_machines(),
            Fault::Numbers => self.other_numbers(),
            Fault::OldView => self.old_view(host),
            Fault::Vanish => self.vanish(host),
        }
    }

    /// Any of this run's, and every second time one that has not hit yet.
    fn next_fault(&mut self) -> Fault {
        let missed = self.io.faults.missed(self.io.net.counts);
        let from =
            if missed.is_empty() || self.io.rng.chance(500_000) { self.io.faults.enabled() } else { missed.as_slice() };
        *self.io.rng.pick(from)
    }

    fn mend_later(&mut self) {
        let later = self.io.rng.within(300_000, 4_000_000);
        self.io.queue.after(later, Event::Mend);
    }

    /// A group is cut off; one node may still reach both sides.
    fn split(&mut self, host: Host) {
        let bridge = self.io.rng.chance(500_000).then(|| (host + 1) % self.nodes.len());
        let side: Vec<bool> = (0..self.nodes.len()).map(|_| self.io.rng.chance(500_000)).collect();
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                if side[from] != side[to] && Some(from) != bridge && Some(to) != bridge {
                    self.io.net.cut(from, to, Fault::Split);
                }
            }
        }
        self.mend_later();
    }

    fn slow_disks(&mut self, at_least: Us) {
        let until = self.io.queue.now() + self.io.rng.within(at_least, 1_800_000);
        for node in &mut self.nodes {
            if self.io.rng.chance(500_000) {
                node.stuck_until = until;
            }
        }
    }

    fn old_view(&mut self, host: Host) {
        self.io.old_view_until[host] = self.io.queue.now() + self.io.rng.within(500_000, 8_000_000);
    }

    fn power_cut(&mut self) {
        for host in 0..self.nodes.len() {
            if self.io.lives[host].1 {
                self.nodes[host].crash(&mut self.io);
                let back = self.io.rng.within(50_000, 1_500_000);
                self.io.queue.after(back, Event::Restart(host));
            }
        }
        self.io.faults.hit(Fault::PowerCut);
    }

    fn pause(&mut self, host: Host) {
        if self.nodes[host].paused.is_none() && self.io.lives[host].1 {
            self.nodes[host].paused = Some(self.io.queue.now());
            self.io.faults.hit(Fault::Pause);
            let until = self.io.rng.within(50_000, 6_000_000);
            self.io.queue.after(until, Event::Resume(host));
        }
    }

    fn other_machines(&mut self) {
        if self.is_anything_gone() {
            return;
        }
        let mut machines: Vec<NodeId> = (0..self.nodes.len()).map(node_of).collect();
        // Often only a few are left, so that a partition's old and new owners have nobody in common.
        let left = *self.io.rng.pick(&[1, 3, 3, 3, 4, 5, 6]);
        while machines.len() > left {
            let gone = self.io.rng.below(machines.len() as u64) as usize;
            machines.remove(gone);
        }
        // A plan finds some busy, and some behind.
        if self.io.faults.has(Fault::SlowDisk) && self.io.rng.chance(700_000) {
            self.slow_disks(1_000_000);
        }
        if self.io.faults.has(Fault::OldView) && self.io.rng.chance(700_000) {
            let host = self.io.rng.below(self.nodes.len() as u64) as usize;
            self.old_view(host);
        }
        let before = self.io.log.len();
        self.change(&Change::Machines(machines));
        if self.io.log.len() > before {
            self.io.faults.hit(Fault::Layout);
        }
    }

    fn other_numbers(&mut self) {
        if self.is_anything_gone() {
            return;
        }
        let bucket = self.io.rng.below(self.io.log.last().buckets.len() as u64) as usize;
        let choices = [(1, 1, 1), (3, 2, 2), (3, 3, 1), (5, 3, 3), (5, 4, 2), (2, 2, 1), (4, 3, 2)];
        let (n, r, w) = *self.io.rng.pick(&choices);
        if self.io.log.last().buckets[bucket].kind == Kind::Lww && 2 * w <= n {
            // Two writes may have no owner in common: then the clocks alone decide, and nothing is promised.
            return;
        }
        let before = self.io.log.len();
        self.change(&Change::Numbers(bucket, Numbers { n, r, w }));
        if self.io.log.len() > before {
            self.io.faults.hit(Fault::Numbers);
        }
    }
}

/// Keys of every bucket, with their partitions.
fn keys(buckets: usize) -> (Arc<[PartitionId]>, Vec<usize>) {
    let mut partition_of = Vec::new();
    let mut bucket_of = Vec::new();
    for bucket in 0..buckets {
        for number in 0..KEYS {
            let key = Key::new(vec![number as u8]).unwrap_or_else(|_| unreachable!("one byte"));
            partition_of.push(IndexKey::new(BucketId(bucket as u32), &key).partition());
            bucket_of.push(bucket);
        }
    }
    (partition_of.into(), bucket_of)
}
