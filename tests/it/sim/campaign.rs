//! Many runs: until one breaks a promise, or so many have shown that they do not.

use std::time::Duration;

use crate::check::Promise;
use crate::faults::Fault;
use crate::proto::mutant::Mutant;
use crate::world::Plan;
use crate::world::Report;
use crate::world::run;

/// Of a hundred runs at most so many may be rejected, because a fault of theirs never hit.
const REJECTED_PERCENT_MAX: u64 = 20;

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Campaign {
    /// Runs in which every fault of theirs hit.
    pub accepted: u64,
    /// Runs that have shown nothing.
    pub rejected: u64,
    /// The first run in which a promise was broken.
    pub violation: Option<(u64, Report)>,
    simulated: Duration,
    took: Duration,
    events: u64,
    checked: u64,
    acked: u64,
    /// Graves that went.
    pub purged: u64,
    /// Objects that were moved because two owners did not hold the same.
    pub repaired: u64,
}

impl Campaign {
    /// Runs seeds from `from` on until `count` of them are accepted or a promise is broken.
    pub fn run(from: u64, count: u64, mutant: Option<Mutant>) -> Self {
        Self::of(from, count, mutant, None)
    }

    /// The same with these faults in every run.
    pub fn of(from: u64, count: u64, mutant: Option<Mutant>, faults: Option<&[Fault]>) -> Self {
        Self::against(from, count, mutant, faults, None)
    }

    /// The same, looking for one broken promise only.
    pub fn against(
        from: u64,
        count: u64,
        mutant: Option<Mutant>,
        faults: Option<&[Fault]>,
        looks_for: Option<Promise>,
    ) -> Self {
        let mut campaign = Self::default();
        let began = processor_time();
        let seeds = from..from + count + count * REJECTED_PERCENT_MAX / 100 + 5;
        for seed in seeds {
            let report = run(&Plan { seed, faults: faults.map(<[Fault]>::to_vec), traced: false, mutant, looks_for });
            campaign.simulated += Duration::from_micros(report.simulated);
            campaign.events += report.events;
            campaign.checked += report.checked;
            campaign.acked += report.acked;
            campaign.purged += report.purged;
            campaign.repaired += report.repaired;
            if report.violation.is_some() {
                let traced =
                    run(&Plan { seed, faults: faults.map(<[Fault]>::to_vec), traced: true, mutant, looks_for });
                assert_eq!(traced.fingerprint, report.fingerprint, "seed {seed}: the same seed gave another run");
                campaign.violation = Some((seed, traced));
                break;
            }
            if report.missed.is_empty() {
                campaign.accepted += 1
            } else {
                campaign.rejected += 1
            }
            if campaign.accepted == count {
                break;
            }
        }
        campaign.took = processor_time() - began;
        campaign
    }

    /// Simulated seconds for one of the processor.
    pub fn pace(&self) -> f64 {
        self.simulated.as_secs_f64() / self.took.as_secs_f64()
    }

    /// For people.
    pub fn in_words(&self) -> String {
        let pace = self.pace();
        let mut text = format!(
            "{} runs accepted, {} rejected; {:.0} simulated seconds, {:.0} for one of the processor; {} events, {} answers checked, {} writes acked, {} objects repaired, {} graves purged",
            self.accepted,
            self.rejected,
            self.simulated.as_secs_f64(),
            pace,
            self.events,
            self.checked,
            self.acked,
            self.repaired,
            self.purged,
        );
        if let Some((seed, report)) = &self.violation {
            text +=
                &format!("\n{}\nreplay it with: cargo run -p ringfort-sim -- --seed {seed} --trace", report.in_words());
        }
        text
    }
}

/// What this thread has used of a processor: others may use the machine as well.
fn processor_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or(0))
}

impl Report {
    /// For people.
    pub fn in_words(&self) -> String {
        let verdict = match &self.violation {
            Some(violation) => format!("BROKEN, {:?}: {}", violation.0, violation.1),
            None if self.missed.is_empty() => "all promises held".to_owned(),
            None => format!("rejected: {:?} never hit", self.missed),
        };
        format!("{:?}, {} events, fingerprint {:016x}: {verdict}", self.faults, self.events, self.fingerprint)
    }
}

/// A mutant by its name.
pub fn mutant_named(name: &str) -> Option<Mutant> {
    ALL_MUTANTS.into_iter().find(|mutant| format!("{mutant:?}") == name)
}

/// A fault by its name.
pub fn fault_named(name: &str) -> Option<Fault> {
    Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == name)
}

/// A promise by its name.
pub fn promise_named(name: &str) -> Option<Promise> {
    use Promise::*;
    [Durable, Kept, Gone, Once, Failed, Dot, Well].into_iter().find(|promise| format!("{promise:?}") == name)
}

/// All of them.
pub const ALL_MUTANTS: [Mutant; 15] = [
    Mutant::AckAtWMinusOne,
    Mutant::SkipTheFsync,
    Mutant::ReuseAnIncarnation,
    Mutant::ReadAtRMinusOne,
    Mutant::ReadOnlyTheNewLayout,
    Mutant::AcceptAStaleEpoch,
    Mutant::CountWhatCameTooLate,
    Mutant::SyncedBeforeItIsDurable,
    Mutant::ForgetBeforeTheReceiverIsDurable,
    Mutant::NoWriteBack,
    Mutant::MergeDropsASibling,
    Mutant::LwwAcksALoser,
    Mutant::CountAHint,
    Mutant::CollectATombstoneEarly,
    Mutant::RepairOverwrites,
];
