//! Rings stay within their size, quantiles within an eighth, forecasts honest.

use std::time::Duration;

use super::Counters;
use super::Forecast;
use super::Sample;
use super::Series;
use crate::base::limits::SAMPLES_COARSE;
use crate::base::limits::SAMPLES_FINE;
use crate::node::telemetry::Operation;
use crate::node::telemetry::Telemetry;

const MIB: u64 = 1024 * 1024;

fn at(mono_s: u64, telemetry: &Telemetry) -> Counters {
    Counters {
        at_ms: 1_795_188_990_000 + mono_s * 1000,
        mono_ms: mono_s * 1000,
        operations: telemetry.counts(),
        records: mono_s * 10,
        syncs: mono_s,
        disk_free: Some(100_000 * MIB),
    }
}

#[test]
fn a_sample_is_what_happened_in_between() {
    let telemetry = Telemetry::default();
    telemetry.answered(Operation::Get, 200, Duration::from_secs(7));
    let from = at(0, &telemetry);
    for us in 1..=1000 {
        telemetry.answered(Operation::Get, 200, Duration::from_micros(us));
    }
    telemetry.answered(Operation::Put, 503, Duration::from_millis(40));
    let sample = Sample::between(&from, &at(10, &telemetry));
    let [get, put, delete, ..] = sample.operations;
    assert_eq!((get.count, get.failed, put.count, put.failed), (1000, 0, 1, 1));
    let near = |have: Option<u32>, want: u32| have.unwrap().abs_diff(want) <= want / 8;
    assert!(near(get.p50_us, 500) && near(get.p99_us, 990) && near(put.p99_us, 40_000), "{get:?} {put:?}");
    assert_eq!((delete.count, delete.p50_us), (0, None));
    assert!((sample.per_second(u64::from(get.count)) - 100.0).abs() < 1e-9);
    assert!((sample.acks_per_sync().unwrap() - 10.0).abs() < 1e-9);
}

#[test]
fn rings_never_outgrow_their_size() {
    let telemetry = Telemetry::default();
    let mut series = Series::default();
    let capacity = |series: &Series| (series.fine.capacity(), series.coarse.capacity(), series.lately.capacity());
    let before = capacity(&series);
    for tick in 0..=30_000 {
        series.add(at(tick * 5, &telemetry));
    }
    assert_eq!((series.fine.len(), series.coarse.len()), (SAMPLES_FINE, SAMPLES_COARSE));
    assert_eq!(capacity(&series), before, "no memory was asked for while it ran");
    let minute = series.last_minute().unwrap();
    assert_eq!((minute.span_ms, minute.records), (60_000, 600));
    assert!(series.coarse.iter().all(|sample| sample.span_ms == 60_000));
}

fn forecast_of(minutes: u64, free: impl Fn(u64) -> u64) -> Forecast {
    let telemetry = Telemetry::default();
    let now = |minute| Counters { disk_free: Some(free(minute)), ..at(minute * 60, &telemetry) };
    let mut series = Series::default();
    (0..=minutes).for_each(|minute| series.add(now(minute)));
    series.forecast(1000 * MIB)
}

#[test]
fn a_forecast_says_when_and_when_nobody_can_say() {
    assert_eq!(forecast_of(5, |_| 9000 * MIB), Forecast::TooEarly { have_s: 240, need_s: 2700 });
    assert_eq!(forecast_of(60, |_| 9000 * MIB), Forecast::Steady { over_s: 59 * 60 });
    assert_eq!(forecast_of(60, |minute| (9000 + minute) * MIB), Forecast::Steady { over_s: 59 * 60 });
    assert_eq!(forecast_of(60, |_| 900 * MIB), Forecast::Reached);
    // 10 MiB a minute, 7,400 above the reserve: 740 minutes.
    let Forecast::In { seconds, bytes_per_day, .. } = forecast_of(60, |minute| (9000 - 10 * minute) * MIB) else {
        panic!("no forecast");
    };
    assert!(seconds.abs_diff(740 * 60) <= 1 && bytes_per_day.abs_diff(14_400 * MIB) < MIB, "{seconds} {bytes_per_day}");
    // Yesterday is forgotten: it shrank fast, it has been steady for seven hours.
    let steady = forecast_of(1000, |minute| (90_000 - 10 * minute.min(560)) * MIB);
    assert_eq!(steady, Forecast::Steady { over_s: 6 * 3600 });
}
