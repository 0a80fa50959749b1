//! Files of a node that are damaged or gone, at its start. Alone it refuses (ADR 8): nobody else has what is lost. Where every
//! partition that it owns has other owners it goes on: the loss is noted first, then the files are kept under other names,
//! what is whole in them is taken over, and the others give the rest (`node::standing`).
//!
//! Killed in between, the next start finds the note, and the files as they are or gone, and does the rest.

use std::path::Path;

use crate::control::refound;
use crate::node::birth::BirthError;
use crate::node::doctor::offline;
use crate::proto::control::State;
use crate::store::data_dir::DataDir;
use crate::store::disk::FsDisk;
use crate::store::identity::Identity;
use crate::store::index::IndexError;
use crate::store::index::salvage;
use crate::store::journal::JournalError;
use crate::store::journal::Report;
use crate::store::journal::recovery;
use crate::store::journal::writer::OnPoison;
use crate::store::marks;
use crate::store::marks::MarksError;
use crate::store::marks::MarksFile;
use crate::store::memory::Loss;
use crate::store::memory::MemoryFile;
use crate::store::partition::open;
use crate::store::partition::open::DiskStore;
use crate::store::partition::open::OpenError;
use crate::store::partition::open::Owner;

/// What a node remembers of journals and of its part in the ring.
///
/// # Errors
/// [`BirthError`].
pub(super) fn open_notes(dir: &DataDir, identity: &Identity) -> Result<(MemoryFile, MarksFile), BirthError> {
    let journal = dir.sub("journal");
    let io = |source| BirthError::Io { doing: "reading what is remembered of journals", source };
    let (memory, aside) = MemoryFile::open(&journal).map_err(io)?;
    if let Some(aside) = aside {
        tracing::warn!(kept_as = %aside.display(), "what this node remembered of journals was damaged; the others are asked");
    }
    let gone = identity.born && !journal.join(marks::NAME).exists();
    let damaged = match MarksFile::open(&journal) {
        Ok(marks) if !gone => return Ok((memory, marks)),
        Ok(_) => "the marks of its part in the ring are gone".to_owned(),
        Err(error @ MarksError::Damaged { .. }) => {
            if !others_have_it(dir, identity) {
                return Err(error.into());
            }
            "the marks of its part in the ring were damaged".to_owned()
        }
        Err(error @ MarksError::Io { .. }) => return Err(error.into()),
    };
    if others_have_it(dir, identity) {
        note(&memory, damaged)?;
        if !gone {
            let aside = MarksFile::set_aside(&journal)?;
            tracing::warn!(kept_as = %aside.display(), "damaged marks are set aside");
        }
    }
    Ok((memory, MarksFile::open(&journal)?))
}

/// Before the control group is open.
fn others_have_it(dir: &DataDir, identity: &Identity) -> bool {
    refound::examine(&dir.sub("control")).is_ok_and(|(state, _)| can_be_refilled(&state, identity))
}

fn can_be_refilled(state: &State, identity: &Identity) -> bool {
    let members = state.members.keys().filter(|node| state.member(**node).is_some()).count();
    identity.born && members > 1 && state.layout.has_others(identity.node)
}

fn note(memory: &MemoryFile, why: String) -> Result<(), BirthError> {
    tracing::error!(why, "this node has lost what it had acked; it gets it back from the others before it serves");
    memory
        .change(|known| {
            let before = known.loss.take().map(|loss| loss.why);
            let why = match before {
                Some(before) if before.contains(&why) => before,
                Some(before) => format!("{before}; {why}"),
                None => why,
            };
            known.loss = Some(Loss { why, begun: false });
        })
        .map_err(|source| BirthError::Io { doing: "noting what is lost", source })
}

/// The store; in a cluster also where its files are damaged.
///
/// # Errors
/// [`BirthError`].
pub(super) fn open_store(
    dir: &DataDir,
    identity: &Identity,
    owner: Owner,
    state: &State,
    memory: &MemoryFile,
    on_poison: &impl Fn() -> OnPoison,
) -> Result<(DiskStore, Report), BirthError> {
    let (journal, index) = (dir.sub("journal"), dir.sub("index"));
    let opened = look(&journal, &index, owner, on_poison);
    if !can_be_refilled(state, identity) {
        return Ok(opened?);
    }
    let why = match opened {
        Ok((store, report)) if store.unreadable().is_empty() => return Ok((store, report)),
        Ok((store, _)) => {
            // It waits for its journal, which a thread of the runtime must not.
            std::thread::scope(|scope| drop(scope.spawn(|| store.close())));
            "a part of the index cannot be read".to_owned()
        }
        Err(OpenError::Journal(error @ JournalError::Corrupt { .. })) => error.to_string(),
        Err(OpenError::Index(error @ IndexError::Corrupt { .. })) => format!("the index is damaged: {error}"),
        Err(error) => return Err(error.into()),
    };
    note(memory, why)?;
    for lost in set_aside(dir, identity).map_err(|error| BirthError::Io {
        doing: "going on without damaged files",
        source: std::io::Error::other(error.to_string()),
    })? {
        tracing::warn!(lost, "gone on without");
    }
    // The journal's directory may be another one now.
    memory.write_again().map_err(|source| BirthError::Io { doing: "noting what is lost", source })?;
    Ok(look(&journal, &index, owner, on_poison)?)
}

fn look(
    journal: &Path,
    index: &Path,
    owner: Owner,
    on_poison: &impl Fn() -> OnPoison,
) -> Result<(DiskStore, Report), OpenError> {
    open::open_dir(journal, index, owner, on_poison())
}

/// Keeps what is damaged under other names; what is whole of the journal goes into the index first.
fn set_aside(dir: &DataDir, identity: &Identity) -> Result<Vec<String>, offline::OfflineError> {
    let mut lost = salvage::accept_loss(&dir.sub("index")).map_err(offline::failed)?;
    if recovery::examine(&FsDisk::new(dir.sub("journal")), &mut |_, _| Ok(())).is_err() {
        lost.extend(offline::rebuild_journal(dir, identity)?);
    }
    Ok(lost)
}
