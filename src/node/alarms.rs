//! What is wrong, as this node sees it, and as all nodes do: the driver of `proto::alarm`. Looked at whenever somebody asks,
//! and every second by who keeps the events.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::base::limits::ALARMS_TOLD_MAX;
use crate::base::limits::CLOCK_SKEW_MAX;
use crate::base::limits::FORECAST_ALARM;
use crate::base::limits::LATE_PERCENT;
use crate::base::limits::MEMBERS_TICK;
use crate::base::limits::OVERLAY_BYTES_MAX;
use crate::base::limits::SYNC_HANGS;
use crate::base::limits::TRANSFER_STUCK;
use crate::base::time;
use crate::base::time::millis;
use crate::node::Node;
use crate::node::cluster::now_ms;
use crate::node::debug::logs::LogCounts;
use crate::node::health::Health;
use crate::node::series::Forecast;
use crate::node::series::Range;
use crate::node::standing::LossView;
use crate::node::survival::is_synced;
use crate::proto::alarm::Alarm;
use crate::proto::alarm::Board;
use crate::proto::alarm::Finding;
use crate::proto::alarm::Key;
use crate::proto::alarm::Moment;
use crate::proto::alarm::Subject;
use crate::proto::alarm::code::Code;
use crate::proto::alarm::fold;
use crate::proto::alarm::judge;
use crate::proto::alarm::judge::Faults;
use crate::proto::alarm::judge::HeldBack;
use crate::proto::alarm::judge::Lateness;
use crate::proto::alarm::judge::RefusedThreads;
use crate::proto::alarm::judge::Still;
use crate::proto::alarm::judge::Syncs;
use crate::proto::control::State;
use crate::proto::control::members::Member;
use crate::proto::control::members::MemberState;
use crate::proto::diagnosis::Found;
use crate::proto::diagnosis::Wish;
use crate::proto::member::view::Seen;
use crate::proto::member::view::Status;

mod access;
mod alike;
mod config;
mod links;
mod members;
mod process;
mod quorum;
mod rejections;
mod roots;
mod told;
mod twins;

/// What was found so far.
#[derive(Debug, Default)]
pub struct Alarms {
    board: Mutex<Board>,
    syncs: Mutex<Syncs>,
    still: Mutex<Still>,
    damage: Mutex<DamageSeen>,
    /// Lines of the log that were dropped when it was last looked.
    dropped: Mutex<u64>,
    lateness: Mutex<Lateness>,
    held_back: Mutex<HeldBack>,
    refused_threads: Mutex<RefusedThreads>,
    faults: Mutex<Faults>,
    /// Why there is no local control socket.
    no_socket: OnceLock<String>,
    /// What others said of themselves.
    heard: Mutex<told::Heard>,
}

/// Damage that was told of.
#[derive(Debug, Default)]
struct DamageSeen {
    times: u64,
    fresh: bool,
}

/// An alarm, and who tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToldBy {
    /// As one of them tells it.
    pub alarm: serde_json::Value,
    /// Those who tell it.
    pub told_by: Vec<NodeId>,
}

/// The alarms of all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AllAlarms {
    /// In the order of who was asked first, which is that of how much they matter there.
    pub alarms: Vec<ToldBy>,
    /// Who did not answer, and why.
    pub unanswered: BTreeMap<NodeId, &'static str>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// What an operator should know now: roots before what follows from them, worst first. What others say of themselves is
    /// among it.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        let mut alarms = self.alarms_seen();
        let known: BTreeSet<Key> = alarms.iter().map(Alarm::key).collect();
        alarms.extend(self.told().into_iter().filter(|alarm| !known.contains(&alarm.key())));
        self.note_alike(&mut alarms);
        fold(alarms)
    }

    /// What this node sees itself.
    pub(super) fn alarms_seen(&self) -> Vec<Alarm> {
        let found = self.findings();
        let now = Moment { steady_ms: time::steady_ms().0, wall_ms: time::wall_ms() };
        let mut board = lock(&self.0.cluster.alarms.board);
        board.look(found, now);
        board.alarms()
    }

    /// Nodes that are there and whose link to this one is broken, as long as that is an alarm.
    pub(super) fn not_reached(&self) -> BTreeSet<NodeId> {
        let alarms = lock(&self.0.cluster.alarms.board).alarms();
        alarms.iter().filter(|alarm| alarm.code == Code::LinkBroken).filter_map(|alarm| alarm.node).collect()
    }

    /// The alarms of all nodes; one that several tell is given once.
    pub async fn alarms_of_all(&self) -> AllAlarms {
        let mut all = AllAlarms { alarms: Vec::new(), unanswered: BTreeMap::new() };
        for said in self.ask_all(&Wish::Alarms).await {
            let alarms = match said.found {
                Ok(Found::Alarms(alarms)) => alarms,
                Ok(_) => {
                    all.unanswered.insert(said.node, "its answer is not understood");
                    continue;
                }
                Err(why) => {
                    all.unanswered.insert(said.node, why);
                    continue;
                }
            };
            for alarm in alarms.into_iter().take(ALARMS_TOLD_MAX) {
                all.add(said.node, &alarm);
            }
        }
        all.add_heard(self.told());
        all.drop_refuted();
        self.note_alike_of_all(&mut all);
        all
    }

    /// For another node.
    pub(super) fn alarms_to_tell(&self) -> Found {
        let alarms = self.alarms_seen();
        let written = alarms.iter().take(ALARMS_TOLD_MAX).filter_map(|alarm| serde_json::to_vec(alarm).ok());
        Found::Alarms(written.map(|written| Blob(written.into())).collect())
    }

    /// Looks how long syncs took since the last look.
    pub(super) fn note_syncs(&self) {
        let took = &self.0.store.journal().stats().took;
        lock(&self.0.cluster.alarms.syncs)
            .look(std::array::from_fn(|bucket| took.get(bucket).map_or(0, |count| count.load(Ordering::Relaxed))));
    }

    /// A look at the members came so much later than it was due.
    pub(super) fn note_lateness(&self, late: Duration) {
        lock(&self.0.cluster.alarms.lateness).look(millis(MEMBERS_TICK), millis(late));
    }

    fn findings(&self) -> Vec<Finding> {
        let mut found = self.findings_of_the_disk();
        found.extend(self.file_taken());
        found.extend(self.findings_of_the_store());
        found.extend(self.findings_of_the_process());
        found.extend(self.access_refused());
        found.extend(self.many_rejected());
        found.extend(self.config_refused());
        found.extend(self.findings_of_this_node());
        // Read on another node's screen, "here" is nowhere.
        let (me, called) = (self.me(), self.called());
        for finding in found.iter_mut().filter(|finding| finding.key.subject == me) {
            finding.cause = format!("{called}: {}", finding.cause);
        }
        found.extend(self.findings_of_the_cluster());
        found
    }

    fn me(&self) -> Subject {
        Subject::Node(self.who().node)
    }

    /// This node, for people.
    fn called(&self) -> String {
        let me = self.who().node;
        let name = self.state().members.get(&me).map(|member| format!(" ({})", member.name)).unwrap_or_default();
        format!("Node {me}{name}")
    }

    fn findings_of_the_disk(&self) -> Vec<Finding> {
        let Health { space, disk_full, gone, .. } = self.health();
        let (me, there) = (self.me(), self.0.data_dir.display());
        let mut found = Vec::new();
        if let Some(gone) = gone {
            found.push(roots::of_roots(&gone, me));
        }
        if let Some(left) = space.and_then(|space| space.short_of_files()) {
            let free = mib(space.map_or(0, |space| space.free));
            let cause = format!(
                "There is no room for more files (inodes): {left} are left though {free} MiB are free; something makes many small \
                 files there. Writes are refused, reads and deletes go on."
            );
            let to_do = format!("Remove files from the disk of {there}; writes go on by themselves then.");
            found.push(Finding::new(Code::DiskFull, me, cause, to_do));
        } else if disk_full {
            let (free, reserve) = (mib(space.map_or(0, |space| space.free)), mib(self.disk_reserve()));
            let cause = format!(
                "Only {free} MiB are free, {reserve} MiB are kept in reserve: writes are refused, reads and deletes go on."
            );
            let to_do = format!("Make room on {there}; writes go on by themselves then.");
            found.push(Finding::new(Code::DiskFull, me, cause, to_do));
        }
        if let Forecast::In { seconds, bytes_per_day, .. } = self.history(Range::Fine).forecast
            && seconds < FORECAST_ALARM.as_secs()
        {
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let cause = format!(
                "The disk is down to its reserve in {hours} h {minutes} min if it goes on as in the last hours, by {} MiB a day.{}",
                mib(bytes_per_day),
                self.who_asks_most()
            );
            let to_do = format!("Make room on {there}, or add machines.");
            found.push(Finding::new(Code::DiskForecast, me, cause, to_do));
        }
        if let Some(slow) = self.slow_disk() {
            let to_do = "Look at the disk and at what else uses it; every write waits for it.";
            found.push(Finding::new(Code::SlowDisk, me, slow, to_do));
        }
        found
    }

    fn slow_disk(&self) -> Option<String> {
        let began_ms = self.0.store.journal().stats().began_ms.load(Ordering::Relaxed);
        let hangs_ms = time::steady_ms().0.saturating_sub(began_ms);
        if began_ms > 0 && hangs_ms > millis(SYNC_HANGS) {
            return Some(format!("The disk has not finished a sync for {} s.", hangs_ms / 1000));
        }
        let p99_ms = lock(&self.0.cluster.alarms.syncs).too_slow_ms()?;
        let (late_percent, _) = lock(&self.0.cluster.alarms.lateness).late();
        if late_percent >= LATE_PERCENT {
            return None;
        }
        Some(format!("One sync of a hundred took {} ms or more in the last minute.", p99_ms / 2))
    }

    fn findings_of_the_store(&self) -> Vec<Finding> {
        let (me, mut found) = (self.me(), Vec::new());
        let progress = self.0.store.progress();
        if let Some(failure) = progress.failure() {
            let to_do = match self.health().index_lacked_room {
                true => "Make room; the node starts anew when there is some.",
                false => "Wait: the node starts anew and rebuilds it.",
            };
            let cause = format!("The index does not take changes ({}).", failure.reason);
            found.push(Finding::new(Code::IndexFailed, me, cause, to_do));
        }
        if self.health().index_slow {
            let cause = format!("The index is busy with one step for {} s.", progress.busy_for().as_secs());
            found.push(Finding::new(Code::IndexSlow, me, cause, "Look at the disk."));
        }
        if self.0.store.overlay_bytes() > OVERLAY_BYTES_MAX / 2 {
            let asks = self.who_asks_most();
            let cause = format!("Writes come faster than the index follows; some may be answered 503.{asks}");
            found.push(Finding::new(Code::IndexBehind, me, cause, "Write more slowly, or add machines."));
        }
        found.extend(self.damage_met());
        found
    }

    fn damage_met(&self) -> Option<Finding> {
        let met = self.0.store.damage().met();
        let mut seen = lock(&self.0.cluster.alarms.damage);
        seen.fresh = met.times > seen.times;
        seen.times = met.times;
        let lost = !self.0.store.unreadable().is_empty();
        let (partition, detail) = met.last.map_or((None, String::new()), |(at, detail)| (Some(at), detail));
        let place = match partition {
            Some(partition) if seen.fresh || lost => format!("partition {partition}: {detail}"),
            None if lost => "a part of the index".to_owned(),
            Some(_) | None => return None,
        };
        let cause = format!("What was stored cannot be read ({place}); it is not served from this node.");
        let to_do = "Look at the disk; `ringfort doctor` names what is damaged.";
        Some(Finding::new(Code::CorruptRecord, self.me(), cause, to_do))
    }

    fn findings_of_this_node(&self) -> Vec<Finding> {
        let (me, mut found) = (self.me(), self.findings_of_twins());
        if let Some(LossView { why: Some(why), merged, slots }) = self.loss() {
            let cause = format!(
                "This node has lost what it had acked: {why}. It serves nothing before it has it back from the other owners: \
                 {merged} of {slots} partitions are merged."
            );
            found.push(Finding::new(Code::Recovering, me, cause, "Look at its disk."));
        }
        if let Some(why) = self.0.cast_out.get() {
            let cause = format!("The cluster refuses this node for ever ({why}).");
            let to_do = "Stop it, keep its directory aside, and let the machine join again with an empty one and an invite of \
                         that cluster.";
            found.push(Finding::new(Code::Removed, me, cause, to_do));
        }
        if let Some(text) = self.settings().certificate.as_ref().and_then(|view| view.warning(time::wall_ms())) {
            let (cause, to_do) = text.split_once("; ").unwrap_or((&text, "replace it"));
            let cause = format!("{cause}.");
            found.push(Finding::new(Code::CertificateEnds, me, cause, sentence(to_do)));
        }
        found.extend(self.stuck());
        found.extend(self.dropped());
        found
    }

    fn dropped(&self) -> Option<Finding> {
        let LogCounts { flooded, lost, unshown } = self.logs()?.counts();
        let mut seen = lock(&self.0.cluster.alarms.dropped);
        if flooded + lost + unshown <= *seen {
            return None;
        }
        *seen = flooded + lost + unshown;
        if unshown > 0 && flooded + lost == 0 {
            let cause = format!(
                "Nobody reads the standard error of this node: {unshown} lines of its log were not shown there since the start. They are \
                 in `ringfort logs`."
            );
            let to_do =
                "Look at what takes its output: the journal of the machine, a pipe, or a terminal that is stopped.";
            return Some(Finding::new(Code::LogDropped, self.me(), cause, to_do));
        }
        let cause = format!(
            "Lines of the log are dropped: {flooded} since the start because one place said too much, {lost} for want of room."
        );
        let to_do = "Look in the log of this node for what is said again and again, and mend that.";
        Some(Finding::new(Code::LogDropped, self.me(), cause, to_do))
    }

    fn stuck(&self) -> Option<Finding> {
        let progress = self.handoff_progress();
        let left = if self.handoff_pause().is_some() { 0 } else { progress.slots };
        let still_ms = lock(&self.0.cluster.alarms.still).look(left, progress.bytes, time::steady_ms().0);
        if still_ms < millis(TRANSFER_STUCK) {
            return None;
        }
        let cause = format!("{left} partitions are to come to this node, and nothing came for {} s.", still_ms / 1000);
        let to_do = "Start the machines that are down; where none is, look at the log of this node for `handoff`.";
        Some(Finding::new(Code::TransferStuck, self.me(), cause, to_do))
    }

    /// What is wrong with others, or with all together.
    pub(super) fn findings_of_the_cluster(&self) -> Vec<Finding> {
        let state = self.state();
        let mut found = self.of_quorums(&state);
        found.extend(self.of_members(&state));
        if let Some(pause) = self.handoff_pause().filter(|_| !is_synced(&state)) {
            let (reason, until) = (pause.reason, time::rfc3339(pause.until_ms));
            let cause = format!("Handoff is paused until {until} ({reason}), and not all owners have their data.");
            let to_do = "`ringfort ring resume` lets it go on.";
            found.push(Finding::new(Code::HandoffPaused, Subject::Cluster, cause, to_do));
        }
        found.extend(self.of_clocks());
        found
    }

    fn of_members(&self, state: &State) -> Vec<Finding> {
        let (sight, called, mut found, mut doubts) = (self.sight(), self.called(), Vec::new(), BTreeMap::new());
        for (node, member) in state.members.iter().filter(|(_, member)| member.state != MemberState::Removed) {
            if let Some(seen) = sight.get(node).filter(|_| *node != self.who().node) {
                let told = self.end_told(*node, seen);
                if self.is_rescued(*node, seen) {
                    found.push(of_loop(*node, member, told.as_deref().unwrap_or_default()));
                }
                let why = self.0.cluster.reach.why(*node);
                found.extend(links::of_link(*node, member, seen, &called, &why));
                found.extend(links::of_pace(*node, member, seen, &called, self.round_trip(*node)));
                let heard = seen.is_heard(now_ms()) || self.hears(*node);
                let known = members::Known { told, trouble: self.0.cluster.reach.trouble(*node), heard };
                found.extend(members::of_member(*node, member, seen, known));
                found.extend(links::of_breaks(*node, member, seen, &called, self.0.cluster.reach.breaks(*node)));
                doubts.insert(*node, self.doubts(*node));
            }
        }
        let name = |node: &NodeId| state.members.get(node).map_or("", |member| member.name.as_str());
        found.extend(links::of_doubts(self.who().node, &doubts, name));
        found
    }

    fn of_clocks(&self) -> Vec<Finding> {
        let (me, steady_ms, wall_ms) = (self.who().node, time::steady_ms().0, time::wall_ms());
        let ahead = |(node, seen): (&NodeId, &Seen)| {
            let news = seen.news.as_ref().filter(|news| seen.status == Status::Up && news.wall_ms > 0)?;
            let its_ms = news.wall_ms.saturating_add(steady_ms.saturating_sub(seen.said_ms?));
            let ahead = i64::try_from(its_ms).ok()?.saturating_sub(i64::try_from(wall_ms).ok()?);
            Some((*node, ahead))
        };
        let clocks: Vec<(NodeId, i64)> = self.sight().iter().filter_map(ahead).chain([(me, 0)]).collect();
        let wrong = judge::skewed(&clocks, me);
        wrong.into_iter().map(|(node, off_ms)| of_clock(node, off_ms)).collect()
    }
}

impl AllAlarms {
    /// Who answers did not vanish: one that says so lost its own way to it.
    fn drop_refuted(&mut self) {
        let unanswered = &self.unanswered;
        self.alarms.retain(|ToldBy { alarm, .. }| {
            let is = |part: &str, code: Code| alarm.get(part).and_then(|it| it.as_str()) == Some(code.name());
            let says_gone = is("code", Code::MemberVanished)
                || is("follows_from", Code::MemberVanished) && is("code", Code::MemberDown);
            let node = alarm.get("node").and_then(serde_json::Value::as_u64).map(NodeId);
            !says_gone || node.is_none_or(|node| unanswered.contains_key(&node))
        });
    }

    fn add(&mut self, node: NodeId, told: &Blob) {
        let Ok(alarm) = serde_json::from_slice::<serde_json::Value>(&told.0) else { return };
        let same = |other: &&mut ToldBy| {
            ["code", "subject"].iter().all(|part| other.alarm.get(part).is_some_and(|it| alarm.get(part) == Some(it)))
        };
        match self.alarms.iter_mut().find(same) {
            Some(known) => known.told_by.push(node),
            None => self.alarms.push(ToldBy { alarm, told_by: vec![node] }),
        }
    }
}

fn of_loop(node: NodeId, member: &Member, told: &str) -> Finding {
    let name = &member.name;
    let cause = format!("Node {node} ({name}) fails at every start: it {told}.");
    let to_do = "Open its rescue console, at the address that devices use, or run `ringfort rescue` on that machine: it says how to go on.";
    Finding::new(Code::CrashLoop, Subject::Node(node), cause, to_do)
}

fn of_clock(node: NodeId, off_ms: i64) -> Finding {
    let (seconds, way) = (off_ms.unsigned_abs() / 1000, if off_ms > 0 { "ahead of" } else { "behind" });
    let cause = format!(
        "The clock of node {node} is {seconds} s {way} the others', and {} s are allowed.",
        CLOCK_SKEW_MAX.as_secs()
    );
    let to_do =
        "Set it, and let it be kept right by NTP: from 60 s on writes to buckets of the last writer are refused there.";
    Finding::new(Code::ClockSkew, Subject::Node(node), cause, to_do)
}

/// With a capital and a full stop.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn mib(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}
