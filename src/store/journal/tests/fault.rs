//! The running writer on a disk that fails: what was acked is durable, what is refused never comes back, nobody waits
//! for ever.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::base::limits::JOURNAL_MARK_IDLE;
use crate::base::limits::RECORD_BYTES_MAX;
use crate::base::time;
use crate::store::journal::Position;
use crate::store::journal::Sizes;
use crate::store::journal::format;
use crate::store::journal::tests::Records;
use crate::store::journal::tests::XorShift;
use crate::store::journal::tests::memory_disk::Faults;
use crate::store::journal::tests::memory_disk::MemoryDisk;
use crate::store::journal::tests::memory_disk::Platter;
use crate::store::journal::tests::open;
use crate::store::journal::writer::Follower;
use crate::store::journal::writer::Journal;
use crate::store::journal::writer::NotCommitted;
use crate::store::journal::writer::NotSubmitted;
use crate::store::journal::writer::Sequence;

const SIZES: Sizes = Sizes { first_segment: 2048, segment: 4096 };

type Ack = oneshot::Receiver<Result<(), NotCommitted>>;

/// What the follower was told.
#[derive(Debug, Default)]
struct Told {
    committed: Records,
    refused: Records,
}

struct Notes(Arc<Mutex<Told>>);

impl Follower for Notes {
    fn committed(&mut self, records: Vec<Vec<u8>>, last: Sequence, _: Position) {
        let mut told = self.0.lock().unwrap();
        told.committed.extend(records);
        assert_eq!(told.committed.len() + told.refused.len(), usize::try_from(last).unwrap());
    }

    fn refused(&mut self, records: &[Vec<u8>], last: Sequence) {
        let mut told = self.0.lock().unwrap();
        told.refused.extend_from_slice(records);
        assert_eq!(told.committed.len() + told.refused.len(), usize::try_from(last).unwrap());
    }
}

/// A running journal.
struct Rig {
    disk: MemoryDisk,
    journal: Journal<MemoryDisk>,
    told: Arc<Mutex<Told>>,
    poisoned: Arc<AtomicUsize>,
}

impl Rig {
    fn new(sizes: Sizes, faults: Faults) -> Self {
        let disk = MemoryDisk::default();
        let log = open(&disk, sizes).unwrap().log;
        disk.plan(faults);
        let (told, poisoned) = (Arc::<Mutex<Told>>::default(), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&poisoned);
        let on_poison = Box::new(move |_: &_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let journal = Journal::spawn("test", log, Notes(Arc::clone(&told)), on_poison).unwrap();
        Self { disk, journal, told, poisoned }
    }

    fn submit(&self, record: &[u8]) -> Result<Ack, NotSubmitted> {
        let (ack, acked) = oneshot::channel();
        self.journal.submit(record.to_vec(), ack).map(|_| acked)
    }

    /// Submits and waits; `None` where the journal ended meanwhile.
    fn write(&self, record: &[u8]) -> Option<Result<(), NotCommitted>> {
        self.submit(record).ok()?.blocking_recv().ok()
    }

    fn poisoned(&self) -> usize {
        self.poisoned.load(Ordering::SeqCst)
    }
}

/// What a start finds on such a disk.
fn records_on(platter: Platter) -> Records {
    open(&MemoryDisk::holding(platter), SIZES).unwrap().records()
}

fn assert_holds(found: &Records, acked: &Records) {
    // Both are in the order of submission.
    let mut rest = found.iter();
    assert!(acked.iter().all(|record| rest.any(|known| known == record)), "an acked record is missing");
}

#[test]
fn after_a_failed_sync_nothing_is_acked_and_nobody_waits() {
    for sync in 1..=20 {
        let rig = Rig::new(SIZES, Faults { failing_sync: Some(sync), ..Faults::default() });
        let mut random = XorShift(sync);
        let (mut acked, mut failed) = (Records::new(), false);
        for _ in 0..40 {
            let batch: Records = (0..3).map(|_| random.bytes(60)).collect();
            let acks: Vec<_> = batch.iter().map(|record| rig.submit(record)).collect();
            for (record, ack) in batch.into_iter().zip(acks) {
                match ack.map(Ack::blocking_recv) {
                    Ok(Ok(Ok(()))) if failed => panic!("an ack after the failed sync {sync}"),
                    Ok(Ok(Ok(()))) => acked.push(record),
                    Ok(Ok(Err(_)) | Err(_)) | Err(_) => failed = true,
                }
            }
        }
        rig.journal.close();
        assert!(failed);
        assert_eq!(rig.poisoned(), 1, "sync {sync}");
        assert_eq!(rig.submit(b"late").unwrap_err(), NotSubmitted::Closed);
        assert_eq!(rig.told.lock().unwrap().committed, acked);
        assert_holds(&records_on(rig.disk.platter().after_cut()), &acked);

        // The machine stays up: the cache shows what the disk never got. What a start replays must be there for good,
        // and until it has ended what was acked.
        let disk = MemoryDisk::holding(rig.disk.platter());
        disk.record();
        let replayed = open(&disk, SIZES).unwrap().records();
        assert_holds(&replayed, &acked);
        assert_eq!(records_on(disk.platter().after_cut()), replayed, "sync {sync}");
        for platter in disk.take_history() {
            platter.for_each_image(&mut |image| assert_holds(&records_on(image), &acked));
        }
    }
}

#[test]
fn what_waits_when_the_journal_is_poisoned_is_told_so() {
    let sizes = Sizes { first_segment: 8 << 20, segment: 8 << 20 };
    let rig = Rig::new(sizes, Faults { failing_sync: Some(1), ..Faults::default() });
    // Two of these make two groups: those behind the failing one are still in the queue.
    let acks: Vec<_> = (0..4).map_while(|_| rig.submit(&vec![1; RECORD_BYTES_MAX]).ok()).collect();
    assert!(!acks.is_empty());
    assert!(acks.into_iter().all(|ack| !matches!(ack.blocking_recv(), Ok(Ok(())))));
    rig.journal.close();
    assert_eq!(rig.poisoned(), 1);
}

#[test]
fn short_writes_lose_nothing() {
    for most in [7, 100, 513] {
        let rig = Rig::new(SIZES, Faults { write_bytes_max: Some(most), ..Faults::default() });
        let mut random = XorShift(1);
        let records: Records = (0..40).map(|_| random.bytes(150)).collect();
        for record in &records {
            assert_eq!(rig.write(record), Some(Ok(())));
        }
        rig.journal.close();
        assert_eq!(rig.poisoned(), 0);
        assert_eq!(records_on(rig.disk.platter().after_cut()), records);
    }
}

#[test]
fn a_full_disk_refuses_until_there_is_room_again() {
    let rig = Rig::new(SIZES, Faults::default());
    let mut random = XorShift(2);
    let mut acked = Records::new();
    for round in 0..4 {
        rig.disk.plan(Faults { full: true, ..Faults::default() });
        let mut refused = 0;
        // A spare segment may be there already: two of them fill up.
        for _ in 0..60 {
            let batch: Records = (0..3).map(|_| random.bytes(100)).collect();
            let acks: Vec<_> = batch.iter().map(|record| rig.submit(record).unwrap()).collect();
            for (record, ack) in batch.into_iter().zip(acks) {
                match ack.blocking_recv().unwrap() {
                    Ok(()) => acked.push(record),
                    Err(error) => {
                        assert_eq!(error, NotCommitted::NoSpace);
                        refused += 1;
                    }
                }
            }
        }
        assert!(refused > 0, "round {round}");
        rig.disk.plan(Faults::default());
        let record = random.bytes(100);
        assert_eq!(rig.write(&record), Some(Ok(())), "round {round}: there is room again");
        acked.push(record);
        let told = rig.told.lock().unwrap();
        assert_eq!(told.committed, acked);
        assert!(told.refused.len() >= refused && told.refused.iter().all(|record| !acked.contains(record)));
    }
    rig.journal.close();
    assert_eq!(rig.poisoned(), 0);
    assert_eq!(records_on(rig.disk.platter().after_cut()), acked);
}

#[test]
fn room_that_was_made_is_still_there_when_the_disk_is_full() {
    let rig = Rig::new(SIZES, Faults { full: true, ..Faults::default() });
    let record = [7; 100];
    while rig.write(&record) != Some(Err(NotCommitted::NoSpace)) {}
    let room = |len| rig.journal.reserve(len).blocking_recv();
    assert_eq!(room(record.len()), Ok(false));
    rig.disk.plan(Faults::default());
    assert_eq!(room(record.len()), Ok(true));
    rig.disk.plan(Faults { full: true, ..Faults::default() });
    assert_eq!(rig.write(&record), Some(Ok(())));
    rig.journal.close();
    assert!(room(record.len()).is_err(), "nothing is promised of a journal that ended");
}

#[test]
fn an_idle_journal_on_a_full_disk_tries_its_mark_once() {
    let record = [6; 60];
    // Exactly one group: neither another nor its mark fits behind it.
    let group = format::group_bytes(format::record_bytes(record.len()));
    let first_segment = u64::try_from(format::SEGMENT_HEADER_BYTES + group).unwrap();
    let rig = Rig::new(Sizes { first_segment, ..SIZES }, Faults { full: true, ..Faults::default() });
    assert_eq!(rig.write(&record), Some(Ok(())));
    let tries = |count, within| {
        let until = time::mono() + within;
        while rig.disk.refusals() < count && time::mono() < until {
            thread::yield_now();
        }
        rig.disk.refusals() >= count
    };
    // One for the spare segment, one for the mark.
    assert!(tries(2, Duration::from_secs(10)));
    assert!(!tries(3, 5 * JOURNAL_MARK_IDLE), "the mark is tried again and again");
    assert_eq!(rig.write(&record), Some(Err(NotCommitted::NoSpace)));
    rig.disk.plan(Faults::default());
    assert_eq!(rig.write(&record), Some(Ok(())));
    rig.journal.close();
    assert_eq!(records_on(rig.disk.platter().after_cut()), [record, record]);
}

#[test]
fn a_segment_that_cannot_be_synced_is_not_used() {
    let rig = Rig::new(SIZES, Faults { failing_new: true, ..Faults::default() });
    let mut random = XorShift(3);
    let mut acked = Records::new();
    for _ in 0..60 {
        let record = random.bytes(100);
        if rig.write(&record) == Some(Ok(())) {
            acked.push(record);
        }
    }
    assert!(acked.len() < 60);
    rig.journal.close();
    assert_eq!(rig.poisoned(), 0);
    assert_eq!(records_on(rig.disk.platter().after_cut()), acked);
}

#[test]
fn rotating_faster_than_segments_are_prepared_loses_nothing() {
    let mut random = XorShift(4);
    for _ in 0..20 {
        let rig = Rig::new(SIZES, Faults::default());
        let records: Records = (0..60).map(|_| random.bytes(1500)).collect();
        for record in &records {
            assert_eq!(rig.write(record), Some(Ok(())));
            assert!(rig.disk.keeps(record), "acked and not durable");
        }
        rig.journal.close();
        assert_eq!(records_on(rig.disk.platter().after_cut()), records);
    }
}

#[test]
fn a_record_that_no_segment_holds_is_refused_and_the_largest_that_fits_is_written() {
    let rig = Rig::new(SIZES, Faults::default());
    let segment = usize::try_from(SIZES.segment).unwrap();
    let largest = (0..segment).rev().find(|len| rig.write(&vec![7; *len]) == Some(Ok(()))).unwrap();
    assert!(largest > segment - 256, "{largest}");
    assert_eq!(rig.write(b"next"), Some(Ok(())));
    rig.journal.close();
    assert_eq!(rig.poisoned(), 0);
}

struct Panics;

impl Follower for Panics {
    fn committed(&mut self, _: Vec<Vec<u8>>, _: Sequence, _: Position) {
        panic!("a bug of ours");
    }

    fn refused(&mut self, _: &[Vec<u8>], _: Sequence) {}
}

#[test]
fn a_panic_in_the_writer_ends_the_process_and_nobody_waits() {
    let disk = MemoryDisk::default();
    let log = open(&disk, SIZES).unwrap().log;
    let poisoned = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&poisoned);
    let on_poison = Box::new(move |_: &_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let journal = Journal::spawn("test", log, Panics, on_poison).unwrap();
    let (ack, acked) = oneshot::channel();
    journal.submit(vec![1], ack).unwrap();
    assert!(acked.blocking_recv().is_err());
    journal.close();
    assert_eq!(poisoned.load(Ordering::SeqCst), 1);
    let (ack, _acked) = oneshot::channel();
    assert_eq!(journal.submit(vec![2], ack), Err(NotSubmitted::Closed));
}

#[test]
fn closing_writes_what_waits() {
    let rig = Rig::new(SIZES, Faults::default());
    let mut random = XorShift(5);
    let records: Records = (0..30).map(|_| random.bytes(50)).collect();
    let acks: Vec<_> = records.iter().map(|record| rig.submit(record).unwrap()).collect();
    rig.journal.close();
    assert!(acks.into_iter().all(|ack| ack.blocking_recv() == Ok(Ok(()))));
    assert_eq!(records_on(rig.disk.platter().after_cut()), records);
    assert_eq!(rig.poisoned(), 0);
}

#[test]
fn with_many_writers_an_ack_comes_after_the_sync_that_covers_it() {
    const WRITERS: u64 = 64;
    const EACH: usize = 10;
    let rig = Rig::new(Sizes { first_segment: 4096, segment: 16384 }, Faults::default());
    let mut acked: Records = thread::scope(|scope| {
        let writers = (1..=WRITERS).map(|seed| {
            scope.spawn({
                let rig = &rig;
                move || write_and_look(rig, XorShift(seed), EACH)
            })
        });
        let writers: Vec<_> = writers.collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    rig.journal.close();
    let mut found = records_on(rig.disk.platter().after_cut());
    assert_eq!(rig.told.lock().unwrap().committed, found);
    found.sort();
    acked.sort();
    assert_eq!(found, acked);
    let stats = rig.journal.stats();
    assert_eq!(stats.records.load(Ordering::Relaxed), WRITERS * u64::try_from(EACH).unwrap());
    assert!(stats.groups.load(Ordering::Relaxed) < stats.records.load(Ordering::Relaxed), "no two shared a sync");
}

fn write_and_look(rig: &Rig, mut random: XorShift, count: usize) -> Records {
    let records: Records = (0..count).map(|_| random.bytes(32)).collect();
    for record in &records {
        assert_eq!(rig.write(record), Some(Ok(())));
        assert!(rig.disk.keeps(record), "acked and not durable");
    }
    records
}
