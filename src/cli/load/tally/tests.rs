//! Counts add up and verdicts are what the page on load runs says.

use std::time::Duration;

use super::Tally;
use super::Trouble;
use super::Verdict;
use crate::cli::load::plan::Operation;

fn tally(answered: u64, failed: u64, missed: u64) -> Tally {
    let mut tally = Tally::new().map_err(|failure| failure.message).unwrap();
    for nth in 0..answered {
        tally.sent();
        tally.answered(Operation::Read, Duration::from_micros(100 + nth), 10);
    }
    for _ in 0..failed {
        tally.sent();
        tally.failed(Operation::Write, Trouble::Status(503));
    }
    tally.missed = missed;
    tally
}

#[test]
fn one_in_a_thousand_warns_and_more_fails() {
    assert_eq!(tally(1000, 0, 0).verdict(), Verdict::Good);
    assert_eq!(tally(999, 1, 0).verdict(), Verdict::Marred);
    assert_eq!(tally(999, 0, 1).verdict(), Verdict::Marred);
    assert_eq!(tally(998, 1, 1).verdict(), Verdict::Failed);
    assert_eq!(tally(0, 1, 0).verdict(), Verdict::Failed);
}

#[test]
fn the_histogram_adds_up_to_what_was_answered() {
    let mut tally = tally(500, 3, 2);
    tally.sent();
    tally.answered(Operation::Write, Duration::from_secs(7200), 0);
    tally.sent();
    let document = tally.json();
    assert_eq!(document["due"], 500 + 3 + 2 + 1 + 1);
    assert_eq!(document["unanswered"], 1);
    assert_eq!(document["writes"]["errors"]["503"], 3);
    assert_eq!(document["reads"]["bytes"], 5000);
    let counts = document["reads"]["histogram_us"].as_array().unwrap();
    assert_eq!(counts.iter().map(|pair| pair[1].as_u64().unwrap()).sum::<u64>(), 500);
    assert!(counts.iter().all(|pair| (100..=600).contains(&pair[0].as_u64().unwrap())));
    let p50 = document["reads"]["latency_us"]["p50"].as_u64().unwrap();
    assert!((348..=350).contains(&p50), "{p50}");
    // Later than the histogram reaches counts as its end, not as nothing.
    let max = document["writes"]["latency_us"]["max"].as_u64().unwrap();
    assert!(max >= 3_600_000_000, "{max}");
}
