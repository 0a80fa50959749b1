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
use crate::proto::alarm::code::CODES;
use crate::proto::alarm::code::Code;
use crate::proto::alarm::code::Severity;

pub mod code;
pub mod judge;
pub mod rejections;
#[cfg(test)]
mod tests;

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
    /// Whose word it is, where who shows it only heard it.
    pub said_by: Option<NodeId>,
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
        Alarm::new(self.finding.clone(), since_ms)
    }
}

impl Alarm {
    /// Of what stands since then, in wall milliseconds; nothing follows from it, nor it from anything.
    #[must_use]
    pub fn new(finding: Finding, since_ms: u64) -> Self {
        let Finding { key: Key { code, subject }, cause, to_do, .. } = finding;
        Self {
            code,
            severity: code.severity(),
            text: format!("{cause} {to_do}"),
            cause,
            to_do,
            subject,
            node: subject.node(),
            said_by: None,
            since_ms,
            follows_from: None,
            follow: 0,
        }
    }

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
