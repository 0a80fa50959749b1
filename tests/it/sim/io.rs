//! What the parts of a world share: the queue, the links, chance, the log, the reference and the trace.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::check::Promise;
use crate::check::Reference;
use crate::check::Violation;
use crate::control::Change;
use crate::control::Log;
use crate::faults::Faults;
use crate::net::Fate;
use crate::net::Host;
use crate::net::Net;
use crate::queue::Queue;
use crate::queue::Us;
use crate::rng::Rng;
use crate::wire::Ask;
use crate::wire::Word;

/// Lines of trace that are kept for a person to read.
const TRACE_LINES: usize = 4_000;

/// Something happens.
#[derive(Debug)]
pub enum Event {
    /// A message arrives at a process in this life.
    Word {
        /// The machine.
        to: Host,
        /// The life of its process that the connection was with.
        life: u32,
        /// What arrives.
        word: Word,
    },
    /// A sync ends.
    Synced {
        /// The machine.
        host: Host,
        /// The life that began it.
        life: u32,
    },
    /// A node's marks are written.
    Noted {
        /// The machine.
        host: Host,
        /// The life that began it.
        life: u32,
    },
    /// A job's time may be over.
    Timer {
        /// The machine.
        host: Host,
        /// The life of its process.
        life: u32,
        /// The job.
        job: u64,
    },
    /// A node looks after its slots and hints.
    Tick {
        /// The machine.
        host: Host,
        /// The life of its process.
        life: u32,
    },
    /// A node's copy of the control state comes so far.
    View {
        /// The machine.
        host: Host,
        /// How far.
        index: usize,
    },
    /// A change reaches the log.
    Change(Change),
    /// A device does something, or has waited long enough.
    Client {
        /// Which.
        client: usize,
        /// Its turn then.
        turn: u64,
    },
    /// Something goes wrong.
    Nemesis,
    /// A cut ends.
    Mend,
    /// A process comes back.
    Restart(Host),
    /// A process goes on.
    Resume(Host),
    /// From now on nothing goes wrong.
    Calm,
    /// The run is over but for the last reads.
    End,
}

/// Shared by all.
pub struct Io {
    /// What happens next.
    pub queue: Queue<Event>,
    /// Links.
    pub net: Net,
    /// Chance.
    pub rng: Rng,
    /// Control state.
    pub log: Log,
    /// What was promised.
    pub reference: Reference,
    /// What goes wrong.
    pub faults: Faults,
    /// The life of each machine's process, and whether it runs.
    pub lives: Vec<(u32, bool)>,
    /// The partition of each key.
    pub partition_of: Arc<[PartitionId]>,
    /// The bucket of each key.
    pub bucket_of: Vec<usize>,
    /// The first promise that was broken.
    pub violation: Option<Violation>,
    /// Machines whose view stands still until then.
    pub old_view_until: Vec<Us>,
    /// Objects that were moved because two owners did not hold the same.
    pub repaired: u64,
    /// Graves that went.
    pub purged: u64,
    /// Whether devices delete much, leave keys alone for a while, and operations are not remembered for long: graves go.
    pub graves: bool,
    /// When the last comparison began.
    pub compared_at: Us,
    /// Only this one counts as broken.
    pub looks_for: Option<Promise>,
    /// Counts events that were handled.
    pub events: u64,
    /// A hash over everything that happened.
    pub fingerprint: u64,
    trace: Option<VecDeque<String>>,
}

impl Io {
    /// Nothing has happened.
    #[expect(clippy::too_many_arguments, reason = "the parts of a world, put together once")]
    pub fn new(
        net: Net,
        rng: Rng,
        log: Log,
        reference: Reference,
        faults: Faults,
        hosts: usize,
        partition_of: Arc<[PartitionId]>,
        bucket_of: Vec<usize>,
        traced: bool,
    ) -> Self {
        Self {
            queue: Queue::new(),
            net,
            rng,
            log,
            reference,
            faults,
            lives: vec![(1, true); hosts],
            partition_of,
            bucket_of,
            violation: None,
            repaired: 0,
            compared_at: 0,
            purged: 0,
            graves: false,
            looks_for: None,
            old_view_until: vec![0; hosts],
            events: 0,
            fingerprint: 0,
            trace: traced.then(VecDeque::new),
        }
    }

    /// The present in milliseconds, as cores count it.
    pub fn now_ms(&self) -> u64 {
        self.queue.now() / 1000
    }

    /// Sends to a node; its machine answers for a process that is not there.
    pub fn send(&mut self, from: Host, to: Host, word: Word) {
        let (life, runs) = self.lives[to];
        if !runs {
            if let Word::Ask { job, .. } = word
                && self.net.is_up(from, to)
                && self.net.is_up(to, from)
            {
                let unreachable = Word::Unreachable { from: node_of(to), job };
                let life = self.lives[from].0;
                self.queue.after(500, Event::Word { to: from, life, word: unreachable });
            }
            return;
        }
        match self.net.send(&mut self.rng, from, to) {
            Fate::Lost => {}
            Fate::Arrives(delay, again) => {
                // A forward has effects of its own each time: the lanes bring a question once, and nothing else makes it
                // harmless where the first copy was refused. All other questions may come twice.
                let once = matches!(&word, Word::Ask { ask: Ask::Forward(..), .. });
                if let Some(again) = again.filter(|_| !once) {
                    self.queue.after(again, Event::Word { to, life, word: word.clone() });
                }
                self.queue.after(delay, Event::Word { to, life, word });
            }
        }
    }

    /// Notes a broken promise, once.
    pub fn check(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result
            && self.looks_for.is_none_or(|promise| promise == violation.0)
        {
            let text = violation.1.clone();
            self.trace(|| format!("VIOLATION {text}"));
            self.violation.get_or_insert(violation);
        }
    }

    /// Adds a line to the trace, and to the fingerprint that tells two runs apart.
    pub fn trace(&mut self, line: impl FnOnce() -> String) {
        let Some(trace) = &mut self.trace else { return };
        let line = format!("{:>12.6} {}", self.queue.now() as f64 / 1e6, line());
        if trace.len() == TRACE_LINES {
            trace.pop_front();
        }
        trace.push_back(line);
    }

    /// Mixes a number into the fingerprint.
    pub fn mix(&mut self, number: u64) {
        self.fingerprint = (self.fingerprint ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    /// The last lines of the trace.
    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().map(Vec::from).unwrap_or_default()
    }
}

/// Machines are numbered from 0, nodes from 1.
pub fn node_of(host: Host) -> NodeId {
    NodeId(host as u64 + 1)
}

/// Reverses [`node_of`].
pub fn host_of(node: NodeId) -> Host {
    node.0 as usize - 1
}
