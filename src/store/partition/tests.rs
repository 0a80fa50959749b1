//! The partitions' rules, with the index's twin in memory and a disk whose syncs wait for a word.

use std::io;
use std::ops::Bound;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::base::codec::Blob;
use crate::base::id::BucketId;
use crate::base::id::ClusterId;
use crate::base::id::Incarnation;
use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::base::limits::RECORD_BYTES_MAX;
use crate::base::limits::REPLICAS_MAX;
use crate::proto::bucket::Kind;
use crate::proto::causal::Actor;
use crate::proto::causal::Dot;
use crate::proto::key::IndexKey;
use crate::proto::key::Key;
use crate::proto::object::Content;
use crate::proto::object::Object;
use crate::proto::object::Sibling;
use crate::proto::object::Stamp;
use crate::proto::object::merge;
use crate::store::disk::Disk;
use crate::store::disk::DiskFile;
use crate::store::disk::FsDisk;
use crate::store::index::Change;
use crate::store::index::Index;
use crate::store::index::memory::MemoryIndex;
use crate::store::index::salvage::Unreadable;
use crate::store::journal::Sizes;
use crate::store::partition::Decision;
use crate::store::partition::Next;
use crate::store::partition::Pending;
use crate::store::partition::Store;
use crate::store::partition::StoreError;
use crate::store::partition::open;
use crate::store::partition::open::Owner;
use crate::store::partition::open::SIZES;

/// Open at first; closed, every sync waits; full, no new file finds room.
#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    full: AtomicBool,
    changed: Condvar,
}

impl Gate {
    fn set(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let closed = self.closed.lock().unwrap();
        let _open = self.changed.wait_while(closed, |closed| *closed).unwrap();
    }
}

struct GatedDisk(FsDisk, Arc<Gate>);
struct GatedFile(std::fs::File, Arc<Gate>);

impl Disk for GatedDisk {
    type File = GatedFile;
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn create(&self, name: &str) -> io::Result<GatedFile> {
        if self.1.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(GatedFile(self.0.create(name)?, Arc::clone(&self.1)))
    }
    fn open(&self, name: &str) -> io::Result<GatedFile> {
        Ok(GatedFile(self.0.open(name)?, Arc::clone(&self.1)))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }
}

impl DiskFile for GatedFile {
    fn size(&self) -> io::Result<u64> {
        DiskFile::size(&self.0)
    }
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        DiskFile::read_at(&self.0, bytes, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        DiskFile::write_at(&self.0, bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.pass();
        DiskFile::sync_data(&self.0)
    }
}

struct Rig {
    dir: tempfile::TempDir,
    gate: Arc<Gate>,
}

impl Rig {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), gate: Arc::default() }
    }

    fn open(&self, index: MemoryIndex, newborn: bool) -> Store<GatedDisk, MemoryIndex> {
        self.open_sized(index, newborn, Sizes { first_segment: 64 * 1024, segment: 64 * 1024 })
    }

    fn open_sized(&self, index: MemoryIndex, newborn: bool, sizes: Sizes) -> Store<GatedDisk, MemoryIndex> {
        let disk = Arc::new(GatedDisk(FsDisk::new(self.dir.path().to_owned()), Arc::clone(&self.gate)));
        let owner = Owner { cluster: ClusterId(1), node: NodeId(1), newborn };
        let on_poison = Box::new(|error: &_| panic!("{error}"));
        open::open(disk, sizes, index, Unreadable::default(), owner, on_poison).unwrap().0
    }
}

fn place(key: &str) -> IndexKey {
    IndexKey::new(BucketId(1), &Key::new(key.as_bytes().to_vec()).unwrap())
}

/// Replaces what is there by a text.
fn put(store: &Store<GatedDisk, MemoryIndex>, key: &str, text: &str) -> Pending {
    let decide = |old: Option<&Object>, next: Next| {
        let dot = Dot { actor: store.actor(), counter: next.counter };
        let content = Content::Value { content_type: String::new(), body: Blob(text.to_owned().into()) };
        let mut object = Object { siblings: vec![], ..old.cloned().unwrap_or_default() };
        object.context.add_run(dot);
        object.siblings.push(Sibling { dot, stamp: Stamp(0), expires_ms: None, content });
        Decision::Store(Arc::new(object), ())
    };
    store.update(&place(key), decide).unwrap().0.unwrap()
}

fn text_of(object: &Object) -> String {
    object.live(0).map(|one| String::from_utf8(one.live(0).unwrap().1.0.to_vec()).unwrap()).collect()
}

fn read(store: &Store<GatedDisk, MemoryIndex>, key: &str) -> Option<String> {
    store.read(&place(key)).unwrap().map(|object| text_of(&object))
}

#[test]
fn a_read_sees_only_what_is_durable_and_a_write_builds_on_what_is_newest() {
    let rig = Rig::new();
    let store = rig.open(MemoryIndex::default(), true);
    put(&store, "a", "old").durable_blocking().unwrap();
    rig.gate.set(true);
    let first = put(&store, "a", "new");
    assert_eq!(read(&store, "a").as_deref(), Some("old"), "the new value could still vanish in a power cut");
    let seen = store.update(&place("a"), |old, _| Decision::Leave(old.map(text_of))).unwrap().1;
    assert_eq!(seen.as_deref(), Some("new"), "the journal keeps the order");
    let (confirmed, ()) = store.update(&place("a"), |_, _| Decision::Confirm(())).unwrap();
    let mut confirmed = confirmed.expect("the new value is not durable yet");
    assert!(confirmed.0.try_recv().is_err());
    rig.gate.set(false);
    first.durable_blocking().unwrap();
    confirmed.durable_blocking().unwrap();
    assert_eq!(read(&store, "a").as_deref(), Some("new"));
    assert!(store.update(&place("a"), |_, _| Decision::Confirm(())).unwrap().0.is_none(), "nothing to wait for");
    store.close();
}

#[test]
fn a_place_holds_what_is_durable_there_and_the_newest() {
    let rig = Rig::new();
    let store = rig.open(MemoryIndex::default(), true);
    put(&store, "k", "old").durable_blocking().unwrap();
    let old = store.read(&place("k")).unwrap().unwrap().fingerprint();
    assert!(store.holds(&place("k"), old) && !store.holds(&place("other"), old));
    rig.gate.set(true);
    let pending = put(&store, "k", "new");
    let new = store.newest(&place("k")).unwrap().unwrap().fingerprint();
    assert!(!store.holds(&place("k"), old), "it is being replaced");
    assert!(!store.holds(&place("k"), new), "it is not durable");
    rig.gate.set(false);
    pending.durable_blocking().unwrap();
    assert!(store.holds(&place("k"), new));
    store.close();
}

#[test]
fn what_was_acked_is_replayed_into_an_index_that_has_nothing() {
    let rig = Rig::new();
    let store = rig.open(MemoryIndex::default(), true);
    let actor = store.actor();
    for i in 0..300 {
        put(&store, &format!("k{}", i % 100), &i.to_string()).durable_blocking().unwrap();
    }
    // The journal alone: nothing is proven, and the memory index loses everything.
    store.journal().close();
    drop(store);
    let store = rig.open(MemoryIndex::default(), false);
    assert_ne!(store.actor(), actor, "every life mints its own dots");
    for i in 200..300 {
        assert_eq!(read(&store, &format!("k{}", i % 100)), Some(i.to_string()));
    }
    store.close();
}

#[test]
fn proofs_that_are_held_back_cost_nothing_but_a_replay() {
    // The memory index loses everything: what was proven is gone then.
    let after_a_start = |held| {
        let rig = Rig::new();
        let store = rig.open(MemoryIndex::default(), true);
        put(&store, "a", "x").durable_blocking().unwrap();
        store.progress().hold_proofs(held);
        store.progress().settle();
        store.close();
        drop(store);
        let store = rig.open(MemoryIndex::default(), false);
        let read = read(&store, "a");
        store.close();
        read
    };
    assert_eq!((after_a_start(true).as_deref(), after_a_start(false)), (Some("x"), None));
}

#[test]
fn a_place_that_was_given_up_is_empty_before_and_after_a_start() {
    let rig = Rig::new();
    let store = rig.open(MemoryIndex::default(), true);
    for key in ["a", "b"] {
        put(&store, key, "old").durable_blocking().unwrap();
    }
    let actor = store.actor();
    rig.gate.set(true);
    let gone = store.update(&place("a"), |old, _| Decision::Remove(old.is_some())).unwrap();
    assert_eq!((read(&store, "a").as_deref(), gone.1), (Some("old"), true), "not durable yet");
    let seen = store.update(&place("a"), |old, _| Decision::Leave(old.is_some())).unwrap().1;
    assert!(!seen, "the next one builds on nothing");
    rig.gate.set(false);
    gone.0.unwrap().durable_blocking().unwrap();
    assert_eq!((read(&store, "a"), read(&store, "b").as_deref()), (None, Some("old")));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.renew()).unwrap();
    assert_ne!(store.actor(), actor);
    put(&store, "b", "new").durable_blocking().unwrap();
    store.journal().close();
    drop(store);
    let store = rig.open(MemoryIndex::default(), false);
    assert_eq!((read(&store, "a"), read(&store, "b").as_deref()), (None, Some("new")));
    store.close();
}

/// An object of an owner's own, with values that together have so many bytes.
fn large(owner: u64, bytes: usize) -> Object {
    let mut object = Object::default();
    for counter in 1..=3 {
        let dot = Dot { actor: Actor { node: NodeId(owner), incarnation: Incarnation(1) }, counter };
        let content = Content::Value { content_type: String::new(), body: Blob(vec![7; bytes / 3].into()) };
        object.context.add_run(dot);
        object.siblings.push(Sibling { dot, stamp: Stamp(0), expires_ms: None, content });
    }
    object
}

#[test]
fn what_each_owner_took_for_itself_is_merged_where_a_write_would_be_too_large() {
    let (rig, largest) = (Rig::new(), RECORD_BYTES_MAX - 1024);
    let open = |newborn| rig.open_sized(MemoryIndex::default(), newborn, SIZES);
    let (store, key, owners) = (open(true), place("a"), u64::from(REPLICAS_MAX));
    let put = |object: Object| store.update(&key, |_, _| Decision::Store(Arc::new(object), ()));
    put(large(1, largest)).unwrap().0.unwrap().durable_blocking().unwrap();
    let theirs = (2..=owners).map(|owner| large(owner, largest));
    let theirs = theirs.reduce(|one, other| merge::merge(&one, &other, Kind::Siblings)).unwrap();
    store.merge(&key, &theirs, Kind::Siblings, 0).unwrap().unwrap().durable_blocking().unwrap();
    let merged = store.read(&key).unwrap().unwrap();
    assert_eq!(merged.siblings.len(), 3 * usize::from(REPLICAS_MAX));
    let refused = put(merged.as_ref().clone());
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{:?}", refused.err());
    put(large(1, largest)).unwrap().0.unwrap().durable_blocking().unwrap();
    store.merge(&key, &merged, Kind::Siblings, 0).unwrap().unwrap().durable_blocking().unwrap();
    store.journal().close();
    drop(store);
    let store = open(false);
    assert_eq!(store.read(&key).unwrap().unwrap().siblings, merged.siblings);
    store.close();
}

#[test]
fn after_a_write_that_the_disk_refused_another_actor_mints() {
    let rig = Rig::new();
    let store = rig.open(MemoryIndex::default(), true);
    put(&store, "a", "first").durable_blocking().unwrap();
    rig.gate.full.store(true, Ordering::Relaxed);
    // What the segments that are there have room for is taken.
    let refused = (0..20).find_map(|_| put(&store, "b", &"x".repeat(20_000)).durable_blocking().err());
    assert!(matches!(refused, Some(StoreError::NoSpace)), "{refused:?}");
    rig.gate.full.store(false, Ordering::Relaxed);
    assert!(store.is_burnt());
    // Its next dot would claim the one that is not here, though another owner may have it.
    let next = store.update(&place("a"), |old, _| Decision::Store(Arc::new(old.unwrap().clone()), ()));
    assert!(matches!(next, Err(StoreError::NoSpace)));
    // What others minted is taken, what is there is read, and what is to go goes.
    let other = Object::default();
    assert!(store.merge(&place("c"), &other, Kind::Siblings, 0).is_ok());
    assert_eq!(read(&store, "a").as_deref(), Some("first"));
    let burnt = store.actor();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.renew()).unwrap();
    assert!(store.actor() != burnt && !store.is_burnt());
    put(&store, "a", "second").durable_blocking().unwrap();
    store.close();
}

#[test]
fn a_damaged_object_is_neither_served_nor_replaced() {
    let rig = Rig::new();
    let index = MemoryIndex::default();
    let key = place("a");
    index.apply(&[Change { place: key.as_bytes(), object: Some(b"not an object") }]).unwrap();
    let store = rig.open(index, true);
    assert!(matches!(store.read(&key), Err(StoreError::Corrupt { .. })));
    let replaced = store.update(&key, |_, _| -> Decision<()> { panic!("nothing to decide on") });
    assert!(matches!(replaced, Err(StoreError::Corrupt { .. })));
    let scanned = store.scan(key.partition(), BucketId(1), Bound::Unbounded, &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(scanned, Err(StoreError::Corrupt { .. })), "never silently a part");
    let met = store.damage().met();
    assert!(met.times >= 2 && met.last.is_some_and(|(partition, _)| partition == key.partition()), "somebody is told");
    store.close();
}

#[test]
fn the_data_of_a_removed_bucket_goes() {
    let rig = Rig::new();
    let store = rig.open(MemoryIndex::default(), true);
    for i in 0..50 {
        put(&store, &i.to_string(), "x").durable_blocking().unwrap();
    }
    store.progress().purge(BucketId(1));
    store.close();
    let mut left = 0;
    for partition in PartitionId::all() {
        let mut count = |_: &IndexKey, _: Object| {
            left += 1;
            ControlFlow::Continue(())
        };
        store.scan(partition, BucketId(1), Bound::Unbounded, &mut count).unwrap();
    }
    assert_eq!(left, 0);
}

#[test]
fn the_data_of_buckets_that_are_not_there_goes_and_that_of_others_stays() {
    let rig = Rig::new();
    let index = MemoryIndex::default();
    let places = |bucket| (0..50).map(move |i: u32| IndexKey::new(bucket, &Key::new(i.to_string().into()).unwrap()));
    for bucket in [1, 2, 3, 70_000, 70_001].map(BucketId) {
        for place in places(bucket) {
            index.apply(&[Change { place: place.as_bytes(), object: Some(b"x") }]).unwrap();
        }
    }
    let store = rig.open(index, true);
    store.progress().purge_others([BucketId(2), BucketId(70_000)].into(), BucketId(70_001));
    store.close();
    let left = |bucket| places(BucketId(bucket)).filter(|place| store.read(place).is_err()).count();
    assert_eq!([1, 2, 3, 70_000, 70_001].map(left), [0, 50, 0, 50, 50]);
}

#[test]
fn what_was_read_below_the_floor_is_not_stored_where_nothing_is_held() {
    let rig = Rig::new();
    let store = rig.open(MemoryIndex::default(), true);
    let slot = place("a").partition();
    put(&store, "a", "here").durable_blocking().unwrap();
    assert!(store.raise_floor(slot, 3) && !store.raise_floor(slot, 2) && store.floor(slot) == 3);
    let elsewhere = (0..).map(|n: u32| place(&n.to_string())).find(|place| place.partition() == slot).unwrap();
    let merge = |place: &IndexKey, floor| store.merge(place, &large(2, 9), Kind::Siblings, floor);
    assert!(matches!(merge(&elsewhere, 2), Err(StoreError::BelowFloor)));
    assert_eq!(store.newest(&elsewhere).unwrap(), None);
    merge(&place("a"), 2).unwrap().unwrap().durable_blocking().unwrap();
    assert_eq!(store.read(&place("a")).unwrap().unwrap().siblings.len(), 4, "merged with what is there");
    merge(&elsewhere, 3).unwrap().unwrap().durable_blocking().unwrap();
    // What is minted here is read here.
    put(&store, "b", "new").durable_blocking().unwrap();
    let before = store.changed(slot);
    store.update(&elsewhere, |_, _| Decision::Remove(())).unwrap().0.unwrap().durable_blocking().unwrap();
    assert!(store.changed(slot) > before, "a removal is a change");
    assert!(matches!(merge(&elsewhere, 0), Err(StoreError::BelowFloor)));
    store.close();
}
