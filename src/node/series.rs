//! What happened lately, for people who watch: differences of the counters every five seconds for fifteen minutes and
//! every minute for a day, in rings of fixed size. Requests pay nothing for it: they count as before, one task looks.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::watch;

use crate::base::limits::FORECAST_HISTORY_MIN;
use crate::base::limits::FORECAST_WINDOW;
use crate::base::limits::SAMPLE_COARSE_EVERY;
use crate::base::limits::SAMPLE_EVERY;
use crate::base::limits::SAMPLES_COARSE;
use crate::base::limits::SAMPLES_FINE;
use crate::base::limits::SAMPLES_LAST_MINUTE;
use crate::base::limits::TASK_SAMPLE_EVERY;
use crate::base::tasks;
use crate::base::time;
use crate::node::Node;
use crate::node::telemetry::Counts;
use crate::node::telemetry::LATENCY_BUCKETS;
use crate::node::telemetry::OPERATION_COUNT;
use crate::node::telemetry::bucket_floor_us;
use crate::node::worker;

/// A forecast that lies further ahead is none.
const FORECAST_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// All counters at one instant.
#[derive(Debug, Clone)]
pub struct Counters {
    /// By the wall clock, for people.
    pub at_ms: u64,
    /// Milliseconds since the node's start, which is what rates are made of.
    pub mono_ms: u64,
    /// By operation.
    pub operations: [Counts; OPERATION_COUNT],
    /// Records made durable.
    pub records: u64,
    /// Syncs that it took.
    pub syncs: u64,
    /// Free bytes of the disk, where they could be seen.
    pub disk_free: Option<u64>,
}

/// One operation between two instants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OperationSample {
    /// Answers.
    pub count: u32,
    /// Those of class 5xx.
    pub failed: u32,
    /// Half of the answers came within.
    pub p50_us: Option<u32>,
    /// 99 of 100 answers came within.
    pub p99_us: Option<u32>,
}

/// What happened between two instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The later instant.
    pub at_ms: u64,
    /// The same since the node's start.
    pub mono_ms: u64,
    /// How long it was; 0 for the first one.
    pub span_ms: u64,
    /// By operation, in the order of [`crate::node::telemetry::OPERATIONS`].
    pub operations: [OperationSample; OPERATION_COUNT],
    /// Records made durable.
    pub records: u64,
    /// Syncs that it took.
    pub syncs: u64,
    /// Free bytes of the disk at the end.
    pub disk_free: Option<u64>,
}

impl Sample {
    /// What happened from one instant to a later one.
    #[must_use]
    pub fn between(from: &Counters, to: &Counters) -> Self {
        let pairs = from.operations.iter().zip(&to.operations);
        let mut operations = [OperationSample::default(); OPERATION_COUNT];
        for (sample, (from, to)) in operations.iter_mut().zip(pairs) {
            *sample = OperationSample::between(from, to);
        }
        Self {
            at_ms: to.at_ms,
            mono_ms: to.mono_ms,
            span_ms: to.mono_ms.saturating_sub(from.mono_ms),
            operations,
            records: to.records.saturating_sub(from.records),
            syncs: to.syncs.saturating_sub(from.syncs),
            disk_free: to.disk_free,
        }
    }

    /// A count as a rate: so many a second.
    #[must_use]
    pub fn per_second(&self, count: u64) -> f64 {
        if self.span_ms == 0 { 0.0 } else { count as f64 * 1000.0 / self.span_ms as f64 }
    }

    /// Acks that one sync was good for; `None` where nothing was synced.
    #[must_use]
    pub fn acks_per_sync(&self) -> Option<f64> {
        (self.syncs > 0).then(|| self.records as f64 / self.syncs as f64)
    }
}

impl OperationSample {
    fn between(from: &Counts, to: &Counts) -> Self {
        let mut latency = [0; LATENCY_BUCKETS];
        for (bucket, (from, to)) in latency.iter_mut().zip(from.latency.iter().zip(&to.latency)) {
            *bucket = to.saturating_sub(*from);
        }
        let all = |counts: &Counts| counts.classes.iter().sum::<u64>();
        let failed = |counts: &Counts| counts.classes.last().copied().unwrap_or(0);
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            count: narrow(all(to).saturating_sub(all(from))),
            failed: narrow(failed(to).saturating_sub(failed(from))),
            p50_us: quantile_us(&latency, 50).map(narrow),
            p99_us: quantile_us(&latency, 99).map(narrow),
        }
    }
}

/// The latency within which so many of 100 lie, read between the ends of its bucket.
pub(super) fn quantile_us(latency: &[u64; LATENCY_BUCKETS], percent: u64) -> Option<u64> {
    let all: u64 = latency.iter().sum();
    let rank = (all * percent).div_ceil(100);
    let mut below = 0;
    for (bucket, count) in latency.iter().enumerate() {
        if *count > 0 && below + count >= rank {
            let (floor, ceiling) = (bucket_floor_us(bucket), bucket_floor_us(bucket + 1));
            return Some(floor + (ceiling - floor) * (rank - below) / count);
        }
        below += count;
    }
    None
}

/// The rings.
pub struct Series {
    fine: VecDeque<Sample>,
    coarse: VecDeque<Sample>,
    /// Counters of the last minute, oldest first.
    lately: VecDeque<Counters>,
    /// Where the next coarse sample begins.
    coarse_from: Option<Counters>,
}

impl Default for Series {
    /// Empty, with all the memory that it will ever have.
    fn default() -> Self {
        Self {
            fine: VecDeque::with_capacity(SAMPLES_FINE),
            coarse: VecDeque::with_capacity(SAMPLES_COARSE),
            lately: VecDeque::with_capacity(SAMPLES_LAST_MINUTE + 1),
            coarse_from: None,
        }
    }
}

impl Series {
    /// Notes what happened since the last time.
    pub fn add(&mut self, now: Counters) {
        if let Some(last) = self.lately.back() {
            push(&mut self.fine, SAMPLES_FINE, Sample::between(last, &now));
        }
        let coarse_from = self.coarse_from.get_or_insert_with(|| now.clone());
        if now.mono_ms.saturating_sub(coarse_from.mono_ms) >= time::millis(SAMPLE_COARSE_EVERY) {
            push(&mut self.coarse, SAMPLES_COARSE, Sample::between(coarse_from, &now));
            *coarse_from = now.clone();
        }
        push(&mut self.lately, SAMPLES_LAST_MINUTE + 1, now);
    }

    /// What the last minute was like; the beginning of the node where that is less long ago.
    #[must_use]
    pub fn last_minute(&self) -> Option<Sample> {
        Some(Sample::between(self.lately.front()?, self.lately.back()?))
    }

    /// When the disk is down to its reserve at the present rate.
    #[must_use]
    pub fn forecast(&self, reserve: u64) -> Forecast {
        forecast(&self.coarse, reserve)
    }
}

fn push<T>(ring: &mut VecDeque<T>, max: usize, item: T) {
    if ring.len() >= max {
        ring.pop_front();
    }
    ring.push_back(item);
}

/// When the disk is down to its reserve, if it goes on like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forecast {
    /// Nobody can say yet.
    TooEarly {
        /// Seconds of history there are.
        have_s: u64,
        /// Seconds of history needed.
        need_s: u64,
    },
    /// Free space does not shrink so that it would matter.
    Steady {
        /// Seconds of history looked at.
        over_s: u64,
    },
    /// In so many seconds.
    In {
        /// From now on.
        seconds: u64,
        /// Bytes used up a day.
        bytes_per_day: u64,
        /// Seconds of history looked at.
        over_s: u64,
    },
    /// Already.
    Reached,
}

/// The line of least squares through free space, prolonged to the reserve.
fn forecast(samples: &VecDeque<Sample>, reserve: u64) -> Forecast {
    let window_ms = time::millis(FORECAST_WINDOW);
    let last_ms = samples.back().map_or(0, |last| last.mono_ms);
    let lately = samples.iter().filter(|sample| last_ms - sample.mono_ms <= window_ms);
    let points: Vec<(f64, f64)> =
        lately.filter_map(|sample| Some((sample.mono_ms as f64 / 1000.0, sample.disk_free? as f64))).collect();
    let need_s = FORECAST_HISTORY_MIN.as_secs();
    let span_s = points.last().zip(points.first()).map_or(0.0, |(last, first)| last.0 - first.0);
    let have_s = whole(span_s);
    let free = samples.back().and_then(|last| last.disk_free);
    if free.is_some_and(|free| free <= reserve) {
        return Forecast::Reached;
    }
    let (Some(free), true) = (free, have_s >= need_s) else { return Forecast::TooEarly { have_s, need_s } };
    let per_second = -slope(&points);
    let seconds = (free.saturating_sub(reserve)) as f64 / per_second;
    if per_second <= 0.0 || seconds > FORECAST_MAX.as_secs_f64() {
        return Forecast::Steady { over_s: have_s };
    }
    Forecast::In { seconds: whole(seconds), bytes_per_day: whole(per_second * 86_400.0), over_s: have_s }
}

fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let variance: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    covariance / variance
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and NaN becomes 0")]
fn whole(number: f64) -> u64 {
    number as u64
}

/// How far back a view reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Range {
    /// Fifteen minutes by five seconds.
    Fine,
    /// A day by minutes.
    Coarse,
}

impl Range {
    /// How long it is.
    #[must_use]
    pub fn span(self) -> Duration {
        let (every, samples) = match self {
            Self::Fine => (SAMPLE_EVERY, SAMPLES_FINE),
            Self::Coarse => (SAMPLE_COARSE_EVERY, SAMPLES_COARSE),
        };
        every * u32::try_from(samples).unwrap_or(u32::MAX)
    }
}

/// What happened lately, as it was when it was asked for.
#[derive(Debug, Clone)]
pub struct History {
    /// Oldest first.
    pub samples: Vec<Sample>,
    /// How far back they could reach.
    pub range: Range,
    /// The last minute in one; `None` before the first look.
    pub last_minute: Option<Sample>,
    /// Of the disk.
    pub forecast: Forecast,
}

impl Node {
    /// What happened lately.
    #[must_use]
    pub fn history(&self, range: Range) -> History {
        let series = self.0.series.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = match range {
            Range::Fine => &series.fine,
            Range::Coarse => &series.coarse,
        };
        History {
            samples: ring.iter().copied().collect(),
            range,
            last_minute: series.last_minute(),
            forecast: series.forecast(self.disk_reserve()),
        }
    }

    /// Changes with every sample: the beat of live views.
    #[must_use]
    pub fn beat(&self) -> watch::Receiver<u64> {
        self.0.beat.subscribe()
    }

    /// Looks at the counters for ever.
    pub(super) fn keep_history(&self) {
        let node = self.clone();
        worker::keep("history", move || node.clone().count());
    }

    async fn count(self) {
        let mut every = tokio::time::interval(SAMPLE_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sampled: Option<Instant> = None;
        loop {
            every.tick().await;
            if sampled.is_none_or(|at| at.elapsed() >= TASK_SAMPLE_EVERY) {
                sampled = Some(time::mono());
                tasks::sample();
            }
            let now = self.counters();
            self.0.series.lock().unwrap_or_else(PoisonError::into_inner).add(now);
            self.note_figures();
            self.0.beat.send_modify(|beat| *beat += 1);
        }
    }

    fn counters(&self) -> Counters {
        let stats = self.0.store.journal().stats();
        Counters {
            at_ms: time::wall_ms(),
            mono_ms: time::millis(time::mono().saturating_duration_since(self.0.started)),
            operations: self.0.telemetry.counts(),
            records: stats.records.load(Ordering::Relaxed),
            syncs: stats.groups.load(Ordering::Relaxed),
            disk_free: self.space().map(|space| space.free),
        }
    }
}

#[cfg(test)]
mod tests;
