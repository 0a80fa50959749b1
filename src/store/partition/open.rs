//! From a data directory to a store: index, replay, a new life, threads. Nothing is served before all of it is done.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::thread;

use crate::base::id::ClusterId;
use crate::base::id::Incarnation;
use crate::base::id::NodeId;
use crate::base::limits::FIRST_SEGMENT_BYTES;
use crate::base::limits::SEGMENT_BYTES;
use crate::base::rng;
use crate::proto::causal::Actor;
use crate::proto::key::IndexKey;
use crate::store::damage::Damage;
use crate::store::disk::Disk;
use crate::store::disk::FsDisk;
use crate::store::index::Change;
use crate::store::index::Index;
use crate::store::index::IndexError;
use crate::store::index::fjall::FjallIndex;
use crate::store::index::salvage;
use crate::store::index::salvage::Unreadable;
use crate::store::journal::JournalError;
use crate::store::journal::Position;
use crate::store::journal::Report;
use crate::store::journal::Sizes;
use crate::store::journal::log::Log;
use crate::store::journal::recovery;
use crate::store::journal::writer::Journal;
use crate::store::journal::writer::OnPoison;
use crate::store::partition::Shared;
use crate::store::partition::Store;
use crate::store::partition::empty_partitions;
use crate::store::partition::follow::Follower;
use crate::store::partition::follow::IndexWriter;
use crate::store::partition::follow::Progress;
use crate::store::partition::record;
use crate::store::partition::record::Record;

/// Sizes of a node's journal.
pub const SIZES: Sizes = Sizes { first_segment: FIRST_SEGMENT_BYTES, segment: SEGMENT_BYTES };

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal refuses.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The index refuses.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The journal is another node's.
    #[error(
        "the journal belongs to cluster {cluster}, node {node}, but this directory is another one's; nothing was changed"
    )]
    Foreign {
        /// In the journal.
        cluster: ClusterId,
        /// In the journal.
        node: NodeId,
    },
    /// The operating system refuses.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Its word.
        source: std::io::Error,
    },
}

/// Whose store it is, and whether it may be new.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// A journal and an index may be made where there are none.
    pub newborn: bool,
}

/// The store on a real disk.
pub type DiskStore = Store<FsDisk, FjallIndex>;

/// Whether these journals, where they are there, are this node's. What cannot be read is met again by whoever opens it, and
/// told there. Changes nothing.
///
/// # Errors
/// [`OpenError::Foreign`].
pub fn check_owner(journals: &[PathBuf], cluster: ClusterId, node: NodeId) -> Result<(), OpenError> {
    for journal in journals {
        let owner = recovery::owner(&FsDisk::new(journal.clone())).ok().flatten();
        if let Some((cluster, node)) = owner.filter(|owner| *owner != (cluster, node)) {
            return Err(OpenError::Foreign { cluster, node });
        }
    }
    Ok(())
}

/// Opens `journal` and `index` in a data directory.
///
/// # Errors
/// [`OpenError`].
pub fn open_dir(
    journal: &Path,
    index: &Path,
    owner: Owner,
    on_poison: OnPoison,
) -> Result<(DiskStore, Report), OpenError> {
    let opened = if owner.newborn { salvage::create(index)? } else { salvage::open(index)? };
    let disk = Arc::new(FsDisk::new(journal.to_owned()));
    let (store, mut report) = open(disk, SIZES, opened.index, opened.unreadable, owner, on_poison)?;
    report.mended.extend(opened.mended);
    Ok((store, report))
}

/// Opens a store on any disk and index.
///
/// # Errors
/// [`OpenError`].
pub fn open<D: Disk, I: Index>(
    disk: Arc<D>,
    sizes: Sizes,
    index: I,
    unreadable: Unreadable,
    owner: Owner,
    on_poison: OnPoison,
) -> Result<(Store<D, I>, Report), OpenError> {
    let io = |doing| move |source| OpenError::Io { doing, source };
    let tag = rng::nonzero_u64().map_err(io("asking for randomness"))?;
    let birth = recovery::Birth { cluster: owner.cluster, node: owner.node, generation: 0, tag };
    let birth = owner.newborn.then_some(birth);
    let (mut log, report) =
        recovery::open(disk, sizes, birth, &mut |records, _| replay(&index, records).map_err(JournalError::from))?;
    let superblock = *log.superblock();
    if (superblock.cluster, superblock.node) != (owner.cluster, owner.node) {
        return Err(OpenError::Foreign { cluster: superblock.cluster, node: superblock.node });
    }
    let incarnation = Incarnation(rng::nonzero_u64().map_err(io("asking for randomness"))?);
    begin_life(&mut log, incarnation)?;
    let shared = Arc::new(Shared {
        damage: Damage::default(),
        partitions: empty_partitions(),
        overlay_bytes: AtomicUsize::new(0),
        index,
        unreadable,
        burnt: AtomicBool::new(false),
        adrift: AtomicBool::new(false),
    });
    let progress = Arc::new(Progress::default());
    let applied = log.position();
    let follower = Follower { shared: Arc::clone(&shared), progress: Arc::clone(&progress) };
    let journal = Arc::new(Journal::spawn("journal", log, follower, on_poison).map_err(io("starting a thread"))?);
    follow(&shared, &progress, &journal, applied, superblock.proven).map_err(io("starting a thread"))?;
    let actor = Actor { node: owner.node, incarnation };
    Ok((Store { shared, journal, progress, actor: RwLock::new(actor) }, report))
}

/// The new life is on disk before its first dot.
fn begin_life<D: Disk>(log: &mut Log<D>, incarnation: Incarnation) -> Result<(), JournalError> {
    log.append([record::encode_incarnation(incarnation).as_slice()])?;
    log.sync()
}

fn follow<D: Disk, I: Index>(
    shared: &Arc<Shared<I>>,
    progress: &Arc<Progress>,
    journal: &Arc<Journal<D>>,
    applied: Position,
    proven: Position,
) -> std::io::Result<()> {
    // Weak: the journal's own thread ends when the last handle is gone.
    let journal = Arc::downgrade(journal);
    let writer = IndexWriter {
        shared: Arc::clone(shared),
        progress: Arc::clone(progress),
        prove: Box::new(move |position| {
            if let Some(journal) = journal.upgrade() {
                journal.prove(position);
            }
        }),
        applied,
        proven,
        bytes_since_proof: 0,
    };
    thread::Builder::new().name("index".to_owned()).spawn(move || writer.run())?;
    Ok(())
}

/// Puts a group of the journal into the index again. The order is the journal's, so the last version wins; doing it
/// twice changes nothing.
fn replay<I: Index>(index: &I, records: &[&[u8]]) -> Result<(), ReplayError> {
    let (mut decoded, mut changes) = (Vec::with_capacity(records.len()), Vec::with_capacity(records.len()));
    for bytes in records {
        decoded.push(record::decode(bytes).ok_or(ReplayError::UnknownRecord)?);
    }
    for (place, object) in decoded.iter().filter_map(Record::change) {
        if IndexKey::parse(place).is_none() {
            return Err(ReplayError::UnknownRecord);
        }
        changes.push(Change { place, object });
    }
    index.apply(&changes).map_err(ReplayError::Index)
}

#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error("a record is of a kind that this release does not know; it was written by a newer one")]
    UnknownRecord,
    #[error(transparent)]
    Index(IndexError),
}

impl From<ReplayError> for JournalError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::UnknownRecord => {
                Self::Corrupt { place: "a journal record".to_owned(), reason: error.to_string() }
            }
            ReplayError::Index(index) => {
                Self::Io { doing: "replaying into the index", source: std::io::Error::other(index) }
            }
        }
    }
}
