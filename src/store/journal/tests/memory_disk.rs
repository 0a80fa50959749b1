//! A disk in memory that knows what is durable and what is only in the page cache, can fail on purpose, and can list
//! every state a power cut may leave behind.
//!
//! Its model: a write is durable after the next `sync_data` of its file, a change of names after `sync_dir`. Before
//! that, a power cut keeps any subset of the writes, each of them whole, not at all or torn between sectors, and any
//! first part of the changes of names. After a failed sync the cache still shows what the disk never got.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use crate::store::disk::Disk;
use crate::store::disk::DiskFile;

/// What a disk writes in one go.
const SECTOR_BYTES: usize = 512;

/// More outstanding writes than the journal ever has; it bounds the product over their variants.
const OUTSTANDING_MAX: usize = 3;

/// Bytes of a file, shared until changed.
type Bytes = Arc<Vec<u8>>;

#[derive(Debug, Clone)]
struct Write {
    offset: usize,
    bytes: Bytes,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    /// What reads see.
    cache: Bytes,
    durable: Bytes,
    outstanding: Vec<Write>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

/// Everything on a disk at one moment: cheap to copy.
#[derive(Debug, Clone, Default)]
pub struct Platter {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<NameChange>,
}

/// What goes wrong. Syncs are counted from 1 since the plan was set; those of files still being made (`.new`) are not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// This sync fails; what it should have made durable is only in the cache from then on.
    pub failing_sync: Option<u64>,
    /// This sync does nothing and says it did.
    pub lying_sync: Option<u64>,
    /// A write takes at most so many bytes.
    pub write_bytes_max: Option<usize>,
    /// No room for new files and for files to grow.
    pub full: bool,
    /// Syncs of files still being made fail.
    pub failing_new: bool,
}

#[derive(Debug, Default)]
struct State {
    platter: Platter,
    faults: Faults,
    syncs: u64,
    /// Files that were not made because the disk was full, since the plan was set.
    refusals: u64,
    history: Option<Vec<Platter>>,
}

impl State {
    /// Called before each operation that changes something.
    fn remember(&mut self) {
        if let Some(history) = &mut self.history {
            history.push(self.platter.clone());
        }
    }

    fn is_new(&self, inode: usize) -> bool {
        self.platter.names.iter().any(|(name, known)| *known == inode && name.ends_with(".new"))
    }
}

/// The disk; clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

/// A file of it.
#[derive(Debug)]
pub struct MemoryFile {
    disk: MemoryDisk,
    inode: usize,
}

impl MemoryDisk {
    /// A disk in this state, without faults.
    pub fn holding(platter: Platter) -> Self {
        Self(Arc::new(Mutex::new(State { platter, ..State::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Sets the fault plan and counts syncs anew.
    pub fn plan(&self, faults: Faults) {
        let mut state = self.lock();
        state.faults = faults;
        state.syncs = 0;
        state.refusals = 0;
    }

    /// Files that were not made because the disk was full, since the plan was set.
    pub fn refusals(&self) -> u64 {
        self.lock().refusals
    }

    /// Counted syncs since the plan was set.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// What is there now, cache and all.
    pub fn platter(&self) -> Platter {
        self.lock().platter.clone()
    }

    /// From now on the state before each operation is kept.
    pub fn record(&self) {
        self.lock().history = Some(Vec::new());
    }

    /// The states kept since the last call.
    pub fn take_history(&self) -> Vec<Platter> {
        self.lock().history.replace(Vec::new()).unwrap_or_default()
    }

    /// A file's bytes as reads see them.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let platter = self.platter();
        platter.inodes[platter.names[name]].cache.to_vec()
    }

    /// Replaces or makes a file, durably, behind everyone's back.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let platter = &mut self.lock().platter;
        let bytes = Arc::new(bytes);
        let inode = Inode { cache: Arc::clone(&bytes), durable: bytes, outstanding: Vec::new() };
        platter.names.insert(name.to_owned(), platter.inodes.len());
        platter.durable_names.insert(name.to_owned(), platter.inodes.len());
        platter.inodes.push(inode);
    }

    /// Whether the bytes are somewhere in a file that would be there after a power cut.
    pub fn keeps(&self, bytes: &[u8]) -> bool {
        let platter = self.platter();
        let mut files = platter.durable_names.values().map(|inode| &platter.inodes[*inode].durable);
        files.any(|durable| durable.windows(bytes.len()).any(|window| window == bytes))
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().platter.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let mut state = self.lock();
        state.remember();
        if state.faults.full {
            state.refusals += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.platter.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.platter.inodes.len();
        state.platter.inodes.push(Inode::default());
        state.platter.names.insert(name.to_owned(), inode);
        state.platter.changes.push(NameChange::Create(name.to_owned(), inode));
        Ok(MemoryFile { disk: self.clone(), inode })
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let inode = self.lock().platter.names.get(name).copied();
        Ok(MemoryFile { disk: self.clone(), inode: inode.ok_or(io::ErrorKind::NotFound)? })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(from, NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(name, NameChange::Remove(name.to_owned()))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.remember();
        state.platter.durable_names = state.platter.names.clone();
        state.platter.changes.clear();
        Ok(())
    }
}

impl MemoryDisk {
    fn change(&self, of: &str, change: NameChange) -> io::Result<()> {
        let mut state = self.lock();
        state.remember();
        if !state.platter.names.contains_key(of) {
            return Err(io::ErrorKind::NotFound.into());
        }
        change.apply(&mut state.platter.names);
        state.platter.changes.push(change);
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.disk.lock().platter.inodes[self.inode].cache.len()).unwrap())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let cache = Arc::clone(&self.disk.lock().platter.inodes[self.inode].cache);
        let from = cache.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let len = from.len().min(bytes.len());
        bytes[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.lock();
        state.remember();
        let offset = usize::try_from(offset).unwrap();
        let len = state.faults.write_bytes_max.map_or(bytes.len(), |max| max.min(bytes.len()));
        let full = state.faults.full;
        let inode = &mut state.platter.inodes[self.inode];
        if full && offset + len > inode.cache.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let bytes = &bytes[..len];
        put(&mut inode.cache, offset, bytes);
        inode.outstanding.push(Write { offset, bytes: Arc::new(bytes.to_vec()) });
        Ok(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.remember();
        let new = state.is_new(self.inode);
        state.syncs += u64::from(!new);
        let faults = state.faults;
        let now = (!new).then_some(state.syncs);
        let inode = &mut state.platter.inodes[self.inode];
        if now.is_some() && now == faults.lying_sync {
            return Ok(());
        }
        if (now.is_some() && now == faults.failing_sync) || (new && faults.failing_new) {
            inode.outstanding.clear();
            return Err(io::Error::other("planned"));
        }
        for write in std::mem::take(&mut inode.outstanding) {
            put(&mut inode.durable, write.offset, &write.bytes);
        }
        Ok(())
    }
}

fn put(file: &mut Bytes, offset: usize, bytes: &[u8]) {
    let file = Arc::make_mut(file);
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

impl Platter {
    /// What a power cut leaves that keeps nothing but what was synced.
    pub fn after_cut(&self) -> Self {
        let nothing: Vec<_> = self.outstanding().into_iter().map(|(inode, _)| (inode, Vec::new())).collect();
        self.image(&self.durable_names, &nothing)
    }

    /// Every state a power cut may leave.
    pub fn for_each_image(&self, each: &mut impl FnMut(Self)) {
        let outstanding = self.outstanding();
        let mut names = self.durable_names.clone();
        for kept in 0..=self.changes.len() {
            if let Some(last) = kept.checked_sub(1) {
                self.changes[last].apply(&mut names);
            }
            let named = |inode| names.iter().find(|(_, known)| **known == inode).map(|(name, _)| name.as_str());
            let variants = outstanding.iter().map(|(inode, write)| match named(*inode) {
                // Nobody can see it, so it makes no difference.
                None => vec![Vec::new()],
                // Recovery removes these unread; without and with the bytes is enough.
                Some(name) if name.ends_with(".new") => vec![Vec::new(), vec![write.clone()]],
                Some(_) => self.torn(*inode, write),
            });
            let variants: Vec<_> = variants.collect();
            let visible = outstanding.iter().filter(|(inode, _)| named(*inode).is_some()).count();
            assert!(visible <= OUTSTANDING_MAX, "{visible} outstanding writes");
            for_each_choice(&variants, &mut Vec::new(), &mut |choice: &[Vec<Write>]| {
                let inodes = outstanding.iter().map(|(inode, _)| *inode);
                let kept: Vec<_> = inodes.zip(choice.iter().cloned()).collect();
                each(self.image(&names, &kept));
            });
        }
    }

    fn outstanding(&self) -> Vec<(usize, Write)> {
        let inodes = self.inodes.iter().enumerate();
        inodes.flat_map(|(at, inode)| inode.outstanding.iter().map(move |write| (at, write.clone()))).collect()
    }

    /// The ways in which one write may be there: not at all, any first and any last sectors, all but one, whole.
    /// Sectors that hold the same bytes already are left out.
    fn torn(&self, inode: usize, write: &Write) -> Vec<Vec<Write>> {
        let durable = &self.inodes[inode].durable;
        let mut sectors = Vec::new();
        let (mut from, end) = (write.offset, write.offset + write.bytes.len());
        while from < end {
            let to = ((from / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
            let bytes = &write.bytes[from - write.offset..to - write.offset];
            if durable.get(from..to) != Some(bytes) {
                sectors.push(Write { offset: from, bytes: Arc::new(bytes.to_vec()) });
            }
            from = to;
        }
        let count = sectors.len();
        let mut masks = BTreeSet::new();
        for at in 0..=count {
            masks.insert((0..count).map(|sector| sector < at).collect::<Vec<_>>());
            masks.insert((0..count).map(|sector| sector >= at).collect());
            masks.insert((0..count).map(|sector| sector != at).collect());
        }
        let keep =
            |mask: Vec<bool>| sectors.iter().zip(mask).filter(|(_, kept)| *kept).map(|(w, _)| w.clone()).collect();
        masks.into_iter().map(keep).collect()
    }

    /// The durable bytes and these writes, under these names, with nothing outstanding.
    fn image(&self, names: &BTreeMap<String, usize>, kept: &[(usize, Vec<Write>)]) -> Self {
        let mut inodes = Vec::with_capacity(names.len());
        let mut renumbered = BTreeMap::new();
        for (name, inode) in names {
            let mut durable = Arc::clone(&self.inodes[*inode].durable);
            for (_, writes) in kept.iter().filter(|(of, _)| of == inode) {
                writes.iter().for_each(|write| put(&mut durable, write.offset, &write.bytes));
            }
            renumbered.insert(name.clone(), inodes.len());
            inodes.push(Inode { cache: Arc::clone(&durable), durable, outstanding: Vec::new() });
        }
        Self { inodes, names: renumbered.clone(), durable_names: renumbered, changes: Vec::new() }
    }
}

fn for_each_choice<T: Clone>(variants: &[Vec<T>], chosen: &mut Vec<T>, each: &mut impl FnMut(&[T])) {
    let Some((first, rest)) = variants.split_first() else { return each(chosen) };
    for variant in first {
        chosen.push(variant.clone());
        for_each_choice(rest, chosen, each);
        chosen.pop();
    }
}
