//! Which files a store needs at its next open. What became of them under a running node: [`crate::store::roots::Taken`].

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use crate::store::disk::Disk;
use crate::store::index::Index;
use crate::store::journal::format;
use crate::store::journal::superblock;
use crate::store::marks;
use crate::store::partition::Store;

/// Paths, by what goes with them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needed {
    /// Of the journal: what is written now may go with it.
    pub journal: BTreeSet<PathBuf>,
    /// Of the index: what was written before goes with it.
    pub index: BTreeSet<PathBuf>,
}

impl<D: Disk, I: Index> Store<D, I> {
    /// The files that the next open needs, with the journal in this directory. One that is not there, and is among these
    /// afterwards, was taken away.
    #[must_use]
    pub fn files(&self, journal: &Path) -> Needed {
        let segments = self.journal().needed().segments().map(format::segment_name);
        let named = [superblock::NAME, marks::NAME].map(str::to_owned);
        let journal = named.into_iter().chain(segments).map(|name| journal.join(name)).collect();
        Needed { journal, index: self.shared.index.files().into_iter().collect() }
    }

    /// Whether what is written would be found by no next start: then nothing is taken, of devices or of other nodes.
    pub fn set_adrift(&self, adrift: bool) {
        self.shared.adrift.store(adrift, Ordering::Relaxed);
    }
}
