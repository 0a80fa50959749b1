//! The closed set of alarms: what each is called, how bad it is, how long it has to stand, and what it may follow from.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use serde::Serializer;

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
    /// A node gets no more threads from the system.
    ThreadsUsedUp,
    /// A node waits for memory that is on a disk.
    MemoryShort,
    /// A node gets too little of its processor.
    Starved,
    /// Many requests are refused for their token.
    AccessRefused,
    /// Much of what devices ask is refused.
    RequestsRefused,
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
    /// Connections to a node break off again and again.
    LinkFlaps,
    /// A node is reached slowly.
    LinkSlow,
    /// A node answers only now and then.
    MemberFlaps,
    /// What was configured last was not taken.
    ConfigRefused,
    /// The program of a running node was removed or replaced.
    ProgramReplaced,
    /// A certificate is near its end.
    CertificateEnds,
    /// Lines of the log were dropped.
    LogDropped,
}

/// All of them, in their order.
pub const CODES: [Code; 35] = [
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
    Code::ThreadsUsedUp,
    Code::MemoryShort,
    Code::Starved,
    Code::AccessRefused,
    Code::RequestsRefused,
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
    Code::LinkFlaps,
    Code::LinkSlow,
    Code::MemberFlaps,
    Code::ConfigRefused,
    Code::ProgramReplaced,
    Code::CertificateEnds,
    Code::LogDropped,
];

/// Some of them, as nodes tell each other: a bit for each, which stays the same in all releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CodeSet(u64);

impl CodeSet {
    /// Those in it that this release knows, in their order.
    pub fn iter(self) -> impl Iterator<Item = Code> {
        CODES.into_iter().filter(move |code| self.0 & code.bit() != 0)
    }
}

impl FromIterator<Code> for CodeSet {
    fn from_iter<I: IntoIterator<Item = Code>>(codes: I) -> Self {
        Self(codes.into_iter().fold(0, |set, code| set | code.bit()))
    }
}

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
            Self::ThreadsUsedUp => "threads_used_up",
            Self::MemoryShort => "memory_short",
            Self::Starved => "starved",
            Self::AccessRefused => "access_refused",
            Self::RequestsRefused => "requests_refused",
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
            Self::LinkFlaps => "link_flaps",
            Self::LinkSlow => "link_slow",
            Self::MemberFlaps => "member_flaps",
            Self::ConfigRefused => "config_refused",
            Self::ProgramReplaced => "program_replaced",
            Self::CertificateEnds => "certificate_ends",
            Self::LogDropped => "log_dropped",
        }
    }

    /// What it says of the node that it is about, behind the node's name.
    #[must_use]
    pub fn says(self) -> &'static str {
        match self {
            Self::Removed => "is refused by the cluster for ever",
            Self::Twin => "has a twin: two machines show its number",
            Self::Recovering => "has lost what it had acked, and gets it back from the others",
            Self::FilesGone => "lost its files: they were removed or renamed while it runs",
            Self::DiskFull => "has no room for new data",
            Self::IndexFailed => "has an index that takes no changes",
            Self::NoQuorum => "reaches too few owners for some data",
            Self::NoControl => "reaches no majority for changes of the cluster",
            Self::CrashLoop => "fails at every start",
            Self::MemberVanished => "fell silent without a word",
            Self::MemberDown => "is down",
            Self::FilesUsedUp => "can open no more files or connections",
            Self::ThreadsUsedUp => "gets no more threads from the system",
            Self::MemoryShort => "is short of memory and waits for what was moved to a disk",
            Self::Starved => "gets too little of its processor",
            Self::AccessRefused => "refuses many requests for their token",
            Self::RequestsRefused => "refuses much of what devices ask",
            Self::CorruptRecord => "met stored data that cannot be read",
            Self::QuorumAtRisk => "sees one more loss stopping requests",
            Self::VoterLost => "misses a voter of the control plane",
            Self::DiskForecast => "will have no room for new data soon",
            Self::SlowDisk => "has a disk that takes long to sync",
            Self::IndexSlow => "has an index that hangs on one step",
            Self::IndexBehind => "has an index that does not keep up",
            Self::TransferStuck => "waits for partitions that do not come",
            Self::HandoffPaused => "has handoff paused",
            Self::ClockSkew => "has a wrong clock",
            Self::LinkBroken => "is there and not reached",
            Self::LinkFlaps => "loses its connections again and again",
            Self::LinkSlow => "is reached slowly",
            Self::MemberFlaps => "answers only now and then",
            Self::ConfigRefused => "did not take what was configured last",
            Self::ProgramReplaced => "runs a program whose file was removed or replaced",
            Self::CertificateEnds => "has a certificate near its end",
            Self::LogDropped => "drops lines of its log",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        CODES.into_iter().find(|code| code.name() == name)
    }

    /// In a [`CodeSet`]: a new code takes the next number, and no number is used again.
    fn bit(self) -> u64 {
        let number = match self {
            Self::Removed => 0,
            Self::Twin => 1,
            Self::Recovering => 2,
            Self::FilesGone => 3,
            Self::DiskFull => 4,
            Self::IndexFailed => 5,
            Self::NoQuorum => 6,
            Self::NoControl => 7,
            Self::CrashLoop => 8,
            Self::MemberVanished => 9,
            Self::MemberDown => 10,
            Self::FilesUsedUp => 11,
            Self::Starved => 12,
            Self::AccessRefused => 13,
            Self::CorruptRecord => 14,
            Self::QuorumAtRisk => 15,
            Self::VoterLost => 16,
            Self::DiskForecast => 17,
            Self::SlowDisk => 18,
            Self::IndexSlow => 19,
            Self::IndexBehind => 20,
            Self::TransferStuck => 21,
            Self::HandoffPaused => 22,
            Self::ClockSkew => 23,
            Self::LinkBroken => 24,
            Self::MemberFlaps => 25,
            Self::CertificateEnds => 26,
            Self::LogDropped => 27,
            Self::RequestsRefused => 28,
            Self::ConfigRefused => 29,
            Self::LinkSlow => 30,
            Self::LinkFlaps => 31,
            Self::ThreadsUsedUp => 32,
            Self::ProgramReplaced => 33,
            Self::MemoryShort => 34,
        };
        1 << number
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
            | Self::ThreadsUsedUp
            | Self::CorruptRecord => Severity::Critical,
            Self::CrashLoop
            | Self::MemberVanished
            | Self::MemberDown
            | Self::MemoryShort
            | Self::Starved
            | Self::AccessRefused
            | Self::RequestsRefused
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
            | Self::LinkFlaps
            | Self::LinkSlow
            | Self::MemberFlaps
            | Self::ConfigRefused
            | Self::ProgramReplaced
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
            | Self::ConfigRefused
            | Self::CertificateEnds => (0, 0),
            // Whoever updates it starts it anew in a moment.
            Self::ProgramReplaced => (10_000, 0),
            // Who comes back is heard once or twice before it is sure.
            Self::Twin | Self::CrashLoop | Self::MemberVanished | Self::MemberDown => (0, 2_000),
            // A node that starts has not heard the others yet; a change of voters or owners takes a moment.
            Self::NoQuorum | Self::NoControl => (1_000, 2_000),
            Self::QuorumAtRisk | Self::VoterLost => (1_500, 3_000),
            // One burst of connections is none; it is met again and again where it is one.
            Self::FilesUsedUp => (2_000, 30_000),
            // Judged over a minute.
            Self::ThreadsUsedUp => (0, 0),
            // Counted over a minute.
            Self::AccessRefused | Self::RequestsRefused => (0, 10_000),
            // A moment's load is none.
            Self::Starved => (5_000, 30_000),
            Self::MemoryShort => (0, 30_000),
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
            Self::MemberFlaps | Self::LinkFlaps => (0, 10_000),
            // A connection that broke is made anew within a second or two.
            Self::LinkBroken => (5_000, 5_000),
            Self::LinkSlow => (5_000, 15_000),
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
            | Self::ThreadsUsedUp
            | Self::MemoryShort
            | Self::AccessRefused
            | Self::CrashLoop
            | Self::HandoffPaused
            | Self::ClockSkew
            | Self::LinkBroken
            | Self::ConfigRefused
            | Self::ProgramReplaced
            | Self::CertificateEnds => &[],
            Self::LinkFlaps => &[Self::MemberFlaps],
            // Who waits for memory runs late.
            Self::Starved => &[Self::MemoryShort],
            Self::SlowDisk | Self::MemberFlaps | Self::LinkSlow => {
                &[Self::ThreadsUsedUp, Self::MemoryShort, Self::Starved]
            }
            Self::RequestsRefused => &[
                Self::FilesGone,
                Self::DiskFull,
                Self::IndexFailed,
                Self::NoQuorum,
                Self::NoControl,
                Self::Recovering,
                Self::IndexBehind,
                Self::ThreadsUsedUp,
                Self::MemoryShort,
                Self::Starved,
            ],
            Self::Recovering => &[Self::CorruptRecord],
            Self::IndexFailed | Self::CorruptRecord => &[Self::FilesGone],
            Self::DiskFull => &[Self::DiskForecast],
            Self::DiskForecast => &[],
            Self::LogDropped => &[Self::DiskFull, Self::SlowDisk],
            Self::MemberVanished => &[Self::MemberFlaps],
            Self::MemberDown => &[Self::CrashLoop, Self::MemberVanished, Self::MemberFlaps],
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

#[cfg(test)]
mod tests {
    use super::CODES;
    use super::Code;
    use super::CodeSet;

    #[test]
    fn each_code_has_a_bit_of_its_own_and_what_is_not_known_is_left_out() {
        for (at, code) in CODES.into_iter().enumerate() {
            assert_eq!(CodeSet::from_iter([code]).iter().collect::<Vec<_>>(), [code]);
            assert!(CODES[..at].iter().all(|other| other.bit() != code.bit()), "{code}");
        }
        assert_eq!(CodeSet::from_iter(CODES).iter().collect::<Vec<_>>(), CODES);
        assert_eq!(CodeSet(1 << 63 | Code::DiskFull.bit()).iter().collect::<Vec<_>>(), [Code::DiskFull]);
    }
}
