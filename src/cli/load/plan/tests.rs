//! The schedule is what it is said to be.

use std::time::Duration;

use super::Arrival;
use super::Operation;
use super::Plan;
use super::Shape;

const SHAPE: Shape = Shape { rate: 10_000, length: Duration::from_secs(20), mix: 95, devices: 1_000_000, seed: 7 };

fn all(shape: Shape) -> Vec<Arrival> {
    let mut plan = Plan::new(shape);
    std::iter::from_fn(|| plan.next(Duration::ZERO)).collect()
}

#[test]
fn arrivals_are_a_poisson_process_of_the_asked_rate() {
    let arrivals = all(SHAPE);
    // 200,000 expected; five standard deviations are 2,236.
    assert!((197_764..202_236).contains(&arrivals.len()), "{}", arrivals.len());
    assert!(arrivals.is_sorted_by_key(|arrival| arrival.due));
    assert!(arrivals.iter().all(|arrival| arrival.due < SHAPE.length));
    // In a Poisson process the variance of counts equals their mean, here 10 a millisecond.
    let mut counts = vec![0.0_f64; 20_000];
    arrivals.iter().for_each(|arrival| counts[arrival.due.as_millis() as usize] += 1.0);
    let mean = counts.iter().sum::<f64>() / 20_000.0;
    let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 20_000.0;
    assert!((0.94..1.06).contains(&(variance / mean)), "{}", variance / mean);
}

#[test]
fn operations_and_devices_are_drawn_as_asked() {
    let arrivals = all(SHAPE);
    let reads = arrivals.iter().filter(|arrival| arrival.operation == Operation::Read).count();
    let share = reads as f64 / arrivals.len() as f64;
    assert!((0.947..0.953).contains(&share), "{share}");
    assert!(arrivals.iter().all(|arrival| arrival.device < SHAPE.devices));
    let low = arrivals.iter().filter(|arrival| arrival.device < SHAPE.devices / 4).count();
    let share = low as f64 / arrivals.len() as f64;
    assert!((0.245..0.255).contains(&share), "{share}");
    for (mix, operation) in [(0, Operation::Write), (100, Operation::Read)] {
        assert!(all(Shape { mix, ..SHAPE }).iter().all(|arrival| arrival.operation == operation), "{mix}");
    }
}

#[test]
fn a_seed_is_a_schedule() {
    assert_eq!(all(SHAPE), all(SHAPE));
    assert_ne!(all(SHAPE), all(Shape { seed: 8, ..SHAPE }));
}

#[test]
fn what_was_not_taken_is_counted() {
    let mut plan = Plan::new(SHAPE);
    let taken = std::iter::from_fn(|| plan.next(Duration::ZERO)).take(1000).count();
    let total = all(SHAPE).len();
    assert_eq!(taken as u64 + plan.rest(SHAPE.length), total as u64);
    assert_eq!(plan.next(Duration::ZERO), None, "the schedule has ended");
    let mut early = Plan::new(SHAPE);
    let half = all(SHAPE).iter().filter(|arrival| arrival.due < SHAPE.length / 2).count();
    assert_eq!(early.rest(SHAPE.length / 2), half as u64);
}

#[test]
fn a_closed_loop_is_due_when_it_is_asked() {
    let mut plan = Plan::new(Shape { rate: 0, ..SHAPE });
    assert_eq!(plan.next(Duration::from_secs(3)).unwrap().due, Duration::from_secs(3));
    assert_eq!(plan.next(SHAPE.length), None);
    assert_eq!(plan.rest(SHAPE.length), 0);
}
