//! The simulator's verdicts: the shipped cores keep the promises under every fault, and a core with one rule broken is
//! caught. `RINGFORT_SEEDS` sets how many seeds are run.

use ringfort_sim::ALL_MUTANTS;
use ringfort_sim::Campaign;
use ringfort_sim::Fault;
use ringfort_sim::Mutant;
use ringfort_sim::Plan;
use ringfort_sim::Promise;
use ringfort_sim::run;

use crate::wire;

/// Seeds within which a mutant has to be caught.
const MUTANT_SEEDS: u64 = 200;
/// Caught by few of thousands of seeds, as they take a slow disk and a lagging view at the very same moment: looked for by
/// hand (docs/adr/0017-simulator.md).
const RARE: [Mutant; 2] = [Mutant::CountWhatCameTooLate, Mutant::SyncedBeforeItIsDurable];

#[test]
fn no_seed_breaks_a_promise() {
    let seeds = wire::setting("RINGFORT_SEEDS", 200);
    let campaign = Campaign::run(0, seeds, None);
    println!("{}", campaign.in_words());
    if let Some((_, report)) = &campaign.violation {
        report.trace.iter().for_each(|line| println!("{line}"));
    }
    assert!(campaign.violation.is_none(), "{}", campaign.in_words());
    assert_eq!(campaign.accepted, seeds, "too many runs in which a fault never hit");
}

#[test]
fn a_thousand_seconds_pass_in_one() {
    // Three nodes, fifty operations a second, and whatever may go wrong with them.
    let rough = [Fault::Loss, Fault::Twice, Fault::Late, Fault::Crash, Fault::Split, Fault::Pause, Fault::SlowDisk];
    let campaign = Campaign::of(0, 20, None, Some(&rough));
    println!("{}", campaign.in_words());
    assert!(campaign.violation.is_none() && campaign.pace() >= 1000.0, "{}", campaign.in_words());
}

#[test]
fn every_mutant_is_caught() {
    // By what devices see of it, not by the bookkeeping alone: only the named promise counts as broken.
    let broken = |mutant| match mutant {
        Mutant::MergeDropsASibling => Promise::Kept,
        Mutant::LwwAcksALoser | Mutant::CollectATombstoneEarly => Promise::Gone,
        Mutant::AckAtWMinusOne
        | Mutant::SkipTheFsync
        | Mutant::ReuseAnIncarnation
        | Mutant::ReadAtRMinusOne
        | Mutant::ReadOnlyTheNewLayout
        | Mutant::AcceptAStaleEpoch
        | Mutant::CountWhatCameTooLate
        | Mutant::SyncedBeforeItIsDurable
        | Mutant::ForgetBeforeTheReceiverIsDurable
        | Mutant::NoWriteBack
        | Mutant::CountAHint
        | Mutant::RepairOverwrites => Promise::Durable,
    };
    for mutant in ALL_MUTANTS.into_iter().filter(|mutant| !RARE.contains(mutant)) {
        let campaign = Campaign::against(0, MUTANT_SEEDS, Some(mutant), None, Some(broken(mutant)));
        let Some((seed, report)) = &campaign.violation else {
            panic!("{mutant:?} lived through {MUTANT_SEEDS} seeds");
        };
        println!("{mutant:?} is caught by seed {seed}: {}", report.in_words());
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..5 {
        let plan = |traced| Plan { seed, faults: None, traced, mutant: None, looks_for: None };
        let (one, two, silent) = (run(&plan(true)), run(&plan(true)), run(&plan(false)));
        assert_eq!((one.fingerprint, &one.trace), (two.fingerprint, &two.trace));
        assert_eq!((one.fingerprint, one.events), (silent.fingerprint, silent.events), "looking changes nothing");
        assert!(!one.trace.is_empty());
    }
}

#[test]
fn a_run_whose_fault_never_hits_is_known_for_it() {
    // With one fault after another, each hits in some seed; and a run without any is rejected by none.
    let calm = run(&Plan { seed: 1, faults: Some(vec![]), traced: false, mutant: None, looks_for: None });
    assert_eq!((calm.violation, calm.missed), (None, vec![]));
    for fault in Fault::ALL {
        let hit = (0..20).any(|seed| {
            let report = run(&Plan { seed, faults: Some(vec![fault]), traced: false, mutant: None, looks_for: None });
            assert_eq!(report.violation, None, "{fault:?}, seed {seed}");
            report.missed.is_empty()
        });
        assert!(hit, "{fault:?}");
    }
}
