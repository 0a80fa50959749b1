//! Who is alive, as this node sees it: SWIM over the crate `foca`, and around it what that leaves to its user. Owns
//! suspicion, goodbyes, this node's opinion of its own health, and the view. Who is a member at all is control state,
//! given in by [`Membership::know`]; who owns what is nobody's business here.
//!
//! Invariants: nothing is handled before its cluster and its sender were checked. The view is derived from the
//! protocol's state after each turn, never from its notifications. A node that was not run for a while accuses nobody.
//!
//! Source: Das 2002 (SWIM); Dadgar 2018 (Lifeguard) for the local health.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::num::NonZeroU8;
use std::num::NonZeroUsize;
use std::time::Duration;

use foca::Config;
use foca::Foca;
use foca::Member;
use foca::NoCustomBroadcast;
use foca::Notification;
use foca::PeriodicParams;
use foca::PostcardCodec;
use foca::Runtime;
use foca::State;
use foca::Timer;

use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::limits::GOODBYE_EVERY;
use crate::base::limits::HEALTH_RECOVERS;
use crate::base::limits::HEALTH_SCORE_MAX;
use crate::base::limits::KNOCK_FIRST;
use crate::base::limits::KNOCK_LONGEST;
use crate::base::limits::LAG_PAUSE;
use crate::base::limits::LAG_UNHEALTHY;
use crate::base::limits::MEMBER_BEAT;
use crate::base::limits::MEMBER_MESSAGES_WAITING_MAX;
use crate::base::limits::PROBE_ANSWER;
use crate::base::limits::PROBE_EVERY;
use crate::base::limits::SUSPICION;
use crate::base::limits::SWIM_PACKET_BYTES;
use crate::base::time::millis;
use crate::proto::member::clock::Chance;
use crate::proto::member::clock::Timers;
use crate::proto::member::identity::Id;
use crate::proto::member::view::Link;
use crate::proto::member::view::Seen;
use crate::proto::member::view::Sight;
use crate::proto::member::view::Status;
use crate::proto::member::words::Goodbye;
use crate::proto::member::words::Ignored;
use crate::proto::member::words::News;
use crate::proto::member::words::Record;

mod clock;
mod identity;
pub mod view;
pub mod words;

#[cfg(test)]
mod tests;

/// Others that are asked to ask a node that did not answer.
const INDIRECT: NonZeroUsize = NonZeroUsize::new(3).unwrap();
/// How often one piece of news is passed on: enough for the largest cluster several times over.
const PASSED_ON: NonZeroU8 = NonZeroU8::new(10).unwrap();
const PACKET_BYTES: NonZeroUsize = NonZeroUsize::new(SWIM_PACKET_BYTES).unwrap();
/// How often news is passed on beside the probes, while there is any.
const GOSSIP_EVERY: Duration = Duration::from_millis(200);
/// How often somebody is asked for all that it knows.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// What somebody outside has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this by the lane for gossip; it may get lost.
    Send {
        /// To this node.
        to: NodeId,
        /// A message.
        bytes: Vec<u8>,
    },
}

/// Who this node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its id.
    pub node: NodeId,
    /// Higher than at every start before: a count on its disk.
    pub start: u64,
    /// Random.
    pub seed: u64,
}

/// What is kept of a member beside the protocol.
struct Peer {
    record: Option<(Record, u64)>,
    /// When a message of its own came last.
    heard_ms: Option<u64>,
    link: Link,
    /// When to knock next, and the wait behind that.
    knock_ms: u64,
    wait_ms: u64,
    seen: Seen,
}

/// The protocol's way out: what it wants to send, and to be reminded of.
#[derive(Default)]
struct Out {
    packets: Vec<(NodeId, Vec<u8>)>,
    timers: Vec<(Duration, Timer<Id>)>,
}

impl Runtime<Id> for Out {
    fn notify(&mut self, _notification: Notification<'_, Id>) {
        // The view is derived from the state.
    }

    fn send_to(&mut self, to: Id, data: &[u8]) {
        self.packets.push((to.node, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Id>, after: Duration) {
        self.timers.push((after, event));
    }
}

type Swim = Foca<Id, PostcardCodec, Chance, NoCustomBroadcast>;

/// One node's membership.
pub struct Membership {
    setup: Setup,
    swim: Swim,
    out: Out,
    timers: Timers,
    chance: Chance,
    peers: BTreeMap<NodeId, Peer>,
    record: Record,
    effects: VecDeque<Effect>,
    score: u8,
    /// When a point of it goes.
    recovers_ms: u64,
    /// Turns of probing that are left out before the next.
    skips: u8,
    beat_ms: u64,
    /// Where it leaves: when it says so next.
    goodbye_ms: Option<u64>,
}

impl Membership {
    /// Of a node that starts now, on a clock that does not jump.
    #[must_use]
    pub fn new(setup: Setup, now_ms: u64) -> Self {
        let Setup { node, start, seed, .. } = setup;
        let id = Id { node, start, bump: 0 };
        Self {
            setup,
            swim: Foca::new(id, config(0), Chance(seed), PostcardCodec),
            out: Out::default(),
            timers: Timers::default(),
            chance: Chance(!seed),
            peers: BTreeMap::new(),
            record: Record { start, seq: 1, goodbye: None, news: News::default() },
            effects: VecDeque::new(),
            score: 0,
            recovers_ms: now_ms,
            skips: 0,
            beat_ms: now_ms.saturating_add(millis(MEMBER_BEAT)),
            goodbye_ms: None,
        }
    }

    /// This node is a member. It is knocked at until it is heard, and again whenever it is not any more.
    pub fn know(&mut self, node: NodeId, now_ms: u64) {
        if node == self.setup.node || self.peers.contains_key(&node) {
            return;
        }
        let wait_ms = millis(KNOCK_FIRST);
        // The first knock comes soon, and not with everybody else's.
        let knock_ms = now_ms.saturating_add(self.chance.jitter(wait_ms / 2));
        let seen = Seen::unheard(now_ms);
        self.peers.insert(node, Peer { record: None, heard_ms: None, link: Link::Unknown, knock_ms, wait_ms, seen });
        self.look(now_ms);
    }

    /// This node is no member any more.
    pub fn forget(&mut self, node: NodeId, now_ms: u64) {
        if self.peers.remove(&node).is_none() {
            return;
        }
        let id = self.swim.iter_membership_state().find(|member| member.id().node == node).map(|member| *member.id());
        if let Some(id) = id {
            self.take_out(id, true);
        }
        self.end_turn(now_ms);
    }

    /// Something came by the lane for gossip, from a node that proved to be this one.
    ///
    /// # Errors
    /// [`Ignored`], for the counters.
    pub fn handle_message(&mut self, from: NodeId, bytes: &[u8], now_ms: u64) -> Result<(), Ignored> {
        if from == self.setup.node {
            return Err(Ignored::Twin);
        }
        let Some(peer) = self.peers.get_mut(&from) else { return Err(Ignored::Stranger) };
        let (record, packet) = words::decode(self.setup.cluster, from, bytes)?;
        peer.heard_ms = Some(now_ms);
        let newer = |(known, _): &(Record, u64)| (record.start, record.seq) > (known.start, known.seq);
        if peer.record.as_ref().is_none_or(newer) {
            let went = record.goodbye.is_some().then_some(record.start);
            peer.record = Some((record, now_ms));
            if let Some(start) = went {
                self.take_leave(from, start);
            }
        }
        let mut taken = Ok(());
        // Who has said goodbye is not called back to life.
        if !packet.is_empty() && self.record.goodbye.is_none() {
            taken = self.swim.handle_data(packet, &mut self.out).map_err(|_error| Ignored::Refused);
        }
        self.end_turn(now_ms);
        taken
    }

    /// Time has come for something. Also where it comes late: then this node was not run, and says so to itself first.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        let due_ms = self.poll_timeout().unwrap_or(now_ms);
        let late_ms = now_ms.saturating_sub(due_ms);
        self.health(late_ms, now_ms);
        if late_ms >= millis(LAG_PAUSE) {
            // Answers that came meanwhile are still in the sockets: nobody is judged before they are read.
            self.timers.put_off(late_ms);
        }
        while let Some(timer) = self.timers.pop(now_ms) {
            self.handle_timer(timer, now_ms);
        }
        if now_ms >= self.beat_ms {
            self.beat_ms = now_ms.saturating_add(millis(MEMBER_BEAT));
            if self.score > 0 && now_ms >= self.recovers_ms {
                self.set_score(self.score - 1, now_ms);
            }
        }
        self.clear_of_suspicion(now_ms);
        self.knock(now_ms);
        self.say_goodbye(now_ms);
        self.end_turn(now_ms);
    }

    fn handle_timer(&mut self, timer: Timer<Id>, now_ms: u64) {
        if self.record.goodbye.is_some() {
            return;
        }
        if matches!(timer, Timer::ProbeRandomMember(_)) {
            if self.skips > 0 {
                // The end of a probe is also its verdict: in bad health both wait.
                self.skips -= 1;
                self.timers.add(now_ms.saturating_add(millis(PROBE_EVERY)), timer);
                return;
            }
            self.skips = self.score;
        }
        // What it cannot do now it tries again by itself.
        let _counted_nowhere: Result<_, _> = self.swim.handle_timer(timer, &mut self.out);
        self.take_timers(now_ms);
    }

    /// What is to be done, until there is nothing.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Membership::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let knock = self.peers.values().filter(|peer| !peer.seen.is_active()).map(|peer| peer.knock_ms).min();
        let knock = knock.filter(|_| self.record.goodbye.is_none());
        [self.timers.next_ms(), knock, self.goodbye_ms, Some(self.beat_ms)].into_iter().flatten().min()
    }

    /// What a node said of itself last.
    #[must_use]
    pub fn news_of(&self, node: NodeId) -> Option<&News> {
        self.peers.get(&node)?.record.as_ref().map(|(record, _)| &record.news)
    }

    /// What this node says of itself from now on. What others act on is told at once, the rest with what is sent anyway.
    pub fn tell(&mut self, news: News, now_ms: u64) {
        if self.record.news == news {
            return;
        }
        let urgent = (self.record.news.serving, &self.record.news.release) != (news.serving, &news.release);
        self.record.news = news;
        self.record.seq += 1;
        if urgent {
            self.tell_all();
        }
        self.end_turn(now_ms);
    }

    /// This node goes in order. What it has to say is in the effects; messages do nothing any more.
    pub fn leave(&mut self, goodbye: Goodbye, now_ms: u64) {
        if self.record.goodbye.is_some() {
            return;
        }
        self.record.goodbye = Some(goodbye);
        self.record.seq += 1;
        self.goodbye_ms = Some(now_ms);
        self.say_goodbye(now_ms);
        self.end_turn(now_ms);
    }

    /// To everybody, again and again as long as somebody drives this: the protocol's own way to leave passes on that a
    /// node is down, and somebody who hears that before the goodbye takes it for dead.
    fn say_goodbye(&mut self, now_ms: u64) {
        if self.goodbye_ms.is_some_and(|due_ms| due_ms <= now_ms) {
            self.goodbye_ms = Some(now_ms.saturating_add(millis(GOODBYE_EVERY)));
            self.tell_all();
        }
    }

    /// Somebody said goodbye: it is not asked any more, and nobody else is told.
    fn take_leave(&mut self, node: NodeId, start: u64) {
        let life = |member: &&Member<Id>| member.id().node == node && member.id().start == start;
        let id = self.swim.iter_members().find(life).map(|member| *member.id());
        if let Some(id) = id {
            let gone = std::iter::once(Member::down(id));
            let _counted_nowhere: Result<_, _> = self.swim.apply_many(gone, false, &mut self.out);
        }
    }

    /// A turn of the loop came so late: in bad health a node gives others more time and asks less.
    pub fn health(&mut self, lag_ms: u64, now_ms: u64) {
        if lag_ms < millis(LAG_UNHEALTHY) {
            return;
        }
        let was_good = self.score == 0;
        let points = if lag_ms >= millis(LAG_PAUSE) { 2 } else { 1 };
        self.set_score(self.score.saturating_add(points).min(HEALTH_SCORE_MAX), now_ms);
        if was_good {
            // Later ones do not put the next probe off again, or there would be none.
            self.skips = self.score;
        }
    }

    /// This node's opinion of its own health: 0 is good.
    #[must_use]
    pub fn score(&self) -> u8 {
        self.score
    }

    fn set_score(&mut self, score: u8, now_ms: u64) {
        self.score = score;
        self.recovers_ms = now_ms.saturating_add(millis(HEALTH_RECOVERS));
        self.skips = self.skips.min(score);
        // Nothing in it that it could refuse: periods stay.
        let _never: Result<(), _> = self.swim.set_config(config(score));
    }

    /// Whether a connection to it stands; where one is new, it is knocked at soon.
    pub fn link(&mut self, node: NodeId, link: Link, now_ms: u64) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if link == Link::Good && peer.link != Link::Good {
            (peer.knock_ms, peer.wait_ms) = (now_ms, millis(KNOCK_FIRST));
        }
        peer.link = link;
        self.look(now_ms);
    }

    /// Every other member, as this node sees it.
    pub fn view(&self) -> impl Iterator<Item = (NodeId, &Seen)> {
        self.peers.iter().map(|(node, peer)| (*node, &peer.seen))
    }

    /// One of them.
    #[must_use]
    pub fn seen(&self, node: NodeId) -> Option<&Seen> {
        self.peers.get(&node).map(|peer| &peer.seen)
    }

    /// Knocks at those who are not heard, each in its own time, for ever.
    fn knock(&mut self, now_ms: u64) {
        if self.record.goodbye.is_some() {
            return;
        }
        let mut doors = Vec::new();
        for (node, peer) in &mut self.peers {
            if !peer.seen.is_active() && peer.knock_ms <= now_ms {
                peer.knock_ms = now_ms.saturating_add(self.chance.jitter(peer.wait_ms).max(1));
                peer.wait_ms = (peer.wait_ms * 2).min(millis(KNOCK_LONGEST));
                doors.push(*node);
            }
        }
        for node in doors {
            let _counted_nowhere: Result<_, _> = self.swim.announce(Id::unheard(node), &mut self.out);
        }
    }

    /// A suspicion ends in its own time, by an objection or by a verdict; but the protocol forgets that time whenever it begins
    /// anew under another identity, and who objects must have heard of it. Who is still suspected later than that, and
    /// was heard all the while, is there. One that is not heard is asked in its turn, and suspected anew.
    fn clear_of_suspicion(&mut self, now_ms: u64) {
        let patience_ms = millis(SUSPICION * (1 + u32::from(self.score)));
        let cleared = |peer: &Peer| {
            let verdict_ms = peer.seen.since_ms.saturating_add(patience_ms);
            peer.seen.status == Status::Suspect
                && now_ms >= verdict_ms.saturating_add(millis(SUSPICION))
                && peer.heard_ms.is_some_and(|heard_ms| heard_ms > verdict_ms)
        };
        let suspects = self.swim.iter_membership_state().filter(|member| member.state() == State::Suspect);
        let suspects = suspects.filter(|member| self.peers.get(&member.id().node).is_some_and(cleared));
        let cleared: Vec<(Id, u16)> = suspects.map(|member| (*member.id(), member.incarnation())).collect();
        for (id, incarnation) in cleared {
            self.take_out(id, false);
            let there = std::iter::once(Member::new(id, incarnation, State::Alive));
            let _counted_nowhere: Result<_, _> = self.swim.apply_many(there, false, &mut self.out);
        }
    }

    /// The protocol knows nothing of it any more.
    fn take_out(&mut self, id: Id, tells_others: bool) {
        let gone = std::iter::once(Member::down(id));
        let _counted_nowhere: Result<_, _> = self.swim.apply_many(gone, tells_others, &mut self.out);
        let _counted_nowhere: Result<_, _> = self.swim.handle_timer(Timer::RemoveDown(id), &mut self.out);
    }

    /// Tells every member what this node says of itself.
    fn tell_all(&mut self) {
        let everyone: Vec<NodeId> = self.peers.keys().copied().collect();
        everyone.into_iter().for_each(|to| self.send(to, &[]));
    }

    fn send(&mut self, to: NodeId, packet: &[u8]) {
        // The protocol may still have somebody in mind who is no member any more.
        if !self.peers.contains_key(&to) {
            return;
        }
        if self.effects.len() >= MEMBER_MESSAGES_WAITING_MAX {
            self.effects.pop_front();
        }
        let bytes = words::encode(self.setup.cluster, &self.record, packet);
        self.effects.push_back(Effect::Send { to, bytes });
    }

    fn take_timers(&mut self, now_ms: u64) {
        for (after, timer) in std::mem::take(&mut self.out.timers) {
            self.timers.add(now_ms.saturating_add(millis(after)), timer);
        }
    }

    fn end_turn(&mut self, now_ms: u64) {
        self.take_timers(now_ms);
        for (to, packet) in std::mem::take(&mut self.out.packets) {
            self.send(to, &packet);
        }
        self.look(now_ms);
    }

    /// Derives the view.
    fn look(&mut self, now_ms: u64) {
        let states: BTreeMap<NodeId, (Id, State)> = self
            .swim
            .iter_membership_state()
            .map(|member| (member.id().node, (*member.id(), member.state())))
            .collect();
        for (node, peer) in &mut self.peers {
            let heard = states.get(node).copied();
            let record = peer.record.as_ref().map(|(record, said_ms)| (record, *said_ms));
            let was_active = peer.seen.is_active();
            peer.seen = Sight { heard, record, link: peer.link, now_ms }.after(&peer.seen);
            if was_active && !peer.seen.is_active() {
                peer.wait_ms = millis(KNOCK_FIRST);
                peer.knock_ms = now_ms.saturating_add(self.chance.jitter(peer.wait_ms));
            }
        }
    }
}

/// For an observer of this health. Periods are never changed: the protocol refuses that while it runs.
fn config(score: u8) -> Config {
    let each = |every, members| Some(PeriodicParams { frequency: every, num_members: members });
    Config {
        probe_period: PROBE_EVERY,
        probe_rtt: PROBE_ANSWER,
        num_indirect_probes: INDIRECT,
        max_transmissions: PASSED_ON,
        suspect_to_down_after: SUSPICION * (1 + u32::from(score)),
        // Remembered for ever, one for each node: an old life must not come back from somebody's memory.
        remove_down_after: None,
        max_packet_size: PACKET_BYTES,
        notify_down_members: true,
        periodic_announce: each(ASK_EVERY, NonZeroUsize::MIN),
        // Knocking is ours: it goes on also where the protocol knows nobody.
        periodic_announce_to_down_members: None,
        periodic_gossip: each(GOSSIP_EVERY, INDIRECT),
    }
}
