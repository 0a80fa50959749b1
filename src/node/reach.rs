//! Who of those that are there is reached from here, and why the others are not: small messages may pass where large ones do
//! not, or between others and not to this node.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;

use crate::base::id::NodeId;
use crate::base::limits::BREAKS_APART;
use crate::base::limits::FLAPS_WINDOW;
use crate::base::time;
use crate::net::peer::LaneState;
use crate::net::peer::LinkView;
use crate::net::peer::trouble::Kind;
use crate::net::peer::trouble::Trouble;
use crate::net::wire::Lane;
use crate::node::Node;
use crate::proto::control::State;
use crate::proto::member::view::Link;
use crate::proto::member::view::Seen;
use crate::proto::member::view::Status;
use crate::proto::ring::survives;
use crate::proto::ring::survives::Margin;

/// Links that are broken now.
#[derive(Debug, Default)]
pub struct Reach {
    broken: Mutex<BTreeMap<NodeId, Broken>>,
    /// Nodes that this one is connected to and that are not connected to it.
    one_way: Mutex<BTreeSet<NodeId>>,
    breaks: Mutex<BTreeMap<NodeId, Breaks>>,
}

/// How often connections to a node were made anew of late, each a break of the one before.
#[derive(Debug, Default)]
struct Breaks {
    /// Of each lane that stands, since when.
    up: BTreeMap<Lane, Instant>,
    /// When there were such breaks; those of one moment are one.
    at: VecDeque<Instant>,
}

impl Breaks {
    fn look(&mut self, view: &LinkView, now: Instant) {
        let up = view.lanes.iter().filter(|lane| lane.state == LaneState::Up);
        let mut broke = false;
        for lane in up {
            let before = self.up.insert(lane.lane, lane.since);
            broke |= before.is_some_and(|before| before != lane.since);
        }
        let is_another = |last: &Instant| now.saturating_duration_since(*last) >= BREAKS_APART;
        if broke && self.at.back().is_none_or(is_another) {
            self.at.push_back(now);
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Instant) {
        while self.at.front().is_some_and(|at| now.saturating_duration_since(*at) >= FLAPS_WINDOW) {
            self.at.pop_front();
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Broken {
    /// What a try to connect said last.
    why: Option<Trouble>,
    /// Some lanes stand all the same.
    some_pass: bool,
}

impl Reach {
    fn broken(&self) -> MutexGuard<'_, BTreeMap<NodeId, Broken>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nodes that this one calls and that do not call it.
    pub(super) fn one_way(&self) -> BTreeSet<NodeId> {
        self.one_way.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often connections to a node broke off and were made anew within [`FLAPS_WINDOW`].
    pub(super) fn breaks(&self, node: NodeId) -> usize {
        let mut breaks = self.breaks.lock().unwrap_or_else(PoisonError::into_inner);
        breaks.get_mut(&node).map_or(0, |breaks| {
            breaks.forget(time::mono());
            breaks.at.len()
        })
    }

    fn note_way(&self, view: &LinkView) {
        let calls = view.lanes.iter().any(|lane| lane.state == LaneState::Up);
        let mut one_way = self.one_way.lock().unwrap_or_else(PoisonError::into_inner);
        if calls && view.lanes.iter().all(|lane| !lane.inbound) {
            one_way.insert(view.node);
        } else {
            one_way.remove(&view.node);
        }
    }

    /// Notes how it is with the link to a node.
    pub(super) fn note(&self, view: &LinkView) -> Link {
        self.note_way(view);
        let mut breaks = self.breaks.lock().unwrap_or_else(PoisonError::into_inner);
        breaks.entry(view.node).or_default().look(view, time::mono());
        drop(breaks);
        let is = |state| view.lanes.iter().filter(|lane| lane.state == state).count();
        let (up, down) = (is(LaneState::Up), is(LaneState::Down));
        if down == 0 {
            self.broken().remove(&view.node);
            return if up == view.lanes.len() { Link::Good } else { Link::Unknown };
        }
        let why = view.lanes.iter().filter(|lane| lane.state == LaneState::Down).find_map(|lane| lane.why.clone());
        self.broken().insert(view.node, Broken { why, some_pass: up > 0 });
        Link::Broken
    }

    /// What the last try to reach a node said; none where a part of the links to it stands.
    pub(super) fn trouble(&self, node: NodeId) -> Option<Trouble> {
        self.broken().get(&node).filter(|broken| !broken.some_pass)?.why.clone()
    }

    /// Why a node is not reached, as a sentence that begins with a blank; empty where nothing is known.
    pub(super) fn why(&self, node: NodeId) -> String {
        let Some(Broken { why, some_pass }) = self.broken().get(&node).cloned() else { return String::new() };
        if let Some(Trouble { text, .. }) = why.as_ref().filter(|why| why.kind == Kind::Here) {
            return format!(
                " It is this machine that gives no further connections: its local ports are used up by some program, or it has lost its \
                 address (\"{text}\"). `ss -tan` says who holds them."
            );
        }
        let why = why.map(|why| format!("the last try to connect ended with \"{why}\""));
        let passes = "what goes by a connection of before still passes, as where large packets are dropped on the way (MTU), or \
                      a firewall keeps new connections out";
        match (some_pass, why) {
            (true, Some(why)) => format!(" Of the links between the two {passes}; {why}."),
            (true, None) => format!(" Of the links between the two {passes}."),
            (false, Some(why)) => format!(" Here {why}."),
            (false, None) => String::new(),
        }
    }
}

impl Node {
    /// Nodes that are there, this one among them.
    #[must_use]
    pub fn live(&self) -> BTreeSet<NodeId> {
        let there =
            |(node, seen): (&NodeId, &Seen)| matches!(seen.status, Status::Up | Status::Suspect).then_some(*node);
        self.sight().iter().filter_map(there).chain([self.who().node]).collect()
    }

    /// Those of them that are reached from here: others may see one whose link to this node is broken for long.
    #[must_use]
    pub fn reached(&self) -> BTreeSet<NodeId> {
        let broken = self.not_reached();
        self.live().into_iter().filter(|node| !broken.contains(node)).collect()
    }

    /// Nodes that are there and not reached from here, where this one refuses for want of them what others take: devices
    /// are served better elsewhere. Empty where it is not so.
    #[must_use]
    pub fn misses(&self) -> BTreeSet<NodeId> {
        let broken = self.not_reached();
        let (state, live) = (self.state(), self.live());
        let can_serve = |there: &BTreeSet<NodeId>| margin(&state, there).is_none_or(|margin| margin.left.is_some());
        let lacks = broken.iter().any(|node| live.contains(node)) && can_serve(&live) && !can_serve(&self.reached());
        if lacks { broken } else { BTreeSet::new() }
    }
}

/// The loss of how many more machines no request notices, with these there; `None` where nothing is placed.
pub(super) fn margin(state: &State, there: &BTreeSet<NodeId>) -> Option<Margin> {
    survives::survives(&state.layout, there, &state.numbers()).strict.map(|margins| margins.machines)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;
    use std::time::Instant;

    use super::Breaks;
    use crate::base::id::NodeId;
    use crate::base::time;
    use crate::net::peer::LaneState;
    use crate::net::peer::LaneView;
    use crate::net::peer::LinkView;
    use crate::net::peer::trouble::Kind;
    use crate::net::peer::trouble::Trouble;
    use crate::net::wire::Lane;
    use crate::node::reach::Reach;
    use crate::proto::member::view::Link;

    fn link(states: [LaneState; 4]) -> LinkView {
        let lane = |(lane, state): (Lane, LaneState)| {
            let trouble = || Trouble { kind: Kind::NoAnswer, text: "10.0.0.2:7400 does not answer".to_owned() };
            let why = (state == LaneState::Down).then(trouble);
            LaneView { lane, state, since: time::mono(), address: None, inbound: true, why }
        };
        let lanes = Lane::ALL.into_iter().zip(states).map(lane).collect();
        LinkView { node: NodeId(2), addresses: Vec::new(), lanes, last_heard: None }
    }

    #[test]
    fn a_link_of_which_a_part_stands_is_told_apart_from_one_that_is_gone() {
        let (reach, [up, down]) = (Reach::default(), [LaneState::Up, LaneState::Down]);
        assert_eq!(reach.note(&link([up; 4])), Link::Good);
        assert_eq!(reach.why(NodeId(2)), "");
        assert_eq!(reach.note(&link([up, LaneState::Dialling, up, up])), Link::Unknown);
        assert_eq!(reach.note(&link([down; 4])), Link::Broken);
        assert_eq!(reach.trouble(NodeId(2)).unwrap().kind, Kind::NoAnswer);
        assert_eq!(reach.why(NodeId(2)), " Here the last try to connect ended with \"10.0.0.2:7400 does not answer\".");
        assert_eq!(reach.note(&link([up, down, down, up])), Link::Broken);
        assert_eq!(reach.trouble(NodeId(2)), None, "it is reached by a part of them");
        let why = reach.why(NodeId(2));
        assert!(why.contains("large packets") && why.contains("does not answer"), "{why}");
        assert_eq!(reach.note(&link([up; 4])), Link::Good);
        assert_eq!(reach.why(NodeId(2)), "");
    }

    #[test]
    fn connections_that_break_off_again_and_again_are_counted_and_those_of_one_moment_once() {
        let (mut breaks, start) = (Breaks::default(), time::mono());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let view = |since: Instant| {
            let mut view = link([LaneState::Up; 4]);
            view.lanes.iter_mut().for_each(|lane| lane.since = since);
            view
        };
        for second in 0..10 {
            breaks.look(&view(at(second)), at(second));
            breaks.look(&link([LaneState::Down; 4]), at(second));
        }
        assert_eq!(breaks.at.len(), 9, "the first was no break");
        breaks.look(&view(at(9) + Duration::from_millis(10)), at(9) + Duration::from_millis(10));
        assert_eq!(breaks.at.len(), 9);
        breaks.forget(at(65));
        assert_eq!(breaks.at.len(), 4);
    }

    #[test]
    fn who_is_called_and_does_not_call_is_known_until_it_does() {
        let (reach, up) = (Reach::default(), LaneState::Up);
        let unheard = |state| {
            let mut view = link([state; 4]);
            view.lanes.iter_mut().for_each(|lane| lane.inbound = false);
            view
        };
        reach.note(&unheard(LaneState::Down));
        assert!(reach.one_way().is_empty(), "nobody hears it");
        reach.note(&unheard(up));
        assert_eq!(reach.one_way(), [NodeId(2)].into());
        reach.note(&link([up; 4]));
        assert!(reach.one_way().is_empty());
    }
}
