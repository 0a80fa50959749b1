//! Power cuts and kills at every point of a long script, and again during the recovery from them.

use crate::store::journal::Position;
use crate::store::journal::Sizes;
use crate::store::journal::log;
use crate::store::journal::log::Log;
use crate::store::journal::tests::Opened;
use crate::store::journal::tests::Records;
use crate::store::journal::tests::XorShift;
use crate::store::journal::tests::commit;
use crate::store::journal::tests::memory_disk::Faults;
use crate::store::journal::tests::memory_disk::MemoryDisk;
use crate::store::journal::tests::memory_disk::Platter;
use crate::store::journal::tests::open;

const SIZES: Sizes = Sizes { first_segment: 4096, segment: 8192 };

/// Steps of the script.
const STEPS: usize = 200;

/// Every so manieth image is also opened with a second power cut anywhere in that opening.
const SECOND_CUT_EVERY: usize = 2;
/// Every so manieth image is also written to after its recovery.
const AFTERCARE_EVERY: usize = 3;

/// What a recovery may and must find.
#[derive(Debug, Clone)]
struct Model {
    /// Every group ever handed to the log and not cut since; group 1 first. Marks are empty.
    groups: Vec<Records>,
    /// So many of them are acked.
    acked: usize,
    /// Replay may begin at one of these groups: the second while it is being proven.
    proven: [u64; 2],
}

impl Model {
    /// Opens the disk and compares.
    fn check(&self, disk: &MemoryDisk) -> Result<Opened, String> {
        let opened = open(disk, SIZES).map_err(|error| error.to_string())?;
        let first = opened.log.superblock().proven.group;
        if !self.proven.contains(&first) {
            return Err(format!("replay began at group {first}, not at one of {:?}", self.proven));
        }
        let skipped = usize::try_from(first).unwrap() - 1;
        let end = skipped + opened.groups.len();
        if end < self.acked {
            return Err(format!("group {} was acked, only {end} are there", self.acked));
        }
        if self.groups.get(skipped..end) != Some(&opened.groups[..]) {
            return Err(format!("groups {first} to {end} are not what was appended"));
        }
        let next = usize::try_from(opened.log.position().group).unwrap();
        if next != end + 1 { Err(format!("group {next} would follow group {end}")) } else { Ok(opened) }
    }
}

/// What the script does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Append,
    Sync,
    Mark,
    Prove,
    Prepare,
    Reopen,
    CutPower,
}

/// How much is looked at after each disk operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Only the power cut that keeps nothing unsynced.
    Strict,
    /// Every image, kills, second cuts and writing on.
    Everything,
}

struct Run {
    disk: MemoryDisk,
    log: Option<Log<MemoryDisk>>,
    model: Model,
    /// Where each group begins, group 1 first.
    begins: Vec<Position>,
    unsynced: bool,
    random: XorShift,
    depth: Depth,
    images: usize,
    /// Which syncs since the start made a group durable.
    group_syncs: Vec<u64>,
}

impl Run {
    fn start(depth: Depth, faults: Faults) -> Self {
        let disk = MemoryDisk::default();
        let log = open(&disk, SIZES).unwrap().log;
        disk.plan(faults);
        disk.record();
        Self {
            disk,
            begins: vec![log.position()],
            log: Some(log),
            model: Model { groups: Vec::new(), acked: 0, proven: [1, 1] },
            unsynced: false,
            random: XorShift(0x0dd_ba11),
            depth,
            images: 0,
            group_syncs: Vec::new(),
        }
    }

    fn script(&mut self, steps: usize) -> Result<(), String> {
        for number in 0..steps {
            let step = self.choose();
            self.step(step).map_err(|error| format!("step {number} ({step:?}): {error}"))?;
        }
        Ok(())
    }

    fn log(&mut self) -> &mut Log<MemoryDisk> {
        self.log.as_mut().unwrap()
    }

    fn choose(&mut self) -> Step {
        let draw = self.random.below(100);
        let wants_next = self.log().wants_next().is_some() && !self.log().rotated;
        match draw {
            0..8 if wants_next => Step::Prepare,
            8..12 if self.depth == Depth::Everything => Step::CutPower,
            _ if self.unsynced => Step::Sync,
            12..20 => Step::Mark,
            20..30 => Step::Prove,
            30..35 => Step::Reopen,
            _ => Step::Append,
        }
    }

    /// Does the step, then judges every state the disk was in meanwhile, and the one it is in now.
    fn step(&mut self, step: Step) -> Result<(), String> {
        let settled = self.perform(step)?;
        // The first state is that in which the step before ended.
        for platter in self.disk.take_history().into_iter().skip(1) {
            self.examine(&platter)?;
        }
        self.model = settled;
        self.examine(&self.disk.platter())
    }

    /// Does the step and sets the model to what may be found meanwhile; returns what holds afterwards.
    fn perform(&mut self, step: Step) -> Result<Model, String> {
        match step {
            Step::Append => {
                let count = 1 + self.random.below(5);
                let records: Records = (0..count).map(|_| self.record()).collect();
                let behind = self.log().append(records.iter().map(Vec::as_slice)).unwrap();
                self.begins.push(behind);
                self.model.groups.push(records);
                self.unsynced = true;
                Ok(self.model.clone())
            }
            Step::Sync => {
                let group_sync = self.disk.syncs() + 1;
                self.group_syncs.push(group_sync);
                self.log().sync().unwrap();
                self.unsynced = false;
                Ok(Model { acked: self.model.groups.len(), ..self.model.clone() })
            }
            Step::Mark => {
                let behind = self.log().mark().unwrap();
                self.begins.push(behind);
                self.model.groups.push(Records::new());
                Ok(Model { acked: self.model.groups.len(), ..self.model.clone() })
            }
            Step::Prove => {
                let old = self.log().superblock().proven.group;
                let range = self.begins.len() + 1 - usize::try_from(old).unwrap();
                let proven = self.begins[self.begins.len() - 1 - self.random.below(range)];
                self.log().prove(proven).unwrap();
                self.model.proven = [old, proven.group];
                Ok(Model { proven: [proven.group; 2], ..self.model.clone() })
            }
            Step::Prepare => {
                let (disk, tag, number, size) = self.log().wants_next().unwrap();
                let next = log::prepare(&*disk, tag, number, size).unwrap();
                self.log().give_next(next);
                Ok(self.model.clone())
            }
            Step::Reopen => {
                self.log.take().unwrap().close().unwrap();
                self.reopen()
            }
            Step::CutPower => {
                let mut images = Vec::new();
                self.disk.platter().for_each_image(&mut |image| images.push(image));
                let image = images.swap_remove(self.random.below(images.len()));
                self.disk = MemoryDisk::holding(image);
                self.disk.record();
                self.reopen()
            }
        }
    }

    fn record(&mut self) -> Vec<u8> {
        let len = 12 + self.random.below(500);
        self.random.bytes(len)
    }

    /// What is there after an opening is durable; what was cut is forgotten.
    fn reopen(&mut self) -> Result<Model, String> {
        let opened = self.model.check(&self.disk)?;
        let end = opened.log.position();
        let known = usize::try_from(end.group).unwrap();
        self.begins.truncate(known - 1);
        self.begins.push(end);
        self.unsynced = false;
        let proven = [opened.log.superblock().proven.group; 2];
        self.log = Some(opened.log);
        let groups = self.model.groups[..known - 1].to_vec();
        Ok(Model { acked: groups.len(), groups, proven })
    }

    fn examine(&mut self, platter: &Platter) -> Result<(), String> {
        if self.depth == Depth::Strict {
            return self.model.check(&MemoryDisk::holding(platter.after_cut())).map(|_| ());
        }
        // A kill: the machine stays up, the cache stays.
        self.examine_image(platter.clone(), true)?;
        let mut failed = Ok(());
        platter.for_each_image(&mut |image| {
            if failed.is_ok() {
                failed = self.examine_image(image, false);
            }
        });
        failed
    }

    fn examine_image(&mut self, image: Platter, killed: bool) -> Result<(), String> {
        self.images += 1;
        if self.images.is_multiple_of(SECOND_CUT_EVERY) {
            self.cut_again(image.clone())?;
        }
        if killed || self.images.is_multiple_of(AFTERCARE_EVERY) {
            return self.write_on(image).map_err(|error| format!("writing on: {error}"));
        }
        self.model.check(&MemoryDisk::holding(image)).map(|_| ())
    }

    /// A second power cut at every point of the recovery, and of the preparations that follow it.
    fn cut_again(&mut self, image: Platter) -> Result<(), String> {
        let disk = MemoryDisk::holding(image);
        disk.record();
        let log = self.model.check(&disk)?.log;
        if let Some((_, tag, number, size)) = log.wants_next() {
            log::prepare(&disk, tag, number, size).unwrap();
        }
        let mut found = Ok(());
        for platter in disk.take_history() {
            platter.for_each_image(&mut |image| {
                self.images += 1;
                if found.is_ok() {
                    found = self.model.check(&MemoryDisk::holding(image)).map(|_| ());
                }
            });
        }
        found.map_err(|error| format!("after a second power cut: {error}"))
    }

    /// What was found stays found, whatever happens next, and what is written on top of it stays too.
    fn write_on(&self, image: Platter) -> Result<(), String> {
        let disk = MemoryDisk::holding(image);
        let mut expected = self.model.check(&disk)?.groups;
        same(&disk, &expected, "opened twice")?;
        let mut log = same(&MemoryDisk::holding(disk.platter().after_cut()), &expected, "power cut")?.log;
        drop(log);
        log = same(&disk, &expected, "opened again")?.log;
        if let Some((_, tag, number, size)) = log.wants_next() {
            log.give_next(log::prepare(&disk, tag, number, size).unwrap());
        }
        same(&MemoryDisk::holding(disk.platter().after_cut()), &expected, "spare prepared")?;
        // The second one never fits behind the first: the spare segment comes into use.
        for records in [vec![b"one".to_vec()], vec![vec![2; 5000], vec![3; 3000]]] {
            commit(&mut log, &records);
            expected.push(records);
            same(&MemoryDisk::holding(disk.platter().after_cut()), &expected, "group appended")?;
        }
        Ok(())
    }
}

fn same(disk: &MemoryDisk, expected: &[Records], when: &str) -> Result<Opened, String> {
    let opened = open(disk, SIZES).map_err(|error| format!("{when}: {error}"))?;
    let (found, wanted) = (opened.groups.len(), expected.len());
    (opened.groups == expected)
        .then_some(opened)
        .ok_or(format!("{when}: {found} groups instead of {wanted}, or others"))
}

#[test]
fn every_power_cut_keeps_what_was_acked() {
    let mut run = Run::start(Depth::Everything, Faults::default());
    run.script(STEPS).unwrap();
    assert!(run.log().position().segment >= 8, "the script rotates often, not to {:?}", run.log().position());
    // 44,009 when this was written, in 1.2 s.
    assert!((30_000..=120_000).contains(&run.images), "{} images", run.images);
}

#[test]
fn a_sync_that_lies_is_noticed() {
    let mut honest = Run::start(Depth::Strict, Faults::default());
    honest.script(STEPS).unwrap();
    let group_syncs = honest.group_syncs;
    assert!(group_syncs.len() > 40);
    for sync in group_syncs {
        let faults = Faults { lying_sync: Some(sync), ..Faults::default() };
        let noticed = Run::start(Depth::Strict, faults).script(STEPS);
        let error = noticed.expect_err("an acked group that was not durable was not missed");
        assert!(error.contains("acked"), "{error}");
    }
}

#[test]
fn a_power_cut_while_the_journal_is_made_leaves_nothing_in_the_way() {
    let nothing = Model { groups: Vec::new(), acked: 0, proven: [1, 1] };
    let cut_while_opening = |disk: &MemoryDisk| {
        disk.record();
        nothing.check(disk).unwrap();
        let mut images = Vec::new();
        disk.take_history().iter().for_each(|platter| platter.for_each_image(&mut |image| images.push(image)));
        images
    };
    let images = cut_while_opening(&MemoryDisk::default());
    assert!(images.len() > 10);
    for image in images {
        for again in cut_while_opening(&MemoryDisk::holding(image)) {
            same(&MemoryDisk::holding(again), &[], "cut twice").unwrap();
        }
    }
}
