//! The only voter of a cluster of one: a command is committed when it is durable in this node's control journal.
//!
//! A snapshot of the state replaces the journal's past when that has grown: written whole under its name first, then
//! the journal's proven position moves behind it. Replay skips what the snapshot has already.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;

use tokio::sync::oneshot;

use crate::base::codec;
use crate::base::limits::CONTROL_SNAPSHOT_BYTES;
use crate::base::limits::FIRST_SEGMENT_BYTES;
use crate::control::consensus::Consensus;
use crate::control::consensus::Proposal;
use crate::control::consensus::ProposeError;
use crate::control::sole::snapshot::Snapshot;
use crate::proto::audit::Entry;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::State;
use crate::store::disk::FsDisk;
use crate::store::journal::JournalError;
use crate::store::journal::Position;
use crate::store::journal::Report;
use crate::store::journal::Sizes;
use crate::store::journal::recovery;
use crate::store::journal::recovery::Birth;
use crate::store::journal::salvage;
use crate::store::journal::superblock;
use crate::store::journal::writer;
use crate::store::journal::writer::Journal;
use crate::store::journal::writer::NotCommitted;
use crate::store::journal::writer::OnPoison;
use crate::store::journal::writer::Sequence;

mod snapshot;

/// The stored format of commands: a new variant is no new format.
const VERSION: u8 = 1;
/// Told apart from other sealed bytes.
const COMMAND_CONTEXT: &[u8] = b"control command";

/// Commands are small and rare: every segment is as small as a node's first.
const SIZES: Sizes = Sizes { first_segment: FIRST_SEGMENT_BYTES / 4, segment: FIRST_SEGMENT_BYTES };

/// Learns where the journal's groups end.
struct Behind(Arc<Mutex<Position>>);

impl writer::Follower for Behind {
    fn committed(&mut self, _records: Vec<Vec<u8>>, _last: Sequence, behind: Position) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = behind;
    }

    fn refused(&mut self, _records: &[Vec<u8>], _last: Sequence) {
        // Nothing shows before it is durable.
    }
}

/// The only voter.
pub struct Sole {
    journal: Arc<Journal<FsDisk>>,
    behind: Arc<Mutex<Position>>,
    snapshots: snapshot::Writer,
    state: RwLock<Arc<State>>,
    /// One command at a time.
    turn: tokio::sync::Mutex<Turn>,
}

/// What one command leaves to the next.
#[derive(Default)]
struct Turn {
    /// Bytes logged since the last snapshot.
    logged: u64,
    /// On its way to the disk. Still here where whoever proposed it did not wait: it counts all the same.
    under_way: Option<UnderWay>,
}

struct UnderWay {
    next: Arc<State>,
    acked: oneshot::Receiver<Result<(), NotCommitted>>,
}

impl Sole {
    /// Opens the control journal in `dir` and comes to the state it describes.
    ///
    /// # Errors
    /// [`JournalError`]; a snapshot or command that does not decode is corruption.
    pub fn open(dir: &Path, birth: Option<Birth>, on_poison: OnPoison) -> Result<(Self, Report), JournalError> {
        let Snapshot { next_group, mut state } = snapshot::read(dir)?;
        let disk = Arc::new(FsDisk::new(dir.to_owned()));
        let (log, report) = recovery::open(disk, SIZES, birth, &mut |records, behind| {
            // The group before `behind`.
            if behind.group <= next_group { Ok(()) } else { replay(&mut state, records) }
        })?;
        let behind = Arc::new(Mutex::new(log.position()));
        let journal = Journal::spawn("control", log, Behind(Arc::clone(&behind)), on_poison)
            .map_err(JournalError::io("starting a thread"))?;
        let (journal, snapshots) = (Arc::new(journal), snapshot::Writer::new(dir));
        let (state, turn) = (RwLock::new(Arc::new(state)), tokio::sync::Mutex::default());
        Ok((Self { journal, behind, snapshots, state, turn }, report))
    }

    async fn commit(&self, command: Command) -> Result<Applied, ProposeError> {
        let mut turn = self.turn.lock().await;
        // The next state is built on that of the command before, also where nobody waited for it.
        match self.settle(&mut turn).await {
            // Its own client's affair: the state is as before it.
            Ok(()) | Err(ProposeError::NoSpace) => {}
            Err(error) => return Err(error),
        }
        let record = codec::seal(VERSION, COMMAND_CONTEXT, &command);
        // Shares with that state what the command leaves alone.
        let mut next = State::clone(&self.state());
        let applied = next.apply(command)?;
        if applied == Applied::Unchanged {
            return Ok(applied);
        }
        let bytes = record.len() as u64;
        let (ack, acked) = oneshot::channel();
        self.journal.submit(record, ack).map_err(|error| {
            tracing::warn!(%error, "a control command was not taken");
            ProposeError::Unavailable
        })?;
        turn.logged += bytes;
        turn.under_way = Some(UnderWay { next: Arc::new(next), acked });
        self.settle(&mut turn).await?;
        Ok(applied)
    }

    /// Waits for the command under way and shows its state. May be dropped while it waits: the next one goes on.
    async fn settle(&self, turn: &mut Turn) -> Result<(), ProposeError> {
        let Some(under_way) = &mut turn.under_way else { return Ok(()) };
        let outcome = (&mut under_way.acked).await;
        let next = Arc::clone(&under_way.next);
        turn.under_way = None;
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(NotCommitted::NoSpace)) => return Err(ProposeError::NoSpace),
            Ok(Err(NotCommitted::Unknown)) | Err(_) => return Err(ProposeError::Unknown),
        }
        let told = self.state().audit.head().seq;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
        if let Some(entry) = next.audit.entries().next_back().filter(|entry| entry.seq > told) {
            log(entry);
        }
        if turn.logged >= CONTROL_SNAPSHOT_BYTES && self.snapshot(next) {
            turn.logged = 0;
        }
        Ok(())
    }

    /// Best effort, and nobody waits for it: without it the journal only stays longer. Whether one was begun.
    fn snapshot(&self, state: Arc<State>) -> bool {
        // In its turn, so that this is right behind the command that led to this state.
        let behind = *self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let journal = Arc::clone(&self.journal);
        self.snapshots.begin(behind.group, state, move || journal.prove(behind))
    }
}

/// What the audit does not keep for ever may be in the log for longer. One line, as every text in it is quoted.
fn log(entry: &Entry) {
    let Entry { seq, by, what, outcome, hash: _ } = entry;
    let from = by.from.map(tracing::field::display);
    tracing::info!(target: "ringfort::audit", seq, by = by.name, via = ?by.via, from, what, ?outcome, "a change");
}

/// Comes to the state that `dir` describes, without changing anything.
///
/// # Errors
/// As [`Sole::open`].
pub fn examine(dir: &Path) -> Result<(State, Report), JournalError> {
    let Snapshot { next_group, mut state } = snapshot::read(dir)?;
    let (_, report) = recovery::examine(&FsDisk::new(dir.to_owned()), &mut |records, behind| {
        if behind.group <= next_group { Ok(()) } else { replay(&mut state, records) }
    })?;
    Ok((state, report))
}

/// Replaces a damaged control journal by the state that can still be read: what the snapshot and every whole group
/// say, in order. The damaged files are moved to `aside`.
///
/// # Errors
/// [`JournalError`].
pub fn accept_loss(dir: &Path, aside: &Path, birth: Birth) -> Result<Vec<String>, JournalError> {
    let fresh = dir.with_extension("fresh");
    let io = || JournalError::io("setting the damaged control journal aside");
    if fresh.join(snapshot::NAME).exists() && !dir.join(superblock::NAME).exists() {
        // An earlier attempt ended between its two renames.
        std::fs::rename(&fresh, dir).map_err(io())?;
        return Ok(Vec::new());
    }
    let salvaged = salvage::read(&Arc::new(FsDisk::new(dir.to_owned())))?;
    let (next_group, mut state) =
        snapshot::read(dir).map_or_else(|_lost| (1, State::default()), |known| (known.next_group, known.state));
    let mut lost: Vec<String> = Vec::new();
    for (group, records) in salvaged.groups.range(next_group..) {
        for record in records {
            let command = codec::unseal::<Command>(VERSION, COMMAND_CONTEXT, record);
            let applied = command
                .map_err(|error| error.to_string())
                .and_then(|command| state.apply(command).map_err(|refused| refused.to_string()));
            if let Err(reason) = applied {
                lost.push(format!("a control command of group {group} ({reason})"));
            }
        }
    }
    lost.extend(salvaged.missing.iter().map(|group| format!("control group {group}")));
    // Made beside it and renamed last: whatever happens in between, the damaged one is still found.
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh).map_err(io())?;
    }
    std::fs::create_dir(&fresh).map_err(io())?;
    let generation = salvaged.superblock.map_or(birth.generation, |known| known.generation) + 1;
    let disk = Arc::new(FsDisk::new(fresh.clone()));
    let (log, _) = recovery::open(disk, SIZES, Some(Birth { generation, ..birth }), &mut |_, _| Ok(()))?;
    snapshot::write(&fresh, log.position().group, &state).map_err(io())?;
    log.close()?;
    std::fs::rename(dir, aside).map_err(io())?;
    std::fs::rename(&fresh, dir).map_err(io())?;
    Ok(lost)
}

impl Consensus for Sole {
    fn propose(&self, command: Command) -> Proposal<'_> {
        Box::pin(self.commit(command))
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn close(&self) {
        // First: what it proves is noted by the journal's close.
        self.snapshots.close();
        self.journal.close();
    }
}

fn replay(state: &mut State, records: &[&[u8]]) -> Result<(), JournalError> {
    let corrupt = |reason: String| JournalError::Corrupt { place: "a control record".to_owned(), reason };
    for record in records {
        let command =
            codec::unseal::<Command>(VERSION, COMMAND_CONTEXT, record).map_err(|error| corrupt(error.to_string()))?;
        // It was checked before it was logged.
        state.apply(command).map_err(|refused| corrupt(refused.to_string()))?;
    }
    Ok(())
}
