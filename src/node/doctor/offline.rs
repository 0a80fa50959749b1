//! The doctor of a stopped node: checks its directory without changing it, and on request goes on without what is
//! lost. For a lone node only: in a cluster a damaged node is refilled by its peers instead.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::base::id::NodeId;
use crate::base::limits::DISK_RESERVE_BYTES;
use crate::base::rng;
use crate::base::time;
use crate::control::consensus::Consensus;
use crate::control::group;
use crate::control::group::Group;
use crate::control::lane::Nobody;
use crate::control::refound;
use crate::node::doctor::Check;
use crate::node::doctor::DamagedKey;
use crate::node::doctor::Examination;
use crate::node::doctor::Tally;
use crate::proto::audit::By;
use crate::proto::audit::Via;
use crate::proto::control::Command;
use crate::proto::control::State;
use crate::proto::key::IndexKey;
use crate::proto::object::Object;
use crate::store::data_dir::DataDir;
use crate::store::data_dir::DataDirError;
use crate::store::disk::FsDisk;
use crate::store::identity;
use crate::store::identity::Identity;
use crate::store::index::Change;
use crate::store::index::Index;
use crate::store::index::IndexError;
use crate::store::index::fjall::FjallIndex;
use crate::store::index::salvage;
use crate::store::journal::JournalError;
use crate::store::journal::Report;
use crate::store::journal::recovery;
use crate::store::journal::recovery::Birth;
use crate::store::journal::salvage as journal_salvage;
use crate::store::marks::Marks;
use crate::store::marks::MarksError;
use crate::store::marks::MarksFile;
use crate::store::partition::open::SIZES;
use crate::store::partition::record;
use crate::store::partition::record::Record;
use crate::store::space;

/// What an operator types to go on without what is lost.
pub const CONFIRMATION: &str = "accept loss";

/// Flushing what was salvaged may take this long.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Why the doctor could not work.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The node runs.
    #[error("the node is running")]
    InUse,
    /// In words.
    #[error("{0}")]
    Failed(String),
}

pub(in crate::node) fn failed(error: impl std::fmt::Display) -> OfflineError {
    OfflineError::Failed(error.to_string())
}

/// What an examination comes upon.
#[derive(Debug)]
pub(in crate::node) enum Seen<'a> {
    /// It goes on with this part.
    Begins(&'static str),
    /// A group or an object was read.
    Read,
    /// This is done.
    Done(&'a Check),
}

/// Who watches an examination; a break ends it before long.
pub(in crate::node) type Watch<'a> = dyn FnMut(Seen<'_>) -> ControlFlow<()> + 'a;

/// Checks a data directory. Changes nothing.
///
/// # Errors
/// [`OfflineError`].
pub fn examine(data: &Path) -> Result<Examination, OfflineError> {
    let dir = hold(data)?;
    Ok(examine_held(dir.path(), &mut |_seen| ControlFlow::Continue(())))
}

/// The same for whoever holds the lock.
pub(in crate::node) fn examine_held(data: &Path, watch: &mut Watch<'_>) -> Examination {
    let mut examining = Examining { watch, checks: Vec::new(), stopped: false };
    let damaged = examining.run(data);
    if examining.stopped {
        let unfinished =
            "not everything was read: the examination was ended before; what is named was found until then";
        examining.checks.push(Check::warn("unfinished", unfinished));
    }
    Examination { checks: examining.checks, damaged }
}

struct Examining<'w, 'a> {
    watch: &'w mut Watch<'a>,
    checks: Vec<Check>,
    stopped: bool,
}

impl Examining<'_, '_> {
    fn run(&mut self, data: &Path) -> Vec<DamagedKey> {
        let identity = match identity::read(&data.join("identity")) {
            Ok(Some(identity)) => {
                self.done(Check::ok("identity", format!("node {} of cluster {}", identity.node, identity.cluster)));
                Some(identity)
            }
            Ok(None) => None,
            Err(error) => {
                self.done(Check::fail("identity", error.to_string()));
                None
            }
        };
        if !identity.as_ref().is_some_and(|identity| identity.born) {
            self.done(Check::warn("identity", "no node was fully born here; `ringfort run` does it"));
            return Vec::new();
        }
        self.done(check_space(data));
        self.begins("control");
        let control = refound::examine(&data.join("control"));
        self.done(check_journal("control", control.as_ref().map(|(_, report)| report)));
        let state = control.map_or_else(|_damaged| State::default(), |(state, _)| state);
        self.journal(&data.join("journal"));
        if self.stopped {
            return Vec::new();
        }
        self.done(match MarksFile::open(&data.join("journal")) {
            Ok(_) => Check::ok("marks", "whole".to_owned()),
            Err(error) => Check::fail("marks", error.to_string()),
        });
        self.objects(&data.join("index"), &state)
    }

    fn journal(&mut self, dir: &Path) {
        self.begins("journal");
        let examined = recovery::examine(&FsDisk::new(dir.to_owned()), &mut |_, _| {
            self.read().map_err(|source| JournalError::Io { doing: "examining", source })
        });
        if !self.stopped {
            self.done(check_journal("journal", examined.as_ref().map(|(_, report)| report)));
        }
    }

    fn objects(&mut self, dir: &Path, state: &State) -> Vec<DamagedKey> {
        self.begins("index");
        let mut tally = Tally::new();
        let walked = salvage::walk(dir, &mut |place, object| {
            tally.object(state, place, object);
            self.read().map_err(|error| IndexError::Io { detail: error.to_string() })
        });
        match walked {
            Ok(unreadable) => tally.unreadable.extend(unreadable.in_words()),
            Err(_ended) if self.stopped => {}
            Err(error) => tally.unreadable.push(format!("all of it ({error})")),
        }
        let (objects, damaged) = tally.check();
        self.done(objects);
        damaged
    }

    fn begins(&mut self, part: &'static str) {
        self.stopped |= (self.watch)(Seen::Begins(part)).is_break();
    }

    fn read(&mut self) -> std::io::Result<()> {
        self.stopped |= (self.watch)(Seen::Read).is_break();
        if self.stopped { Err(std::io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    fn done(&mut self, check: Check) {
        self.stopped |= (self.watch)(Seen::Done(&check)).is_break();
        self.checks.push(check);
    }
}

/// Takes the directory's lock; a directory without a node is not made into one.
pub(in crate::node) fn hold(data: &Path) -> Result<DataDir, OfflineError> {
    if !data.join("identity").exists() {
        return Err(OfflineError::Failed(format!("there is no node in {}", data.display())));
    }
    DataDir::open(data).map_err(|error| match error {
        DataDirError::InUse { .. } => OfflineError::InUse,
        other @ (DataDirError::NotOurs { .. } | DataDirError::Io { .. }) => failed(other),
    })
}

fn check_space(data: &Path) -> Check {
    match space::look(data) {
        Ok(space) if space.free < DISK_RESERVE_BYTES => {
            Check::fail("disk", format!("only {} MiB are free: writes are refused", space.free >> 20))
        }
        Ok(space) => match space.short_of_files() {
            Some(left) => {
                Check::fail("disk", format!("no room for more files (inodes), {left} are left: writes are refused"))
            }
            None => Check::ok("disk", format!("{} MiB free", space.free >> 20)),
        },
        Err(error) => Check::fail("disk", error.to_string()),
    }
}

fn check_journal(name: &'static str, report: Result<&Report, &JournalError>) -> Check {
    match report {
        Ok(report) if report.mended.is_empty() => {
            Check::ok(name, format!("{} groups to replay, all whole", report.groups))
        }
        Ok(report) => Check::warn(name, report.mended.join("; ")),
        Err(error) => Check::fail(name, error.to_string()),
    }
}

/// Goes on without what is lost. Returns what was given up, in words. Damaged files are kept under other names.
///
/// # Errors
/// [`OfflineError`].
pub async fn accept_loss(data: &Path) -> Result<Vec<String>, OfflineError> {
    let dir = hold(data)?;
    let identity = identity::read(&dir.sub("identity")).map_err(failed)?;
    let identity = identity.ok_or_else(|| failed("there is no node here"))?;
    let mut lost = Vec::new();
    let marks = dir.sub("journal");
    if matches!(MarksFile::open(&marks), Err(MarksError::Damaged { .. })) {
        let aside = MarksFile::set_aside(&marks).map_err(failed)?;
        lost.push(format!(
            "the marks of this node's part in the ring, kept as {}: it merges again what it had not reported, and does not \
             tell other nodes what they missed while they were silent",
            aside.display()
        ));
    }
    if refound::examine(&dir.sub("control")).is_err() {
        let aside = free_name(&dir.sub("control"));
        let birth = birth(&identity)?;
        lost.extend(refound::accept_loss(&dir.sub("control"), &aside, identity.node, birth).map_err(failed)?);
        // They may speak of changes of the layout that are lost, and the node would wait for them.
        let forget = |marks: &mut Marks| (marks.adopted, marks.synced) = (0, BTreeMap::new());
        MarksFile::open(&marks).map_err(failed)?.change(forget).map_err(failed)?;
        lost.push(format!("the damaged control journal is kept as {}", aside.display()));
    }
    lost.extend(salvage::accept_loss(&dir.sub("index")).map_err(failed)?);
    if recovery::examine(&FsDisk::new(dir.sub("journal")), &mut |_, _| Ok(())).is_err() {
        lost.extend(rebuild_journal(&dir, &identity)?);
    }
    lost.extend(remove_damaged(&dir)?);
    if let Err(reason) = tell_audit(&dir, identity.node, lost.len()).await {
        lost.push(format!("the audit could not be told of it: {reason}"));
    }
    Ok(lost)
}

/// The control journal is whole again: the audit goes on, and says why some of it may be missing.
async fn tell_audit(dir: &DataDir, me: NodeId, given_up: usize) -> Result<(), String> {
    let on_poison = Box::new(|error: &JournalError| tracing::error!(%error, "the control journal failed"));
    let opened = Group::open(&dir.sub("control"), me, group::Birth::Known, Arc::new(Nobody), on_poison).await;
    let (group, _) = opened.map_err(|error| error.to_string())?;
    let by = By { name: "local owner".to_owned(), via: Via::Local, from: None, at_ms: time::wall_ms() };
    let what = format!("accepts the loss of damaged data with `ringfort doctor`: {given_up} findings");
    // What was lost may have been anything, also who gets in.
    let order = Command::Ordered { by, what, command: Box::new(Command::NoteAccess) };
    let told = group.propose(order).await.map(|_noted| ()).map_err(|error| error.to_string());
    group.close();
    told
}

fn birth(identity: &Identity) -> Result<Birth, OfflineError> {
    let tag = rng::nonzero_u64().map_err(failed)?;
    Ok(Birth { cluster: identity.cluster, node: identity.node, generation: 0, tag })
}

/// A name beside a directory that is not taken.
pub(in crate::node) fn free_name(dir: &Path) -> std::path::PathBuf {
    let name = |n: u32| dir.with_extension(format!("lost-{n}"));
    (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
}

/// Puts every whole group into the index, then begins a new journal of the next generation.
pub(in crate::node) fn rebuild_journal(dir: &DataDir, identity: &Identity) -> Result<Vec<String>, OfflineError> {
    let journal = dir.sub("journal");
    let salvaged = journal_salvage::read(&Arc::new(FsDisk::new(journal.clone()))).map_err(failed)?;
    let opened = salvage::open(&dir.sub("index")).map_err(failed)?;
    let mut objects = 0_u64;
    for records in salvaged.groups.values() {
        for bytes in records {
            if let Some((place, object)) = record::decode(bytes).as_ref().and_then(Record::change) {
                opened.index.apply(&[Change { place, object }]).map_err(failed)?;
                objects += u64::from(object.is_some());
            }
        }
    }
    opened.index.settle(time::mono() + SETTLE_TIMEOUT).map_err(failed)?;
    let aside = free_name(&journal);
    std::fs::rename(&journal, &aside).map_err(failed)?;
    std::fs::create_dir(&journal).map_err(failed)?;
    let generation = salvaged.superblock.map_or(0, |known| known.generation) + 1;
    let birth = Birth { generation, ..birth(identity)? };
    let (log, _) = recovery::open(Arc::new(FsDisk::new(journal.clone())), SIZES, Some(birth), &mut |_, _| Ok(()))
        .map_err(failed)?;
    log.close().map_err(failed)?;
    // A new journal begins in an empty directory.
    MarksFile::carry_over(&aside, &journal).map_err(failed)?;
    let mut lost: Vec<String> = salvaged.missing.iter().map(|group| format!("journal group {group}")).collect();
    lost.push(format!("{objects} objects were read from the damaged journal, which is kept as {}", aside.display()));
    Ok(lost)
}

/// Removes objects that answer `corrupt`: their keys are absent then.
fn remove_damaged(dir: &DataDir) -> Result<Vec<String>, OfflineError> {
    let mut bad = Vec::new();
    salvage::walk(&dir.sub("index"), &mut |place, bytes| {
        let whole = IndexKey::parse(place).is_some_and(|parsed| Object::decode(&parsed, bytes).is_ok());
        if !whole {
            bad.push(place.to_vec());
        }
        Ok(())
    })
    .map_err(failed)?;
    let index = FjallIndex::open(&dir.sub("index").join("db")).map_err(failed)?;
    let removals: Vec<_> = bad.iter().map(|place| Change { place, object: None }).collect();
    index.apply(&removals).map_err(failed)?;
    index.settle(time::mono() + SETTLE_TIMEOUT).map_err(failed)?;
    Ok(bad.iter().map(|place| format!("object {}", place.escape_ascii())).collect())
}
