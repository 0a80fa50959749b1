//! A read over the owners of a key. The task that serves the request drives it up to the answer; what is left, the repair
//! of owners that are behind, goes on without it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::base::id::NodeId;
use crate::base::limits::ANSWER_BUDGET;
use crate::node::Node;
use crate::node::cluster::Known;
use crate::node::cluster::Lane;
use crate::node::cluster::View;
use crate::node::cluster::Waiting;
use crate::node::cluster::now_ms;
use crate::node::cluster::rule;
use crate::node::coordinator::bucket_gone;
use crate::node::coordinator::record;
use crate::node::coordinator::taped;
use crate::node::error::DoorError;
use crate::node::worker;
use crate::proto::key::IndexKey;
use crate::proto::message::Ask;
use crate::proto::message::Place;
use crate::proto::message::Sealed;
use crate::proto::message::Tell;
use crate::proto::message::Why;
use crate::proto::object::Object;
use crate::proto::quorum::read;
use crate::proto::quorum::read::Read;
use crate::proto::tape::Tape;
use crate::proto::tape::Taped;
use crate::proto::tape::read::Begin;
use crate::proto::tape::read::Step;
use crate::store::partition::StoreError;

/// How many owners a client wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::node) struct Level {
    /// `?r=`, checked.
    pub(in crate::node) r: Option<u8>,
    /// All of them.
    pub(in crate::node) all: bool,
}

impl Node {
    /// What enough owners hold, merged.
    ///
    /// # Errors
    /// [`DoorError::TooFewOwners`] and others.
    pub(in crate::node) async fn read_object(
        &self,
        place: &IndexKey,
        level: Level,
        deadline_ms: u64,
    ) -> Result<Option<Arc<Object>>, DoorError> {
        let mut run = Run::begin(self.clone(), place.clone(), level, deadline_ms)?;
        let answer = run.answer().await?;
        if run.core.core().poll_timeout().is_some() {
            worker::spawn("read repair", run.repair());
        } else {
            record(Tape::Read(run.core.into_reel()));
        }
        match answer {
            read::Answer::Found(found) => Ok(found),
            read::Answer::NoQuorum { answered, need } => Err(DoorError::TooFewOwners { answered, need }),
            read::Answer::NotSettled => Err(DoorError::NotSettled),
        }
    }
}

impl Node {
    /// What one synced owner holds, the nearest that answers.
    ///
    /// # Errors
    /// [`DoorError::TooFewOwners`] and others.
    pub(in crate::node) async fn read_one(
        &self,
        place: &IndexKey,
        deadline_ms: u64,
    ) -> Result<Option<Arc<Object>>, DoorError> {
        let view = self.view();
        let known = view.bucket(place.bucket()).ok_or_else(|| bucket_gone(place))?;
        let slot = view.slot(place.partition());
        for owner in self.nearest(rule(slot.reads(known.numbers)).owners) {
            if owner == self.who().node {
                match self.0.store.read(place) {
                    Ok(found) if self.is_serving() => return Ok(found),
                    Ok(_) | Err(_) => continue,
                }
            }
            let left_ms = deadline_ms.saturating_sub(now_ms());
            let body = self.question(&view, place.partition(), left_ms, Ask::Object { place: Place::from(place) });
            let Ok(answer) = self.ask(owner, Lane::Requests, body, ANSWER_BUDGET).await else { continue };
            let Tell::Object(held) = answer.tell else { continue };
            let Some(sealed) = held else { return Ok(None) };
            if let Ok(object) = sealed.open(place) {
                return Ok(Some(Arc::new(object)));
            }
        }
        Err(DoorError::TooFewOwners { answered: 0, need: 1 })
    }
}

enum Heard {
    Owner(NodeId, read::Input),
    /// An owner's view has come so far, and by it the read is of an older epoch.
    Stale(NodeId, u64),
}

struct Run {
    node: Node,
    place: IndexKey,
    level: Level,
    deadline_ms: u64,
    known: Known,
    view: Arc<View>,
    /// The slot's floor before anybody was asked.
    floor: u64,
    core: Taped<Read>,
    /// How far the view of an owner has come that refused it.
    ahead: u64,
    waits: FuturesUnordered<Waiting<Heard>>,
}

fn core_of(node: &Node, view: &View, place: &IndexKey, level: Level, deadline_ms: u64) -> Option<(Known, Taped<Read>)> {
    let known = view.bucket(place.bucket())?;
    let slot = view.slot(place.partition());
    let mut read = rule(slot.reads(known.numbers));
    read.owners = node.nearest(read.owners);
    let more = if level.all { read.owners.len() } else { level.r.map_or(0, usize::from) };
    read.need = read.need.max(more);
    let settle = slot.settles(known.numbers).map(rule).collect();
    Some((known, taped(Begin { kind: known.kind, read, settle, now_ms: now_ms(), deadline_ms })))
}

impl Run {
    fn begin(node: Node, place: IndexKey, level: Level, deadline_ms: u64) -> Result<Self, DoorError> {
        let view = node.view();
        let (known, core) = core_of(&node, &view, &place, level, deadline_ms).ok_or_else(|| bucket_gone(&place))?;
        let (waits, floor) = (FuturesUnordered::new(), node.0.store.floor(place.partition()));
        Ok(Self { node, place, level, deadline_ms, known, view, floor, core, ahead: 0, waits })
    }

    /// Up to the answer.
    async fn answer(&mut self) -> Result<read::Answer, DoorError> {
        loop {
            while let Some(effect) = self.core.poll_effect() {
                match effect {
                    read::Effect::Answer(answer) => return Ok(answer),
                    read::Effect::Refresh => self.begin_again().await?,
                    read::Effect::AskObject { to } => self.ask_object(to),
                    read::Effect::AskDigest { to } => self.ask_digest(to),
                    read::Effect::WriteBack { to, object, round } => self.write_back(to, &object, round),
                }
            }
            // A core without an answer waits for something.
            let Some(until_ms) = self.core.core().poll_timeout() else { return Err(DoorError::NotSettled) };
            self.wait(until_ms).await;
        }
    }

    async fn repair(mut self) {
        loop {
            while let Some(effect) = self.core.poll_effect() {
                match effect {
                    read::Effect::Answer(_) | read::Effect::Refresh => {}
                    read::Effect::AskObject { to } => self.ask_object(to),
                    read::Effect::AskDigest { to } => self.ask_digest(to),
                    read::Effect::WriteBack { to, object, round } => self.write_back(to, &object, round),
                }
            }
            let Some(until_ms) = self.core.core().poll_timeout() else { break };
            self.wait(until_ms).await;
        }
        record(Tape::Read(self.core.into_reel()));
    }

    async fn begin_again(&mut self) -> Result<(), DoorError> {
        self.node.reach(self.ahead, self.deadline_ms).await;
        let fresh = Self::begin(self.node.clone(), self.place.clone(), self.level, self.deadline_ms)?;
        *self = fresh;
        Ok(())
    }

    async fn wait(&mut self, until_ms: u64) {
        let rest = Duration::from_millis(until_ms.saturating_sub(now_ms()));
        tokio::select! {
            Some(heard) = self.waits.next(), if !self.waits.is_empty() => match heard {
                Heard::Owner(from, input) => self.core.tell(Step::Heard(now_ms(), from, input.into())),
                Heard::Stale(from, view) => {
                    self.ahead = self.ahead.max(view);
                    self.core.tell(Step::Heard(now_ms(), from, read::Input::Stale.into()));
                }
            },
            () = tokio::time::sleep(rest) => self.core.tell(Step::Waited(now_ms())),
        }
    }

    fn ask_object(&mut self, to: NodeId) {
        if self.is_me(to) {
            return self.look_here(to, read::Input::Object);
        }
        self.ask(to, Ask::Object { place: Place::from(&self.place) });
    }

    fn ask_digest(&mut self, to: NodeId) {
        if self.is_me(to) {
            let digest = |object: Option<Arc<Object>>| object.map(|object| object.context.clone());
            return self.look_here(to, |object| read::Input::Digest(digest(object)));
        }
        self.ask(to, Ask::Digest { place: Place::from(&self.place) });
    }

    fn write_back(&mut self, to: NodeId, object: &Object, round: u32) {
        if self.is_me(to) {
            return self.merge_here(to, object, round);
        }
        let object = Sealed::of(&self.place, object);
        self.ask(to, Ask::Merge { place: Place::from(&self.place), object, round });
    }

    fn is_me(&self, node: NodeId) -> bool {
        node == self.node.who().node
    }

    fn look_here(&mut self, me: NodeId, say: impl FnOnce(Option<Arc<Object>>) -> read::Input) {
        let (now, partition) = (self.node.view(), self.place.partition());
        let input = if now.slot(partition).epoch != self.view.slot(partition).epoch {
            read::Input::Stale
        } else if self.node.is_serving() {
            // A damaged object is not served; others have it.
            self.node.0.store.read(&self.place).map_or(read::Input::Refused, say)
        } else {
            read::Input::Refused
        };
        self.core.tell(Step::Heard(now_ms(), me, input.into()));
    }

    fn merge_here(&mut self, me: NodeId, object: &Object, round: u32) {
        let merged = self.node.0.store.merge(&self.place, object, self.known.kind, self.floor);
        let (node, partition) = (self.node.clone(), self.place.partition());
        let epoch = self.view.slot(partition).epoch;
        self.waits.push(Box::pin(async move {
            let durable = match merged {
                Ok(Some(pending)) => pending.durable().await.is_ok(),
                Ok(None) => true,
                Err(StoreError::BelowFloor) => return Heard::Stale(me, node.view().index),
                Err(_) => false,
            };
            // As for any other owner: what came too late for the slot's new owners does not count.
            let now = node.view();
            if now.slot(partition).epoch != epoch {
                return Heard::Stale(me, now.index);
            }
            Heard::Owner(me, if durable { read::Input::Held { round } } else { read::Input::Refused })
        }));
    }

    fn ask(&mut self, to: NodeId, ask: Ask) {
        let left_ms = self.deadline_ms.saturating_sub(now_ms());
        let body = self.node.question_at(&self.view, self.place.partition(), self.floor, left_ms, ask);
        let answer = self.node.ask(to, Lane::Requests, body, ANSWER_BUDGET);
        let (place, node) = (self.place.clone(), self.node.clone());
        self.waits.push(Box::pin(async move {
            let Ok(answer) = answer.await else { return Heard::Owner(to, read::Input::Refused) };
            let input = match answer.tell {
                Tell::Held { round, .. } => read::Input::Held { round },
                Tell::Digest(context) => read::Input::Digest(context),
                Tell::Object(None) => read::Input::Object(None),
                Tell::Object(Some(sealed)) => match sealed.open(&place) {
                    Ok(mut object) => {
                        object.rebase(answer.steady_ms, now_ms());
                        read::Input::Object(Some(Arc::new(object)))
                    }
                    Err(_damaged) => read::Input::Refused,
                },
                Tell::Refused(Why::Stale) => return Heard::Stale(to, answer.view),
                Tell::Refused(Why::BelowFloor) => {
                    // Read once more, from the same rules.
                    node.0.store.raise_floor(place.partition(), answer.floor);
                    return Heard::Stale(to, answer.view);
                }
                Tell::Refused(_) | Tell::Received => read::Input::Refused,
                Tell::Objects { .. } | Tell::Digests { .. } => read::Input::Refused,
                Tell::Where(_) | Tell::Rows { .. } | Tell::Roots(_) | Tell::Leaves(_) => read::Input::Refused,
                Tell::Remembered(_) | Tell::Agreed(_) | Tell::Removed | Tell::Diagnosis(_) => read::Input::Refused,
            };
            Heard::Owner(to, input)
        }));
    }
}
