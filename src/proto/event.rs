//! What happened, from what is seen: two looks at a cluster, one after the other, become the events between them. Keeps the
//! last ones under numbers that rise by one, so that whoever comes back is given what it missed, or told that it missed
//! some.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use crate::base::id::NodeId;
use crate::base::limits::EVENTS_KEPT;
use crate::base::limits::REPAIR_REST_LOOKS;
use crate::base::limits::REPAIRS_TOGETHER_MS;
use crate::proto::alarm::Key;
use crate::proto::control::members::MemberState;
use crate::proto::member::view::Status;

#[cfg(test)]
mod tests;

/// What is seen at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scene {
    /// Nodes that were ever let in and are not forgotten.
    pub members: BTreeMap<NodeId, MemberSeen>,
    /// Who owns what, in short.
    pub layout: LayoutSeen,
    /// The number of the plan that waits.
    pub staged: Option<u64>,
    /// What is wrong.
    pub alarms: BTreeMap<Key, AlarmSeen>,
    /// When it is seen, in wall milliseconds: how long an alarm stood is told of.
    pub at_ms: u64,
    /// Who orders changes of the control state, in which term; the last one known where there is none.
    pub leader: Option<(NodeId, u64)>,
    /// Why handoff rests.
    pub paused: Option<String>,
    /// The node that looks, while it gets back what it lost, and why.
    pub recovering: Option<(NodeId, String)>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSeen {
    /// Its name.
    pub name: String,
    /// How far its part in the cluster goes.
    pub part: MemberState,
    /// Where others reach it.
    pub addresses: Vec<String>,
    /// Whether it is there.
    pub status: Status,
    /// Why, behind its name.
    pub reason: &'static str,
    /// Why devices are asked to go elsewhere.
    pub drained: Option<String>,
}

/// The layout in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayoutSeen {
    /// The version in which it was last decided who is to own what.
    pub planned: u64,
    /// Partitions at rest.
    pub settled: usize,
    /// Partitions whose old and new owners are written to and whose old ones are read.
    pub both: usize,
    /// Partitions whose new owners are read.
    pub read_next: usize,
}

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The node that tells this began to.
    NodeStarted,
    /// A node was let in.
    MemberJoined,
    /// It is reached at other addresses.
    MemberMoved,
    /// It is there.
    MemberUp,
    /// It did not answer, and may object.
    MemberSuspect,
    /// It failed.
    MemberDown,
    /// It said that it stops or restarts.
    MemberStopping,
    /// It stopped in order.
    MemberGone,
    /// It gives away what it owns.
    MemberLeaving,
    /// It is struck off.
    MemberRemoved,
    /// Devices are asked to go elsewhere.
    MemberDrained,
    /// They are not any more.
    MemberUndrained,
    /// A plan waits.
    PlanStaged,
    /// It does not any more, and was not begun.
    PlanCleared,
    /// It was decided who is to own what.
    LayoutCommitted,
    /// Partitions came into another phase of a change.
    LayoutPhase,
    /// Nothing moves any more.
    LayoutAtRest,
    /// A process of a node failed, or something in it.
    Crash,
    /// Something is wrong.
    AlarmRaised,
    /// It is not any more.
    AlarmCleared,
    /// This node stops in order.
    NodeStopped,
    /// Something in a node failed, and the node went on.
    Failure,
    /// An operator gave an order that changes the cluster.
    Ordered,
    /// A node read its configuration anew.
    ConfigReloaded,
    /// What moves waits.
    HandoffPaused,
    /// It goes on.
    HandoffResumed,
    /// Keys that differed were made the same.
    Repaired,
    /// A node gets back what it lost.
    RecoveryBegun,
    /// It has it.
    RecoveryEnded,
    /// Another node orders the changes of the control state.
    LeaderChanged,
}

/// All of them.
pub const KINDS: [Kind; 30] = [
    Kind::NodeStarted,
    Kind::MemberJoined,
    Kind::MemberMoved,
    Kind::MemberUp,
    Kind::MemberSuspect,
    Kind::MemberDown,
    Kind::MemberStopping,
    Kind::MemberGone,
    Kind::MemberLeaving,
    Kind::MemberRemoved,
    Kind::MemberDrained,
    Kind::MemberUndrained,
    Kind::PlanStaged,
    Kind::PlanCleared,
    Kind::LayoutCommitted,
    Kind::LayoutPhase,
    Kind::LayoutAtRest,
    Kind::Crash,
    Kind::AlarmRaised,
    Kind::AlarmCleared,
    Kind::NodeStopped,
    Kind::Failure,
    Kind::Ordered,
    Kind::ConfigReloaded,
    Kind::HandoffPaused,
    Kind::HandoffResumed,
    Kind::Repaired,
    Kind::RecoveryBegun,
    Kind::RecoveryEnded,
    Kind::LeaderChanged,
];

impl Kind {
    /// The name for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NodeStarted => "node_started",
            Self::MemberJoined => "member_joined",
            Self::MemberMoved => "member_moved",
            Self::MemberUp => "member_up",
            Self::MemberSuspect => "member_suspect",
            Self::MemberDown => "member_down",
            Self::MemberStopping => "member_stopping",
            Self::MemberGone => "member_gone",
            Self::MemberLeaving => "member_leaving",
            Self::MemberRemoved => "member_removed",
            Self::MemberDrained => "member_drained",
            Self::MemberUndrained => "member_undrained",
            Self::PlanStaged => "plan_staged",
            Self::PlanCleared => "plan_cleared",
            Self::LayoutCommitted => "layout_committed",
            Self::LayoutPhase => "layout_phase",
            Self::LayoutAtRest => "layout_at_rest",
            Self::Crash => "crash",
            Self::AlarmRaised => "alarm_raised",
            Self::AlarmCleared => "alarm_cleared",
            Self::NodeStopped => "node_stopped",
            Self::Failure => "failure",
            Self::Ordered => "ordered",
            Self::ConfigReloaded => "config_reloaded",
            Self::HandoffPaused => "handoff_paused",
            Self::HandoffResumed => "handoff_resumed",
            Self::Repaired => "repaired",
            Self::RecoveryBegun => "recovery_begun",
            Self::RecoveryEnded => "recovery_ended",
            Self::LeaderChanged => "leader_changed",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        KINDS.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it is worth keeping for long: what only lasts a moment is not.
    #[must_use]
    pub fn is_kept(self) -> bool {
        !matches!(self, Self::LayoutPhase)
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Of what kind.
    pub kind: Kind,
    /// With whom, where it is about a node.
    pub node: Option<NodeId>,
    /// Of an alarm.
    pub code: Option<&'static str>,
    /// For people.
    pub text: String,
    /// The number of what it is about, where it has one that all nodes know. 0: none.
    pub epoch: u64,
    /// Who ordered it.
    pub by: Option<String>,
}

impl Event {
    /// About a node.
    #[must_use]
    pub fn of_node(kind: Kind, node: NodeId, text: String) -> Self {
        Self { node: Some(node), ..Self::of_all(kind, text) }
    }

    fn of_all(kind: Kind, text: String) -> Self {
        Self { kind, node: None, code: None, text, epoch: 0, by: None }
    }

    /// An order of an operator, by its number in the audit.
    #[must_use]
    pub fn ordered(seq: u64, by: &str, words: &str) -> Self {
        let order = Self::of_all(Kind::Ordered, format!("{by}: {words}"));
        Self { epoch: seq, by: Some(by.to_owned()), ..order }
    }

    /// Keys that were made the same again.
    #[must_use]
    pub fn repaired(node: NodeId, repaired: Repaired) -> Self {
        let Repaired { keys, times, over_ms } = repaired;
        let keys = if keys == 1 { "1 key".to_owned() } else { format!("{keys} keys") };
        let times = if times > 1 { format!(", {times} times in {}", lasting(over_ms)) } else { String::new() };
        Self::of_node(Kind::Repaired, node, format!("{keys} of node {node} differed and were made the same{times}"))
    }
}

/// What happened between two looks, members first: what follows is often their doing.
#[must_use]
pub fn between(before: &Scene, after: &Scene) -> Vec<Event> {
    let mut events = Vec::new();
    for (node, now) in &after.members {
        member(*node, before.members.get(node), now, &mut events);
    }
    plan(before, after, &mut events);
    layout(before.layout, after.layout, &mut events);
    control(before, after, &mut events);
    alarms(before, after, &mut events);
    events
}

fn control(before: &Scene, after: &Scene, events: &mut Vec<Event>) {
    if let (Some((was, _)), Some((now, term))) = (before.leader, after.leader)
        && was != now
    {
        let text = format!("node {now} orders changes of the control state instead of node {was}, in term {term}");
        events.push(Event { epoch: term, ..Event::of_node(Kind::LeaderChanged, now, text) });
    }
    match (&before.paused, &after.paused) {
        (was, Some(why)) if was.as_ref() != Some(why) => {
            events.push(Event::of_all(Kind::HandoffPaused, format!("handoff waits: {why}")));
        }
        (Some(_), None) => events.push(Event::of_all(Kind::HandoffResumed, "handoff goes on".to_owned())),
        (_, _) => {}
    }
    match (&before.recovering, &after.recovering) {
        (None, Some((node, why))) => {
            let text = format!("node {node} lost what it had and gets it back from the others: {why}");
            events.push(Event::of_node(Kind::RecoveryBegun, *node, text));
        }
        (Some((node, _)), None) => {
            events.push(Event::of_node(Kind::RecoveryEnded, *node, format!("node {node} has back what it lost")));
        }
        (_, _) => {}
    }
}

/// Repairs that are told of together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repaired {
    /// Keys that were made the same.
    pub keys: u64,
    /// How often that was begun.
    pub times: u64,
    /// Between the first time and the last, in milliseconds.
    pub over_ms: u64,
}

/// Counts repairs until there are no further ones. Those that come again and again are told of together, so that they do not
/// fill the list of what changed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Repairs {
    seen: u64,
    rest: u8,
    /// What is not told yet, and since when.
    waits: Option<(Repaired, u64)>,
    /// When it was told last, on the steady clock.
    told_ms: Option<u64>,
}

impl Repairs {
    /// So many keys were repaired since the start; gives what was since it was told last, once they rest, and not soon after
    /// that.
    pub fn look(&mut self, count: u64, now_ms: u64) -> Option<Repaired> {
        let new = count.saturating_sub(self.seen);
        if new > 0 {
            let again = u64::from(self.rest >= REPAIR_REST_LOOKS);
            let (known, since_ms) = self.waits.unwrap_or((Repaired { keys: 0, times: 1 - again, over_ms: 0 }, now_ms));
            let over_ms = now_ms.saturating_sub(since_ms);
            self.waits = Some((Repaired { keys: known.keys + new, times: known.times + again, over_ms }, since_ms));
        }
        self.rest = if new == 0 { self.rest.saturating_add(1) } else { 0 };
        self.seen = count;
        let is_soon = self.told_ms.is_some_and(|told_ms| now_ms.saturating_sub(told_ms) < REPAIRS_TOGETHER_MS);
        if self.rest < REPAIR_REST_LOOKS || is_soon {
            return None;
        }
        let told = self.end()?;
        self.told_ms = Some(now_ms);
        Some(told)
    }

    /// Nobody looks any more: what is not told yet.
    pub fn end(&mut self) -> Option<Repaired> {
        self.waits.take().map(|(repaired, _)| repaired)
    }
}

fn member(node: NodeId, was: Option<&MemberSeen>, now: &MemberSeen, events: &mut Vec<Event>) {
    let MemberSeen { name, part, addresses, status, reason, drained } = now;
    let mut tell = |kind, text: String| events.push(Event::of_node(kind, node, format!("node {node} ({name}) {text}")));
    let part_was = was.map(|was| was.part);
    match part {
        MemberState::Removed => {
            // Of who was gone already nothing else is told.
            if part_was.is_some_and(|was| was != MemberState::Removed) {
                tell(Kind::MemberRemoved, "is no member any more".to_owned());
            }
            return;
        }
        MemberState::Leaving if part_was != Some(MemberState::Leaving) => {
            tell(Kind::MemberLeaving, "gives away what it owns and goes".to_owned());
        }
        MemberState::Joining | MemberState::Member | MemberState::Leaving => {}
    }
    if part_was.is_none_or(|was| was == MemberState::Removed) {
        tell(Kind::MemberJoined, "was let in".to_owned());
    }
    let is_known = |was: &&MemberSeen| !was.addresses.is_empty() && was.part != MemberState::Removed;
    if let Some(was) = was.filter(is_known).filter(|was| was.addresses != *addresses) {
        let list = |addresses: &[String]| addresses.join(", ");
        tell(Kind::MemberMoved, format!("is reached at {} now; before: {}", list(addresses), list(&was.addresses)));
    }
    // Who was just let in and is not there yet is not called down.
    let unheard = was.is_none() && *status == Status::Down;
    if was.map(|was| was.status) != Some(*status) && !unheard {
        let kind = match status {
            Status::Up => Kind::MemberUp,
            Status::Suspect => Kind::MemberSuspect,
            Status::Down => Kind::MemberDown,
            Status::Leaving => Kind::MemberStopping,
            Status::Gone => Kind::MemberGone,
        };
        tell(kind, (*reason).to_owned());
    }
    match (was.and_then(|was| was.drained.as_ref()), drained) {
        (before, Some(why)) if before != Some(why) => tell(Kind::MemberDrained, format!("sends devices away: {why}")),
        (Some(_), None) => tell(Kind::MemberUndrained, "takes devices again".to_owned()),
        (_, _) => {}
    }
}

fn plan(before: &Scene, after: &Scene, events: &mut Vec<Event>) {
    match (before.staged, after.staged) {
        (was, Some(number)) if was != Some(number) => {
            let text = format!("plan {number} waits to be committed");
            events.push(Event { epoch: number, ..Event::of_all(Kind::PlanStaged, text) });
        }
        (Some(number), None) if before.layout.planned == after.layout.planned => {
            events.push(Event::of_all(Kind::PlanCleared, format!("plan {number} was dropped")));
        }
        (_, _) => {}
    }
}

fn layout(was: LayoutSeen, now: LayoutSeen, events: &mut Vec<Event>) {
    let LayoutSeen { planned, settled, both, read_next } = now;
    if was.planned != planned {
        let text = format!("it was decided who is to own what, in layout version {planned}");
        events.push(Event { epoch: planned, ..Event::of_all(Kind::LayoutCommitted, text) });
    }
    let phases = |seen: LayoutSeen| (seen.both > 0, seen.read_next > 0);
    let moves = both + read_next > 0;
    if moves && phases(was) != phases(now) {
        let text = format!(
            "{settled} partitions are settled, {both} are written to old and new owners, {read_next} are read from the \
             new ones as well"
        );
        events.push(Event::of_all(Kind::LayoutPhase, text));
    }
    // What came and went between two looks is told of as well.
    if !moves && (was.both + was.read_next > 0 || was.planned != planned) {
        events.push(Event::of_all(Kind::LayoutAtRest, "all partitions are settled; nothing moves".to_owned()));
    }
}

fn alarms(before: &Scene, after: &Scene, events: &mut Vec<Event>) {
    let of = |kind, key: &Key, text: String| {
        let (node, code) = (key.subject.node(), Some(key.code.name()));
        Event { node, code, ..Event::of_all(kind, text) }
    };
    let new = after.alarms.iter().filter(|(key, _)| !before.alarms.contains_key(key));
    events.extend(
        new.map(|(key, AlarmSeen { cause, to_do, .. })| of(Kind::AlarmRaised, key, format!("{cause} {to_do}"))),
    );
    let over = before.alarms.iter().filter(|(key, _)| !after.alarms.contains_key(key));
    // Without what to do: there is nothing to do any more.
    let ended = |(key, seen): (&Key, &AlarmSeen)| {
        let stood = lasting(after.at_ms.saturating_sub(seen.since_ms));
        of(Kind::AlarmCleared, key, format!("Over after {stood}: {}", seen.cause))
    };
    events.extend(over.map(ended));
}

/// A time that passed, for people.
fn lasting(ms: u64) -> String {
    let (seconds, minutes, hours) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {} s", seconds % 60),
        (..48, _) => format!("{hours} h {} min", minutes % 60),
        (_, _) => format!("{} days {} h", hours / 24, hours % 24),
    }
}

/// An alarm as it stood at a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmSeen {
    /// Since when, in wall milliseconds.
    pub since_ms: u64,
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub to_do: String,
}

/// An event with its number and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// From 1, without a gap.
    pub seq: u64,
    /// Wall milliseconds.
    pub at_ms: u64,
    /// What.
    pub event: Event,
}

/// The last events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    last: u64,
    events: VecDeque<Told>,
}

/// What whoever comes back is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rest {
    /// Whether some are not kept any more.
    pub missed: bool,
    /// Those behind.
    pub events: Vec<Told>,
}

impl Kept {
    /// Adds one; the oldest goes where there are too many.
    pub fn push(&mut self, at_ms: u64, event: Event) {
        self.last += 1;
        self.events.push_back(Told { seq: self.last, at_ms, event });
        if self.events.len() > EVENTS_KEPT {
            self.events.pop_front();
        }
    }

    /// The number of the last one; 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Those behind this number. One that was never given is of somebody else's events.
    #[must_use]
    pub fn after(&self, seq: u64) -> Rest {
        let oldest = self.events.front().map_or(self.last + 1, |told| told.seq);
        let missed = seq > self.last || seq + 1 < oldest;
        let from = if seq > self.last { 0 } else { seq };
        Rest { missed, events: self.events.iter().filter(|told| told.seq > from).cloned().collect() }
    }
}
