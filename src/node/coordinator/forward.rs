//! A write that this node may not mint, handed to an owner.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::base::id::NodeId;
use crate::base::limits::ANSWER_BUDGET;
use crate::node::Node;
use crate::node::cluster::Forwarding;
use crate::node::cluster::Lane;
use crate::node::cluster::NotAnswered;
use crate::node::cluster::View;
use crate::node::cluster::Waiting;
use crate::node::cluster::now_ms;
use crate::node::coordinator::Done;
use crate::node::coordinator::Wanted;
use crate::node::coordinator::bucket_gone;
use crate::node::coordinator::record;
use crate::node::coordinator::taped;
use crate::node::error::DoorError;
use crate::proto::forward;
use crate::proto::forward::Forward;
use crate::proto::message::Answer;
use crate::proto::message::Ask;
use crate::proto::message::Ended;
use crate::proto::message::Failure;
use crate::proto::message::Forwarded;
use crate::proto::message::Place;
use crate::proto::message::Tell;
use crate::proto::message::Why;
use crate::proto::tape::Tape;
use crate::proto::tape::Taped;
use crate::proto::tape::forward::Begin;
use crate::proto::tape::forward::Step;

/// What one owner after the other led to.
enum Round {
    Over(Result<Done, DoorError>),
    /// All refused because their views are ahead: this far.
    Behind(u64),
}

impl Node {
    /// Has an owner write.
    ///
    /// # Errors
    /// [`DoorError`], as the owner says it.
    pub(in crate::node) async fn forward(&self, wanted: &Wanted) -> Result<Done, DoorError> {
        loop {
            let view = self.view();
            match self.forward_by(&view, wanted).await? {
                Round::Over(result) => return result,
                Round::Behind(index) if self.reach(index, wanted.deadline_ms).await => {}
                Round::Behind(_) => return Err(DoorError::TooFewOwners { answered: 0, need: 1 }),
            }
        }
    }

    async fn forward_by(&self, view: &View, wanted: &Wanted) -> Result<Round, DoorError> {
        let place = &wanted.place;
        let known = view.bucket(place.bucket()).ok_or_else(|| bucket_gone(place))?;
        let owners = self.nearest(view.slot(place.partition()).write_owners(known.numbers).collect());
        let forwarding = self.begin_forward();
        let core = taped(Begin { owners, now_ms: now_ms(), deadline_ms: wanted.deadline_ms });
        Run { node: self, view, wanted, forwarding, core, waits: FuturesUnordered::new(), ahead: 0, failure: None }
            .run()
            .await
    }
}

struct Run<'r> {
    node: &'r Node,
    view: &'r View,
    wanted: &'r Wanted,
    forwarding: Forwarding,
    core: Taped<Forward>,
    waits: FuturesUnordered<Waiting<(NodeId, Heard)>>,
    ahead: u64,
    failure: Option<Failure>,
}

/// What every owner would say ends it; trouble of its own is another owner's chance.
fn input_of(failure: &Failure) -> forward::Input {
    match failure {
        Failure::Refused(_) | Failure::TooLarge { .. } => forward::Input::Failed,
        Failure::Busy | Failure::DiskFull { .. } | Failure::Corrupt(_) | Failure::NoQuorum { .. } => {
            forward::Input::Undone
        }
    }
}

enum Heard {
    Input(forward::Input),
    Stale(u64),
}

impl Run<'_> {
    async fn run(mut self) -> Result<Round, DoorError> {
        let round = self.rounds().await;
        record(Tape::Forward(self.core.into_reel()));
        round
    }

    async fn rounds(&mut self) -> Result<Round, DoorError> {
        loop {
            while let Some(effect) = self.core.poll_effect() {
                match effect {
                    forward::Effect::Ask(to) => self.ask(to),
                    forward::Effect::GiveUp { perhaps_done: true } => {
                        return Ok(Round::Over(Err(DoorError::OutcomeUnknown { acked_by: Vec::new() })));
                    }
                    forward::Effect::GiveUp { perhaps_done: false } => {
                        return Ok(match self.failure.take() {
                            Some(failure) => Round::Over(Err(failure.into())),
                            None if self.ahead > self.view.index => Round::Behind(self.ahead),
                            None => Round::Over(Err(DoorError::TooFewOwners { answered: 0, need: 1 })),
                        });
                    }
                }
            }
            let until_ms = self.core.core().poll_timeout().unwrap_or_else(now_ms);
            let rest = Duration::from_millis(until_ms.saturating_sub(now_ms()));
            tokio::select! {
                Some((from, ended)) = self.forwarding.ended.recv() => match ended {
                    Ended::Ok { context, stamp, acked_by } => {
                        return Ok(Round::Over(Ok(Done { context, stamp, acked_by })));
                    }
                    Ended::Unknown { acked_by } => {
                        return Ok(Round::Over(Err(DoorError::OutcomeUnknown { acked_by })));
                    }
                    Ended::Failed(failure) => {
                        self.core.tell(Step::Heard(now_ms(), from, input_of(&failure)));
                        self.failure = Some(failure);
                    }
                },
                Some((from, heard)) = self.waits.next(), if !self.waits.is_empty() => {
                    let input = match heard {
                        Heard::Input(input) => input,
                        Heard::Stale(view) => {
                            self.ahead = self.ahead.max(view);
                            forward::Input::NotDone
                        }
                    };
                    self.core.tell(Step::Heard(now_ms(), from, input));
                }
                () = tokio::time::sleep(rest) => self.core.tell(Step::Waited(now_ms())),
            }
        }
    }

    fn ask(&self, to: NodeId) {
        let Wanted { place, update, w, deadline_ms } = self.wanted;
        let forwarded = Forwarded {
            job: self.forwarding.job,
            place: Place::from(place),
            action: update.action.clone(),
            basis: update.basis.clone(),
            condition: update.condition.clone(),
            op: update.op,
            keyed: update.keyed,
            w: *w,
        };
        let left_ms = deadline_ms.saturating_sub(now_ms());
        let body = self.node.question(self.view, place.partition(), left_ms, Ask::Forward(Box::new(forwarded)));
        let answer = self.node.ask(to, Lane::Requests, body, ANSWER_BUDGET);
        self.waits.push(Box::pin(async move {
            let heard = match answer.await {
                Ok(Answer { tell: Tell::Received, .. }) => Heard::Input(forward::Input::Received),
                Ok(Answer { tell: Tell::Refused(Why::Stale), view, .. }) => Heard::Stale(view),
                Ok(_) => Heard::Input(forward::Input::NotDone),
                Err(NotAnswered::NotSent) => Heard::Input(forward::Input::NotDone),
                Err(NotAnswered::Silent) => Heard::Input(forward::Input::Silent),
            };
            (to, heard)
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::input_of;
    use crate::proto::forward::Input;
    use crate::proto::message::Failure;
    use crate::proto::object::apply::Refusal;

    #[test]
    fn an_owner_with_trouble_of_its_own_is_not_the_last_that_is_asked() {
        let own = [
            Failure::Busy,
            Failure::DiskFull { reserve_mib: 1 },
            Failure::Corrupt(String::new()),
            Failure::NoQuorum { answered: 0, need: 2 },
        ];
        assert!(own.iter().all(|failure| input_of(failure) == Input::Undone));
        assert_eq!(input_of(&Failure::Refused(Refusal::ConditionFailed)), Input::Failed);
        assert_eq!(input_of(&Failure::TooLarge { len: 9 }), Input::Failed);
    }
}
