//! How busy this machine is, from what the system counts of its processors.

use std::fs;

/// Where the system says it: the first line is all processors together.
const COUNTS: &str = "/proc/stat";

/// Ticks of all processors since the machine's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

/// Remembers the last look.
#[derive(Debug, Default)]
pub struct Busy(Option<Ticks>);

impl Busy {
    /// Per cent of the processors that were in use since the last look; 0 at the first one and where the system does not
    /// say.
    pub fn look(&mut self) -> u8 {
        let now = fs::read_to_string(COUNTS).ok().as_deref().and_then(parse);
        let before = std::mem::replace(&mut self.0, now);
        before.zip(now).map_or(0, |(before, now)| percent(before, now))
    }
}

fn percent(before: Ticks, now: Ticks) -> u8 {
    let (all, idle) = (now.all.saturating_sub(before.all), now.idle.saturating_sub(before.idle));
    let used = all.saturating_sub(idle).saturating_mul(100).checked_div(all).unwrap_or(0);
    u8::try_from(used).unwrap_or(100)
}

/// `cpu user nice system idle iowait irq softirq steal …`: who waits for a disk is idle, guests count within user.
fn parse(text: &str) -> Option<Ticks> {
    let numbers = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let ticks: Vec<u64> = numbers.map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let idle = ticks.get(3)?.saturating_add(*ticks.get(4)?);
    Some(Ticks { idle, all: ticks.iter().fold(0, |sum, ticks| sum.saturating_add(*ticks)) })
}

#[cfg(test)]
mod tests {
    use super::Busy;
    use super::parse;
    use super::percent;

    #[test]
    fn a_machine_is_as_busy_as_its_processors_were_since_the_last_look() {
        let before = parse("cpu  100 0 100 700 100 0 0 0 5 5\ncpu0 1 1 1 1 1 1 1 1").unwrap();
        let now = parse("cpu  150 0 125 710 115 0 0 0 9 9\n").unwrap();
        assert_eq!(percent(before, now), 75);
        assert_eq!((percent(now, now), percent(now, before)), (0, 0));
        for other in ["", "cpu", "cpu  1 2 3", "cpu  a b c d e", "intr 1 2 3 4 5 6 7 8"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_first_look_says_nothing() {
        let mut busy = Busy::default();
        assert_eq!(busy.look(), 0);
        assert!(busy.look() <= 100);
    }
}
