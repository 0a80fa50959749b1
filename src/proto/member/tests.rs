//! Whole clusters of memberships in virtual time, under a seed: kills, pauses, restarts, splits.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::limits::HEALTH_SCORE_MAX;
use crate::base::limits::MEMBER_MESSAGE_BYTES_MAX;
use crate::proto::member::Effect;
use crate::proto::member::Membership;
use crate::proto::member::Setup;
use crate::proto::member::clock::Chance;
use crate::proto::member::view::Link;
use crate::proto::member::view::Reason;
use crate::proto::member::view::Status;
use crate::proto::member::words::Digests;
use crate::proto::member::words::DiskNews;
use crate::proto::member::words::Goodbye;
use crate::proto::member::words::HandoffNews;
use crate::proto::member::words::Ignored;
use crate::proto::member::words::News;
use crate::proto::member::words::Serving;

struct Node {
    cluster: ClusterId,
    starts: u64,
    member: Option<Membership>,
    /// While it is not run: what waits in its sockets.
    paused: Option<Vec<(NodeId, Vec<u8>)>>,
}

struct World {
    now: u64,
    sent: u64,
    chance: Chance,
    nodes: BTreeMap<NodeId, Node>,
    wire: BTreeMap<(u64, u64), (NodeId, NodeId, Vec<u8>)>,
    loss_percent: u64,
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Who saw whom become something else: (when, observer, observed, what).
    changes: Vec<(u64, NodeId, NodeId, Status)>,
}

impl World {
    fn new(nodes: u64, seed: u64) -> Self {
        let ids: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
        let mut world = Self::empty(seed);
        for id in &ids {
            world.nodes.insert(*id, Node { cluster: ClusterId(1), starts: 0, member: None, paused: None });
        }
        ids.iter().for_each(|id| world.start(*id));
        world
    }

    fn empty(seed: u64) -> Self {
        let (nodes, wire, cut) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let chance = Chance(seed);
        Self { now: 1000, sent: 0, chance, nodes, wire, loss_percent: 0, cut, changes: Vec::new() }
    }

    fn start(&mut self, id: NodeId) {
        let everyone: Vec<NodeId> = self.nodes.keys().copied().collect();
        let (seed, now) = (self.chance.next(), self.now);
        let node = self.nodes.get_mut(&id).unwrap();
        node.starts += 1;
        let setup = Setup { cluster: node.cluster, node: id, start: node.starts, seed };
        let mut member = Membership::new(setup, now);
        everyone.into_iter().for_each(|other| member.know(other, now));
        node.member = Some(member);
    }

    fn on(&mut self, id: NodeId, act: impl FnOnce(&mut Membership, u64)) {
        let now = self.now;
        let member = self.nodes.get_mut(&id).unwrap().member.as_mut().unwrap();
        let before: Vec<_> = member.view().map(|(node, seen)| (node, seen.status)).collect();
        act(member, now);
        for ((node, was), (_, seen)) in before.into_iter().zip(member.view()) {
            if was != seen.status {
                self.changes.push((now, id, node, seen.status));
            }
        }
        let mut effects = Vec::new();
        while let Some(Effect::Send { to, bytes }) = member.poll_effect() {
            effects.push((to, bytes));
        }
        for (to, bytes) in effects {
            assert!(bytes.len() <= MEMBER_MESSAGE_BYTES_MAX);
            let delay = 1 + self.chance.next() % 20;
            let lost = self.chance.next() % 100 < self.loss_percent;
            if !lost && !self.cut.contains(&(id, to)) {
                self.sent += 1;
                self.wire.insert((now + delay, self.sent), (id, to, bytes));
            }
        }
    }

    fn step(&mut self) {
        let timers = self.nodes.iter().filter(|(_, node)| node.paused.is_none());
        let timer = timers
            .filter_map(|(id, node)| Some((node.member.as_ref()?.poll_timeout()?, *id)))
            .min()
            .unwrap_or((self.now + 1000, NodeId(0)));
        let message = self.wire.first_key_value().map(|((due, _), _)| *due);
        if message.is_some_and(|due| due <= timer.0) {
            let ((due, _), (from, to, bytes)) = self.wire.pop_first().unwrap();
            self.now = self.now.max(due);
            self.deliver(from, to, bytes);
        } else {
            self.now = self.now.max(timer.0);
            if timer.1 != NodeId(0) {
                self.on(timer.1, Membership::handle_timeout);
            }
        }
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, bytes: Vec<u8>) {
        let Some(node) = self.nodes.get_mut(&to) else { return };
        if let Some(held) = &mut node.paused {
            held.push((from, bytes));
        } else if node.member.is_some() {
            self.on(to, |member, now| {
                let _ignored: Result<(), Ignored> = member.handle_message(from, &bytes, now);
            });
        }
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.step();
        }
    }

    /// Runs until it is so; says how long that took.
    fn until(&mut self, at_most_ms: u64, so: impl Fn(&Self) -> bool) -> u64 {
        let began = self.now;
        while !so(self) {
            assert!(self.now < began + at_most_ms, "it is not so after {at_most_ms} ms: {:?}", self.statuses());
            self.step();
        }
        self.now - began
    }

    fn thaw(&mut self, id: NodeId) {
        let held = self.nodes.get_mut(&id).unwrap().paused.take().unwrap();
        // Timers first: the order that is worse.
        self.on(id, Membership::handle_timeout);
        for (from, bytes) in held {
            self.deliver(from, id, bytes);
        }
    }

    fn status(&self, of: u64, at: u64) -> Option<Status> {
        self.nodes[&NodeId(at)].member.as_ref()?.seen(NodeId(of)).map(|seen| seen.status)
    }

    fn statuses(&self) -> Vec<(NodeId, Vec<(NodeId, Status)>)> {
        let views = self.nodes.iter().filter_map(|(id, node)| Some((*id, node.member.as_ref()?)));
        views.map(|(id, member)| (id, member.view().map(|(node, seen)| (node, seen.status)).collect())).collect()
    }

    fn all_up(&self) -> bool {
        self.statuses().iter().all(|(_, view)| {
            view.iter().all(|(node, status)| *status == Status::Up || self.nodes[node].member.is_none())
        })
    }

    /// Everybody alive sees it so.
    fn all_see(&self, of: u64, status: Status) -> bool {
        let others = self.nodes.keys().filter(|id| **id != NodeId(of));
        others.filter_map(|id| self.status(of, id.0)).all(|seen| seen == status)
    }
}

fn percentile(samples: &mut [u64], percent: usize) -> u64 {
    samples.sort_unstable();
    samples[(samples.len() * percent / 100).min(samples.len() - 1)]
}

/// How long each observer took to know of each death.
fn kills(nodes: u64, kills: u64, loss_percent: u64) -> Vec<u64> {
    let mut world = World::new(nodes, nodes * 1000 + loss_percent);
    world.loss_percent = loss_percent;
    world.until(20_000, World::all_up);
    let mut took = Vec::new();
    for _ in 0..kills {
        let pause = world.chance.next() % 1500;
        world.run(pause);
        let victim = world.chance.next() % nodes + 1;
        world.nodes.get_mut(&NodeId(victim)).unwrap().member = None;
        world.changes.clear();
        let killed = world.now;
        world.until(60_000, |world| world.all_see(victim, Status::Down));
        for observer in (1..=nodes).filter(|id| *id != victim) {
            let seen = |(_, by, of, status): &&(u64, NodeId, NodeId, Status)| {
                (*by, *of, *status) == (NodeId(observer), NodeId(victim), Status::Down)
            };
            took.push(world.changes.iter().rfind(seen).unwrap().0 - killed);
            assert_eq!(world.nodes[&NodeId(observer)].member.as_ref().unwrap().score(), 0);
        }
        world.start(NodeId(victim));
        world.until(60_000, World::all_up);
    }
    took
}

#[test]
fn a_death_is_known_to_everybody_within_six_seconds() {
    for (nodes, loss) in [(3, 0), (5, 0), (3, 2), (5, 2)] {
        let mut took = kills(nodes, 1000, loss);
        let [p50, p99, max] = [50, 99, 100].map(|percent| percentile(&mut took, percent));
        println!(
            "{nodes} nodes, {loss} % lost: a death is known after {p50} ms (p50), {p99} ms (p99), {max} ms at most"
        );
        assert!(p99 <= 6000, "{nodes} nodes: p99 {p99} ms");
    }
}

#[test]
fn nobody_is_falsely_called_dead_over_a_lossy_network() {
    let mut world = World::new(5, 3);
    world.loss_percent = 5;
    world.until(20_000, World::all_up);
    world.changes.clear();
    world.run(1_800_000);
    assert!(world.changes.iter().all(|(_, _, _, status)| *status != Status::Down), "{:?}", world.changes);
}

#[test]
fn who_was_not_run_accuses_nobody() {
    for seed in 0..40 {
        let mut world = World::new(5, seed);
        world.until(20_000, World::all_up);
        let pause = 600 + world.chance.next() % 12_000;
        world.nodes.get_mut(&NodeId(2)).unwrap().paused = Some(Vec::new());
        world.run(pause);
        world.changes.clear();
        world.thaw(NodeId(2));
        let score = world.nodes[&NodeId(2)].member.as_ref().unwrap().score();
        assert!(score > 0 && score <= HEALTH_SCORE_MAX);
        world.until(15_000, World::all_up);
        world.run(20_000);
        let accused = world.changes.iter().filter(|(_, _, of, status)| *of != NodeId(2) && *status != Status::Up);
        assert_eq!(accused.collect::<Vec<_>>(), Vec::<&(u64, NodeId, NodeId, Status)>::new(), "seed {seed}");
        world.run(30_000);
        assert_eq!(world.nodes[&NodeId(2)].member.as_ref().unwrap().score(), 0, "health comes back");
    }
}

#[test]
fn a_suspicion_from_before_a_pause_is_no_verdict_after_it() {
    for seed in 0..20 {
        let mut world = World::new(3, seed);
        world.until(20_000, World::all_up);
        world.nodes.get_mut(&NodeId(3)).unwrap().paused = Some(Vec::new());
        world.until(5000, |world| world.status(3, 2) == Some(Status::Suspect));
        world.run(1500);
        // Now the observer is not run, and the suspect objects meanwhile.
        world.nodes.get_mut(&NodeId(2)).unwrap().paused = Some(Vec::new());
        world.thaw(NodeId(3));
        world.run(2500);
        world.changes.clear();
        world.thaw(NodeId(2));
        world.until(10_000, World::all_up);
        let called = world
            .changes
            .iter()
            .find(|(_, by, of, status)| (*by, *of, *status) == (NodeId(2), NodeId(3), Status::Down));
        assert_eq!(called, None, "seed {seed}");
    }
}

#[test]
fn in_bad_health_a_node_asks_less_and_gives_more_time() {
    let mut world = World::new(2, 81);
    world.until(20_000, World::all_up);
    let mut sent = [0; 2];
    for (bad, sent) in [false, true].into_iter().zip(&mut sent) {
        let before = world.sent;
        for _ in 0..60 {
            world.run(1000);
            if bad {
                world.on(NodeId(1), |member, now| member.health(1000, now));
            }
        }
        *sent = world.sent - before;
    }
    let [good, bad] = sent;
    assert!(bad * 3 < good * 2, "{good} messages in good health, {bad} in bad");
    assert_eq!(world.nodes[&NodeId(1)].member.as_ref().unwrap().score(), HEALTH_SCORE_MAX);
    world.nodes.get_mut(&NodeId(2)).unwrap().member = None;
    let killed = world.now;
    while world.status(2, 1) != Some(Status::Down) {
        world.run(1000);
        world.on(NodeId(1), |member, now| member.health(1000, now));
        assert!(world.now < killed + 60_000);
    }
    assert!(world.now - killed > 24_000, "after {} ms", world.now - killed);
}

#[test]
fn a_short_pause_is_slow_and_not_dead() {
    let mut world = World::new(3, 9);
    world.until(20_000, World::all_up);
    for _ in 0..50 {
        world.nodes.get_mut(&NodeId(3)).unwrap().paused = Some(Vec::new());
        let pause = 200 + world.chance.next() % 2500;
        world.run(pause);
        world.thaw(NodeId(3));
        world.run(6000);
    }
    assert!(world.changes.iter().all(|(_, _, _, status)| *status != Status::Down), "{:?}", world.changes);
}

#[test]
fn a_restart_is_up_again_within_seconds_whether_it_said_goodbye_or_not() {
    let mut world = World::new(5, 11);
    world.until(20_000, World::all_up);
    for round in 0..40 {
        let restart = NodeId(round % 5 + 1);
        let in_order = round % 2 == 0;
        world.changes.clear();
        if in_order {
            world.on(restart, |member, now| member.leave(Goodbye::Restart, now));
            world.until(200, |world| world.all_see(restart.0, Status::Leaving));
        }
        world.nodes.get_mut(&restart).unwrap().member = None;
        world.run(700);
        world.start(restart);
        let took = world.until(5000, World::all_up);
        let called_dead = world.changes.iter().any(|change| change.2 == restart && change.3 == Status::Down);
        assert!(!called_dead, "round {round} took {took} ms: {:?}", world.changes);
        world.run(5000);
        assert!(world.all_up());
    }
}

#[test]
fn a_goodbye_is_told_apart_from_a_failure() {
    let mut world = World::new(3, 5);
    world.until(20_000, World::all_up);
    let reason = |world: &World| world.nodes[&NodeId(1)].member.as_ref().unwrap().seen(NodeId(3)).unwrap().reason;
    world.on(NodeId(3), |member, now| member.leave(Goodbye::Stop, now));
    world.nodes.get_mut(&NodeId(3)).unwrap().member = None;
    world.until(1000, |world| world.all_see(3, Status::Gone));
    assert_eq!(reason(&world), Reason::Stopped);
    world.run(120_000);
    assert!(world.all_see(3, Status::Gone));
    world.start(NodeId(3));
    world.until(15_000, World::all_up);
    // Who restarts and does not come back has failed after all.
    world.on(NodeId(3), |member, now| member.leave(Goodbye::Restart, now));
    world.nodes.get_mut(&NodeId(3)).unwrap().member = None;
    world.until(1000, |world| world.all_see(3, Status::Leaving));
    let took = world.until(70_000, |world| world.all_see(3, Status::Down));
    assert!(took >= 50_000 && reason(&world) == Reason::RestartedNot, "{took}");
    world.start(NodeId(3));
    world.until(15_000, World::all_up);
    world.nodes.get_mut(&NodeId(3)).unwrap().member = None;
    world.until(10_000, |world| world.all_see(3, Status::Suspect));
    world.until(10_000, |world| world.all_see(3, Status::Down));
    assert_eq!(reason(&world), Reason::NoAnswer);
    assert!(reason(&world).in_words().contains("direct and indirect"));
}

#[test]
fn a_goodbye_is_heard_where_the_first_one_was_lost() {
    let mut world = World::new(3, 91);
    world.until(20_000, World::all_up);
    world.cut = [(NodeId(3), NodeId(1))].into();
    world.on(NodeId(3), |member, now| member.leave(Goodbye::Stop, now));
    world.cut.clear();
    world.until(500, |world| world.all_see(3, Status::Gone));
    // It does nothing else any more, whatever it hears.
    world.run(10_000);
    assert!(world.all_see(3, Status::Gone));
}

#[test]
fn a_split_is_seen_and_heals() {
    let mut world = World::new(5, 21);
    world.until(20_000, World::all_up);
    for round in 0..10_u64 {
        let here = |id: u64| id <= 2 + round % 2;
        for a in 1..=5 {
            for b in (1..=5).filter(|b| here(a) != here(*b)) {
                world.cut.insert((NodeId(a), NodeId(b)));
            }
        }
        world.until(20_000, |world| {
            world.status(5, 1) == Some(Status::Down) && world.status(1, 5) == Some(Status::Down)
        });
        world.run(60_000);
        world.cut.clear();
        let took = world.until(20_000, World::all_up);
        println!("healed within {took} ms");
        world.run(10_000);
        assert!(world.all_up());
    }
}

#[test]
fn who_lost_all_members_finds_them_again() {
    let mut world = World::new(4, 31);
    world.until(20_000, World::all_up);
    for other in 2..=4 {
        world.cut.insert((NodeId(1), NodeId(other)));
        world.cut.insert((NodeId(other), NodeId(1)));
    }
    world.until(20_000, |world| (2..=4).all(|other| world.status(other, 1) == Some(Status::Down)));
    // A night: it knocks all the time, and not too often.
    let (before, began) = (world.sent, world.now);
    world.cut.retain(|(from, _)| *from != NodeId(1));
    world.nodes.get_mut(&NodeId(1)).unwrap().cluster = ClusterId(1);
    world.run(600_000);
    assert!(world.now - began >= 600_000 && world.sent > before);
    world.cut.clear();
    world.until(15_000, World::all_up);
    // A connection that stands again is a reason to knock at once.
    world.cut = (2..=4).flat_map(|other| [(NodeId(1), NodeId(other)), (NodeId(other), NodeId(1))]).collect();
    world.until(20_000, |world| (2..=4).all(|other| world.status(other, 1) == Some(Status::Down)));
    world.run(60_000);
    world.cut.clear();
    for other in 2..=4 {
        world.on(NodeId(1), |member, now| member.link(NodeId(other), Link::Good, now));
    }
    world.until(3000, World::all_up);
}

#[test]
fn nobody_stays_suspected_for_ever_who_is_heard() {
    for seed in 0..60 {
        let mut world = World::new(3, seed);
        world.until(20_000, World::all_up);
        let others = [NodeId(2), NodeId(3)];
        world.cut = others.iter().flat_map(|other| [(NodeId(1), *other), (*other, NodeId(1))]).collect();
        // Up to a moment after the first of them is called dead: the protocol forgets the time of the other.
        let cut_ms = 1_000 + world.chance.next() % 9_000;
        world.run(cut_ms);
        world.cut.clear();
        world.until(20_000, World::all_up);
    }
}

#[test]
fn two_full_clusters_do_not_merge() {
    let mut world = World::empty(41);
    for id in 1..=6 {
        let cluster = ClusterId(if id <= 3 { 1 } else { 2 });
        world.nodes.insert(NodeId(id), Node { cluster, starts: 0, member: None, paused: None });
    }
    (1..=6).for_each(|id| world.start(NodeId(id)));
    world.run(120_000);
    for (a, b) in (1..=6).flat_map(|a| (1..=6).map(move |b| (a, b))).filter(|(a, b)| a != b) {
        let same = (a <= 3) == (b <= 3);
        assert_eq!(world.status(a, b) == Some(Status::Up), same, "{a} at {b}");
    }
}

#[test]
fn a_message_is_checked_before_anything_is_handled() {
    let mut world = World::new(3, 51);
    world.until(20_000, World::all_up);
    let message = loop {
        world.step();
        if let Some((_, (from, to, bytes))) = world.wire.first_key_value() {
            break (*from, *to, bytes.clone());
        }
    };
    let (from, to, bytes) = message;
    let other = (1..=3).map(NodeId).find(|id| *id != from && *id != to).unwrap();
    let member = world.nodes.get_mut(&to).unwrap().member.as_mut().unwrap();
    let now = world.now;
    let before: Vec<_> = member.view().map(|(node, seen)| (node, seen.clone())).collect();
    assert_eq!(member.handle_message(to, &bytes, now), Err(Ignored::Twin));
    assert_eq!(member.handle_message(NodeId(9), &bytes, now), Err(Ignored::Stranger));
    assert_eq!(member.handle_message(other, &bytes, now), Err(Ignored::Impostor));
    let mut foreign = bytes.clone();
    foreign[1] ^= 1;
    assert_eq!(member.handle_message(from, &foreign, now), Err(Ignored::Foreign));
    assert_eq!(member.handle_message(from, &[&[bytes[0] + 1][..], &bytes[1..]].concat(), now), Err(Ignored::Version));
    assert_eq!(member.handle_message(from, &bytes[..10], now), Err(Ignored::Size));
    assert_eq!(member.handle_message(from, &bytes[..18], now), Err(Ignored::Malformed));
    assert_eq!(member.handle_message(from, &vec![1; MEMBER_MESSAGE_BYTES_MAX + 1], now), Err(Ignored::Size));
    let after: Vec<_> = member.view().map(|(node, seen)| (node, seen.clone())).collect();
    assert_eq!((after, member.poll_effect()), (before, None));
    // Any bytes behind a good head do no more harm than none.
    for _ in 0..20_000 {
        let mut bad = bytes.clone();
        for _ in 0..=world.chance.next() % 4 {
            let at = 17 + usize::try_from(world.chance.next()).unwrap() % (bad.len() - 17);
            bad[at] = world.chance.next().to_le_bytes()[0];
        }
        let member = world.nodes.get_mut(&to).unwrap().member.as_mut().unwrap();
        let _ignored: Result<(), Ignored> = member.handle_message(from, &bad, now);
        while member.poll_effect().is_some() {}
        member.handle_timeout(now);
    }
}

#[test]
fn what_a_node_says_of_itself_reaches_everybody() {
    let mut world = World::new(5, 61);
    world.until(20_000, World::all_up);
    let disk = DiskNews { free: 5, total: 9, stored: 2 };
    let handoff = HandoffNews { bytes: 70, bytes_per_s: 7, eta_s: Some(3) };
    let release = "0.2.0".into();
    let (serving, load, requests_per_s) = (Serving::Yes, 3, 11);
    let digests = Some(Digests { applied: 9, control: 1 << 60, differing: 2, heals_s: Some(9), ..Digests::default() });
    let (layout, applied, standing, wall_ms) = (7, 9, None, 1_700_000_000_000);
    let digests_and_clock = News { digests, wall_ms, standing, ..News::default() };
    let news = News { serving, release, layout, applied, load, requests_per_s, disk, handoff, ..digests_and_clock };
    world.on(NodeId(4), |member, now| member.tell(news.clone(), now));
    let told = |news: News| {
        move |world: &World| {
            let mut others = world.nodes.iter().filter(|(id, _)| **id != NodeId(4));
            others.all(|(_, node)| node.member.as_ref().unwrap().seen(NodeId(4)).unwrap().news.as_ref() == Some(&news))
        }
    };
    world.until(100, told(news.clone()));
    // What nobody acts on goes with what is sent anyway.
    let sent = world.sent;
    let later = News { applied: 10, ..news };
    world.on(NodeId(4), |member, now| member.tell(later.clone(), now));
    assert_eq!(world.sent, sent);
    world.until(10_000, told(later));
}

#[test]
fn who_was_removed_is_not_seen_or_asked_any_more() {
    let mut world = World::new(4, 71);
    world.until(20_000, World::all_up);
    for other in 1..=3 {
        world.on(NodeId(other), |member, now| member.forget(NodeId(4), now));
    }
    world.wire.clear();
    for _ in 0..5000 {
        world.step();
        assert!(world.wire.values().all(|(from, to, _)| *to != NodeId(4) || *from == NodeId(4)));
    }
    assert!((1..=3).all(|at| world.status(4, at).is_none()));
    let rest = (1..=3).flat_map(|a| (1..=3).map(move |b| (a, b))).filter(|(a, b)| a != b);
    assert!(rest.into_iter().all(|(a, b)| world.status(a, b) == Some(Status::Up)));
}

#[test]
fn the_same_seed_is_the_same_history() {
    let history = |seed| {
        let mut world = World::new(4, seed);
        world.loss_percent = 10;
        world.run(60_000);
        (world.sent, world.changes)
    };
    assert_eq!(history(1), history(1));
    assert_ne!(history(1).0, history(2).0);
}
