//! The state machine of the group: `proto::control::State` behind the entries that are committed, and its snapshots. Whoever
//! reads sees a whole state with the index that led to it; readers are told of every one.

#![expect(clippy::result_large_err, reason = "the errors are openraft's")]

use std::io;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use openraft::AnyError;
use openraft::EmptyNode;
use openraft::Entry;
use openraft::EntryPayload;
use openraft::LogId;
use openraft::OptionalSend;
use openraft::RaftSnapshotBuilder;
use openraft::Snapshot;
use openraft::SnapshotMeta;
use openraft::StorageError;
use openraft::StorageIOError;
use openraft::StoredMembership;
use openraft::storage::RaftStateMachine;
use tokio::sync::watch;

use crate::control::matched::Matched;
use crate::control::snapshot;
use crate::control::snapshot::Writer;
use crate::control::types::Id;
use crate::control::types::Outcome;
use crate::control::types::Seated;
use crate::control::types::Types;
use crate::proto::audit;
use crate::proto::control::State;

type Failed = StorageError<u64>;

/// A state and the entry that led to it.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The last entry in it, and one; 0 before the first.
    pub next: u64,
    /// The state.
    pub state: Arc<State>,
}

/// See the module.
pub struct Machine {
    applied: Option<Id>,
    seated: Seated,
    view: watch::Sender<View>,
    writer: Arc<Writer>,
    matched: Arc<Matched>,
    /// Whether what is applied happens now, and is not what was applied before the last end of the process.
    live: Arc<AtomicBool>,
}

impl Machine {
    /// Behind a snapshot.
    #[must_use]
    pub fn new(from: snapshot::Snapshot, writer: Arc<Writer>, matched: Arc<Matched>) -> Self {
        matched.snapshot_is(from.last.map(|id| id.index));
        matched.seat(from.seated.members.clone());
        let view = View { next: from.last.map_or(0, |id| id.index + 1), state: Arc::new(from.state) };
        let (view, _) = watch::channel(view);
        Self { applied: from.last, seated: from.seated, view, writer, matched, live: Arc::default() }
    }

    /// Hears of every state from now on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// To be set when what is applied happens now.
    #[must_use]
    pub fn live(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.live)
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.view.borrow().state)
    }

    fn show(&self, state: Arc<State>) {
        let next = self.applied.map_or(0, |id| id.index + 1);
        self.view.send_replace(View { next, state });
    }

    fn apply_one(&mut self, state: &mut Arc<State>, entry: Entry<Types>) -> Outcome {
        self.applied = Some(entry.log_id.into());
        match entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Membership(membership) => {
                self.seated = Seated { id: self.applied, members: (&membership).into() };
                self.matched.seat(self.seated.members.clone());
                None
            }
            EntryPayload::Normal(command) => {
                // Shares with the state before what the command leaves alone.
                let told = state.audit.head().seq;
                let outcome = Arc::make_mut(state).apply(command);
                if self.live.load(Ordering::Relaxed) {
                    state.audit.entries().next_back().filter(|entry| entry.seq > told).into_iter().for_each(log);
                }
                Some(outcome)
            }
        }
    }
}

/// What the audit does not keep for ever may be in the log for longer. One line, as every text in it is quoted.
fn log(entry: &audit::Entry) {
    let audit::Entry { seq, by, what, outcome, hash: _ } = entry;
    let from = by.from.map(tracing::field::display);
    tracing::info!(target: "ringfort::audit", seq, by = by.name, via = ?by.via, from, what, ?outcome, "a change");
}

/// What openraft is told of a snapshot.
///
/// # Errors
/// Where it names members that no group can have.
pub fn meta(last: Option<Id>, seated: &Seated) -> Result<SnapshotMeta<u64, EmptyNode>, Failed> {
    let last_membership = seated.stored().ok_or_else(|| unreadable("it names no group"))?;
    let snapshot_id = last.map_or_else(|| "none".to_owned(), |id| format!("{}-{}-{}", id.term, id.node, id.index));
    Ok(SnapshotMeta { last_log_id: last.map(Into::into), last_membership, snapshot_id })
}

fn unreadable(error: impl std::fmt::Display) -> Failed {
    StorageIOError::read_snapshot(None, AnyError::error(error)).into()
}

fn unwritable(error: impl std::fmt::Display) -> Failed {
    StorageIOError::write_snapshot(None, AnyError::error(error)).into()
}

fn current(writer: &Writer) -> Result<Option<Snapshot<Types>>, Failed> {
    let Some(bytes) = snapshot::read_bytes(writer.dir()).map_err(unreadable)? else { return Ok(None) };
    let known = snapshot::decode(&bytes).map_err(unreadable)?;
    Ok(Some(Snapshot { meta: meta(known.last, &known.seated)?, snapshot: Box::new(Cursor::new(bytes)) }))
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId<u64>>, StoredMembership<u64, EmptyNode>), Failed> {
        let stored = self.seated.stored().ok_or_else(|| unreadable("it names no group"))?;
        Ok((self.applied.map(Into::into), stored))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, Failed>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = self.state();
        let outcomes = entries.into_iter().map(|entry| self.apply_one(&mut state, entry)).collect();
        self.show(state);
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            last: self.applied,
            seated: self.seated.clone(),
            state: self.state(),
            writer: Arc::clone(&self.writer),
            matched: Arc::clone(&self.matched),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, Failed> {
        self.matched.snapshot_comes();
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, EmptyNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), Failed> {
        let installed = self.install(meta, snapshot.into_inner()).await;
        if installed.is_err() {
            self.matched.snapshot_failed();
        }
        installed
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, Failed> {
        let writer = Arc::clone(&self.writer);
        tokio::task::spawn_blocking(move || current(&writer)).await.map_err(unreadable)?
    }
}

impl Machine {
    async fn install(&mut self, meta: &SnapshotMeta<u64, EmptyNode>, bytes: Vec<u8>) -> Result<(), Failed> {
        let sent = snapshot::decode(&bytes).map_err(unwritable)?;
        if sent.last != meta.last_log_id.map(Into::into) || sent.seated != Seated::from(&meta.last_membership) {
            return Err(unwritable("it is not what its leader said of it"));
        }
        write(&self.writer, sent.last, move || bytes).await.map_err(unwritable)?;
        self.applied = sent.last;
        self.matched.snapshot_is(sent.last.map(|id| id.index));
        self.matched.seat(sent.seated.members.clone());
        self.seated = sent.seated;
        self.show(Arc::new(sent.state));
        Ok(())
    }
}

async fn write(writer: &Writer, last: Option<Id>, bytes: impl FnOnce() -> Vec<u8> + Send + 'static) -> io::Result<()> {
    writer.begin(last, bytes)?.await.map_err(io::Error::other)?
}

/// Writes the state of one moment.
pub struct Builder {
    last: Option<Id>,
    seated: Seated,
    state: Arc<State>,
    writer: Arc<Writer>,
    matched: Arc<Matched>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    /// Best effort: without it the log only stays longer. The last one is then returned once more.
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, Failed> {
        let (last, seated, state) = (self.last, self.seated.clone(), Arc::clone(&self.state));
        let written = write(&self.writer, last, move || snapshot::encode(last, &seated, &state)).await;
        match written {
            Ok(()) => self.matched.snapshot_is(self.last.map(|id| id.index)),
            Err(error) => tracing::warn!(%error, "the control snapshot could not be written"),
        }
        let writer = Arc::clone(&self.writer);
        let current = tokio::task::spawn_blocking(move || current(&writer)).await.map_err(unreadable)??;
        Ok(match current {
            Some(current) => current,
            None => Snapshot { meta: SnapshotMeta::default(), snapshot: Box::new(Cursor::new(Vec::new())) },
        })
    }
}
