//! Who is in the cluster and who of them is there: the driver of `proto::member`, and what people see of it. It also keeps
//! the lanes in step with who is admitted, and has the group choose its voters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::base::id::NodeId;
use crate::base::limits::FLAPS_WINDOW;
use crate::base::limits::MEMBERS_TICK;
use crate::base::limits::TURNS_KEPT;
use crate::base::time;
use crate::net::peer::Peers;
use crate::net::wire::Lane;
use crate::node::Node;
use crate::node::cluster::now_ms;
use crate::node::drill::spare;
use crate::node::figures::Told;
use crate::node::peers::Heard;
use crate::node::peers::Way;
use crate::node::plan;
use crate::node::worker;
use crate::proto::control::members::Member;
use crate::proto::control::members::MemberState;
use crate::proto::member::Effect;
use crate::proto::member::Membership;
use crate::proto::member::Setup;
use crate::proto::member::view::Link;
use crate::proto::member::view::Reason;
use crate::proto::member::view::Seen;
use crate::proto::member::view::Status;
use crate::proto::member::words;
use crate::proto::member::words::Digests;
use crate::proto::member::words::Goodbye;
use crate::proto::member::words::News;
use crate::proto::member::words::Serving;
use crate::proto::voters::Candidate;

/// What this node sees of the others.
pub type Sight = BTreeMap<NodeId, Seen>;

/// A node as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberView {
    /// Its number.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub zone: String,
    /// Its share.
    pub weight: u32,
    /// `up`, `suspect`, `down`, `leaving` or `gone`.
    pub state: &'static str,
    /// How far its part in the cluster goes: `joining`, `member`, `leaving`, `removed`.
    pub part: MemberState,
    /// `yes`, `draining`, `recovering` or `no`.
    pub serving: &'static str,
    /// First light: whether it is reached by its lanes.
    pub link: &'static str,
    /// Of its software.
    pub release: String,
    /// Since when it is in this state.
    pub since: String,
    /// Why, in words.
    pub reason: String,
    /// Where other nodes reach it.
    pub addresses: Vec<String>,
    /// Where devices reach it.
    pub url: Option<String>,
    /// Whether it votes in the control group.
    pub voter: bool,
    /// Devices are asked to go elsewhere.
    pub drain: Option<DrainView>,
    /// What it said of how it does; null where it never did.
    pub figures: Option<FiguresView>,
}

/// How a node does, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FiguresView {
    /// Per cent of its machine's processors that are in use.
    pub load: u8,
    /// Requests a second that it answered in the last minute.
    pub requests_per_s: u32,
    /// Free bytes of its disk.
    pub disk_free: u64,
    /// All bytes of its disk.
    pub disk_total: u64,
    /// Bytes that it stores.
    pub stored: u64,
}

/// Why devices are asked to go elsewhere, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrainView {
    /// For people.
    pub reason: String,
    /// When it ends by itself.
    pub until: Option<String>,
}

impl Node {
    /// Keeps the membership until the node stops.
    pub async fn keep_members(self, way: Way) {
        // Nobody is met; a task that is over would look as if it had failed.
        let Way { peers: Some(peers), gossip, .. } = way else { return self.closed().await };
        let start = self.0.cluster.marks.read(|marks| marks.starts);
        let setup =
            Setup { cluster: self.who().cluster, node: self.who().node, start, seed: crate::node::cluster::draw() };
        let keeper = Keeper {
            membership: Membership::new(setup, now_ms()),
            node: self,
            peers,
            links: BTreeMap::new(),
            beat: time::mono(),
            chores: None,
            stopping: false,
        };
        keeper.run(gossip).await;
    }

    /// What this node sees of the others.
    #[must_use]
    pub fn sight(&self) -> Arc<Sight> {
        Arc::clone(&self.0.cluster.sight.borrow())
    }

    /// Hears of changes of it.
    #[must_use]
    pub fn sights(&self) -> watch::Receiver<Arc<Sight>> {
        self.0.cluster.sight.subscribe()
    }

    /// What a node says of how it does; none where it never did.
    #[must_use]
    pub fn figures_of(&self, node: NodeId) -> Option<Told> {
        if node == self.who().node {
            return Some(self.figures());
        }
        self.sight().get(&node)?.news.as_ref().map(told)
    }

    /// How a node came to be as it is seen, latest first, as far as this node saw it.
    #[must_use]
    pub fn past_of(&self, node: NodeId) -> Vec<PastView> {
        let past = self.0.cluster.past();
        let turns = past.get(&node).into_iter().flatten().rev();
        turns
            .map(|turn| PastView {
                state: status_in_words(turn.status),
                reason: turn.reason.in_words(),
                since: time::rfc3339(turn.at_ms),
            })
            .collect()
    }

    /// How often it was suspected of late.
    pub(super) fn doubts(&self, node: NodeId) -> usize {
        let since_ms = time::wall_ms().saturating_sub(time::millis(FLAPS_WINDOW));
        let is_doubt = |turn: &&Turn| turn.status == Status::Suspect && turn.at_ms >= since_ms;
        self.0.cluster.past().get(&node).into_iter().flatten().filter(is_doubt).count()
    }

    /// All nodes that are not removed, in order.
    #[must_use]
    pub fn members(&self) -> Vec<MemberView> {
        let (state, sight) = (self.state(), self.sight());
        let voters = self.0.consensus.voters();
        let there = state.members.iter().filter(|(_, member)| member.state != MemberState::Removed);
        there.map(|(id, member)| self.member_view(*id, member, sight.get(id), voters.contains(id))).collect()
    }

    fn member_view(&self, id: NodeId, member: &Member, seen: Option<&Seen>, voter: bool) -> MemberView {
        let me = id == self.who().node;
        let news = seen.and_then(|seen| seen.news.clone());
        let figures = if me { Some(self.figures()) } else { news.as_ref().map(told) };
        let wall = |since_ms: u64| time::rfc3339(time::wall_ms().saturating_sub(now_ms().saturating_sub(since_ms)));
        let (state, since, reason) = match seen {
            _ if me => {
                ("up", time::rfc3339(time::wall_ms().saturating_sub(self.uptime_ms())), "it answers you".to_owned())
            }
            Some(seen) => (status_in_words(seen.status), wall(seen.since_ms), self.why_down(id, seen)),
            None => ("down", time::rfc3339(member.admitted_ms), "it was not heard yet".to_owned()),
        };
        MemberView {
            id,
            name: member.name.clone(),
            zone: member.zone.clone(),
            weight: member.weight,
            state,
            part: member.state,
            serving: serving_in_words(if me { self.serving() } else { seen.map_or(Serving::No, serving_of) }),
            link: match seen.map(|seen| seen.link) {
                _ if me => "good",
                Some(Link::Good) => "good",
                Some(Link::Broken) => "broken",
                Some(Link::Unknown) | None => "unknown",
            },
            release: news.map_or_else(|| member.release.clone(), |news| news.release),
            since,
            reason,
            addresses: member.addresses.clone(),
            url: member.url.clone(),
            voter,
            drain: plan::drain_of(member)
                .map(|drain| DrainView { reason: drain.reason, until: drain.until_ms.map(time::rfc3339) }),
            figures: figures.map(|told| FiguresView {
                load: told.load,
                requests_per_s: told.requests_per_s,
                disk_free: told.disk.free,
                disk_total: told.disk.total,
                stored: told.disk.stored,
            }),
        }
    }

    fn serving(&self) -> Serving {
        if self.sends_away() {
            Serving::Draining
        } else if self.is_serving() {
            Serving::Yes
        } else {
            Serving::Recovering
        }
    }

    fn uptime_ms(&self) -> u64 {
        time::millis(self.0.started.elapsed())
    }
}

/// How a node was seen, from some instant on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PastView {
    /// `up`, `suspect`, `down`, `leaving` or `gone`.
    pub state: &'static str,
    /// Why, as half a sentence behind its name.
    pub reason: &'static str,
    /// Since when.
    pub since: String,
}

/// The same as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    status: Status,
    reason: Reason,
    /// Wall milliseconds.
    at_ms: u64,
}

fn told(news: &News) -> Told {
    let News { load, requests_per_s, disk, handoff, digests, wall_ms, .. } = *news;
    Told { load, requests_per_s, disk, handoff, digests, wall_ms }
}

fn status_in_words(status: Status) -> &'static str {
    match status {
        Status::Up => "up",
        Status::Suspect => "suspect",
        Status::Down => "down",
        Status::Leaving => "leaving",
        Status::Gone => "gone",
    }
}

/// What another one says of it, as long as it is there: of one that is not it was true once.
fn serving_of(seen: &Seen) -> Serving {
    match seen.status {
        Status::Up | Status::Suspect => seen.news.as_ref().map_or(Serving::No, |news| news.serving),
        // Who leaves says goodbye when it has stopped to serve.
        Status::Down | Status::Leaving | Status::Gone => Serving::No,
    }
}

fn serving_in_words(serving: Serving) -> &'static str {
    match serving {
        Serving::Yes => "yes",
        Serving::Draining => "draining",
        Serving::Recovering => "recovering",
        Serving::No => "no",
    }
}

struct Keeper {
    node: Node,
    peers: Peers,
    membership: Membership,
    links: BTreeMap<NodeId, Link>,
    /// When this task was last seen to run.
    beat: Instant,
    chores: Option<tokio::task::JoinHandle<()>>,
    stopping: bool,
}

impl Keeper {
    async fn run(mut self, mut gossip: mpsc::Receiver<Heard>) {
        let (mut moved, mut changes) = (self.node.moved(), self.peers.changes());
        let mut tick = tokio::time::interval(MEMBERS_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.follow();
        loop {
            self.send();
            let timer = self
                .membership
                .poll_timeout()
                .map_or(MEMBERS_TICK, |at| Duration::from_millis(at.saturating_sub(now_ms())));
            tokio::select! {
                biased;
                () = self.node.drained(), if !self.stopping => {
                    self.stopping = true;
                    self.membership.leave(Goodbye::Restart, now_ms());
                }
                Some((from, bytes)) = gossip.recv() => {
                    let (stamp, bytes) = words::stamped(&bytes);
                    self.node.hear_stamp(stamp);
                    if let Err(ignored) = self.membership.handle_message(from, bytes, now_ms()) {
                        tracing::debug!(%from, ?ignored, "gossip was not taken");
                    }
                    if let Some(standing) = self.membership.news_of(from).and_then(|news| news.standing) {
                        self.node.hear_standing(from, standing);
                    }
                }
                () = tokio::time::sleep(timer) => self.membership.handle_timeout(now_ms()),
                Ok(()) = moved.changed() => self.follow(),
                Ok(()) = changes.changed() => self.look_at_links(),
                _at = tick.tick() => self.every_tick(),
                () = self.node.closed(), if self.stopping => return,
            }
            self.show();
        }
    }

    fn send(&mut self) {
        while let Some(Effect::Send { to, bytes }) = self.membership.poll_effect() {
            // What is lost is said again.
            let _lost = self.peers.send(to, Lane::Gossip, &words::stamp(self.node.stamp(), &bytes));
        }
    }

    /// Those who are admitted are let in, called and watched; no others.
    fn follow(&mut self) {
        let state = self.node.view().state.clone();
        let me = self.node.who().node;
        let there: BTreeMap<NodeId, &Member> = state
            .members
            .iter()
            .filter(|(id, _)| **id != me && state.member(**id).is_some())
            .map(|(id, member)| (*id, member))
            .collect();
        for (id, member) in &there {
            self.peers.know(*id, member.addresses.clone());
            self.membership.know(*id, now_ms());
        }
        self.let_go();
        self.look_at_links();
    }

    /// Whoever is not heard of yet may be the one from whom the newer state comes.
    fn let_go(&mut self) {
        let state = self.node.view().state.clone();
        for gone in self.peers.known().into_iter().filter(|id| state.is_gone(*id)) {
            self.membership.forget(gone, now_ms());
            // As long as it votes it may be the one from whom this node hears that others do.
            if !self.node.0.consensus.votes(gone) {
                self.peers.forget(gone);
            }
        }
    }

    fn look_at_links(&mut self) {
        for link in self.peers.links() {
            let now = self.node.0.cluster.reach.note(&link);
            if self.links.insert(link.node, now) != Some(now) {
                self.membership.link(link.node, now, now_ms());
            }
        }
    }

    fn every_tick(&mut self) {
        // Who votes is no part of the state that is followed.
        self.let_go();
        let now = time::mono();
        let lag = now.saturating_duration_since(self.beat).saturating_sub(MEMBERS_TICK);
        self.beat = now;
        self.membership.health(time::millis(lag), now_ms());
        self.node.note_lateness(lag);
        let (view, figures) = (self.node.view(), self.node.figures());
        let news = News {
            serving: self.node.serving(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            layout: view.state.layout.version,
            applied: view.index,
            load: figures.load,
            requests_per_s: figures.requests_per_s,
            disk: figures.disk,
            handoff: figures.handoff,
            standing: self.node.standing(),
            wall_ms: figures.wall_ms,
            alarms: self.node.codes(),
            // Whom it sees changes sooner than the rest, and the others compare it with what they see.
            digests: figures.digests.map(|digests| Digests { members: self.node.digest_of_members(), ..digests }),
        };
        self.membership.tell(news, now_ms());
        self.do_chores();
    }

    /// What takes its time: who votes.
    fn do_chores(&mut self) {
        if self.stopping || spare::the_seats() || self.chores.as_ref().is_some_and(|chores| !chores.is_finished()) {
            return;
        }
        let node = self.node.clone();
        self.chores = Some(worker::spawn("members, now and then", async move {
            let state = node.state();
            let candidate = |member: &Member| Candidate {
                zone: member.zone.clone(),
                leaving: member.state == MemberState::Leaving,
            };
            let members = state.members.iter().filter(|(id, _)| state.member(**id).is_some());
            let members = members.map(|(id, member)| (*id, candidate(member))).collect();
            if let Err(reason) = node.0.consensus.reconcile(&members, &node.live()).await {
                tracing::debug!(reason, "the control group could not be changed yet");
            }
        }));
    }

    /// Shows what is seen, where it changed.
    fn show(&mut self) {
        let sight: Sight = self.membership.view().map(|(node, seen)| (node, seen.clone())).collect();
        self.remember(&sight);
        self.node.0.cluster.sight.send_if_modified(|shown| {
            let changed = **shown != sight;
            if changed {
                *shown = Arc::new(sight);
            }
            changed
        });
    }

    /// Notes who is seen differently now.
    fn remember(&self, sight: &Sight) {
        let shown = self.node.sight();
        let mut past = self.node.0.cluster.past();
        past.retain(|node, _| sight.contains_key(node));
        for (node, seen) in sight {
            if shown.get(node).is_some_and(|before| (before.status, before.reason) == (seen.status, seen.reason)) {
                continue;
            }
            let turns = past.entry(*node).or_default();
            if turns.len() >= TURNS_KEPT {
                turns.pop_front();
            }
            turns.push_back(Turn { status: seen.status, reason: seen.reason, at_ms: time::wall_ms() });
        }
    }
}
