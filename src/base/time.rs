//! Time as an input: the only place that reads a clock. The wall clock may trigger work, it never orders data.

use std::sync::OnceLock;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// Milliseconds since 1970 by this machine's wall clock; 0 for a clock before that.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one reader of the monotonic clock")]
pub fn mono() -> Instant {
    Instant::now()
}

/// A clock that never jumps while the process lives: the wall clock when it was asked first, and the time since. For the
/// age of what is remembered for a while; milliseconds since about 1970, and since the process asked first.
#[must_use]
pub fn steady_ms() -> (u64, u64) {
    static FIRST: OnceLock<(Instant, u64)> = OnceLock::new();
    let (began, wall_ms) = FIRST.get_or_init(|| (mono(), wall_ms()));
    let lived = millis(began.elapsed());
    (wall_ms.saturating_add(lived), lived)
}

/// A duration in whole milliseconds, saturating.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `2026-11-20T15:36:30.123Z` (RFC 3339, UTC) for milliseconds since 1970. Proleptic Gregorian, after Hinnant's
/// `civil_from_days`.
#[must_use]
pub fn rfc3339(wall_ms: u64) -> String {
    let (days, in_day) = (wall_ms / 86_400_000, wall_ms % 86_400_000);
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (h, m, s, ms) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
}

/// Days from 1970 to a date of the calendar, after Hinnant's `days_from_civil`; 0 for earlier ones, `None` where month or
/// day is none.
#[must_use]
pub fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year > 9999 {
        return None;
    }
    let y = if month <= 2 { year.saturating_sub(1) } else { year };
    let (era, yoe) = (y / 400, y % 400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    Some((era * 146_097 + doe).saturating_sub(719_468))
}

/// Milliseconds since 1970 of an instant as [`rfc3339`] writes it; `None` for anything else.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (h, m, s) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let fraction = text.get(19..)?.strip_suffix('Z').or_else(|| text.get(19..)?.strip_suffix("+00:00"))?;
    let digits = if fraction.is_empty() { "0" } else { fraction.strip_prefix('.')? };
    let is_number = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let ms = format!("{digits:0<3}").get(..3).filter(|_| is_number)?.parse::<u64>().ok()?;
    let days = days_since_1970(year, month, day)?;
    let wall_ms = ((days * 24 + h) * 60 + m) * 60_000 + s * 1000 + ms;
    // What does not come out as it went in was no instant.
    (rfc3339(wall_ms).get(..19) == text.get(..19)).then_some(wall_ms)
}

/// Parses `500ms`, `30s`, `10m`, `2h`, `7d` into milliseconds. A number without a unit is refused: is it seconds?
///
/// # Errors
/// A sentence saying what is expected.
pub fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(format!("`{text}` has no unit: write it as 500ms, 30s, 10m, 2h or 7d")),
        _ => return Err(format!("`{text}` is not a duration: write it as 500ms, 30s, 10m, 2h or 7d")),
    };
    let number: u64 = number
        .parse()
        .map_err(|error| format!("`{text}` is not a duration ({error}): write it as 30s, 10m, 2h or 7d"))?;
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is too long"))
}

#[cfg(test)]
mod tests {
    use super::days_since_1970;
    use super::parse_duration_ms;
    use super::parse_rfc3339;
    use super::rfc3339;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_188_990_123), "2026-11-20T15:36:30.123Z");
    }

    #[test]
    fn days_are_counted_as_they_are_written() {
        for days in [0, 58, 59, 60, 365, 10_956, 10_957, 11_016, 11_017, 20_777, 47_482, 2_932_896] {
            let text = rfc3339(days * 86_400_000);
            let part = |from: usize, to: usize| text[from..to].parse::<u64>().unwrap();
            assert_eq!(days_since_1970(part(0, 4), part(5, 7), part(8, 10)), Some(days), "{text}");
        }
        assert_eq!((days_since_1970(1969, 12, 31), days_since_1970(0, 1, 1)), (Some(0), Some(0)));
        assert_eq!((days_since_1970(2000, 13, 1), days_since_1970(2000, 1, 0)), (None, None));
    }

    #[test]
    fn an_instant_is_read_as_it_was_written() {
        for wall_ms in [0, 951_782_400_000, 951_868_799_999, 1_709_251_199_000, 1_795_188_990_123, 4_107_542_399_999] {
            assert_eq!(parse_rfc3339(&rfc3339(wall_ms)), Some(wall_ms));
        }
        let whole = parse_rfc3339("2026-11-20T15:36:30.500Z");
        for same in ["2026-11-20T15:36:30.5Z", "2026-11-20T15:36:30.500999Z", "2026-11-20T15:36:30.50+00:00"] {
            assert_eq!(parse_rfc3339(same), whole, "{same}");
        }
        assert_eq!(parse_rfc3339("2026-11-20T15:36:30Z"), parse_rfc3339("2026-11-20T15:36:30.000Z"));
        for bad in
            ["2026-11-20T15:36:30", "2026-11-20T15:36:30.Z", "2026-11-20T15:36:30.5+01:00", "2026-11-20T15:36:60Z"]
        {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
        for bad in
            ["", "2026-11-20", "2026-13-20T15:36:30.123Z", "2026-02-30T00:00:00.000Z", "0000-00-00T00:00:00.000Z"]
        {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!(parse_duration_ms("90s"), Ok(90_000));
        assert_eq!(parse_duration_ms("7d"), Ok(604_800_000));
        for bad in ["90", "", "s", "-1s", "1y", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse_duration_ms(bad).is_err(), "{bad}");
        }
    }
}
