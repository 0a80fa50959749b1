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

const OPERATIONS: [(Operation, &str); 6] = [
    (Operation::Get, "get"),
    (Operation::Put, "put"),
    (Operation::Delete, "delete"),
    (Operation::List, "list"),
    (Operation::Batch, "batch"),
    (Operation::Other, "other"),
];

/// Response classes counted: 1xx to 5xx.
const CLASSES: usize = 5;

/// Histogram buckets: powers of two of microseconds, up to 2^23 (8.4 s).
const LATENCY_BUCKETS: usize = 24;

#[derive(Default)]
struct PerOperation {
    classes: [AtomicU64; CLASSES],
    latency: [AtomicU64; LATENCY_BUCKETS],
    latency_us: AtomicU64,
}

/// Counters of one node.
#[derive(Default)]
pub struct Telemetry {
    operations: [PerOperation; OPERATIONS.len()],
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
        let bucket = usize::try_from(u64::BITS - us.leading_zeros()).unwrap_or(0).min(LATENCY_BUCKETS - 1);
        if let Some(counter) = counters.latency.get(bucket) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        counters.latency_us.fetch_add(us, Ordering::Relaxed);
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
            let mut sum = 0;
            for (power, counter) in counters.latency.iter().enumerate() {
                sum += counter.load(Ordering::Relaxed);
                let le = micros(1_u64 << power);
                writeln!(text, "ringfort_request_seconds_bucket{{operation=\"{name}\",le=\"{le}\"}} {sum}")?;
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

    use super::Operation;
    use super::Telemetry;

    #[test]
    fn a_request_is_counted_in_its_class_and_its_bucket() {
        let telemetry = Telemetry::default();
        telemetry.answered(Operation::Put, 200, Duration::from_micros(900));
        telemetry.answered(Operation::Put, 507, Duration::from_secs(3600));
        let text = telemetry.prometheus(&[]);
        for line in [
            "ringfort_requests_total{operation=\"put\",class=\"2xx\"} 1",
            "ringfort_requests_total{operation=\"put\",class=\"5xx\"} 1",
            "ringfort_request_seconds_bucket{operation=\"put\",le=\"0.000512\"} 0",
            "ringfort_request_seconds_bucket{operation=\"put\",le=\"0.001024\"} 1",
            "ringfort_request_seconds_bucket{operation=\"put\",le=\"+Inf\"} 2",
            "ringfort_request_seconds_count{operation=\"get\"} 0",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} not in\n{text}");
        }
    }
}
