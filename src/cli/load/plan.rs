//! The schedule of a load run: when which device asks for what. Pure; the same seed gives the same schedule.
//!
//! Arrivals are a Poisson process, because that is what many devices that know nothing of each other add up to. Devices
//! are drawn evenly: each reports as often as the next.

use std::time::Duration;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reads a device's value.
    Read,
    /// Stores a device's value.
    Write,
}

/// One request of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When, since the run began.
    pub due: Duration,
    /// What.
    pub operation: Operation,
    /// Which device, below the number of devices.
    pub device: u64,
    /// Any number: picks the value.
    pub draw: u64,
}

/// What a schedule is drawn from.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Requests a second; 0 means that each is due when a connection is free (a closed loop).
    pub rate: u32,
    /// How long requests fall due.
    pub length: Duration,
    /// Per cent of reads.
    pub mix: u8,
    /// Devices, at least one.
    pub devices: u64,
    /// Where randomness begins.
    pub seed: u64,
}

/// The schedule, drawn as it is needed.
#[derive(Debug)]
pub struct Plan {
    shape: Shape,
    random: Random,
    last: Duration,
}

impl Plan {
    /// The beginning of a schedule.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self { shape, random: Random(shape.seed), last: Duration::ZERO }
    }

    /// The next request; `now` matters in a closed loop only. `None` where the schedule has ended.
    pub fn next(&mut self, now: Duration) -> Option<Arrival> {
        let due = if self.shape.rate == 0 { now } else { self.last + self.gap() };
        self.last = due;
        if due >= self.shape.length {
            return None;
        }
        let operation =
            if self.random.below(100) < u64::from(self.shape.mix) { Operation::Read } else { Operation::Write };
        let device = self.random.below(self.shape.devices);
        Some(Arrival { due, operation, device, draw: self.random.draw() })
    }

    /// How many further requests fall due before `end`; the schedule ends with this.
    pub fn rest(&mut self, end: Duration) -> u64 {
        self.shape.length = self.shape.length.min(end);
        if self.shape.rate == 0 {
            return 0;
        }
        let mut rest = 0;
        while self.next(end).is_some() {
            rest += 1;
        }
        rest
    }

    /// Time between two arrivals: exponentially distributed, `1/rate` on average.
    fn gap(&mut self) -> Duration {
        Duration::from_secs_f64(-self.random.fraction().ln() / f64::from(self.shape.rate))
    }
}

/// `SplitMix64` (Steele 2014): enough for a schedule, and one word of state.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, evenly (Lemire 2019, without the last correction: 2⁻²⁴ at a trillion).
    fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.draw()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number above 0, up to 1.
    fn fraction(&mut self) -> f64 {
        ((self.draw() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests;
