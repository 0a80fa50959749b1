//! Damage that no power cut does: flipped bits, files gone, cut short or exchanged. Opening such a journal is refused
//! or reported, and what is replayed is what was written.

use std::sync::Arc;

use crate::store::disk::Disk;
use crate::store::journal::JournalError;
use crate::store::journal::Sizes;
use crate::store::journal::format;
use crate::store::journal::log;
use crate::store::journal::recovery;
use crate::store::journal::salvage;
use crate::store::journal::superblock;
use crate::store::journal::tests::Records;
use crate::store::journal::tests::XorShift;
use crate::store::journal::tests::birth;
use crate::store::journal::tests::commit;
use crate::store::journal::tests::memory_disk::MemoryDisk;
use crate::store::journal::tests::memory_disk::Platter;
use crate::store::journal::tests::open;

const SIZES: Sizes = Sizes { first_segment: 4096, segment: 8192 };

/// A journal at rest, never closed in order.
struct Built {
    platter: Platter,
    groups: Vec<Records>,
    /// Where the used part of each segment ends, segment 1 first; the spare is not among them.
    used: Vec<usize>,
    marked: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Refused,
    /// Opened with everything there.
    Reported,
    /// Opened without the last group.
    CutLast,
}

impl Built {
    /// Four segments of groups with marks in between, and a prepared fifth.
    fn new(marked: bool) -> Self {
        let disk = MemoryDisk::default();
        let mut random = XorShift(0xf11b);
        let mut built = Self { platter: Platter::default(), groups: Vec::new(), used: Vec::new(), marked };
        let mut log = open(&disk, SIZES).unwrap().log;
        while log.position().segment < 4 || log.position().offset < 5000 {
            let before = log.position();
            let records: Records = (0..1 + random.below(4)).map(|len| random.bytes(5 + 100 * len)).collect();
            commit(&mut log, &records);
            built.groups.push(records);
            if log.position().segment > before.segment {
                built.used.push(usize::try_from(before.offset).unwrap());
            }
            // Not where it would be the first group of a segment or the last of all.
            if random.below(4) == 0 && log.position().offset < 3000 {
                log.mark().unwrap();
                built.groups.push(Records::new());
            }
        }
        if marked {
            log.mark().unwrap();
            built.groups.push(Records::new());
        }
        built.used.push(usize::try_from(log.position().offset).unwrap());
        let (_, tag, number, size) = log.wants_next().unwrap();
        log::prepare(&disk, tag, number, size).unwrap();
        built.platter = disk.platter();
        assert_eq!(built.used.len(), 4);
        built
    }

    fn disk(&self) -> MemoryDisk {
        MemoryDisk::holding(self.platter.clone())
    }

    /// Opens with one byte of one file changed and judges what comes of it.
    fn flip(&self, name: &str, offset: usize, mask: u8) -> Verdict {
        let disk = self.disk();
        let mut bytes = disk.bytes(name);
        bytes[offset] ^= mask;
        disk.put(name, bytes.clone());
        let verdict = self.judge(&disk);
        if verdict == Verdict::Refused {
            assert_eq!(disk.bytes(name), bytes, "a refusal changes nothing");
        }
        verdict
    }

    fn judge(&self, disk: &MemoryDisk) -> Verdict {
        let opened = match open(disk, SIZES) {
            Ok(opened) => opened,
            Err(JournalError::Corrupt { .. }) => return Verdict::Refused,
            Err(error) => panic!("{error}"),
        };
        let report = opened.report;
        assert!(report.cut.is_some() || !report.mended.is_empty(), "silent");
        assert!(self.groups.starts_with(&opened.groups), "a replayed record is not what was written");
        match self.groups.len() - opened.groups.len() {
            0 => Verdict::Reported,
            1 => {
                let cut = report.cut.expect("a missing group is reported");
                assert_eq!(usize::try_from(cut.group).unwrap(), self.groups.len());
                Verdict::CutLast
            }
            missing => panic!("{missing} groups are missing"),
        }
    }

    /// Names and lengths of all files.
    fn files(&self) -> Vec<(String, usize)> {
        let disk = self.disk();
        disk.list().unwrap().into_iter().map(|name| (name.clone(), disk.bytes(&name).len())).collect()
    }

    /// The end of a file's used part, 0 for the spare.
    fn used(&self, name: &str) -> usize {
        let Some(number) = format::parse_segment_name(name) else { return usize::MAX };
        self.used.get(usize::try_from(number).unwrap() - 1).copied().unwrap_or(0)
    }

    fn flip_every_byte(&self) {
        let last = format::segment_name(4);
        // Where the last group begins: 64 bytes for a mark.
        let last_group = self.used(&last) - format::group_bytes(body_bytes(self.groups.last().unwrap()));
        for (name, len) in self.files() {
            for offset in 0..len {
                let bits = if offset % 16 == 0 { 0..8 } else { offset % 8..offset % 8 + 1 };
                for verdict in bits.map(|bit| self.flip(&name, offset, 1 << bit)) {
                    let expected = if offset >= self.used(&name) || name == superblock::NAME {
                        Verdict::Reported
                    } else if name == last && offset >= last_group {
                        Verdict::CutLast
                    } else {
                        Verdict::Refused
                    };
                    assert_eq!(verdict, expected, "{name} byte {offset}, marked: {}", self.marked);
                }
            }
        }
    }
}

fn body_bytes(records: &Records) -> usize {
    records.iter().map(|record| format::record_bytes(record.len())).sum()
}

#[test]
fn one_flipped_bit_anywhere_in_a_marked_journal_is_refused_or_reported() {
    Built::new(true).flip_every_byte();
}

#[test]
fn without_a_mark_a_flip_in_the_last_group_is_reported_as_its_cut() {
    Built::new(false).flip_every_byte();
}

#[test]
fn random_flips_in_a_full_segment_are_never_silent() {
    let sizes = Sizes { first_segment: 256 * 1024, segment: 8192 };
    let disk = MemoryDisk::default();
    let mut random = XorShift(0x5eed);
    let mut log = open(&disk, sizes).unwrap().log;
    let mut groups: Vec<Records> = Vec::new();
    while log.position().offset < 250 * 1024 {
        let records = vec![random.bytes(700), random.bytes(900)];
        commit(&mut log, &records);
        groups.push(records);
    }
    log.mark().unwrap();
    groups.push(Records::new());
    let used = vec![usize::try_from(log.position().offset).unwrap()];
    let built = Built { platter: disk.platter(), groups, used, marked: true };
    let name = format::segment_name(1);
    for _ in 0..10_000 {
        let (offset, bit) = (random.below(256 * 1024), random.below(8));
        let verdict = built.flip(&name, offset, 1 << bit);
        let expected = if offset >= built.used[0] {
            Verdict::Reported
        } else if offset >= built.used[0] - format::GROUP_HEADER_BYTES {
            Verdict::CutLast
        } else {
            Verdict::Refused
        };
        assert_eq!(verdict, expected, "byte {offset} bit {bit}");
    }
}

#[test]
fn a_segment_that_is_missing_or_short_is_refused() {
    let built = Built::new(true);
    for number in 1..=4 {
        let name = format::segment_name(number);
        let disk = built.disk();
        disk.remove(&name).unwrap();
        assert_eq!(built.judge(&disk), Verdict::Refused, "{name} removed");
        let whole = built.disk().bytes(&name);
        for len in [0, 10, 64, 1000, whole.len() - 1] {
            let disk = built.disk();
            disk.put(&name, whole[..len].to_vec());
            assert_eq!(built.judge(&disk), Verdict::Refused, "{name} with {len} bytes");
        }
    }
}

#[test]
fn a_short_spare_segment_is_made_again() {
    let built = Built::new(true);
    let name = format::segment_name(5);
    for len in [0, 10, 64, 8191] {
        let disk = built.disk();
        let bytes = disk.bytes(&name)[..len].to_vec();
        disk.put(&name, bytes);
        assert_eq!(built.judge(&disk), Verdict::Reported, "{len} bytes");
    }
}

#[test]
fn a_superblock_that_is_missing_or_short_is_refused() {
    let built = Built::new(true);
    let disk = built.disk();
    disk.remove(superblock::NAME).unwrap();
    assert_eq!(built.judge(&disk), Verdict::Refused);
    for len in [0, 100, 4096, 8191] {
        let disk = built.disk();
        let bytes = disk.bytes(superblock::NAME)[..len].to_vec();
        disk.put(superblock::NAME, bytes);
        assert_eq!(built.judge(&disk), Verdict::Refused, "{len} bytes");
    }
}

#[test]
fn exchanged_segments_are_refused() {
    let built = Built::new(true);
    for (one, other) in [(1, 2), (2, 3), (3, 4), (4, 5), (2, 5)] {
        let (one, other) = (format::segment_name(one), format::segment_name(other));
        let disk = built.disk();
        let (first, second) = (disk.bytes(&one), disk.bytes(&other));
        disk.put(&one, second);
        disk.put(&other, first);
        assert_eq!(built.judge(&disk), Verdict::Refused, "{one} and {other}");
    }
}

#[test]
fn a_segment_or_superblock_of_another_journal_is_refused() {
    let built = Built::new(true);
    let other = MemoryDisk::default();
    let (mut log, _) = recovery::open(Arc::new(other.clone()), SIZES, Some(birth(0x07e4)), &mut |_, _| Ok(())).unwrap();
    for group in &built.groups {
        commit(&mut log, group);
    }
    for name in [format::segment_name(1), format::segment_name(3), superblock::NAME.to_owned()] {
        let disk = built.disk();
        disk.put(&name, other.bytes(&name));
        assert_eq!(built.judge(&disk), Verdict::Refused, "{name}");
    }
}

#[test]
fn salvage_reads_all_but_the_damaged_group_and_names_it() {
    let built = Built::new(true);
    let bad = built.groups.iter().position(|records| records.len() == 4).unwrap();
    let disk = built.disk();
    let name =
        disk.list().unwrap().into_iter().find(|name| contains(&disk.bytes(name), &built.groups[bad][2])).unwrap();
    let mut bytes = disk.bytes(&name);
    let at = bytes.windows(50).position(|window| window == &built.groups[bad][2][..50]).unwrap();
    bytes[at] ^= 1;
    disk.put(&name, bytes);
    assert_eq!(built.judge(&disk), Verdict::Refused);

    let salvage = salvage::read(&Arc::new(disk)).unwrap();
    let number = u64::try_from(bad).unwrap() + 1;
    assert_eq!(salvage.missing, [number]);
    assert_eq!(salvage.groups.len(), built.groups.len() - 1);
    for (group, records) in salvage.groups {
        assert_eq!(records, built.groups[usize::try_from(group).unwrap() - 1]);
    }
}

#[test]
fn salvage_does_without_a_superblock() {
    let built = Built::new(true);
    let disk = built.disk();
    disk.remove(superblock::NAME).unwrap();
    let salvage = salvage::read(&Arc::new(disk)).unwrap();
    assert!(salvage.superblock.is_none() && salvage.missing.is_empty());
    assert_eq!(salvage.groups.into_values().collect::<Vec<_>>(), built.groups);
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
