//! What may be wrong: a closed set. What is found at a look becomes an alarm once it has stood for long enough, and is over
//! once it has not been found for long enough; one that follows from another is folded under it. Pure: who looks says what
//! was found, and when.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::Serializer;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::time;

pub mod judge;
#[cfg(test)]
mod tests;

/// Of what kind an alarm is. In order of how much it matters, within a severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The cluster refuses this node for ever.
    Removed,
    /// Two machines show the number of one node.
    Twin,
    /// A node has lost what it had acked.
    Recovering,
    /// The files of a running node were removed or renamed.
    FilesGone,
    /// There is no room for new data.
    DiskFull,
    /// The index does not take changes.
    IndexFailed,
    /// A partition has too few owners.
    NoQuorum,
    /// The control plane has no majority.
    NoControl,
    /// A node fails at every start.
    CrashLoop,
    /// A node fell silent without a word.
    MemberVanished,
    /// A node is down.
    MemberDown,
    /// A node can open no more files or connections.
    FilesUsedUp,
    /// A node gets too little of its processor.
    Starved,
    /// Many requests are refused for their token.
    AccessRefused,
    /// What was stored cannot be read.
    CorruptRecord,
    /// One more loss, and requests are refused.
    QuorumAtRisk,
    /// A voter of the control plane is not there.
    VoterLost,
    /// There will be no room soon.
    DiskForecast,
    /// The disk takes long for a sync.
    SlowDisk,
    /// The index hangs on one step.
    IndexSlow,
    /// The index does not keep up.
    IndexBehind,
    /// What moves does not move.
    TransferStuck,
    /// Somebody let what moves wait.
    HandoffPaused,
    /// A node's clock is wrong.
    ClockSkew,
    /// A node is there and is not reached.
    LinkBroken,
    /// A node answers only now and then.
    MemberFlaps,
    /// A certificate is near its end.
    CertificateEnds,
    /// Lines of the log were dropped.
    LogDropped,
}

/// All of them, in their order.
pub const CODES: [Code; 28] = [
    Code::Removed,
    Code::Twin,
    Code::Recovering,
    Code::FilesGone,
    Code::DiskFull,
    Code::IndexFailed,
    Code::NoQuorum,
    Code::NoControl,
    Code::CrashLoop,
    Code::MemberVanished,
    Code::MemberDown,
    Code::FilesUsedUp,
    Code::Starved,
    Code::AccessRefused,
    Code::CorruptRecord,
    Code::QuorumAtRisk,
    Code::VoterLost,
    Code::DiskForecast,
    Code::SlowDisk,
    Code::IndexSlow,
    Code::IndexBehind,
    Code::TransferStuck,
    Code::HandoffPaused,
    Code::ClockSkew,
    Code::LinkBroken,
    Code::MemberFlaps,
    Code::CertificateEnds,
    Code::LogDropped,
];

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody is refused, or data is in danger.
    Critical,
    /// Nobody is harmed yet.
    Warning,
}

/// How long something has to stand before it is an alarm, and to be gone before it is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Milliseconds before it is raised.
    pub raise_ms: u64,
    /// Milliseconds before it is cleared.
    pub clear_ms: u64,
}

impl Code {
    /// The name for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Twin => "twin",
            Self::Recovering => "recovering",
            Self::FilesGone => "files_gone",
            Self::DiskFull => "disk_full",
            Self::IndexFailed => "index_failed",
            Self::NoQuorum => "no_quorum",
            Self::NoControl => "no_control",
            Self::CrashLoop => "crash_loop",
            Self::MemberVanished => "member_vanished",
            Self::MemberDown => "member_down",
            Self::FilesUsedUp => "files_used_up",
            Self::Starved => "starved",
            Self::AccessRefused => "access_refused",
            Self::CorruptRecord => "corrupt_record",
            Self::QuorumAtRisk => "quorum_at_risk",
            Self::VoterLost => "voter_lost",
            Self::DiskForecast => "disk_forecast",
            Self::SlowDisk => "slow_disk",
            Self::IndexSlow => "index_slow",
            Self::IndexBehind => "index_behind",
            Self::TransferStuck => "transfer_stuck",
            Self::HandoffPaused => "handoff_paused",
            Self::ClockSkew => "clock_skew",
            Self::LinkBroken => "link_broken",
            Self::MemberFlaps => "member_flaps",
            Self::CertificateEnds => "certificate_ends",
            Self::LogDropped => "log_dropped",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        CODES.into_iter().find(|code| code.name() == name)
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Removed
            | Self::Twin
            | Self::Recovering
            | Self::FilesGone
            | Self::DiskFull
            | Self::IndexFailed
            | Self::NoQuorum
            | Self::NoControl
            | Self::FilesUsedUp
            | Self::CorruptRecord => Severity::Critical,
            Self::CrashLoop
            | Self::MemberVanished
            | Self::MemberDown
            | Self::Starved
            | Self::AccessRefused
            | Self::QuorumAtRisk
            | Self::VoterLost
            | Self::DiskForecast
            | Self::SlowDisk
            | Self::IndexSlow
            | Self::IndexBehind
            | Self::TransferStuck
            | Self::HandoffPaused
            | Self::ClockSkew
            | Self::LinkBroken
            | Self::MemberFlaps
            | Self::CertificateEnds
            | Self::LogDropped => Severity::Warning,
        }
    }

    /// What was judged patiently before it is found is raised at once, and what is no matter of degree is over at once.
    #[must_use]
    pub fn patience(self) -> Patience {
        let (raise_ms, clear_ms) = match self {
            Self::Removed
            | Self::Recovering
            | Self::FilesGone
            | Self::DiskFull
            | Self::IndexFailed
            | Self::HandoffPaused
            | Self::CertificateEnds => (0, 0),
            // Who comes back is heard once or twice before it is sure.
            Self::Twin | Self::CrashLoop | Self::MemberVanished | Self::MemberDown => (0, 2_000),
            // A node that starts has not heard the others yet; a change of voters or owners takes a moment.
            Self::NoQuorum | Self::NoControl => (1_000, 2_000),
            Self::QuorumAtRisk | Self::VoterLost => (1_500, 3_000),
            // One burst of connections is none; it is met again and again where it is one.
            Self::FilesUsedUp => (2_000, 30_000),
            // Counted over a minute.
            Self::AccessRefused => (0, 10_000),
            // A moment's load is none.
            Self::Starved => (5_000, 30_000),
            // Found by a request now and then: it stands until nobody has met it for long.
            Self::CorruptRecord => (0, 600_000),
            Self::DiskForecast => (120_000, 600_000),
            Self::SlowDisk => (10_000, 60_000),
            Self::IndexSlow => (0, 5_000),
            Self::IndexBehind => (2_000, 10_000),
            Self::TransferStuck => (0, 10_000),
            // A clock that is being set is wrong for a moment.
            Self::ClockSkew => (15_000, 15_000),
            // Counted over a minute: it comes and goes with that.
            Self::MemberFlaps => (0, 10_000),
            // A connection that broke is made anew within a second or two.
            Self::LinkBroken => (5_000, 5_000),
            // Counted now and then: a storm is over when there was none for a minute.
            Self::LogDropped => (0, 60_000),
        };
        Patience { raise_ms, clear_ms }
    }

    /// What it may follow from, the likeliest first.
    #[must_use]
    pub fn follows_from(self) -> &'static [Self] {
        match self {
            Self::Removed
            | Self::Twin
            | Self::FilesGone
            | Self::FilesUsedUp
            | Self::Starved
            | Self::AccessRefused
            | Self::CrashLoop
            | Self::MemberVanished
            | Self::HandoffPaused
            | Self::ClockSkew
            | Self::LinkBroken
            | Self::CertificateEnds => &[],
            Self::SlowDisk | Self::MemberFlaps => &[Self::Starved],
            Self::Recovering => &[Self::CorruptRecord],
            Self::IndexFailed | Self::CorruptRecord => &[Self::FilesGone],
            Self::DiskFull => &[Self::DiskForecast],
            Self::DiskForecast => &[],
            Self::LogDropped => &[Self::DiskFull, Self::SlowDisk],
            Self::MemberDown => &[Self::CrashLoop, Self::MemberVanished],
            Self::NoQuorum | Self::QuorumAtRisk => &[Self::MemberDown, Self::Recovering, Self::Twin, Self::LinkBroken],
            Self::NoControl | Self::VoterLost => &[Self::MemberDown, Self::Recovering],
            Self::IndexSlow | Self::IndexBehind => &[Self::IndexFailed, Self::DiskFull, Self::SlowDisk],
            Self::TransferStuck => &[Self::MemberDown, Self::DiskFull, Self::SlowDisk],
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Severity {
    /// The name for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an alarm is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// All together.
    Cluster,
    /// One node.
    Node(NodeId),
    /// One partition.
    Partition(PartitionId),
}

impl Subject {
    /// The node, where it is one.
    #[must_use]
    pub fn node(self) -> Option<NodeId> {
        match self {
            Self::Node(node) => Some(node),
            Self::Cluster | Self::Partition(_) => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Node(node) => write!(f, "node {node}"),
            Self::Partition(partition) => write!(f, "partition {partition}"),
        }
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Tells alarms apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Of what kind.
    pub code: Code,
    /// About what.
    pub subject: Subject,
}

/// What is wrong at one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What, and with whom.
    pub key: Key,
    /// What is wrong, for people.
    pub cause: String,
    /// What to do, in one sentence.
    pub to_do: String,
    /// Milliseconds that it has to stand at least, where that is more than its kind asks for.
    pub doubt_ms: u64,
}

impl Finding {
    /// One about whose kind of patience nothing is special.
    #[must_use]
    pub fn new(code: Code, subject: Subject, cause: String, to_do: impl Into<String>) -> Self {
        Self { key: Key { code, subject }, cause, to_do: to_do.into(), doubt_ms: 0 }
    }
}

/// Something an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// Of what kind.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what to do.
    pub text: String,
    /// What is wrong.
    pub cause: String,
    /// What to do, in one sentence.
    pub to_do: String,
    /// About what.
    pub subject: Subject,
    /// The node, where it is about one.
    pub node: Option<NodeId>,
    /// Since when, in wall milliseconds.
    #[serde(rename = "since", serialize_with = "as_time")]
    pub since_ms: u64,
    /// The alarm that it follows from, where that stands as well.
    pub follows_from: Option<Code>,
    /// So many others follow from this one.
    pub follow: usize,
}

/// What was found lately, and what has become an alarm of it.
#[derive(Debug, Clone, Default)]
pub struct Board {
    entries: BTreeMap<Key, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    finding: Finding,
    first_ms: u64,
    last_ms: u64,
    /// Wall milliseconds at which it became an alarm.
    raised_at_ms: Option<u64>,
}

/// The moment of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// On a clock that only goes forward.
    pub steady_ms: u64,
    /// On the wall's, for people.
    pub wall_ms: u64,
}

impl Board {
    /// Notes what is wrong now. Looking again at the same moment changes nothing.
    pub fn look(&mut self, found: Vec<Finding>, now: Moment) {
        let Moment { steady_ms, wall_ms } = now;
        for finding in found {
            let wait_ms = finding.key.code.patience().raise_ms.max(finding.doubt_ms);
            let entry = self.entries.entry(finding.key).or_insert_with(|| Entry {
                finding: finding.clone(),
                first_ms: steady_ms,
                last_ms: steady_ms,
                raised_at_ms: None,
            });
            entry.last_ms = entry.last_ms.max(steady_ms);
            entry.finding = finding;
            let stood_ms = steady_ms.saturating_sub(entry.first_ms);
            if entry.raised_at_ms.is_none() && stood_ms >= wait_ms {
                entry.raised_at_ms = Some(wall_ms.saturating_sub(stood_ms));
            }
        }
        self.entries.retain(|key, entry| {
            let gone_ms = steady_ms.saturating_sub(entry.last_ms);
            // What was never an alarm begins anew as soon as it is not found once.
            gone_ms == 0 || (entry.raised_at_ms.is_some() && gone_ms < key.code.patience().clear_ms)
        });
    }

    /// The alarms that stand, roots before what follows from them, the worst first.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        fold(self.entries.values().filter_map(|entry| entry.raised_at_ms.map(|at_ms| entry.alarm(at_ms))).collect())
    }
}

impl Entry {
    fn alarm(&self, since_ms: u64) -> Alarm {
        let Finding { key: Key { code, subject }, cause, to_do, .. } = self.finding.clone();
        Alarm {
            code,
            severity: code.severity(),
            text: format!("{cause} {to_do}"),
            cause,
            to_do,
            subject,
            node: subject.node(),
            since_ms,
            follows_from: None,
            follow: 0,
        }
    }
}

impl Alarm {
    /// What tells it apart.
    #[must_use]
    pub fn key(&self) -> Key {
        Key { code: self.code, subject: self.subject }
    }

    /// Since when, as programs read it.
    #[must_use]
    pub fn since(&self) -> String {
        time::rfc3339(self.since_ms)
    }

    /// What it follows from, of these.
    fn parent(&self, all: &[Self]) -> Option<Key> {
        let fits = |other: &&Self| match (self.subject, other.subject) {
            (Subject::Node(mine), Subject::Node(its)) => mine == its,
            (Subject::Cluster | Subject::Partition(_), _) => true,
            (Subject::Node(_), Subject::Cluster | Subject::Partition(_)) => true,
        };
        let causes = self.code.follows_from();
        causes.iter().find_map(|cause| all.iter().filter(fits).find(|other| other.code == *cause)).map(Self::key)
    }
}

/// Roots, each with what follows from it, of alarms in the order of [`fold`].
#[must_use]
pub fn groups(alarms: &[Alarm]) -> Vec<&[Alarm]> {
    alarms.chunk_by(|_, next| next.follows_from.is_some()).collect()
}

fn as_time<S: Serializer>(wall_ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time::rfc3339(*wall_ms))
}

/// Puts each behind the one it follows from. A root counts as much as the worst that follows from it.
#[must_use]
pub fn fold(mut alarms: Vec<Alarm>) -> Vec<Alarm> {
    alarms.sort_by_key(Alarm::key);
    let parents: BTreeMap<Key, Key> =
        alarms.iter().filter_map(|alarm| Some((alarm.key(), alarm.parent(&alarms)?))).collect();
    let root_of = |key: Key| {
        // The set of causes has no circle, and no chain of it is longer than the set.
        (0..CODES.len()).fold(key, |at, _| parents.get(&at).copied().unwrap_or(at))
    };
    let mut worst: BTreeMap<Key, (Severity, usize)> = BTreeMap::new();
    for alarm in &alarms {
        let (severity, members) = worst.entry(root_of(alarm.key())).or_insert((alarm.severity, 0));
        *severity = (*severity).min(alarm.severity);
        *members += 1;
    }
    for alarm in &mut alarms {
        alarm.follows_from = parents.get(&alarm.key()).map(|parent| parent.code);
        let members = worst.get(&alarm.key()).map_or(0, |(_, members)| *members);
        alarm.follow = members.saturating_sub(1);
    }
    alarms.sort_by_key(|alarm| {
        let root = root_of(alarm.key());
        let severity = worst.get(&root).map_or(alarm.severity, |(severity, _)| *severity);
        (severity, root, root != alarm.key(), alarm.key())
    });
    alarms
}
