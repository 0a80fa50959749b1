//! Waits after failures.

use crate::proto::throttle::Key;
use crate::proto::throttle::Rule;
use crate::proto::throttle::Throttle;
use crate::proto::throttle::Wait;

const RULE: Rule = Rule { free: 3, first_ms: 1000, max_ms: 60_000 };
const FORGET_MS: u64 = 600_000;

fn key(number: u8) -> Key {
    [number; 16]
}

#[test]
fn waits_begin_after_the_free_failures_double_and_end_at_the_cap() {
    let mut throttle = Throttle::new(10, FORGET_MS);
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..12 {
        while let Err(Wait { ms }) = throttle.begin(&[(key(1), RULE)], now) {
            waits.push(ms);
            now += ms;
        }
    }
    assert_eq!(waits, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
    // Another one is not held up by it, and quiet is forgotten.
    assert_eq!(throttle.begin(&[(key(2), RULE)], now), Ok(()));
    now += FORGET_MS;
    for _ in 0..3 {
        assert_eq!(throttle.begin(&[(key(1), RULE)], now), Ok(()));
    }
}

#[test]
fn many_attempts_at_once_count_like_many_in_a_row() {
    let mut throttle = Throttle::new(10, FORGET_MS);
    let taken = (0..1000).filter(|_| throttle.begin(&[(key(1), RULE)], 7).is_ok()).count();
    assert_eq!(taken, 4);
    // While it waits nothing is counted: the wait does not grow.
    assert_eq!(throttle.begin(&[(key(1), RULE)], 7), Err(Wait { ms: 1000 }));
    assert_eq!(throttle.begin(&[(key(1), RULE)], 1007), Ok(()));
}

#[test]
fn a_success_is_no_failure_and_a_refused_attempt_counts_nowhere() {
    let mut throttle = Throttle::new(10, FORGET_MS);
    for _ in 0..50 {
        assert_eq!(throttle.begin(&[(key(1), RULE)], 0), Ok(()));
        throttle.take_back(&key(1));
    }
    for _ in 0..4 {
        assert_eq!(throttle.begin(&[(key(2), RULE)], 0), Ok(()));
    }
    for _ in 0..50 {
        assert!(throttle.begin(&[(key(1), RULE), (key(2), RULE)], 0).is_err());
    }
    assert_eq!(throttle.begin(&[(key(1), RULE)], 0), Ok(()), "nothing was counted under the key that was free");
    throttle.forget(&key(2));
    assert_eq!(throttle.begin(&[(key(2), RULE)], 0), Ok(()));
}

#[test]
fn it_keeps_no_more_than_it_may_and_forgets_who_was_not_seen_for_longest() {
    let mut throttle = Throttle::new(3, FORGET_MS);
    for _ in 0..4 {
        throttle.begin(&[(key(0), RULE)], 0).unwrap();
    }
    for number in 1..=2 {
        throttle.begin(&[(key(number), RULE)], 0).unwrap();
    }
    assert!(throttle.begin(&[(key(0), RULE)], 0).is_err(), "it is among the last three");
    throttle.begin(&[(key(0), RULE)], 1000).unwrap();
    for number in 3..=5 {
        throttle.begin(&[(key(number), RULE)], 1000).unwrap();
        assert!(throttle.records.len() <= 3 && throttle.order.len() == throttle.records.len());
    }
    assert_eq!(throttle.begin(&[(key(0), RULE)], 1000), Ok(()));
}

#[test]
fn no_number_of_failures_overflows() {
    for failures in [0, 3, 4, 66, 67, 68, 70, u32::MAX] {
        assert!(RULE.wait_ms(failures) <= RULE.max_ms);
    }
    assert_eq!(RULE.wait_ms(u32::MAX), RULE.max_ms);
}
