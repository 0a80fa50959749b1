//! What changed, as one list in which each entry names the one that it follows from. Nodes keep what they see; whoever is
//! asked puts it together: what several nodes tell of one thing becomes one entry, and causes are found by rules, across
//! nodes. Pure.

use std::collections::BTreeMap;

use crate::base::id::NodeId;
use crate::base::limits::TIMELINE_CAUSE_MS;
use crate::base::limits::TIMELINE_OVER_MS;
use crate::base::limits::TIMELINE_TOGETHER_MS;
use crate::proto::alarm::code::Code;
use crate::proto::crash::UNNOTED;
use crate::proto::event::Kind;
use crate::proto::logline::Level;
use crate::proto::logline::Record;
use crate::proto::logline::stamp::Stamp;
use crate::proto::logline::text;

#[cfg(test)]
mod tests;

/// Of lines that are entries.
pub const TARGET: &str = "timeline";

/// Names an entry: `NODE.LIFE.NUMBER`, of the one who tells it.
pub type EntryId = String;

/// What changed, as one node saw it. On disk and between nodes it is a line of a log ([`Record`]), of target [`TARGET`], so that
/// the black box keeps it as it keeps those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: EntryId,
    /// When, so that what was told before comes before.
    pub stamp: Stamp,
    /// Who tells.
    pub teller: NodeId,
    /// Of what kind, by its name: a later release may tell others.
    pub kind: String,
    /// The node that it is about; none: all together.
    pub node: Option<NodeId>,
    /// Of an alarm.
    pub code: Option<String>,
    /// The number of what it is about, where it has one: the same for all who tell of it. 0: none.
    pub epoch: u64,
    /// Who ordered it.
    pub by: Option<String>,
    /// For people.
    pub text: String,
}

/// An entry among all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// As it was told first.
    pub entry: Entry,
    /// All who tell it, in the order in which they did.
    pub told_by: Vec<NodeId>,
    /// The entry that it follows from.
    pub cause: Option<EntryId>,
    /// The entry that is over with it: of an alarm, that it was raised.
    pub ends: Option<EntryId>,
}

impl Entry {
    /// Wall milliseconds.
    #[must_use]
    pub fn at_ms(&self) -> u64 {
        self.stamp.ms()
    }

    /// As a line; it is given its number by the second part of its id.
    #[must_use]
    pub fn to_record(&self, life: u64, n: u64) -> Record {
        let known = [
            ("kind", Some(self.kind.clone())),
            ("life", Some(life.to_string())),
            ("about", self.node.map(|node| node.to_string())),
            ("code", self.code.clone()),
            ("epoch", (self.epoch > 0).then(|| self.epoch.to_string())),
            ("by", self.by.clone()),
        ];
        let level = match self.kind() {
            Some(Kind::AlarmRaised | Kind::MemberDown | Kind::Crash | Kind::Failure | Kind::RecoveryBegun) => {
                Level::Warn
            }
            Some(_) | None => Level::Info,
        };
        Record {
            stamp: self.stamp,
            node: self.teller,
            n,
            level,
            target: TARGET.to_owned(),
            message: self.text.clone(),
            fields: known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
            spans: Vec::new(),
        }
    }

    /// Reads a line; `None` for one that is no entry. What cannot be shown is replaced.
    #[must_use]
    pub fn of_record(record: Record) -> Option<Self> {
        let Record { stamp, node, n, target, message, mut fields, .. } = text::plain_record(record);
        let number = |text: String| text.parse::<u64>().ok();
        let (kind, life) = (fields.remove("kind")?, number(fields.remove("life")?)?);
        (target == TARGET).then(|| Self {
            id: format!("{node}.{life}.{n}"),
            stamp,
            teller: node,
            kind,
            node: fields.remove("about").and_then(number).map(NodeId),
            code: fields.remove("code"),
            epoch: fields.remove("epoch").and_then(number).unwrap_or_default(),
            by: fields.remove("by"),
            text: message,
        })
    }

    fn kind(&self) -> Option<Kind> {
        Kind::named(&self.kind)
    }

    fn code(&self) -> Option<Code> {
        self.code.as_deref().and_then(Code::named)
    }

    /// An end that the node only supposes afterwards: it is as another one tells it who heard of it then.
    fn is_supposed(&self) -> bool {
        self.kind() == Some(Kind::Crash) && self.text.contains(UNNOTED)
    }

    /// Whether both are about the same thing.
    fn is_of_the_same(&self, other: &Self) -> bool {
        (&self.kind, self.node, &self.code, self.epoch) == (&other.kind, other.node, &other.code, other.epoch)
    }
}

/// A stamp behind this one.
#[must_use]
pub fn stamp_after(last: u64, clock: u64) -> u64 {
    clock.max(last.saturating_add(1))
}

/// Puts together what nodes told; oldest first, each with its cause.
#[must_use]
pub fn link(mut entries: Vec<Entry>) -> Vec<Linked> {
    entries.sort_by(|one, other| (one.stamp, &one.id).cmp(&(other.stamp, &other.id)));
    entries.dedup_by(|one, other| one.id == other.id);
    let mut linked = together(entries);
    let found: Vec<_> = (0..linked.len()).map(|at| (cause(&linked, at), ends(&linked, at))).collect();
    for (link, (cause, ends)) in linked.iter_mut().zip(found) {
        (link.cause, link.ends) = (cause, ends);
    }
    linked
}

/// The beginning of what is over: the nearest before it, however long ago.
fn ends(linked: &[Linked], at: usize) -> Option<EntryId> {
    let end = &linked.get(at)?.entry;
    if end.kind() != Some(Kind::AlarmCleared) {
        return None;
    }
    let begins =
        |entry: &Entry| entry.kind() == Some(Kind::AlarmRaised) && entry.code == end.code && entry.node == end.node;
    let begun = linked.get(..at)?.iter().rev().find(|link| begins(&link.entry));
    begun.map(|link| link.entry.id.clone())
}

/// What several nodes tell of one thing becomes one entry. The same node telling again means that it was so again.
fn together(entries: Vec<Entry>) -> Vec<Linked> {
    let mut linked: Vec<Linked> = Vec::new();
    let mut open: BTreeMap<(String, Option<NodeId>, Option<String>, u64), usize> = BTreeMap::new();
    for entry in entries {
        let key = (entry.kind.clone(), entry.node, entry.code.clone(), entry.epoch);
        let known = open.get(&key).filter(|at| is_known(&linked, **at, &entry)).and_then(|at| linked.get_mut(*at));
        match known {
            Some(known) => {
                known.told_by.push(entry.teller);
                if known.entry.is_supposed() {
                    known.entry.text = entry.text;
                }
            }
            None => {
                open.insert(key, linked.len());
                linked.push(Linked { told_by: vec![entry.teller], entry, cause: None, ends: None });
            }
        }
    }
    linked
}

/// Whether an entry is what this one of those before it told already.
fn is_known(linked: &[Linked], at: usize, entry: &Entry) -> bool {
    let Some(known) = linked.get(at) else { return false };
    let apart_ms = |before: &Linked| entry.at_ms().saturating_sub(before.entry.at_ms());
    let near = entry.epoch > 0 || apart_ms(known) <= TIMELINE_TOGETHER_MS;
    // A node supposes when it begins again. Had it begun before, what is known is of an earlier end.
    let began = |link: &Linked| {
        let began = matches!(link.entry.kind(), Some(Kind::NodeStarted | Kind::MemberUp));
        began && link.entry.node == entry.node && apart_ms(link) > TIMELINE_OVER_MS
    };
    let its_last = || apart_ms(known) <= TIMELINE_CAUSE_MS && !linked.iter().skip(at + 1).any(began);
    (near || entry.is_supposed() && its_last())
        && !known.told_by.contains(&entry.teller)
        && known.entry.is_of_the_same(entry)
}

/// Which entries one may follow from.
struct Rule {
    kind: Kind,
    /// Of an alarm.
    code: Option<Code>,
    /// About the same node.
    same_node: bool,
    /// Told later than what follows from it: found out afterwards, until the node was there again.
    also_later: bool,
    /// Seen at about the same time, by others also a little earlier; but not before the node was lost or in doubt.
    about_then: bool,
}

impl Rule {
    fn of(kind: Kind) -> Self {
        Self { kind, code: None, same_node: false, also_later: false, about_then: false }
    }

    fn same(kind: Kind) -> Self {
        Self { same_node: true, ..Self::of(kind) }
    }

    /// Of a node that is there: its beginning, which others see when it tells that, or a moment before; or that it was let in.
    fn arrival(kind: Kind) -> Self {
        Self { about_then: true, ..Self::same(kind) }
    }

    /// An end that is only known when it was looked into.
    fn end() -> Self {
        Self::later(Kind::Crash)
    }

    /// About the same node, also where it is known only afterwards.
    fn later(kind: Kind) -> Self {
        Self { also_later: true, ..Self::same(kind) }
    }

    fn raised(code: Code, same_node: bool) -> Self {
        Self { code: Some(code), same_node, ..Self::of(Kind::AlarmRaised) }
    }

    fn fits(&self, effect: &Entry, cause: &Entry) -> bool {
        cause.kind() == Some(self.kind)
            && self.code.is_none_or(|code| cause.code() == Some(code))
            && (!self.same_node || cause.node == effect.node)
            && (self.kind != Kind::Ordered || is_ordered(effect, &cause.text))
            && (effect.kind() != Some(Kind::LeaderChanged)
                || cause.node.is_some_and(|node| is_led_no_more_by(effect, node)))
            && (effect.kind() != Some(Kind::Crash) || is_why_it_failed(effect, cause))
    }
}

/// Whether what was, is no more when something else happens: a machine that is there again, an alarm that was cleared, or
/// one that a machine raised about itself and forgot when it started anew.
fn is_over(linked: &[Linked], cause_at: usize, effect_at: usize) -> bool {
    let Some(cause) = linked.get(cause_at).map(|link| &link.entry) else { return true };
    let between = linked.get(cause_at + 1..effect_at).unwrap_or_default();
    let effect_ms = linked.get(effect_at).map_or(0, |link| link.entry.at_ms());
    // What was seen a moment after the end of its cause may have begun before it.
    let long_ago = |link: &&Linked| effect_ms.saturating_sub(link.entry.at_ms()) > TIMELINE_OVER_MS;
    let mut ends = between.iter().take_while(|link| long_ago(link)).map(|link| &link.entry);
    match cause.kind() {
        Some(Kind::Crash | Kind::MemberDown | Kind::MemberGone | Kind::MemberStopping | Kind::NodeStopped) => {
            ends.any(|end| end.kind() == Some(Kind::MemberUp) && end.node == cause.node)
        }
        Some(Kind::AlarmRaised) => ends.any(|end| {
            let cleared = end.kind() == Some(Kind::AlarmCleared) && end.code == cause.code && end.node == cause.node;
            let anew = end.kind() == Some(Kind::NodeStarted) && end.node == Some(cause.teller);
            cleared || anew
        }),
        Some(_) | None => false,
    }
}

/// Whether a node is the one that the control plane was led by before, in the words of that entry.
fn is_led_no_more_by(effect: &Entry, node: NodeId) -> bool {
    let before = effect.text.split_once("instead of node ").map(|(_, rest)| rest);
    before.is_some_and(|rest| rest.split(|c: char| !c.is_ascii_digit()).next() == Some(node.to_string().as_str()))
}

/// Whether an alarm explains such an end: a full or slow disk ends no process that says another reason.
fn is_why_it_failed(crash: &Entry, alarm: &Entry) -> bool {
    let says = |words: &[&str]| words.iter().any(|words| crash.text.contains(words));
    match alarm.code() {
        Some(Code::SlowDisk) => says(&["did not turn", "did not answer", "sync"]),
        Some(Code::DiskFull) => says(&["room", "No space left", "exit status 74", "exit status 75"]),
        Some(_) | None => true,
    }
}

/// The nearest entry that the first rule finds that finds one.
fn cause(linked: &[Linked], at: usize) -> Option<EntryId> {
    let effect = &linked.get(at)?.entry;
    rules(effect).iter().find_map(|rule| rule.find(linked, at, effect)).map(|link| link.entry.id.clone())
}

impl Rule {
    fn find<'l>(&self, linked: &'l [Linked], at: usize, effect: &Entry) -> Option<&'l Linked> {
        let is = |link: &Linked, kind| link.entry.kind() == Some(kind) && link.entry.node == effect.node;
        let apart_ms = |link: &Linked| effect.at_ms().abs_diff(link.entry.at_ms());
        let near = |link: &&Linked| apart_ms(link) <= TIMELINE_CAUSE_MS;
        let gone = |link: &&Linked| is(link, Kind::MemberDown) || is(link, Kind::MemberSuspect);
        let lost = |link: &&Linked| self.about_then && gone(link);
        let earlier = linked.get(..at)?.iter().enumerate().rev().take_while(|(_, link)| near(link) && !lost(link));
        let fits = |(was_at, link): &(usize, &Linked)| self.fits(effect, &link.entry) && !is_over(linked, *was_at, at);
        let before = earlier.into_iter().find(fits).map(|(_, link)| link);
        if before.is_some() || !(self.also_later || self.about_then) {
            return before;
        }
        let mut up_ms = None;
        let mut over = |link: &&Linked| {
            if !self.also_later {
                return apart_ms(link) > TIMELINE_TOGETHER_MS;
            }
            // Others hear that it is there before it has told how it ended.
            if up_ms.is_none() && is(link, Kind::MemberUp) {
                up_ms = Some(link.entry.at_ms());
            }
            up_ms.is_some_and(|up_ms| link.entry.at_ms().saturating_sub(up_ms) > TIMELINE_OVER_MS)
        };
        let behind = linked.get(at + 1..)?.iter().take_while(|link| !over(link));
        behind.into_iter().find(|link| self.fits(effect, &link.entry))
    }
}

fn rules(effect: &Entry) -> Vec<Rule> {
    let Some(kind) = effect.kind() else { return Vec::new() };
    match kind {
        Kind::AlarmRaised => effect.code().map_or_else(Vec::new, raised),
        Kind::AlarmCleared => effect.code().map_or_else(Vec::new, cleared),
        Kind::MemberDown => vec![
            Rule::end(),
            Rule::same(Kind::MemberStopping),
            Rule::same(Kind::NodeStopped),
            Rule::later(Kind::MemberMoved),
        ],
        Kind::MemberMoved => vec![Rule::arrival(Kind::NodeStarted)],
        Kind::MemberGone | Kind::MemberStopping => {
            vec![Rule::same(Kind::NodeStopped), Rule::same(Kind::MemberStopping)]
        }
        Kind::MemberUp => vec![Rule::arrival(Kind::NodeStarted), Rule::arrival(Kind::MemberJoined)],
        Kind::NodeStarted => vec![Rule::same(Kind::Crash), Rule::same(Kind::NodeStopped)],
        Kind::MemberJoined
        | Kind::MemberLeaving
        | Kind::MemberDrained
        | Kind::MemberUndrained
        | Kind::PlanCleared
        | Kind::HandoffPaused
        | Kind::HandoffResumed => vec![Rule::of(Kind::Ordered)],
        Kind::MemberRemoved => vec![Rule::of(Kind::Ordered), Rule::same(Kind::MemberLeaving)],
        Kind::PlanStaged | Kind::LayoutCommitted => vec![
            Rule::of(Kind::Ordered),
            Rule::of(Kind::MemberRemoved),
            Rule::of(Kind::MemberLeaving),
            Rule::of(Kind::MemberJoined),
        ],
        Kind::LayoutPhase | Kind::LayoutAtRest => vec![Rule::of(Kind::LayoutCommitted)],
        Kind::Repaired => vec![
            Rule::raised(Code::LinkBroken, false),
            Rule::of(Kind::RecoveryEnded),
            Rule::of(Kind::MemberUp),
            Rule::of(Kind::NodeStarted),
        ],
        Kind::RecoveryBegun => vec![Rule::same(Kind::NodeStarted)],
        Kind::RecoveryEnded => vec![Rule::same(Kind::RecoveryBegun)],
        Kind::Crash => vec![Rule::raised(Code::DiskFull, true), Rule::raised(Code::SlowDisk, true)],
        Kind::LeaderChanged => vec![
            Rule::of(Kind::Crash),
            Rule::of(Kind::MemberDown),
            Rule::of(Kind::NodeStopped),
            Rule::of(Kind::MemberStopping),
            Rule::of(Kind::MemberSuspect),
        ],
        Kind::NodeStopped | Kind::Failure | Kind::MemberSuspect | Kind::Ordered | Kind::ConfigReloaded => Vec::new(),
    }
}

/// An alarm follows from what happened, or from the alarm that it may fold under.
fn raised(code: Code) -> Vec<Rule> {
    let mut rules = match code {
        Code::CrashLoop => vec![Rule::same(Kind::Crash)],
        Code::MemberDown | Code::MemberVanished => vec![
            Rule::end(),
            Rule::later(Kind::MemberMoved),
            Rule::same(Kind::MemberDown),
            Rule::same(Kind::MemberGone),
            Rule::same(Kind::MemberStopping),
        ],
        Code::VoterLost => vec![Rule::same(Kind::MemberDown), Rule::same(Kind::MemberGone), Rule::end()],
        Code::NoQuorum | Code::QuorumAtRisk | Code::NoControl => {
            vec![Rule::of(Kind::MemberDown), Rule::of(Kind::MemberGone), Rule::of(Kind::RecoveryBegun)]
        }
        Code::Recovering => vec![Rule::same(Kind::RecoveryBegun), Rule::same(Kind::NodeStarted)],
        Code::HandoffPaused => vec![Rule::of(Kind::HandoffPaused)],
        Code::TransferStuck => vec![Rule::of(Kind::MemberDown), Rule::of(Kind::LayoutCommitted)],
        Code::Removed => vec![Rule::same(Kind::MemberRemoved)],
        Code::AccessRefused => vec![Rule::of(Kind::Ordered)],
        Code::CertificateEnds => vec![Rule::of(Kind::ConfigReloaded)],
        Code::RequestsRefused => vec![Rule::of(Kind::Ordered)],
        Code::Twin
        | Code::FilesGone
        | Code::FilesUsedUp
        | Code::ThreadsUsedUp
        | Code::MemoryShort
        | Code::Starved
        | Code::ConfigRefused
        | Code::ProgramReplaced
        | Code::DiskFull
        | Code::IndexFailed
        | Code::CorruptRecord
        | Code::DiskForecast
        | Code::SlowDisk
        | Code::IndexSlow
        | Code::IndexBehind
        | Code::LogDropped
        | Code::LinkBroken
        | Code::LinkFlaps
        | Code::LinkSlow
        | Code::MemberFlaps
        | Code::ClockSkew => Vec::new(),
    };
    rules.extend(code.follows_from().iter().map(|parent| Rule::raised(*parent, is_its_own(code, *parent))));
    rules
}

/// Whether an alarm follows from another one only where both are about the same node.
fn is_its_own(code: Code, parent: Code) -> bool {
    matches!(
        (code, parent),
        (
            Code::VoterLost
                | Code::MemberDown
                | Code::MemberVanished
                | Code::MemberFlaps
                | Code::LinkFlaps
                | Code::LinkSlow
                | Code::Recovering
                | Code::DiskFull
                | Code::Starved
                | Code::SlowDisk
                | Code::IndexSlow,
            _
        ) | (
            Code::RequestsRefused,
            Code::FilesGone
                | Code::DiskFull
                | Code::IndexFailed
                | Code::Recovering
                | Code::IndexBehind
                | Code::ThreadsUsedUp
                | Code::MemoryShort
                | Code::Starved
        ) | (Code::IndexBehind | Code::TransferStuck, Code::DiskFull | Code::SlowDisk | Code::IndexFailed)
    )
}

/// What ended it.
fn cleared(code: Code) -> Vec<Rule> {
    match code {
        Code::CrashLoop | Code::MemberDown | Code::MemberVanished | Code::VoterLost => {
            vec![Rule::same(Kind::MemberUp), Rule::same(Kind::MemberRemoved)]
        }
        Code::NoQuorum | Code::QuorumAtRisk | Code::NoControl => {
            vec![Rule::of(Kind::MemberUp), Rule::of(Kind::LayoutCommitted)]
        }
        Code::Recovering => vec![Rule::same(Kind::RecoveryEnded)],
        Code::HandoffPaused => vec![Rule::of(Kind::HandoffResumed), Rule::of(Kind::LayoutAtRest)],
        Code::CertificateEnds | Code::ConfigRefused => vec![Rule::same(Kind::ConfigReloaded)],
        Code::Removed
        | Code::FilesGone
        | Code::FilesUsedUp
        | Code::ThreadsUsedUp
        | Code::MemoryShort
        | Code::Starved
        | Code::AccessRefused
        | Code::RequestsRefused
        | Code::ProgramReplaced
        | Code::Twin
        | Code::DiskFull
        | Code::IndexFailed
        | Code::CorruptRecord
        | Code::DiskForecast
        | Code::SlowDisk
        | Code::IndexSlow
        | Code::IndexBehind
        | Code::TransferStuck
        | Code::LogDropped
        | Code::LinkBroken
        | Code::LinkFlaps
        | Code::LinkSlow
        | Code::MemberFlaps
        | Code::ClockSkew => Vec::new(),
    }
}

/// What the audit says of orders that change the cluster, and what they bring about. An order of another kind is no entry.
const ORDERS: [(&str, &[Kind]); 15] = [
    ("sends devices away from node", &[Kind::MemberDrained]),
    ("sends devices to node", &[Kind::MemberUndrained]),
    ("lets node `", &[Kind::MemberJoined]),
    ("lets node ", &[Kind::MemberLeaving, Kind::PlanStaged]),
    ("removes node", &[Kind::MemberRemoved, Kind::PlanStaged]),
    ("replaces node", &[Kind::MemberLeaving, Kind::MemberRemoved, Kind::PlanStaged]),
    ("pauses handoff", &[Kind::HandoffPaused]),
    ("lets handoff go on", &[Kind::HandoffResumed]),
    ("stages a plan", &[Kind::PlanStaged]),
    ("drops the staged plan", &[Kind::PlanCleared]),
    ("commits plan", &[Kind::LayoutCommitted]),
    ("sets bucket", &[Kind::LayoutCommitted]),
    // From then on devices or people are refused what they had.
    ("removes bucket", &[Kind::AlarmRaised]),
    ("removes token", &[Kind::AlarmRaised]),
    ("removes user", &[]),
];

fn order(words: &str) -> Option<&'static [Kind]> {
    ORDERS.iter().find(|(begins, _)| words.starts_with(begins)).map(|(_, brings)| *brings)
}

/// Whether an order, in the audit's words, is told of: one that changes the cluster, not who may do what in it.
#[must_use]
pub fn is_told(words: &str) -> bool {
    order(words).is_some()
}

/// Whether this came about by that order, of which it is told as `NAME WORDS`.
fn is_ordered(effect: &Entry, told: &str) -> bool {
    let Some(words) = told.split_once(": ").map(|(_, words)| words) else { return false };
    let brings = order(words).is_some_and(|kinds| effect.kind().is_some_and(|kind| kinds.contains(&kind)));
    // Whoever lost a token is refused for that, and who lost a bucket for this.
    let is_refused_for = |code| {
        let wrong = [(Code::AccessRefused, "removes bucket"), (Code::RequestsRefused, "removes token")];
        !wrong.iter().any(|(alarm, order)| *alarm == code && words.starts_with(order))
    };
    let names_it = |node: NodeId| {
        let name = format!("node {node}");
        words.match_indices(&name).any(|(at, found)| {
            !words.get(at + found.len()..).is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_digit()))
        })
    };
    // Who is let in has no number yet, and a token is good on every node.
    brings
        && effect.code().is_none_or(is_refused_for)
        && (effect.kind() == Some(Kind::AlarmRaised)
            || words.starts_with("lets node `")
            || effect.node.is_none_or(names_it))
}
