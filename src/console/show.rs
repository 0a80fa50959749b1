//! Numbers and instants in words: sizes in MiB, instants in UTC (script turns them into the operator's zone), ages.

use std::borrow::Borrow;

use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;

use crate::base::time;

const MIB: u64 = 1024 * 1024;

/// `12 B`, `3.4 KiB`, `56.7 MiB`, `12,345 MiB`: below a MiB in what is read best, above always in MiB.
#[must_use]
pub fn size(bytes: impl Borrow<u64>) -> String {
    let bytes = *bytes.borrow();
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..MIB => tenths(bytes, 1024, "KiB"),
        _ if bytes < 100 * MIB => tenths(bytes, MIB, "MiB"),
        _ => format!("{} MiB", count(bytes / MIB)),
    }
}

fn tenths(bytes: u64, unit: u64, name: &str) -> String {
    let tenths = bytes.saturating_mul(10) / unit;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// `1,234,567`.
#[must_use]
pub fn count(number: impl Borrow<u64>) -> String {
    let digits = number.borrow().to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 machine`, `2 machines`.
#[must_use]
pub fn plural(number: impl Borrow<u64>, one: &str, many: &str) -> String {
    let number = *number.borrow();
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `2026-11-20 15:36:30 UTC` for an RFC 3339 instant of ours.
#[must_use]
pub fn utc(at: &str) -> String {
    match (at.get(..10), at.get(11..19)) {
        (Some(day), Some(clock)) => format!("{day} {clock} UTC"),
        _ => at.to_owned(),
    }
}

/// `15:36:30` for an RFC 3339 instant of ours, in UTC.
#[must_use]
pub fn clock(at: &str) -> &str {
    at.get(11..19).unwrap_or(at)
}

/// `2 min ago` for an RFC 3339 instant of ours; `in 2 min` where it is still to come.
#[must_use]
pub fn ago(at: &str) -> String {
    match time::parse_rfc3339(at) {
        Some(at_ms) => age(at_ms, time::wall_ms()),
        None => at.to_owned(),
    }
}

fn age(at_ms: u64, now_ms: u64) -> String {
    let (before, after) = (now_ms.saturating_sub(at_ms) / 1000, at_ms.saturating_sub(now_ms) / 1000);
    match (before, after) {
        (0..5, 0..5) => "just now".to_owned(),
        (0, seconds) => format!("in {}", duration(seconds)),
        (seconds, _) => format!("{} ago", duration(seconds)),
    }
}

/// `40 s`, `2 min`, `3 h`, `5 days`: the largest unit that fits, rounded down.
#[must_use]
pub fn duration(seconds: impl Borrow<u64>) -> String {
    match *seconds.borrow() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", count(seconds / 86_400)),
    }
}

/// `850 µs`, `4.2 ms`, `1.5 s`.
#[must_use]
pub fn latency(us: impl Borrow<u64>) -> String {
    match *us.borrow() {
        us @ 0..1000 => format!("{us} µs"),
        us @ 1000..1_000_000 => format!("{}.{} ms", us / 1000, us / 100 % 10),
        us => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
    }
}

/// A name as one segment of a path or one value of a query.
#[must_use]
pub fn escaped(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

/// The first letter raised and a full stop set: our refusals begin small and end without one.
#[must_use]
pub fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{stop}", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::age;
    use super::count;
    use super::latency;
    use super::sentence;
    use super::size;
    use super::utc;

    #[test]
    fn sizes_are_in_mib_and_small_ones_readable() {
        assert_eq!([12_u64, 3500, 5_767_168].map(size), ["12 B", "3.4 KiB", "5.5 MiB"]);
        assert_eq!(size(12_345 * 1024 * 1024), "12,345 MiB");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!([850_u64, 4200, 1_500_000].map(latency), ["850 µs", "4.2 ms", "1.5 s"]);
    }

    #[test]
    fn instants_are_ages_and_utc() {
        assert_eq!(utc("2026-11-20T15:36:30.123Z"), "2026-11-20 15:36:30 UTC");
        assert_eq!(age(1_000_000, 1_000_500), "just now");
        assert_eq!(age(1_000_000, 1_130_000), "2 min ago");
        assert_eq!(age(90_000_000, 0), "in 25 h");
    }

    #[test]
    fn a_refusal_reads_as_a_sentence() {
        assert_eq!(sentence("the disk is full; nothing was stored"), "The disk is full; nothing was stored.");
        assert_eq!(sentence(""), ".");
    }
}
