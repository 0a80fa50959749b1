//! A control directory while its node does not run: looking at it, and making a group of one from what can still be read,
//! where a lone node's journal is damaged or a group's majority is lost (HOUSE decisions 6 and 15).
//!
//! Whoever begins anew does so with a snapshot far behind the last entry that it knows and in a higher term: nobody's log
//! reaches so far, so each of the others takes the whole snapshot and nothing that only it knew is mixed with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::Entry;
use openraft::EntryPayload;

use crate::base::codec::DecodeError;
use crate::base::id::NodeId;
use crate::base::rng;
use crate::base::time;
use crate::control::lane::LaneError;
use crate::control::lane::RaftLane;
use crate::control::log::SIZES;
use crate::control::log::kept::Kept;
use crate::control::log::record::Record;
use crate::control::snapshot;
use crate::control::snapshot::Snapshot;
use crate::control::types::Ballot;
use crate::control::types::Content;
use crate::control::types::Id;
use crate::control::types::Line;
use crate::control::types::Members;
use crate::control::types::Seated;
use crate::control::types::Types;
use crate::control::words::Answer;
use crate::control::words::Ask;
use crate::control::words::Question;
use crate::control::words::Reply;
use crate::control::words::Status;
use crate::proto::control;
use crate::proto::control::Command;
use crate::proto::control::State;
use crate::proto::control::recovery::Recovery;
use crate::store::disk::FsDisk;
use crate::store::journal::JournalError;
use crate::store::journal::Report;
use crate::store::journal::recovery;
use crate::store::journal::recovery::Birth;
use crate::store::journal::salvage;
use crate::store::journal::superblock;

/// Entries by which a new beginning is ahead of everything that was known: more than any log will have.
const AHEAD: u64 = 1 << 40;

/// What a directory says.
struct Found {
    snapshot: Snapshot,
    kept: Kept,
    superblock: superblock::Superblock,
    report: Report,
}

fn look(dir: &Path) -> Result<Found, JournalError> {
    let snapshot = snapshot::read(dir)?;
    let mut kept = Kept::default();
    let disk = FsDisk::new(dir.to_owned());
    let (superblock, report) = recovery::examine(&disk, &mut |records, behind| kept.replay(records, behind))?;
    kept.settle(snapshot.last)?;
    Ok(Found { snapshot, kept, superblock, report })
}

impl Found {
    /// The state after all entries, also those that are not known to be committed: whoever lost the others cannot tell.
    fn state(&mut self) -> State {
        let behind = self.snapshot.last.map_or(0, |id| id.index + 1);
        let mut state = std::mem::take(&mut self.snapshot.state);
        for entry in self.kept.entries(behind.., usize::MAX) {
            if let Some(command) = command(entry) {
                // One that is refused changes nothing, here as anywhere.
                let _outcome = state.apply(command);
            }
        }
        state
    }

    fn last(&self) -> Option<Id> {
        self.kept.last().max(self.snapshot.last)
    }
}

fn command(entry: Entry<Types>) -> Option<Command> {
    match entry.payload {
        EntryPayload::Normal(command) => Some(command),
        EntryPayload::Blank | EntryPayload::Membership(_) => None,
    }
}

/// Comes to the state that `dir` describes, without changing anything.
///
/// # Errors
/// [`JournalError`]; a snapshot or record that does not decode is corruption.
pub fn examine(dir: &Path) -> Result<(State, Report), JournalError> {
    let mut found = look(dir)?;
    Ok((found.state(), found.report))
}

/// What a survivor knows, for whoever judges whether another one knows more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its last entry.
    pub last: Option<Id>,
    /// The last one that it knows to be committed; those behind it may be or not.
    pub committed: Option<Id>,
    /// Who is in the group.
    pub members: Members,
    /// After the last entry.
    pub state: State,
}

/// What the group's journal in `dir` knows.
///
/// # Errors
/// As [`examine`].
pub fn known(dir: &Path) -> Result<Known, JournalError> {
    let mut found = look(dir)?;
    let members = found.kept.members().unwrap_or(&found.snapshot.seated.members).clone();
    let committed = found.kept.committed.max(found.snapshot.last);
    Ok(Known { last: found.last(), committed, members, state: found.state() })
}

/// What a node says that is asked by one that does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// How it is.
    Status(Box<Status>),
    /// It is of a later generation than the one that asks.
    Later,
}

/// Asks a node how it is, for one that does not run.
///
/// # Errors
/// [`LaneError`]; an answer that is none is no answer.
pub async fn ask(lane: &dyn RaftLane, to: NodeId, generation: u64, within: Duration) -> Result<Heard, LaneError> {
    let question = Question { generation, ask: Ask::Status }.seal();
    let reply = Reply::unseal(&lane.call(to, question, within).await?).ok_or(LaneError::NoAnswer)?;
    match reply.answer {
        Answer::Over => Ok(Heard::Later),
        _ if reply.generation > generation => Ok(Heard::Later),
        Answer::Status(status) => Ok(Heard::Status(status)),
        Answer::Vote { .. }
        | Answer::Appended(_)
        | Answer::Piece(_)
        | Answer::PieceFromStart
        | Answer::Proposed(_)
        | Answer::HearNone(_)
        | Answer::ReadIndex(_)
        | Answer::Contact { .. }
        | Answer::Heard
        | Answer::Unable(_) => Err(LaneError::NoAnswer),
    }
}

/// Makes this node the only voter of its group, with all that it knows, after the majority of the voters is lost for
/// ever. The old directory is moved to `aside`.
///
/// Whether a voter that can still be reached knows more is for the caller to find out first, and to end what an earlier
/// attempt began ([`finish_earlier`]).
///
/// # Errors
/// [`JournalError`]; before the last step nothing was changed.
pub fn recover(dir: &Path, aside: &Path, me: NodeId, recovery: Recovery) -> Result<(), JournalError> {
    let mut found = look(dir)?;
    let mut state = found.state();
    if let Err(refused) = state.recover(recovery) {
        return Err(JournalError::Io { doing: "recovering the control plane", source: std::io::Error::other(refused) });
    }
    let tag = rng::nonzero_u64().map_err(JournalError::io("asking for randomness"))?;
    let before = found.superblock;
    let birth = Birth { cluster: before.cluster, node: me, generation: before.generation + 1, tag };
    replace(&Anew { dir, aside, me, birth, last: found.last(), ballot: found.kept.ballot, state })
}

/// Replaces a damaged control journal by the state that can still be read: what the snapshot and every whole group
/// say, in order. The damaged files are moved to `aside`. For a node that is alone.
///
/// # Errors
/// [`JournalError`].
pub fn accept_loss(dir: &Path, aside: &Path, me: NodeId, birth: Birth) -> Result<Vec<String>, JournalError> {
    if finish_earlier(dir)? {
        return Ok(Vec::new());
    }
    let salvaged = salvage::read(&Arc::new(FsDisk::new(dir.to_owned())))?;
    let (snapshot, unreadable) = match snapshot::read(dir) {
        Ok(snapshot) => (snapshot, None),
        Err(error) => (Snapshot::default(), Some(error)),
    };
    let Snapshot { mut last, mut state, .. } = snapshot;
    let (mut ballot, mut purged) = (None, None);
    let mut entries = BTreeMap::new();
    let mut lost: Vec<String> = unreadable.iter().map(|error| format!("the control snapshot ({error})")).collect();
    for (group, records) in &salvaged.groups {
        for record in records {
            match Record::unseal(record) {
                Ok(Record::Line(line)) => {
                    entries.insert(line.id.index, line);
                }
                Ok(Record::Truncate { since }) => drop(entries.split_off(&since)),
                Ok(Record::Ballot(given)) => ballot = Some(given),
                Ok(Record::Base(base)) => {
                    ballot = base.ballot;
                    purged = purged.max(Some(base.purged));
                }
                Ok(Record::Committed(_)) => {}
                Err(error @ (DecodeError::Checksum | DecodeError::Version { .. } | DecodeError::Content)) => {
                    lost.push(format!("a control record of group {group} ({error})"));
                }
            }
        }
    }
    let behind = last.map_or(0, |id| id.index + 1);
    if !reaches_back(&entries, behind, purged, unreadable.is_some()) {
        lost.push(BEGUN_AGAIN.to_owned());
        state = State::begun_again(birth_of(&entries, birth)?);
        last = last.max(purged);
    }
    for (index, line) in entries.split_off(&behind) {
        last = last.max(Some(line.id));
        let Content::Command(command) = line.content else { continue };
        let known = matches!(&*command, Command::Begin(given) if state.birth.as_ref() == Some(given));
        if !known && let Err(refused) = state.apply(*command) {
            lost.push(format!("control command {index} ({refused})"));
        }
    }
    lost.extend(salvaged.missing.iter().map(|group| format!("control group {group}")));
    let generation = salvaged.superblock.map_or(birth.generation, |known| known.generation) + 1;
    let birth = Birth { generation, ..birth };
    replace(&Anew { dir, aside, me, birth, last, ballot, state })?;
    Ok(lost)
}

/// For people, where the state before is not known.
const BEGUN_AGAIN: &str = "buckets, tokens, users and settings that stood in the control snapshot only: the cluster begins \
                           again without them; the data of those buckets is removed at the next start, as nobody knows \
                           whose it is";

/// Whether entries say all that happened since a snapshot: they go back to it, and to the first command where there is none.
fn reaches_back(entries: &BTreeMap<u64, Line>, behind: u64, purged: Option<Id>, unreadable: bool) -> bool {
    let in_a_row = (behind..).zip(entries.range(behind..)).take_while(|(expected, (index, _))| expected == *index);
    let reached = behind + in_a_row.count() as u64;
    let from_the_first = behind > 0 || entries.values().any(|line| begins(line).is_some());
    from_the_first && purged.is_none_or(|purged| purged.index < reached) && !(unreadable && reached == behind)
}

fn begins(line: &Line) -> Option<&control::Birth> {
    let Content::Command(command) = &line.content else { return None };
    if let Command::Begin(birth) = &**command { Some(birth) } else { None }
}

/// What the cluster began with, where that is still there; otherwise with another secret: what was sealed by it before is
/// refused.
fn birth_of(entries: &BTreeMap<u64, Line>, birth: Birth) -> Result<control::Birth, JournalError> {
    if let Some(known) = entries.values().find_map(begins) {
        return Ok(known.clone());
    }
    let context_secret = rng::array().map_err(JournalError::io("asking for randomness"))?;
    Ok(control::Birth { cluster: birth.cluster, node: birth.node, at_ms: time::wall_ms(), context_secret })
}

/// A group that begins anew.
struct Anew<'a> {
    dir: &'a Path,
    aside: &'a Path,
    me: NodeId,
    birth: Birth,
    last: Option<Id>,
    ballot: Option<Ballot>,
    state: State,
}

fn fresh(dir: &Path) -> PathBuf {
    dir.with_extension("fresh")
}

fn io() -> impl FnOnce(std::io::Error) -> JournalError {
    JournalError::io("setting the old control journal aside")
}

/// Where an earlier attempt ended between its two renames, ends it; says whether there was one.
///
/// # Errors
/// [`JournalError`].
pub fn finish_earlier(dir: &Path) -> Result<bool, JournalError> {
    let fresh = fresh(dir);
    let between = fresh.join(snapshot::NAME).exists() && !dir.join(superblock::NAME).exists();
    if between {
        if dir.exists() {
            // Empty: made by whoever took the lock.
            std::fs::remove_dir(dir).map_err(io())?;
        }
        std::fs::rename(&fresh, dir).map_err(io())?;
    }
    Ok(between)
}

/// Made beside the old directory and renamed last: whatever happens in between, the old one is still found.
fn replace(anew: &Anew<'_>) -> Result<(), JournalError> {
    let fresh = fresh(anew.dir);
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh).map_err(io())?;
    }
    std::fs::create_dir(&fresh).map_err(io())?;
    let me = anew.me.0;
    let term = anew.last.map_or(0, |id| id.term).max(anew.ballot.map_or(0, |ballot| ballot.term)) + 1;
    let last = Id { term, node: me, index: anew.last.map_or(0, |id| id.index) + AHEAD };
    let disk = Arc::new(FsDisk::new(fresh.clone()));
    let (mut log, _) = recovery::open(disk, SIZES, Some(anew.birth), &mut |_, _| Ok(()))?;
    // Its own vote for itself in that term, which is not a lead yet: it stands when it starts.
    let ballot = Record::Ballot(Ballot { term, node: me, committed: false }).seal();
    log.append([ballot.as_slice()])?;
    log.sync()?;
    let seated = Seated { id: Some(last), members: Members::sole(me) };
    snapshot::write(&fresh, &snapshot::encode(Some(last), &seated, &anew.state)).map_err(io())?;
    log.close()?;
    std::fs::rename(anew.dir, anew.aside).map_err(io())?;
    std::fs::rename(&fresh, anew.dir).map_err(io())
}
