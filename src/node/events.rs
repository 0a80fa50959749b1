//! What happened in the cluster, as far as this node sees it: the driver of `proto::event`. What is worth keeping goes to the
//! timeline; here a restart begins anew, and who follows is told so.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde::Serialize;
use tokio::sync::watch;

use crate::base::flight;
use crate::base::id::NodeId;
use crate::base::limits::EVENTS_TICK;
use crate::base::limits::TIMELINE_LOOK_BACK;
use crate::base::time;
use crate::control::words;
use crate::node::Node;
use crate::node::plan;
use crate::node::ring;
use crate::proto::alarm::Alarm;
use crate::proto::audit::Chain;
use crate::proto::control::State;
use crate::proto::control::members::Member;
use crate::proto::event;
use crate::proto::event::AlarmSeen;
use crate::proto::event::Event;
use crate::proto::event::Kept;
use crate::proto::event::Kind;
use crate::proto::event::LayoutSeen;
use crate::proto::event::MemberSeen;
use crate::proto::event::Repairs;
use crate::proto::event::Scene;
use crate::proto::event::Told;
use crate::proto::member::view::Reason;
use crate::proto::member::view::Status;
use crate::proto::timeline;

/// The last events, and who waits for more.
#[derive(Default)]
pub struct Events {
    kept: Mutex<Kept>,
    last: watch::Sender<u64>,
}

/// Names an event: `NODE.START.NUMBER`. Another node, and each life of a node, counts its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    /// Who tells.
    pub node: NodeId,
    /// In which life.
    pub start: u64,
    /// Its number in it.
    pub seq: u64,
}

impl EventId {
    /// Reads one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(str::parse::<u64>);
        let (node, start, seq) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
        parts.next().is_none().then_some(Self { node: NodeId(node), start, seq })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.node, self.start, self.seq)
    }
}

/// An event for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventView {
    /// Its id.
    pub id: String,
    /// Of what kind.
    pub kind: &'static str,
    /// When this node saw it.
    pub at: String,
    /// With whom, where it is about a node.
    pub node: Option<NodeId>,
    /// Of an alarm.
    pub code: Option<&'static str>,
    /// For people.
    pub text: String,
}

/// What follows an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    /// Whether there was more than what is given: it is not kept, or was another node's.
    pub missed: bool,
    /// In order.
    pub events: Vec<EventView>,
    /// To ask for those behind.
    pub last: EventId,
}

impl Events {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Looks at the cluster whenever something may have changed, until the node stops.
    pub async fn keep_events(self) {
        let (mut moved, mut sights) = (self.moved(), self.sights());
        let mut tick = tokio::time::interval(EVENTS_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Of what is wrong at the beginning the first look tells.
        let mut before = Scene { alarms: BTreeMap::new(), recovering: None, ..self.scene() };
        note_members(&before);
        let mut repairs = Repairs::default();
        let mut orders = self.state().audit_chain(Chain::All).head().seq;
        self.tell_of_the_start().await;
        loop {
            tokio::select! {
                () = self.drained() => {
                    let (node, name) = (self.who().node, &self.who().name);
                    let stops = format!("node {node} ({name}) was told to stop, and stops in order");
                    let mut events: Vec<Event> =
                        repairs.end().map(|repaired| Event::repaired(node, repaired)).into_iter().collect();
                    events.push(Event::of_node(Kind::NodeStopped, node, stops));
                    return self.happened(events);
                }
                Ok(()) = moved.changed() => {}
                Ok(()) = sights.changed() => {}
                _at = tick.tick() => {}
            }
            let mut after = self.scene();
            after.leader = after.leader.or(before.leader);
            if before.members != after.members {
                note_members(&after);
            }
            let mut events = self.orders_behind(&mut orders);
            events.extend(event::between(&before, &after));
            let brought = self.0.cluster.repair.counts.brought.load(Ordering::Relaxed);
            let repaired = repairs.look(brought, time::steady_ms().0);
            events.extend(repaired.map(|repaired| Event::repaired(self.who().node, repaired)));
            self.happened(events);
            before = after;
        }
    }

    /// That this node began, and how its life before ended.
    async fn tell_of_the_start(&self) {
        let (node, name) = (self.who().node, &self.who().name);
        let ended = tokio::time::timeout(TIMELINE_LOOK_BACK, self.ended_otherwise()).await.ok().flatten();
        let ended = ended.map(|how| Event::of_node(Kind::Crash, node, format!("node {node} ({name}) {how}")));
        let mut events: Vec<Event> = ended.into_iter().collect();
        let began = format!("node {node} ({name}) began to tell what it sees");
        events.push(Event::of_node(Kind::NodeStarted, node, began));
        self.happened(events);
    }

    /// What operators ordered since the last look.
    fn orders_behind(&self, seen: &mut u64) -> Vec<Event> {
        let state = self.state();
        let chain = state.audit_chain(Chain::All);
        let entries = chain.after(*seen).map(|(_, entry)| entry);
        let told = entries.filter(|entry| timeline::is_told(&entry.what));
        let events = told.map(|entry| Event::ordered(entry.seq, &entry.by.name, &entry.what)).collect();
        *seen = chain.head().seq;
        events
    }

    /// That this node read its configuration anew.
    pub(super) fn tell_of_a_reload(&self, by: &str, changed: &str) {
        let (node, name) = (self.who().node, &self.who().name);
        let text = format!("node {node} ({name}) read its configuration anew, by order of {by}: changes {changed}");
        let event = Event::of_node(Kind::ConfigReloaded, node, text);
        self.happened(vec![Event { by: Some(by.to_owned()), ..event }]);
    }

    pub(super) fn happened(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let now = time::rfc3339(time::wall_ms());
        events.iter().for_each(|event| flight::note_event(format!("{now} {}", event.text).as_bytes()));
        let mut kept = self.0.cluster.events.kept();
        let (node, start) = (self.who().node, self.life());
        for event in events {
            let at_ms = time::wall_ms();
            self.keep_change(EventId { node, start, seq: kept.last() + 1 }, at_ms, &event);
            kept.push(at_ms, event);
        }
        self.0.cluster.events.last.send_replace(kept.last());
    }

    /// Hears of further events.
    #[must_use]
    pub fn new_events(&self) -> watch::Receiver<u64> {
        self.0.cluster.events.last.subscribe()
    }

    /// All that is kept behind this one; without one, all that is kept.
    #[must_use]
    pub fn events_after(&self, id: Option<EventId>) -> Following {
        let mine = EventId { node: self.who().node, start: self.life(), seq: 0 };
        let known = id.filter(|id| (id.node, id.start) == (mine.node, mine.start));
        let kept = self.0.cluster.events.kept();
        let rest = kept.after(known.map_or(0, |id| id.seq));
        let last = EventId { seq: kept.last(), ..mine };
        let events = rest.events.into_iter().map(|told| view(EventId { seq: told.seq, ..mine }, told)).collect();
        // Who asks for the first time cannot have missed anything.
        Following { missed: id.is_some() && (known.is_none() || rest.missed), events, last }
    }

    fn life(&self) -> u64 {
        self.0.cluster.marks.read(|marks| marks.starts)
    }

    fn scene(&self) -> Scene {
        let (state, sight, me) = (self.state(), self.sight(), self.who().node);
        let member = |(node, member): (&NodeId, &Member)| {
            let (status, reason) = match sight.get(node) {
                _ if *node == me => (Status::Up, Reason::Answers),
                Some(seen) => (seen.status, seen.reason),
                None => (Status::Down, Reason::NeverHeard),
            };
            let drained = plan::drain_of(member).map(|drain| drain.reason);
            let (name, reason) = (member.name.clone(), reason.in_words());
            let addresses = member.addresses.clone();
            (*node, MemberSeen { name, part: member.state, addresses, status, reason, drained })
        };
        let words::Status { leader, term, .. } = self.0.consensus.status();
        Scene {
            members: state.members.iter().map(member).collect(),
            layout: layout_seen(&state),
            staged: state.staged.as_ref().map(|staged| staged.version),
            leader: leader.map(|leader| (NodeId(leader), term)),
            paused: self.handoff_pause().map(|pause| pause.reason),
            recovering: self.loss().and_then(|loss| loss.why).map(|why| (me, why)),
            alarms: self.alarms_seen().into_iter().map(|alarm| (alarm.key(), seen(alarm))).collect(),
            at_ms: time::wall_ms(),
        }
    }
}

fn seen(alarm: Alarm) -> AlarmSeen {
    let Alarm { since_ms, cause, to_do, .. } = alarm;
    AlarmSeen { since_ms, cause, to_do }
}

/// For whoever looks at how this process ended.
fn note_members(scene: &Scene) {
    let line = |(node, seen): (&NodeId, &MemberSeen)| {
        format!("node {node} ({}) {:?}: {}", seen.name, seen.status, seen.reason)
    };
    flight::note_members(&scene.members.iter().map(line).collect::<Vec<_>>());
}

fn layout_seen(state: &State) -> LayoutSeen {
    let ring::Phases { settled, both, read_next } = ring::phases_of(&state.layout);
    LayoutSeen { planned: state.layout.planned, settled, both, read_next }
}

fn view(id: EventId, told: Told) -> EventView {
    let Told { at_ms, event: Event { kind, node, code, text, .. }, .. } = told;
    EventView { id: id.to_string(), kind: kind.name(), at: time::rfc3339(at_ms), node, code, text }
}

#[cfg(test)]
mod tests {
    use super::EventId;
    use crate::base::id::NodeId;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_one() {
        let id = EventId { node: NodeId(3), start: 17, seq: 42 };
        assert_eq!((id.to_string().as_str(), EventId::parse("3.17.42")), ("3.17.42", Some(id)));
        for bad in ["", "3", "3.17", "3.17.42.1", "3.17.-1", "a.b.c", "3.17.99999999999999999999"] {
            assert_eq!(EventId::parse(bad), None, "{bad}");
        }
    }
}
