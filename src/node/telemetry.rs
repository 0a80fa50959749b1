//! What a node counts about itself, and its rendering for Prometheus. Labels are closed enums, never user input.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What a request asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading a value.
    Get,
    /// Writing a value.
    Put,
    /// Deleting a value.
    Delete,
    /// Listing keys.
    List,
    /// Many at once.
    Batch,
    /// Everything else.
    Other,
}

/// How many operations are told apart.
pub const OPERATION_COUNT: usize = 6;

/// All operations with their names, in the order in which they are shown.
pub const OPERATIONS: [(Operation, &str); OPERATION_COUNT] = [
    (Operation::Get, "get"),
    (Operation::Put, "put"),
    (Operation::Delete, "delete"),
    (Operation::List, "list"),
    (Operation::Batch, "batch"),
    (Operation::Other, "other"),
];

/// Response classes counted: 1xx to 5xx.
const CLASSES: usize = 5;

/// Powers of two of microseconds that latencies are told apart by: up to 2^23 (8.4 s).
const LATENCY_POWERS: usize = 23;
/// Steps between two powers: a quantile read from the histogram is off by an eighth at most.
const LATENCY_STEPS: usize = 4;
/// Counters of one histogram; the last one is for everything longer.
pub const LATENCY_BUCKETS: usize = (LATENCY_POWERS - 1) * LATENCY_STEPS + 1;

struct PerOperation {
    classes: [AtomicU64; CLASSES],
    latency: [AtomicU64; LATENCY_BUCKETS],
    latency_us: AtomicU64,
}

impl Default for PerOperation {
    fn default() -> Self {
        let zero = |_| AtomicU64::new(0);
        Self { classes: std::array::from_fn(zero), latency: std::array::from_fn(zero), latency_us: AtomicU64::new(0) }
    }
}

/// The bucket of a latency: four to each power of two, from 0 µs on.
fn bucket_of(us: u64) -> usize {
    let Some(power) = us.checked_ilog2().filter(|power| *power >= 2) else { return usize::try_from(us).unwrap_or(0) };
    let step = (us >> (power - 2)) & 3;
    let bucket = u64::from(power - 1) * 4 + step;
    usize::try_from(bucket).map_or(LATENCY_BUCKETS - 1, |bucket| bucket.min(LATENCY_BUCKETS - 1))
}

/// The least latency of a bucket in microseconds: the inverse of [`bucket_of`].
#[must_use]
pub fn bucket_floor_us(bucket: usize) -> u64 {
    let (power, step) = (bucket / LATENCY_STEPS, (bucket % LATENCY_STEPS) as u64);
    if power == 0 { step } else { (4 + step) << (power - 1) }
}

/// What one operation has counted since the start.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Answers by class, 1xx to 5xx.
    pub classes: [u64; CLASSES],
    /// Answers by [`bucket_floor_us`].
    pub latency: [u64; LATENCY_BUCKETS],
}

/// Counters of one node.
#[derive(Default)]
pub struct Telemetry {
    operations: [PerOperation; OPERATION_COUNT],
}

/// A number with its name, for `/metrics`.
pub struct Gauge {
    /// `ringfort_<noun>_<unit>[_total]`.
    pub name: &'static str,
    /// For people.
    pub help: &'static str,
    /// The number.
    pub value: u64,
}

impl Telemetry {
    /// Counts one answered request.
    pub fn answered(&self, operation: Operation, status: u16, took: Duration) {
        let at = OPERATIONS.iter().position(|(known, _)| *known == operation);
        let Some(counters) = at.and_then(|at| self.operations.get(at)) else { return };
        let class = usize::from(status / 100).saturating_sub(1).min(CLASSES - 1);
        if let Some(counter) = counters.classes.get(class) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(counter) = counters.latency.get(bucket_of(us)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        counters.latency_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Requests answered so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        let classes = self.operations.iter().flat_map(|counters| &counters.classes);
        classes.map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    /// Requests for values among them.
    #[must_use]
    pub fn of_values(&self) -> u64 {
        let values = OPERATIONS.iter().zip(&self.operations).filter(|((known, _), _)| *known != Operation::Other);
        values.flat_map(|(_, counters)| &counters.classes).map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    /// What was counted so far, in the order of [`OPERATIONS`].
    #[must_use]
    pub fn counts(&self) -> [Counts; OPERATION_COUNT] {
        self.operations.each_ref().map(|counters| Counts {
            classes: counters.classes.each_ref().map(|counter| counter.load(Ordering::Relaxed)),
            latency: counters.latency.each_ref().map(|counter| counter.load(Ordering::Relaxed)),
        })
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn prometheus(&self, gauges: &[Gauge]) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _infallible = self.write(&mut text, gauges);
        text
    }

    fn write(&self, text: &mut String, gauges: &[Gauge]) -> std::fmt::Result {
        writeln!(text, "# HELP ringfort_requests_total Requests answered, by operation and response class.")?;
        writeln!(text, "# TYPE ringfort_requests_total counter")?;
        for ((_, name), counters) in OPERATIONS.iter().zip(&self.operations) {
            for (class, counter) in (1..).zip(&counters.classes) {
                let count = counter.load(Ordering::Relaxed);
                writeln!(text, "ringfort_requests_total{{operation=\"{name}\",class=\"{class}xx\"}} {count}")?;
            }
        }
        writeln!(text, "# HELP ringfort_request_seconds Time from a request's head to its answer's head.")?;
        writeln!(text, "# TYPE ringfort_request_seconds histogram")?;
        for ((_, name), counters) in OPERATIONS.iter().zip(&self.operations) {
            let (mut sum, mut power) = (0, 0);
            for (bucket, counter) in counters.latency.iter().enumerate() {
                // Prometheus gets the powers only: four times as many series would tell an alert nothing more.
                while bucket_floor_us(bucket) >= 1 << power {
                    let le = micros(1 << power);
                    writeln!(text, "ringfort_request_seconds_bucket{{operation=\"{name}\",le=\"{le}\"}} {sum}")?;
                    power += 1;
                }
                sum += counter.load(Ordering::Relaxed);
            }
            writeln!(text, "ringfort_request_seconds_bucket{{operation=\"{name}\",le=\"+Inf\"}} {sum}")?;
            let total = micros(counters.latency_us.load(Ordering::Relaxed));
            writeln!(text, "ringfort_request_seconds_sum{{operation=\"{name}\"}} {total}")?;
            writeln!(text, "ringfort_request_seconds_count{{operation=\"{name}\"}} {sum}")?;
        }
        for Gauge { name, help, value } in gauges {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")?;
        }
        Ok(())
    }
}

/// Seconds with six digits.
fn micros(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::LATENCY_BUCKETS;
    use super::Operation;
    use super::Telemetry;
    use super::bucket_floor_us;
    use super::bucket_of;

    #[test]
    fn every_latency_has_the_bucket_that_it_lies_in() {
        for us in (0..70_000).chain([1 << 22, (1 << 23) - 1, 1 << 23, u64::MAX]) {
            let bucket = bucket_of(us);
            assert!(bucket_floor_us(bucket) <= us, "{us}");
            assert!(bucket == LATENCY_BUCKETS - 1 || us < bucket_floor_us(bucket + 1), "{us}");
        }
        assert_eq!(bucket_of(1 << 23), LATENCY_BUCKETS - 1);
        assert_eq!(bucket_floor_us(LATENCY_BUCKETS - 1), 1 << 23);
    }

    #[test]
    fn a_request_is_counted_in_its_class_and_its_bucket() {
        let telemetry = Telemetry::default();
        telemetry.answered(Operation::Put, 200, Duration::from_micros(900));
        telemetry.answered(Operation::Put, 507, Duration::from_secs(3600));
        let text = telemetry.prometheus(&[]);
        for line in [
            "ringfort_requests_total{operation=\"put\",class=\"2xx\"} 1",
            "ringfort_requests_total{operation=\"put\",class=\"5xx\"} 1",
            "ringfort_request_seconds_bucket{operation=\"put\",le=\"0.000001\"} 0",
            "ringfort_request_seconds_bucket{operation=\"put\",le=\"8.388608\"} 1",
            "ringfort_request_seconds_bucket{operation=\"put\",le=\"0.000512\"} 0",
            "ringfort_request_seconds_bucket{operation=\"put\",le=\"0.001024\"} 1",
            "ringfort_request_seconds_bucket{operation=\"put\",le=\"+Inf\"} 2",
            "ringfort_request_seconds_count{operation=\"get\"} 0",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} not in\n{text}");
        }
    }
}
