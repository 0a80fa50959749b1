//! What goes wrong in a run, and when. Which faults a run has is drawn from its seed; each of them has to hit, or the run
//! has shown nothing and is rejected.

use crate::net::Counts;
use crate::net::Weather;
use crate::queue::Us;
use crate::rng::Rng;

/// One way for things to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Messages are lost.
    Loss,
    /// Messages come twice.
    Twice,
    /// Messages take long and are overtaken.
    Late,
    /// One direction between two nodes is cut.
    OneWay,
    /// Some nodes do not reach some others, while a third reaches both, or a group is cut off.
    Split,
    /// A process dies between any two effects, with what it had not synced, and comes back.
    Crash,
    /// All processes die at once.
    PowerCut,
    /// A process stands still for seconds and goes on as if nothing had been.
    Pause,
    /// A wall clock jumps, up to an hour in either direction.
    Clock,
    /// Syncs take long; at times the journals of several machines stand still together.
    SlowDisk,
    /// Machines come and go in the layout.
    Layout,
    /// A bucket gets other numbers.
    Numbers,
    /// A node's copy of the control state stands still.
    OldView,
    /// What a node holds of a partition is gone when its process comes back, and nothing on its disk tells.
    Vanish,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Fault::Loss,
        Fault::Twice,
        Fault::Late,
        Fault::OneWay,
        Fault::Split,
        Fault::Crash,
        Fault::PowerCut,
        Fault::Pause,
        Fault::Clock,
        Fault::SlowDisk,
        Fault::Layout,
        Fault::Numbers,
        Fault::OldView,
        Fault::Vanish,
    ];
}

/// The faults of one run and how often each has hit.
#[derive(Debug)]
pub struct Faults {
    enabled: Vec<Fault>,
    hits: [u64; Fault::ALL.len()],
}

impl Faults {
    /// Two to seven of them.
    pub fn draw(rng: &mut Rng) -> Self {
        let wanted = rng.within(2, 7);
        let mut enabled = Vec::new();
        while (enabled.len() as u64) < wanted {
            let fault = *rng.pick(&Fault::ALL);
            if !enabled.contains(&fault) {
                enabled.push(fault);
            }
        }
        enabled.sort_unstable();
        Self { enabled, hits: [0; Fault::ALL.len()] }
    }

    /// Only these.
    pub fn only(enabled: &[Fault]) -> Self {
        Self { enabled: enabled.to_vec(), hits: [0; Fault::ALL.len()] }
    }

    /// Those of this run.
    pub fn enabled(&self) -> &[Fault] {
        &self.enabled
    }

    /// Whether this run has it.
    pub fn has(&self, fault: Fault) -> bool {
        self.enabled.contains(&fault)
    }

    /// It hit: it did something that would not have been otherwise.
    pub fn hit(&mut self, fault: Fault) {
        self.hits[fault as usize] += 1;
    }

    /// How the links are.
    pub fn weather(&self) -> Weather {
        let of = |fault, per_million| if self.has(fault) { per_million } else { 0 };
        Weather {
            loss: of(Fault::Loss, 20_000),
            twice: of(Fault::Twice, 20_000),
            late: of(Fault::Late, 20_000),
            delay: (100, 900),
            late_delay: (20_000, 900_000),
        }
    }

    /// How long a sync takes.
    pub fn sync_time(&mut self, rng: &mut Rng) -> Us {
        if self.has(Fault::SlowDisk) && rng.chance(20_000) {
            self.hit(Fault::SlowDisk);
            return rng.within(50_000, 1_500_000);
        }
        rng.within(200, 1_500)
    }

    /// Faults that were to hit and have not.
    pub fn missed(&self, net: Counts) -> Vec<Fault> {
        let hits = |fault: Fault| match fault {
            Fault::Loss => net.lost,
            Fault::Twice => net.twice,
            Fault::Late => net.late,
            Fault::OneWay => net.one_way,
            Fault::Split => net.split,
            other => self.hits[other as usize],
        };
        self.enabled.iter().copied().filter(|fault| hits(*fault) == 0).collect()
    }
}
