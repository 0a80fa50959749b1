//! Steps of [`Campaign`], which lives as long as its node: each is written down with what it knew before.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::base::id::NodeId;
use crate::proto::campaign::Campaign;
use crate::proto::campaign::Step;
use crate::proto::tape::Replay;

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// A leader was heard.
    Heard,
    /// This node gave its vote.
    Voted,
    /// Something says that the leader is gone.
    LeaderSeemsGone,
    /// Time has passed; who has a vote.
    Tick(Vec<BTreeSet<NodeId>>),
    /// A voter hears no leader.
    HearsNone(NodeId, u64, Vec<BTreeSet<NodeId>>),
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// What it knew before.
    pub before: Campaign,
    /// What it was told.
    pub told: Told,
    /// By the steady clock.
    pub now_ms: u64,
    /// What was drawn for it.
    pub draw: u64,
    /// What it wanted.
    pub wanted: Option<Step>,
}

impl Moment {
    /// Tells a core something, and gives the step where there is anything to write down: a look at the clock that led to
    /// nothing is not, nor a leader that is heard as ever.
    pub fn of(core: &mut Campaign, told: Told, now_ms: u64, draw: u64) -> (Option<Step>, Option<Self>) {
        let before = core.clone();
        let wanted = tell(core, &told, now_ms, draw);
        let is_idle = match told {
            Told::Tick(_) => wanted.is_none(),
            Told::Heard => before.is_calm(now_ms),
            Told::Voted | Told::LeaderSeemsGone | Told::HearsNone(..) => false,
        };
        let moment = (!is_idle).then(|| Self { before, told, now_ms, draw, wanted: wanted.clone() });
        (wanted, moment)
    }

    /// Does it again.
    #[must_use]
    pub fn replay(&self) -> Replay {
        let mut core = self.before.clone();
        let wants = tell(&mut core, &self.told, self.now_ms, self.draw);
        let lines = vec![
            format!("knows: {:?}", self.before),
            format!("is told at {} ms: {:?}", self.now_ms, self.told),
            format!("wants: {wants:?}"),
        ];
        let differs = (wants != self.wanted).then(|| format!("then {:?}, now {wants:?}", self.wanted));
        Replay { lines, differs }
    }
}

fn tell(core: &mut Campaign, told: &Told, now_ms: u64, draw: u64) -> Option<Step> {
    match told {
        Told::Heard => core.heard(now_ms, draw),
        Told::Voted => core.voted(now_ms, draw),
        Told::LeaderSeemsGone => core.leader_seems_gone(),
        Told::Tick(voters) => return core.tick(now_ms, voters, draw),
        Told::HearsNone(from, attempt, voters) => return core.hears_none(*from, *attempt, now_ms, voters, draw),
    }
    None
}
