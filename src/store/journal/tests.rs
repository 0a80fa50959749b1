//! The journal under power cuts, flipped bits, full disks and failing syncs, on a disk that lives in memory and lies
//! exactly as much as a real one may.

mod crash;
mod fault;
mod flip;
mod memory_disk;

use std::sync::Arc;

use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::store::journal::JournalError;
use crate::store::journal::Report;
use crate::store::journal::Sizes;
use crate::store::journal::log::Log;
use crate::store::journal::recovery;
use crate::store::journal::recovery::Birth;
use crate::store::journal::tests::memory_disk::MemoryDisk;
use crate::store::journal::writer;

/// The tag of every journal here unless a test wants another.
const TAG: u64 = 0x7461_6773;

/// The records of one group.
type Records = Vec<Vec<u8>>;

/// An opened journal and all it told while opening.
struct Opened {
    log: Log<MemoryDisk>,
    report: Report,
    /// Replayed groups in order, marks included (they have no records).
    groups: Vec<Records>,
}

impl Opened {
    /// All replayed records, one after another.
    fn records(&self) -> Records {
        self.groups.concat()
    }
}

fn birth(tag: u64) -> Birth {
    Birth { cluster: ClusterId(7), node: NodeId(9), generation: 0, tag }
}

/// Opens what is there; makes a journal where nothing is.
fn open(disk: &MemoryDisk, sizes: Sizes) -> Result<Opened, JournalError> {
    let mut groups = Vec::new();
    let replay = &mut |records: &[&[u8]], _| {
        groups.push(records.iter().map(|record| record.to_vec()).collect());
        Ok(())
    };
    let (log, report) = recovery::open(Arc::new(disk.clone()), sizes, Some(birth(TAG)), replay)?;
    Ok(Opened { log, report, groups })
}

/// Appends and syncs one group.
fn commit(log: &mut Log<MemoryDisk>, records: &[Vec<u8>]) {
    log.append(records.iter().map(Vec::as_slice)).unwrap();
    log.sync().unwrap();
}

/// Numbers without a pattern, the same in every run (Marsaglia 2003).
struct XorShift(u64);

impl XorShift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// Bytes that occur nowhere else.
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

#[test]
fn after_a_storm_a_lone_writer_soon_waits_for_nobody() {
    let (mut writers, mut groups) = (64, 0);
    while writers > 1 {
        writers = writer::still_writing(writers, 1);
        groups += 1;
        assert!(groups < 100, "it waits for {writers} for ever");
    }
    assert_eq!(writer::still_writing(8, 64), 64);
}
