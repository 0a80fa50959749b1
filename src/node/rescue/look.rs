//! A node as its data directory shows it, with nothing of it running: why it ended, what its log says, what of the disk is
//! wrong at a first look, and what to do. Reads only. The same for a rescue console and for a command line on a stopped node.

use std::io;
use std::path::PathBuf;

use serde::Serialize;

use crate::base::id::NodeId;
use crate::base::limits::CRASH_SEARCH_BUDGET;
use crate::base::limits::RESCUE_LOG_LINES;
use crate::base::limits::RESCUE_ROOM_BYTES;
use crate::base::limits::RESCUE_ROOM_GAIN_BYTES;
use crate::base::time;
use crate::node::debug::blackbox;
use crate::node::debug::book;
use crate::node::debug::book::LineView;
use crate::node::debug::book::LogPage;
use crate::node::debug::book::LogQuery;
use crate::node::debug::crashes::view::CrashQuery;
use crate::node::debug::crashes::view::CrashView;
use crate::node::debug::crashes::view::CrashesView;
use crate::node::debug::crashes::view::Unheard;
use crate::node::debug::logs;
use crate::node::doctor::Check;
use crate::node::error::DoorError;
use crate::proto::crash::Kind;
use crate::proto::crash::Short;
use crate::proto::crash::filter::Filter;
use crate::proto::diagnosis::LinesWish;
use crate::proto::logline::Record;
use crate::proto::logline::merge::Direction;
use crate::proto::logline::text;
use crate::proto::rescue::Cause;
use crate::proto::rescue::LastEnd;
use crate::proto::rescue::Told;
use crate::store::crashes::Crashes;
use crate::store::data_dir;
use crate::store::data_dir::DataDirError;
use crate::store::identity;
use crate::store::identity::Identity;
use crate::store::identity::operators;
use crate::store::space;
use crate::store::space::Space;

/// Reports in one view: those of a loop, and some of before.
const CRASHES_SHOWN: usize = 10;

/// The check who else has the directory.
pub(super) const LOCK: &str = "lock";

/// Where a node is.
#[derive(Debug, Clone)]
pub struct Place {
    /// The data directory.
    pub data: PathBuf,
    /// Bytes of the disk that are kept free.
    pub reserve: u64,
}

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It runs.
    Well,
    /// It failed at too many starts in a row; its rescue console is served.
    Rescue,
    /// Nothing of it answers: it is stopped, or between two starts.
    Stopped,
}

/// The end that was last, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastView {
    /// Its report, where one could be kept.
    pub id: Option<String>,
    /// How.
    pub kind: Kind,
    /// Why.
    pub reason: String,
    /// When.
    pub at: String,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepView {
    /// In words.
    pub words: &'static str,
    /// A command; empty where there is none.
    pub command: String,
}

/// A node that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Well {
    /// [`State::Well`].
    pub state: State,
    /// Its number.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Of its software.
    pub release: &'static str,
}

/// Everything in one view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// How it stands.
    pub state: State,
    /// Its number, where that can be read.
    pub node: Option<NodeId>,
    /// Its name; empty where that cannot be read.
    pub name: String,
    /// Of the software that tells this.
    pub release: &'static str,
    /// The commit that was built.
    pub build: &'static str,
    /// Ends in a row, each soon after its start; 0 where nobody counts.
    pub ends: u32,
    /// When the first of them was.
    pub since: Option<String>,
    /// When a worker is tried again.
    pub next_try: Option<String>,
    /// The last end.
    pub last: Option<LastView>,
    /// What it means, in a sentence.
    pub means: &'static str,
    /// What to do, in this order.
    pub steps: Vec<StepView>,
    /// What a first look at the disk shows.
    pub checks: Vec<Check>,
    /// Crash reports of this node, the newest first.
    pub crashes: Vec<Short>,
    /// The last lines of its log.
    pub log: Vec<String>,
    /// Operators who can sign in; none where that cannot be read.
    pub operators: Option<usize>,
}

impl Place {
    /// A node that nobody answers for, from its files.
    #[must_use]
    pub fn stopped(&self) -> Overview {
        self.overview(None)
    }

    pub(super) fn overview(&self, told: Option<&Told>) -> Overview {
        let dir = self.data.join("identity");
        let who = identity::read(&dir).ok().flatten();
        let node = who.as_ref().map(|who| who.node);
        let crashes = self.crashes_of(node);
        let last = match told {
            Some(told) => told.last.clone(),
            None => crashes.iter().find(|short| short.fatal).map(end_of),
        };
        let cause = Cause::judge(last.as_ref(), self.lacks_room());
        let id = last.as_ref().and_then(|last| last.id.as_deref()).unwrap_or("ID");
        let name = who.map(|who| who.name).unwrap_or_default();
        // As whole words: no name of ours has them in capitals.
        let filled = |command: &str| {
            let word = |word| match word {
                "ID" => id,
                "NAME" if !name.is_empty() => &name,
                other => other,
            };
            command.split(' ').map(word).collect::<Vec<_>>().join(" ")
        };
        let steps = cause.steps().iter();
        Overview {
            state: if told.is_some() { State::Rescue } else { State::Stopped },
            node,
            release: env!("CARGO_PKG_VERSION"),
            build: env!("RINGFORT_COMMIT"),
            ends: told.map_or(0, |told| told.ends),
            since: told.map(|told| time::rfc3339(told.since_ms)),
            next_try: told.map(|told| time::rfc3339(told.next_ms)),
            means: cause.means(),
            steps: steps.map(|step| StepView { words: step.words, command: filled(step.command) }).collect(),
            last: last.map(|last| LastView {
                id: last.id,
                kind: last.kind,
                reason: last.reason,
                at: time::rfc3339(last.at_ms),
            }),
            checks: self.checks(),
            crashes: crashes.into_iter().take(CRASHES_SHOWN).collect(),
            log: self.tail(&name),
            operators: operators::read(&dir).ok().flatten().map(|all| all.len()),
            name,
        }
    }

    fn crashes_of(&self, node: Option<NodeId>) -> Vec<Short> {
        let mut reports = Crashes::of(&self.data).list().unwrap_or_default().reports;
        reports.retain(|short| node.is_none_or(|node| short.node == node));
        reports.reverse();
        reports
    }

    /// Those of all that are kept here, of others too, that are meant.
    pub(super) fn crashes(&self, query: &CrashQuery) -> Result<CrashesView, DoorError> {
        let failed = |source| DoorError::Io { doing: "looking through crash reports", source };
        let filter = Filter::new(&query.search).map_err(|error| failed(io::Error::other(error)))?;
        let deadline = Some(time::mono() + CRASH_SEARCH_BUDGET);
        let found = Crashes::of(&self.data).find(&|report| filter.fits(report), deadline).map_err(failed)?;
        let me = identity::read(&self.data.join("identity")).ok().flatten().map(|who| who.node);
        let view = |crash| CrashView { crash, kept_on: me.into_iter().collect() };
        let reason = "there are too many reports to look through in time: older ones are missing";
        let unheard = me.filter(|_| found.cut).map(|node| Unheard { node, reason });
        let meant = found.reports.into_iter().rev().filter(|crash| query.takes(crash));
        Ok(CrashesView {
            crashes: meant.map(view).collect(),
            unheard: unheard.into_iter().collect(),
            damaged: found.damaged,
        })
    }

    fn lacks_room(&self) -> bool {
        space::look(&self.data).is_ok_and(|space| space.is_short(self.room_needed(space)))
    }

    /// Bytes that a start needs free.
    fn room_needed(&self, space: Space) -> u64 {
        self.reserve.max(RESCUE_ROOM_BYTES.min(space.total / 20))
    }

    /// Free bytes with which a start is worth a try; none where it does not fail for want of room.
    pub(super) fn room_waited_for(&self) -> Option<u64> {
        let space = space::look(&self.data).ok()?;
        let needed = self.room_needed(space);
        space.is_short(needed).then(|| needed.min(space.free.saturating_add(RESCUE_ROOM_GAIN_BYTES)))
    }

    pub(super) fn has_room(&self, bytes: u64) -> bool {
        space::look(&self.data).is_ok_and(|space| !space.is_short(bytes))
    }

    fn checks(&self) -> Vec<Check> {
        let mut checks = vec![self.check_room()];
        match data_dir::troubles(&self.data) {
            troubles if troubles.is_empty() => checks.push(Check::ok("rights", "all of it can be read and written")),
            troubles => checks.extend(troubles.into_iter().map(|trouble| Check::fail("rights", trouble))),
        }
        let dir = self.data.join("identity");
        checks.push(match identity::read(&dir) {
            Ok(Some(Identity { node, cluster, .. })) => {
                Check::ok("identity", format!("node {node} of cluster {cluster}"))
            }
            Ok(None) => Check::fail("identity", format!("no node was born in {}", self.data.display())),
            Err(error) => Check::fail("identity", error.to_string()),
        });
        checks.push(match operators::read(&dir) {
            Ok(Some(all)) if !all.is_empty() => Check::ok("operators", format!("{} can sign in here", all.len())),
            Ok(_) => {
                Check::warn("operators", "nobody can sign in here; on this machine `ringfort rescue` shows all of it")
            }
            Err(error) => Check::warn("operators", format!("nobody can sign in here: {error}")),
        });
        if self.data.join("LOCK").exists()
            && let Err(error @ DataDirError::InUse { .. }) = data_dir::lock(&self.data)
        {
            checks.push(Check::warn(LOCK, error.to_string()));
        }
        checks
    }

    fn check_room(&self) -> Check {
        let mib = |bytes: u64| bytes / (1024 * 1024);
        match space::look(&self.data) {
            Ok(space) if space.free < self.room_needed(space) => {
                let (free, needed) = (mib(space.free), mib(self.room_needed(space)));
                Check::fail("room", format!("only {free} MiB are free, and a start needs {needed} MiB: make room"))
            }
            Ok(space) => match space.short_of_files() {
                Some(left) => {
                    Check::fail("room", format!("no room for more files (inodes), {left} are left: remove some"))
                }
                None => Check::ok("room", format!("{} of {} MiB free", mib(space.free), mib(space.total))),
            },
            Err(error) => Check::fail("room", format!("{}: {error}", self.data.display())),
        }
    }

    fn tail(&self, name: &str) -> Vec<String> {
        let lines = logs::reader(self.log_dir()).tail(RESCUE_LOG_LINES).unwrap_or_default();
        let records = lines.iter().filter_map(|line| Record::parse(&line.bytes));
        records.map(|record| text::line(&record, name)).collect()
    }

    pub(super) fn log_dir(&self) -> PathBuf {
        self.data.join(blackbox::DIR).join(logs::LOG_DIR)
    }

    /// A page of this node's log.
    pub(super) fn log(&self, query: &LogQuery, name: &str) -> Result<LogPage, DoorError> {
        let direction = if query.after.is_some() { Direction::Forward } else { Direction::Backward };
        let wish = LinesWish {
            of: None,
            search: query.search.clone(),
            after: query.after,
            before: query.before,
            direction,
            lines_max: u32::try_from(query.lines_max).unwrap_or(u32::MAX),
        };
        let found = book::find(&logs::reader(self.log_dir()), &wish);
        let found = found.map_err(|source| {
            if source.kind() == std::io::ErrorKind::InvalidInput {
                DoorError::Unsuitable(source.to_string())
            } else {
                DoorError::Io { doing: "looking through the log", source }
            }
        })?;
        let mut records: Vec<Record> = found.lines.iter().filter_map(|line| Record::parse(&line.0)).collect();
        let damaged = found.damaged + found.lines.len().saturating_sub(records.len()) as u64;
        // There is more where the book did not end, or the page is full.
        let more = found.reached.is_some() || records.len() >= query.lines_max;
        let last = records.last().map(|record| record.key().to_string());
        let next = last.filter(|_| more);
        if direction == Direction::Backward {
            records.reverse();
        }
        let newest = records.last().map(|record| record.key().to_string());
        let view = |record: Record| LineView {
            at: time::rfc3339(record.stamp.ms()),
            name: name.to_owned(),
            record: text::plain_record(record),
        };
        Ok(LogPage { lines: records.into_iter().map(view).collect(), next, newest, silent: Vec::new(), damaged })
    }
}

fn end_of(short: &Short) -> LastEnd {
    LastEnd {
        id: Some(short.id.as_str().to_owned()),
        kind: short.kind,
        reason: short.reason.clone(),
        at_ms: time::parse_rfc3339(&short.at).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Place;
    use super::State;
    use crate::base::id::NodeId;
    use crate::node::debug::book::LogQuery;
    use crate::node::doctor::Verdict;
    use crate::proto::crash::CrashId;
    use crate::proto::crash::Kind;
    use crate::proto::crash::Report;
    use crate::proto::rescue::Told;
    use crate::store::crashes::Crashes;

    fn keep(data: &Path, at_ms: u64, kind: Kind, fatal: bool) {
        let id = CrashId::new(at_ms, NodeId(1), 7);
        let at = crate::base::time::rfc3339(at_ms);
        let report = Report { fatal, ..Report::new(id, at, at_ms, kind, "a reason".to_owned()) };
        Crashes::of(data).keep(&report.finish()).unwrap();
    }

    #[test]
    fn a_stopped_node_is_told_of_from_its_files_and_the_last_end_decides_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { data: dir.path().to_owned(), reserve: 0 };
        keep(dir.path(), 1, Kind::Exit, true);
        keep(dir.path(), 2, Kind::Panic, true);
        keep(dir.path(), 3, Kind::Panic, false);
        let seen = place.stopped();
        assert_eq!((seen.state, seen.crashes.len(), seen.ends), (State::Stopped, 3, 0));
        let last = seen.last.unwrap();
        assert_eq!((last.kind, last.id.unwrap()), (Kind::Panic, CrashId::new(2, NodeId(1), 7).as_str().to_owned()));
        assert!(seen.steps[0].command.contains("export 0000000000002-1-"), "{:?}", seen.steps);
        assert!(!dir.path().join("LOCK").exists() && !dir.path().join("blackbox").exists(), "only looked at");
    }

    #[test]
    fn a_full_disk_comes_before_every_other_reason() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { data: dir.path().to_owned(), reserve: u64::MAX };
        keep(dir.path(), 1, Kind::Panic, true);
        let seen = place.overview(Some(&Told { ends: 5, ..Told::default() }));
        assert!(seen.means.contains("full") && seen.steps[0].words.contains("Make room"), "{seen:?}");
        assert_eq!((seen.state, seen.checks[0].verdict), (State::Rescue, Verdict::Fail));
    }

    #[test]
    fn a_log_that_nobody_began_is_an_empty_page() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { data: dir.path().to_owned(), reserve: 0 };
        let page = place.log(&LogQuery::default(), "n1").unwrap();
        assert!(page.lines.is_empty() && page.next.is_none(), "{page:?}");
    }
}
