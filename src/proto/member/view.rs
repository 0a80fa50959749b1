//! What a node sees of another: whether it lives, since when, why, and two lights: whether it is reached and whether it
//! serves.

use foca::State;

use crate::base::limits::HEARD_LATELY;
use crate::base::limits::HEARD_STILL;
use crate::base::limits::RESTART_PATIENCE;
use crate::base::limits::UNHEARD_DOUBT;
use crate::base::time::millis;
use crate::proto::member::identity::Id;
use crate::proto::member::words::Goodbye;
use crate::proto::member::words::News;
use crate::proto::member::words::Record;

/// Whether it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It answers.
    Up,
    /// It did not answer, and may object.
    Suspect,
    /// It failed, or was never heard.
    Down,
    /// It said that it goes, and is expected back or still on its way out.
    Leaving,
    /// It went in order.
    Gone,
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It answers.
    Answers,
    /// One probe of somebody had no answer.
    OneProbe,
    /// Nor had those after it.
    NoAnswer,
    /// Nothing was heard since this node knows it.
    NeverHeard,
    /// It said that it restarts.
    Restarts,
    /// It said so, and did not come back.
    RestartedNot,
    /// It said that it stops.
    Stops,
    /// It said so, and did.
    Stopped,
}

/// Whether a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Link {
    /// Nobody has tried.
    #[default]
    Unknown,
    /// It answers on it.
    Good,
    /// None stands, or what is sent is not taken.
    Broken,
}

/// What is seen of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whether it lives.
    pub status: Status,
    /// Since when, on the observer's steady clock.
    pub since_ms: u64,
    /// Why.
    pub reason: Reason,
    /// First light: is it reached?
    pub link: Link,
    /// Second light: does it serve? And what else it said of itself last; none where it never did.
    pub news: Option<News>,
    /// When that came, on the observer's steady clock: what is said once more is not noted.
    pub said_ms: Option<u64>,
    /// The protocol counts on it.
    active: bool,
}

/// All that the view of one node is derived from.
pub(super) struct Sight<'a> {
    pub(super) heard: Option<(Id, State)>,
    pub(super) record: Option<(&'a Record, u64)>,
    pub(super) link: Link,
    pub(super) now_ms: u64,
}

impl Reason {
    /// As half a sentence behind the node's name.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::OneProbe => "did not answer one probe, neither directly nor through others",
            Self::NoAnswer => "gave no answer to direct and indirect probes",
            Self::NeverHeard => "was not heard since this node started",
            Self::Restarts => "said that it restarts",
            Self::RestartedNot => "said that it restarts and has not come back",
            Self::Stops => "said that it stops",
            Self::Stopped => "said that it stops, and did",
        }
    }
}

impl Seen {
    pub(super) fn unheard(now_ms: u64) -> Self {
        let (status, reason, link) = (Status::Down, Reason::NeverHeard, Link::Unknown);
        Self { status, since_ms: now_ms, reason, link, news: None, said_ms: None, active: false }
    }

    /// Whether it was not heard yet and may be on its way.
    #[must_use]
    pub fn is_awaited(&self, now_ms: u64) -> bool {
        self.reason == Reason::NeverHeard && now_ms.saturating_sub(self.since_ms) < millis(UNHEARD_DOUBT)
    }

    /// Whether something of its own comes: of a machine that is gone nothing did since it was suspected.
    #[must_use]
    pub fn is_heard(&self, now_ms: u64) -> bool {
        let Some(said_ms) = self.said_ms else { return false };
        let ago_ms = now_ms.saturating_sub(said_ms);
        ago_ms < millis(HEARD_LATELY) || (said_ms >= self.since_ms && ago_ms < millis(HEARD_STILL))
    }

    /// Whether it need not be knocked at.
    pub(super) fn is_active(&self) -> bool {
        self.active
    }
}

impl Sight<'_> {
    /// What is seen now, after what was seen before.
    pub(super) fn after(&self, before: &Seen) -> Seen {
        let (status, reason) = self.judge();
        let since_ms = if before.status == status { before.since_ms } else { self.now_ms };
        let active = self.state().is_some_and(|state| state != State::Down);
        let news = self.record.map(|(record, _)| record.news.clone());
        let said_ms = self.record.map(|(_, said_ms)| said_ms);
        Seen { status, since_ms, reason, link: self.link, news, said_ms, active }
    }

    fn state(&self) -> Option<State> {
        self.heard.map(|(_, state)| state)
    }

    fn judge(&self) -> (Status, Reason) {
        // What it said in an earlier life is not true of this one.
        let valid = |record: &Record| self.heard.is_none_or(|(id, _)| id.start <= record.start);
        let goodbye =
            self.record.filter(|(record, _)| valid(record)).and_then(|(record, said)| Some((record.goodbye?, said)));
        match (goodbye, self.state()) {
            (Some((Goodbye::Restart, said_ms)), _) => {
                if self.now_ms.saturating_sub(said_ms) < millis(RESTART_PATIENCE) {
                    (Status::Leaving, Reason::Restarts)
                } else {
                    (Status::Down, Reason::RestartedNot)
                }
            }
            (Some((Goodbye::Stop, _)), Some(State::Alive | State::Suspect)) => (Status::Leaving, Reason::Stops),
            (Some((Goodbye::Stop, _)), Some(State::Down) | None) => (Status::Gone, Reason::Stopped),
            (None, Some(State::Alive)) => (Status::Up, Reason::Answers),
            (None, Some(State::Suspect)) => (Status::Suspect, Reason::OneProbe),
            (None, Some(State::Down)) => (Status::Down, Reason::NoAnswer),
            (None, None) => (Status::Down, Reason::NeverHeard),
        }
    }
}

#[cfg(test)]
mod tests {
    use foca::State;

    use crate::base::id::NodeId;
    use crate::base::limits::UNHEARD_DOUBT;
    use crate::base::time::millis;
    use crate::proto::member::identity::Id;
    use crate::proto::member::view::Link;
    use crate::proto::member::view::Reason;
    use crate::proto::member::view::Seen;
    use crate::proto::member::view::Sight;
    use crate::proto::member::view::Status;
    use crate::proto::member::words::Goodbye;
    use crate::proto::member::words::News;
    use crate::proto::member::words::Record;

    #[test]
    fn a_goodbye_is_true_of_the_life_that_said_it() {
        let record = Record { start: 4, seq: 2, goodbye: Some(Goodbye::Stop), news: News::default() };
        let seen = |start, state, before: &Seen| {
            let heard = Some((Id { node: NodeId(2), start, bump: 0 }, state));
            Sight { heard, record: Some((&record, 90)), link: Link::Good, now_ms: 100 }.after(before)
        };
        let before = Seen::unheard(50);
        assert!(before.is_awaited(50) && !before.is_awaited(50 + millis(UNHEARD_DOUBT)));
        let gone = seen(4, State::Down, &before);
        assert!(!gone.is_awaited(100));
        assert_eq!((gone.status, gone.reason, gone.since_ms), (Status::Gone, Reason::Stopped, 100));
        assert_eq!(seen(4, State::Alive, &before).status, Status::Leaving);
        assert_eq!(seen(5, State::Alive, &before).status, Status::Up);
        let failed = seen(5, State::Down, &before);
        assert_eq!((failed.status, failed.reason, failed.since_ms), (Status::Down, Reason::NoAnswer, 50));
    }

    #[test]
    fn who_is_called_down_is_heard_as_long_as_it_goes_on_to_speak() {
        let down_at = 10_000;
        let heard = |said_ms, now_ms| Seen { said_ms, ..Seen::unheard(down_at) }.is_heard(now_ms);
        assert!(!heard(None, down_at));
        assert!(!heard(Some(down_at - 3_000), down_at), "it was silent before it was called down");
        assert!(heard(Some(down_at - 500), down_at), "it speaks, and does not answer");
        assert!(heard(Some(down_at + 1_000), down_at + 9_000), "it knocks now and then");
        assert!(!heard(Some(down_at + 1_000), down_at + 31_000), "not any more");
    }
}
