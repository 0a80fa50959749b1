//! `cargo run -p ringfort-sim -- [--seed N | --seeds COUNT [--from N]] [--mutant NAME] [--fault NAME]... [--trace]`: one
//! seed to look at, or many. `--replay FILE`: what the flight recorder of a crash report has, run again.

use std::process::ExitCode;

use ringfort_sim::Campaign;
use ringfort_sim::Plan;
use ringfort_sim::fault_named;
use ringfort_sim::mutant_named;
use ringfort_sim::promise_named;

fn main() -> ExitCode {
    let (mut seed, mut count, mut from, mut mutant, mut traced) = (None, 200, 0, None, false);
    let (mut faults, mut looks_for) = (Vec::new(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--trace" {
            traced = true;
            continue;
        }
        let value = arguments.next().unwrap_or_default();
        if argument == "--replay" {
            return replay(&value);
        }
        let number = value.parse::<u64>().ok();
        let known = match argument.as_str() {
            "--seed" => number.map(|number| seed = Some(number)),
            "--seeds" => number.map(|number| count = number),
            "--from" => number.map(|number| from = number),
            "--fault" => fault_named(&value).map(|fault| faults.push(fault)),
            "--promise" => promise_named(&value).map(|promise| looks_for = Some(promise)),
            "--mutant" => mutant_named(&value).map(|named| mutant = Some(named)),
            _ => None,
        };
        if known.is_none() {
            eprintln!(
                "--seed N | --seeds COUNT [--from N], with --mutant NAME, --promise NAME, --fault NAME (more than once), --trace; \
                 or --replay FILE"
            );
            return ExitCode::from(64);
        }
    }
    let faults = (!faults.is_empty()).then_some(faults);
    if let Some(seed) = seed {
        let report = ringfort_sim::run(&Plan { seed, faults, traced, mutant, looks_for });
        report.trace.iter().for_each(|line| println!("{line}"));
        println!("{}", report.in_words());
        return verdict(report.violation.is_none());
    }
    let campaign = Campaign::against(from, count, mutant, faults.as_deref(), looks_for);
    println!("{}", campaign.in_words());
    verdict(campaign.violation.is_none())
}

/// Shows what cores were told in a report, and whether they decide today as they did then.
fn replay(path: &str) -> ExitCode {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{path}: {error}");
            return ExitCode::from(66);
        }
    };
    match ringfort_sim::replay(&text) {
        Ok(replayed) => {
            replayed.lines.iter().for_each(|line| println!("{line}"));
            println!("{} tapes run again, {} differ, {} damaged", replayed.run, replayed.differ, replayed.damaged);
            verdict(replayed.differ == 0)
        }
        Err(error) => {
            eprintln!("{path} is no report: {error}");
            ExitCode::from(65)
        }
    }
}

/// 3 = a check failed, as everywhere in the product.
fn verdict(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::from(3) }
}
