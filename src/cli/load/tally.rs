//! What a load run measured: latencies of what was answered, counts of everything else. Nothing due is left out: it was
//! answered, it failed, it is unanswered, or it was missed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::Value;
use serde_json::json;

use crate::base::limits::LOAD_LATENCY_MAX;
use crate::cli::load::plan::Operation;
use crate::cli::output::Failure;

/// The percentiles that are shown: where most are, and what a device meets once in a hundred and in a thousand times.
const PERCENTILES: [(&str, f64); 4] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99_9", 99.9)];

/// Of a thousand requests, how many may fail or be missed before the run counts as failed.
const TROUBLED_PER_MILLE_MAX: u64 = 1;

/// Why a request has no proper answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The node refused, with this status.
    Status(u16),
    /// The connection broke before the whole answer was there.
    Broken,
    /// No answer within [`crate::base::limits::LOAD_ANSWER_TIMEOUT`].
    TimedOut,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Broken => f.write_str("broken"),
            Self::TimedOut => f.write_str("timed_out"),
        }
    }
}

/// One kind of operation.
struct Side {
    /// Microseconds from due to the answer's last byte.
    latencies: Histogram<u64>,
    /// Reads of a key that has no value: answers, too.
    absent: u64,
    bytes: u64,
    troubles: BTreeMap<Trouble, u64>,
}

impl Side {
    fn new() -> Result<Self, Failure> {
        let max = u64::try_from(LOAD_LATENCY_MAX.as_micros()).unwrap_or(u64::MAX);
        let latencies = Histogram::new_with_bounds(1, max, 3).map_err(|error| {
            Failure::new(crate::base::exit::Exit::Internal, format!("histogram: {error}; nothing was sent"))
        })?;
        Ok(Self { latencies, absent: 0, bytes: 0, troubles: BTreeMap::new() })
    }

    fn failed(&self) -> u64 {
        self.troubles.values().sum()
    }

    fn json(&self) -> Value {
        let mut latency =
            json!({ "min": self.latencies.min(), "mean": self.latencies.mean(), "max": self.latencies.max() });
        for (name, percentile) in PERCENTILES {
            if let Some(members) = latency.as_object_mut() {
                members.insert(name.to_owned(), self.latencies.value_at_percentile(percentile).into());
            }
        }
        let troubles: BTreeMap<String, u64> =
            self.troubles.iter().map(|(why, count)| (why.to_string(), *count)).collect();
        let histogram: Vec<[u64; 2]> = self
            .latencies
            .iter_recorded()
            .map(|step| [step.value_iterated_to(), step.count_since_last_iteration()])
            .collect();
        json!({
            "answered": self.latencies.len(),
            "absent": self.absent,
            "failed": self.failed(),
            "errors": troubles,
            "bytes": self.bytes,
            "latency_us": latency,
            "histogram_us": histogram,
        })
    }

    fn row(&self, name: &str) -> Vec<String> {
        let mut row = vec![name.to_owned(), self.latencies.len().to_string()];
        row.extend(PERCENTILES.map(|(_, percentile)| milliseconds(self.latencies.value_at_percentile(percentile))));
        row.extend([milliseconds(self.latencies.max()), self.failed().to_string()]);
        row
    }
}

/// A latency for people.
pub fn milliseconds(micros: u64) -> String {
    format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)
}

/// Everything measured.
pub struct Tally {
    reads: Side,
    writes: Side,
    sent: u64,
    /// Due within the run, but no connection was free to send it.
    pub missed: u64,
    /// How often a connection went to another node because it was told to.
    pub moved: u64,
    /// From the first request's due time to the end.
    pub elapsed: Duration,
    /// Whether somebody ended it early.
    pub interrupted: bool,
}

impl Tally {
    /// Nothing yet.
    ///
    /// # Errors
    /// None is known: the histogram's bounds are constants.
    pub fn new() -> Result<Self, Failure> {
        let (reads, writes) = (Side::new()?, Side::new()?);
        Ok(Self { reads, writes, sent: 0, missed: 0, moved: 0, elapsed: Duration::ZERO, interrupted: false })
    }

    fn side(&mut self, operation: Operation) -> &mut Side {
        match operation {
            Operation::Read => &mut self.reads,
            Operation::Write => &mut self.writes,
        }
    }

    /// A request went out.
    pub fn sent(&mut self) {
        self.sent += 1;
    }

    /// It was answered, this long after it was due.
    pub fn answered(&mut self, operation: Operation, latency: Duration, bytes: usize) {
        let side = self.side(operation);
        side.latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        side.bytes += bytes as u64;
    }

    /// The answer before was that there is no value.
    pub fn was_absent(&mut self, operation: Operation) {
        self.side(operation).absent += 1;
    }

    /// It has no proper answer.
    pub fn failed(&mut self, operation: Operation, why: Trouble) {
        *self.side(operation).troubles.entry(why).or_default() += 1;
    }

    /// Answers so far.
    pub fn answers(&self) -> u64 {
        self.reads.latencies.len() + self.writes.latencies.len()
    }

    /// Requests without a proper answer so far.
    pub fn failures(&self) -> u64 {
        self.reads.failed() + self.writes.failed()
    }

    /// Sent, and neither answered nor failed when the run ended.
    fn unanswered(&self) -> u64 {
        self.sent.saturating_sub(self.answers() + self.failures())
    }

    /// Answers a second.
    pub fn rate(&self) -> f64 {
        self.answers() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// A latency of reads and writes together, in microseconds.
    pub fn latency_us(&self, percentile: f64) -> u64 {
        let mut both = self.reads.latencies.clone();
        // Both have the same bounds.
        let _fits = both.add(&self.writes.latencies);
        both.value_at_percentile(percentile)
    }

    /// Whether all went well, nearly all, or too little.
    pub fn verdict(&self) -> Verdict {
        let troubled = self.failures() + self.missed;
        match self.sent + self.missed {
            _ if troubled == 0 => Verdict::Good,
            due if troubled * 1000 <= due * TROUBLED_PER_MILLE_MAX => Verdict::Marred,
            _due => Verdict::Failed,
        }
    }

    /// For programs; docs/load.md explains the members.
    pub fn json(&self) -> Value {
        json!({
            "elapsed_s": self.elapsed.as_secs_f64(),
            "interrupted": self.interrupted,
            "due": self.sent + self.missed,
            "answered": self.answers(),
            "failed": self.failures(),
            "missed": self.missed,
            "unanswered": self.unanswered(),
            "moved": self.moved,
            "rate_achieved": self.rate(),
            "reads": self.reads.json(),
            "writes": self.writes.json(),
        })
    }

    /// For people: a table.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let head = ["", "ANSWERED", "P50", "P90", "P99", "P99.9", "MAX", "FAILED"].map(str::to_owned).to_vec();
        vec![head, self.reads.row("reads"), self.writes.row("writes")]
    }

    /// For people: what the table does not say.
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = vec![format!(
            "{} requests were due in {:.1} s: {} answered ({:.1}/s), {} failed, {} missed",
            self.sent + self.missed,
            self.elapsed.as_secs_f64(),
            self.answers(),
            self.rate(),
            self.failures(),
            self.missed
        )];
        for (name, side) in [("reads", &self.reads), ("writes", &self.writes)] {
            let troubles: Vec<String> = side.troubles.iter().map(|(why, count)| format!("{count} × {why}")).collect();
            if !troubles.is_empty() {
                sentences.push(format!("{name} that failed, by status: {}", troubles.join(", ")));
            }
        }
        let kib = |bytes: u64| bytes / 1024;
        sentences.push(format!("{} KiB read, {} KiB written", kib(self.reads.bytes), kib(self.writes.bytes)));
        if self.reads.absent > 0 {
            sentences.push(format!(
                "{} reads found no value, because nothing was written there; --fill writes one for every device first",
                self.reads.absent
            ));
        }
        if self.moved > 0 {
            sentences.push(format!("{} times a connection went to another node, as it was told to", self.moved));
        }
        if self.missed > 0 {
            sentences.push(
                "missed: they were due, but every connection was still waiting for an answer until the run ended"
                    .to_owned(),
            );
        }
        if self.unanswered() > 0 {
            sentences.push(format!("{} had no answer yet when the run was ended", self.unanswered()));
        }
        sentences
    }
}

/// How a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All that was due was answered.
    Good,
    /// Up to one in a thousand failed or was missed.
    Marred,
    /// More than that.
    Failed,
}

#[cfg(test)]
mod tests;
