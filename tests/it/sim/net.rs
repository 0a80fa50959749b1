//! The links between machines: each direction has its own delay, loss and state. What is lost is lost for good; the
//! layers above have timers.

use std::collections::BTreeMap;

use crate::faults::Fault;
use crate::queue::Us;
use crate::rng::Rng;

/// A machine by its place in the world.
pub type Host = usize;

/// How links behave in a run.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Messages lost, of a million.
    pub loss: u32,
    /// Messages that come twice, of a million.
    pub twice: u32,
    /// Messages that take long, of a million: they are overtaken by later ones.
    pub late: u32,
    /// The usual time on the way.
    pub delay: (Us, Us),
    /// The time of a late one.
    pub late_delay: (Us, Us),
}

/// What became of a message.
pub enum Fate {
    /// It arrives after so long, and perhaps a second time.
    Arrives(Us, Option<Us>),
    /// It does not.
    Lost,
}

/// All links.
pub struct Net {
    weather: Weather,
    /// Directions that are cut.
    cut: BTreeMap<(Host, Host), Fault>,
    /// What happened to messages so far.
    pub counts: Counts,
}

/// How often links misbehaved.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Lost at random.
    pub lost: u64,
    /// Lost because one direction was cut.
    pub one_way: u64,
    /// Lost because a group was cut off.
    pub split: u64,
    /// Arrived twice.
    pub twice: u64,
    /// Arrived late.
    pub late: u64,
}

impl Net {
    /// All links up.
    pub fn new(weather: Weather) -> Self {
        Self { weather, cut: BTreeMap::new(), counts: Counts::default() }
    }

    /// Cuts one direction, for this cause.
    pub fn cut(&mut self, from: Host, to: Host, cause: Fault) {
        self.cut.insert((from, to), cause);
    }

    /// All links are up again, and none loses anything any more.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.weather = Weather { loss: 0, twice: 0, late: 0, ..self.weather };
    }

    /// All links are up again.
    pub fn mend(&mut self) {
        self.cut.clear();
    }

    /// Whether a direction is up.
    pub fn is_up(&self, from: Host, to: Host) -> bool {
        !self.cut.contains_key(&(from, to))
    }

    /// Decides about one message.
    pub fn send(&mut self, rng: &mut Rng, from: Host, to: Host) -> Fate {
        if from == to {
            return Fate::Arrives(1, None);
        }
        if let Some(cause) = self.cut.get(&(from, to)) {
            let lost = if *cause == Fault::Split { &mut self.counts.split } else { &mut self.counts.one_way };
            *lost += 1;
            return Fate::Lost;
        }
        let weather = self.weather;
        if weather.loss > 0 && rng.chance(weather.loss) {
            self.counts.lost += 1;
            return Fate::Lost;
        }
        let (from, to) = weather.delay;
        let mut delay = rng.within(from, to);
        if weather.late > 0 && rng.chance(weather.late) {
            self.counts.late += 1;
            delay = rng.within(weather.late_delay.0, weather.late_delay.1);
        }
        let again = (weather.twice > 0 && rng.chance(weather.twice)).then(|| {
            self.counts.twice += 1;
            delay + rng.within(from, 50 * to)
        });
        Fate::Arrives(delay, again)
    }
}
