//! One worker as its supervisor sees it from outside: its flight deck, whether its runtime turns, what it uses, and its
//! report when it has ended.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;

use crate::base::file_size;
use crate::base::flight;
use crate::base::flight::Deck;
use crate::base::flight::Stage;
use crate::base::flight::Story;
use crate::base::id::NodeId;
use crate::base::limits::ABORT_PATIENCE;
use crate::base::time;
use crate::node::debug::autopsy;
use crate::node::debug::autopsy::Findings;
use crate::node::debug::machine;
use crate::node::debug::machine::Group;
use crate::proto::crash::Disk;
use crate::proto::crash::Kind;
use crate::proto::crash::Memory;
use crate::proto::crash::Report;
use crate::proto::rescue::LastEnd;
use crate::proto::watchdog::Watchdog;
use crate::store::crashes::Crashes;
use crate::store::data_dir;
use crate::store::identity;
use crate::store::space;

/// Of so many looks one goes to what the worker uses: every two seconds.
const VITALS_EVERY: u32 = 8;

/// What an end left behind.
pub(super) struct Left {
    /// The report that others are still to be given, whether the disk took it or not.
    pub(super) new: Option<Report>,
    /// Others are told of it.
    told: bool,
    /// For people.
    pub(super) end: LastEnd,
    fingerprint: String,
}

impl Left {
    /// Whether a report tells of the same cause, and that is told already.
    pub(super) fn is_of(&self, report: &Report) -> bool {
        self.told && self.fingerprint == report.fingerprint
    }

    /// It ended so once more.
    pub(super) fn once_more(mut self, report: &Report) -> Self {
        tracing::error!(reason = report.reason, "it ended as before; no further report is kept");
        (self.new, self.end.at_ms) = (None, report.at_ms);
        self
    }
}

pub(super) struct Watched {
    data: PathBuf,
    deck: Option<Deck>,
    started: Instant,
    dog: Watchdog,
    looks: u32,
    /// When it was told to abort, because it does not turn.
    bitten: Option<Instant>,
    pid: u32,
    /// Its control group, and how often somebody was ended in it for memory before.
    group: Option<(Group, u64)>,
    /// How often the system had refused a thread when it was started.
    refused: Option<u64>,
    memory: Memory,
    open_files: Option<u64>,
    address_limit: Option<u64>,
    threads: Vec<String>,
    /// The report that was made while it hung.
    hung: Option<Report>,
}

impl Watched {
    pub(super) fn new(data: &Path) -> Self {
        let deck = flight::make();
        if let Err(error) = &deck {
            tracing::warn!(%error, "no flight deck: if the worker fails its report will say little");
        }
        Self {
            data: data.to_owned(),
            deck: deck.ok(),
            started: time::mono(),
            dog: Watchdog::default(),
            looks: 0,
            bitten: None,
            pid: 0,
            group: None,
            refused: None,
            memory: Memory::default(),
            open_files: None,
            address_limit: None,
            threads: Vec::new(),
            hung: None,
        }
    }

    /// Starts it with its deck.
    pub(super) fn start<T>(&mut self, start: impl FnOnce(Option<String>) -> io::Result<T>) -> io::Result<T> {
        self.note_group();
        self.refused = machine::thread_limit().map(|limit| limit.refused);
        match &self.deck {
            Some(deck) => deck.hand_to(|number| start(Some(number))),
            None => start(None),
        }
    }

    /// The count of before must be of the group that it is in, which somebody may change.
    fn note_group(&mut self) {
        let group = Group::own();
        if group.as_ref() != self.group.as_ref().map(|(known, _)| known) {
            self.group = group.map(|group| {
                let killed = group.killed();
                (group, killed)
            });
        }
    }

    /// Whether the worker has taken its directory.
    pub(super) fn holds(&self) -> bool {
        self.deck.as_ref().is_some_and(|deck| deck.stage() >= Stage::Holds)
    }

    /// Whether the directory is there and nobody else's.
    pub(super) fn may_write(&self) -> bool {
        self.data.join("crashes").is_dir() && data_dir::lock(&self.data).is_ok()
    }

    /// A look. What is returned is to be sent to it, because it lives and does nothing.
    pub(super) fn look(&mut self, pid: u32) -> Option<Signal> {
        self.pid = pid;
        if let Some(since) = self.bitten {
            return (since.elapsed() >= ABORT_PATIENCE).then_some(Signal::KILL);
        }
        if self.looks.is_multiple_of(VITALS_EVERY) {
            self.note_group();
            self.memory = machine::memory(pid, self.group.as_ref().map(|(group, _)| group));
            self.open_files = machine::open_files(pid);
            self.address_limit = machine::address_limit(pid);
        }
        self.looks = self.looks.wrapping_add(1);
        let deck = self.deck.as_ref().filter(|deck| deck.stage() == Stage::Holds)?;
        let is_dead = self.dog.look(time::steady_ms().1, deck.beats());
        if !is_dead || machine::is_stopped(pid) {
            return None;
        }
        // What each thread waits for explains a deadlock; afterwards nobody can ask.
        self.threads = machine::threads(pid);
        self.bitten = Some(time::mono());
        tracing::error!(pid, "the worker lives but its runtime does not turn; it is ended");
        Some(Signal::ABORT)
    }

    /// The report about one that hangs, once: others are told at once, as it may not end before its disk answers. Asks no disk.
    pub(super) fn hang(&mut self) -> Option<Report> {
        if self.bitten.is_none() || self.hung.is_some() {
            return None;
        }
        let story = self.deck.as_ref().map(Deck::story).unwrap_or_default();
        let node = NodeId(story.who.as_ref()?.node);
        let findings = self.findings(None, None, false, &story);
        let (kind, reason) = findings.judge();
        let mut report = autopsy::report(node, kind, reason, &story)?;
        self.add_vitals(&mut report);
        let report = report.finish();
        self.hung = Some(report.clone());
        Some(report)
    }

    fn findings<'f>(
        &'f self,
        status: Option<ExitStatus>,
        out_of_memory: Option<Option<u64>>,
        asked_to_stop: bool,
        story: &'f Story,
    ) -> Findings<'f> {
        Findings {
            status,
            bitten: self.bitten.is_some(),
            threads: &self.threads,
            out_of_memory,
            asked_to_stop,
            file_limit: file_size::limit(),
            thread_limit: self.threads_refused(),
            address_limit: self.address_limit,
            story,
        }
    }

    /// How many it may have, where it got no more.
    fn threads_refused(&self) -> Option<u64> {
        let (before, now) = (self.refused?, machine::thread_limit()?);
        (now.refused > before).then_some(now.limit)
    }

    fn add_vitals(&self, report: &mut Report) {
        report.uptime_ms = time::millis(self.started.elapsed());
        report.memory = self.memory;
        report.open_files = self.open_files;
        report.threads.clone_from(&self.threads);
    }

    /// How long it has lived.
    pub(super) fn lived(&self) -> Duration {
        self.started.elapsed()
    }

    /// Writes a report, synced, where that may be.
    pub(super) fn keep(&self, report: Report, may_write: bool) -> Left {
        let crashes = Crashes::of(&self.data);
        let id = match may_write.then(|| crashes.keep(&report).and_then(|()| crashes.to_deliver(&report.id))) {
            Some(Ok(())) => {
                let (id, kind, reason) = (report.id.as_str(), report.kind.name(), &report.reason);
                tracing::error!(id, kind, reason, "a crash report is kept");
                Some(id.to_owned())
            }
            Some(Err(error)) => {
                tracing::error!(%error, reason = report.reason, "a crash report could not be kept; others are given it");
                None
            }
            None => None,
        };
        let end = LastEnd { id, kind: report.kind, reason: report.reason.clone(), at_ms: report.at_ms };
        let fingerprint = report.fingerprint.clone();
        Left { new: may_write.then_some(report), told: may_write, end, fingerprint }
    }

    /// The report about its end; `None` without entropy for its name.
    pub(super) fn report(&self, status: ExitStatus, asked_to_stop: bool) -> Option<Report> {
        let story = self.deck.as_ref().map(Deck::story).unwrap_or_default();
        let kernel = machine::kernel_on_memory(self.pid);
        let group = Group::own();
        // In a group that it came into a moment ago nobody counted before.
        let before =
            self.group.as_ref().filter(|(known, _)| Some(known) == group.as_ref()).map_or(0, |(_, before)| *before);
        let killed_more = group.as_ref().is_some_and(|group| group.killed() > before);
        let limit = group.as_ref().and_then(Group::limit);
        let out_of_memory = (killed_more || !kernel.is_empty()).then_some(limit);
        let findings = self.findings(Some(status), out_of_memory, asked_to_stop, &story);
        let (kind, reason) = findings.judge();
        let who = identity::read(&self.data.join("identity")).ok().flatten();
        let node = story.who.as_ref().map(|who| NodeId(who.node)).or(who.as_ref().map(|who| who.node));
        let mut report = autopsy::report(node.unwrap_or(NodeId(0)), kind, reason, &story)?;
        if let Some(said) = findings.last_words().filter(|_| kind == Kind::Panic) {
            autopsy::add_panic(&mut report, said);
        }
        if let (true, Some(who)) = (report.name.is_empty(), who) {
            report.name = who.name;
        }
        self.add_vitals(&mut report);
        if let Some(hung) = &self.hung {
            // The same thing, and since then.
            (report.id, report.at, report.at_ms) = (hung.id.clone(), hung.at.clone(), hung.at_ms);
        }
        report.disk = space::look(&self.data).ok().map(|space| Disk { free: space.free, total: space.total });
        report.kernel = kernel;
        if let Some(group) = group.as_ref().filter(|_| killed_more) {
            let (path, now) = (group.path().display(), group.killed());
            report.kernel.push(format!("{path}: processes ended for memory: {before} before, {now} now"));
        }
        Some(report.finish())
    }
}
