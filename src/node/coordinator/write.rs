//! A write that this node mints: what its client has seen is here first, then it is minted, sent to all owners at once, and
//! answered when enough of them hold it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::sync::watch;

use crate::base::id::NodeId;
use crate::base::limits::ANSWER_BUDGET;
use crate::node::Node;
use crate::node::cluster::Lane;
use crate::node::cluster::View;
use crate::node::cluster::Waiting;
use crate::node::cluster::now_ms;
use crate::node::coordinator::Done;
use crate::node::coordinator::Wanted;
use crate::node::coordinator::bucket_gone;
use crate::node::coordinator::read::Level;
use crate::node::coordinator::record;
use crate::node::coordinator::taped;
use crate::node::coordinator::write_rules;
use crate::node::error::DoorError;
use crate::node::vnode::mint;
use crate::node::worker;
use crate::proto::bucket::Kind;
use crate::proto::causal::Context;
use crate::proto::causal::Dot;
use crate::proto::message::Answer;
use crate::proto::message::Ask;
use crate::proto::message::Place;
use crate::proto::message::Sealed;
use crate::proto::message::Tell;
use crate::proto::message::Why;
use crate::proto::object::Basis;
use crate::proto::object::Condition;
use crate::proto::object::Object;
use crate::proto::object::Stamp;
use crate::proto::object::apply;
use crate::proto::object::apply::Outcome;
use crate::proto::quorum::write;
use crate::proto::quorum::write::Write;
use crate::proto::tape::Tape;
use crate::proto::tape::Taped;
use crate::proto::tape::write::Begin;
use crate::proto::tape::write::Step;
use crate::store::partition::Decision;
use crate::store::partition::Pending;
use crate::store::partition::StoreError;

/// A write in this node's journal, or on its way there.
struct Minted {
    object: Arc<Object>,
    dot: Dot,
    context: Context,
    stamp: Stamp,
    /// The partition's floor before it was minted.
    floor: u64,
    /// None: it is durable already.
    pending: Option<Pending>,
}

impl Node {
    /// Writes as an owner.
    ///
    /// # Errors
    /// [`DoorError`]; [`DoorError::OutcomeUnknown`] where too few owners said in time that they hold it.
    pub(in crate::node) async fn coordinate(&self, wanted: Wanted) -> Result<Done, DoorError> {
        self.bring_what_was_seen(&wanted).await?;
        let minted = self.mint(&wanted)?;
        let (tell, told) = oneshot::channel();
        let run = Run::begin(self.clone(), wanted, minted, tell)?;
        // Goes on after the answer, and when nobody waits for it any more.
        worker::spawn("write", run.run());
        told.await.unwrap_or(Err(DoorError::Unknown))
    }

    /// What the client has seen has to be here before it is replaced: it might be here under another dot. And a condition
    /// is judged by what enough owners hold.
    async fn bring_what_was_seen(&self, wanted: &Wanted) -> Result<(), DoorError> {
        let place = &wanted.place;
        let behind = match &wanted.update.basis {
            Basis::Read(Some(seen)) => {
                let here = self.0.store.newest(place)?;
                here.is_none_or(|here| !here.context.includes(seen))
            }
            Basis::Read(None) | Basis::Current => false,
        };
        if !behind && wanted.update.condition == Condition::None {
            return Ok(());
        }
        loop {
            let floor = self.0.store.floor(place.partition());
            let found = self.read_object(place, Level::default(), wanted.deadline_ms).await?;
            let Some(object) = found else { return Ok(()) };
            match self.0.store.merge(place, &object, wanted.update.kind, floor) {
                // It was purged meanwhile, perhaps.
                Err(StoreError::BelowFloor) => {}
                merged => return Ok(merged.map(|_durable_with_the_write| ())?),
            }
        }
    }

    /// The serial owner of a partition: read, decide, hand to the journal, all at once.
    fn mint(&self, wanted: &Wanted) -> Result<Minted, DoorError> {
        let (place, update) = (&wanted.place, &wanted.update);
        let room = self.room_for(&update.action);
        let (actor, floor) = (self.0.store.actor(), self.0.store.floor(place.partition()));
        let (pending, minted) = self.0.store.update(place, |old, next| {
            let counter = next.counter;
            match (apply::apply(old, update, mint(actor, next)), room) {
                (Outcome::Applied { .. }, Err(full)) => Decision::Leave(Err(full)),
                (Outcome::Applied { object, context, stamp }, Ok(())) => {
                    let object = Arc::new(object);
                    let minted = (Arc::clone(&object), Dot { actor, counter }, context, stamp);
                    Decision::Store(object, Ok(minted))
                }
                (Outcome::Duplicate { context, stamp }, _) => {
                    let seen = old.and_then(|old| {
                        let seen = old.ops.iter().find(|seen| seen.id == update.op)?;
                        Some((Arc::new(old.clone()), seen.dot, context, stamp))
                    });
                    Decision::Confirm(seen.ok_or(DoorError::Unknown))
                }
                (Outcome::Refused(refusal), _) => Decision::Leave(Err(refusal.into())),
            }
        })?;
        let (object, dot, context, stamp) = minted?;
        Ok(Minted { object, dot, context, stamp, floor, pending })
    }
}

/// What was waited for.
enum Heard {
    /// This node's journal.
    Own(write::Input),
    /// Another owner, asked under the epoch of that number.
    Owner(NodeId, u64, write::Input),
    /// An owner's view has come so far, and by it the write is of an older epoch.
    Stale(NodeId, u64, u64),
    /// An owner's floor is higher than the one at which what was sent was read.
    BelowFloor(NodeId, u64, u64),
    /// An owner is ahead; this node's view has come as far, or time is over.
    Caught,
}

/// One write under way.
struct Run {
    node: Node,
    wanted: Wanted,
    core: Taped<Write>,
    /// The view whose rules are counted: what is asked speaks of its epoch.
    view: Arc<View>,
    context: Context,
    stamp: Stamp,
    /// What was minted, of which all that is sent has heard.
    dot: Dot,
    /// The partition's floor before the object was read that is sent.
    floor: u64,
    /// How far the view of an owner has come that refused it.
    ahead: u64,
    waits: FuturesUnordered<Waiting<Heard>>,
    tell: Option<oneshot::Sender<Result<Done, DoorError>>>,
    /// What was sent last: the same for every owner.
    sent: Option<(u32, Vec<u8>)>,
}

impl Run {
    fn begin(
        node: Node,
        wanted: Wanted,
        minted: Minted,
        tell: oneshot::Sender<Result<Done, DoorError>>,
    ) -> Result<Self, DoorError> {
        let Minted { object, dot, context, stamp, floor, pending } = minted;
        let view = node.view();
        let rules = write_rules(&view, &wanted.place, wanted.w).ok_or_else(|| bucket_gone(&wanted.place))?;
        let wins = (wanted.update.kind == Kind::Lww).then_some((stamp, dot));
        let (me, deadline_ms) = (node.who().node, wanted.deadline_ms);
        let core = taped(Begin { me, rules, wins, now_ms: now_ms(), deadline_ms, object });
        let (waits, tell) = (FuturesUnordered::new(), Some(tell));
        let run = Self { node, wanted, core, view, context, stamp, dot, floor, ahead: 0, waits, tell, sent: None };
        run.await_own(pending);
        Ok(run)
    }

    /// The own copy counts when it is durable.
    fn await_own(&self, pending: Option<Pending>) {
        let round = self.core.core().round();
        self.waits.push(Box::pin(async move {
            let durable = match pending {
                Some(pending) => pending.durable().await.is_ok(),
                None => true,
            };
            Heard::Own(if durable { write::Input::Held { round, top: None } } else { write::Input::Refused })
        }));
    }

    async fn run(mut self) {
        let mut moved = self.node.moved();
        loop {
            while let Some(effect) = self.core.poll_effect() {
                self.perform(effect);
            }
            let Some(until_ms) = self.core.core().poll_timeout() else { break };
            self.wait(&mut moved, until_ms).await;
        }
        record(Tape::Write(self.core.into_reel()));
    }

    async fn wait(&mut self, moved: &mut watch::Receiver<u64>, until_ms: u64) {
        let rest = Duration::from_millis(until_ms.saturating_sub(now_ms()));
        tokio::select! {
            Some(heard) = self.waits.next(), if !self.waits.is_empty() => match heard {
                Heard::Own(input) => self.take(self.node.who().node, self.epoch(), input),
                Heard::Owner(from, epoch, input) => self.take(from, epoch, input),
                Heard::Stale(from, epoch, view) => {
                    self.ahead = self.ahead.max(view);
                    if epoch == self.epoch() {
                        self.core.tell(Step::Heard(now_ms(), from, write::Input::Stale));
                    }
                }
                Heard::BelowFloor(from, epoch, floor) if epoch == self.epoch() => self.send_again(from, floor),
                Heard::BelowFloor(..) => {}
                Heard::Caught => self.refresh(),
            },
            Ok(()) = moved.changed() => self.refresh(),
            () = tokio::time::sleep(rest) => self.core.tell(Step::Waited(now_ms())),
        }
    }

    /// Nothing is counted by rules that this node knows to be over. Whoever was asked under an earlier epoch was asked once
    /// more, and its later answer counts.
    fn take(&mut self, from: NodeId, epoch: u64, input: write::Input) {
        let own = from == self.node.who().node;
        self.refresh();
        if own || epoch == self.epoch() {
            self.core.tell(Step::Heard(now_ms(), from, input));
        }
    }

    /// The one whose rules are counted.
    fn epoch(&self) -> u64 {
        self.view.slot(self.wanted.place.partition()).epoch
    }

    fn perform(&mut self, effect: write::Effect) {
        match effect {
            write::Effect::Send { to, object, round } => self.send(to, &object, round),
            write::Effect::Hint { to } => self.node.missed(to, &self.wanted.place),
            write::Effect::Remint { above } => self.remint(above),
            write::Effect::Refresh => {
                let (node, index, until_ms) = (self.node.clone(), self.ahead, self.wanted.deadline_ms);
                self.waits.push(Box::pin(async move {
                    node.reach(index, until_ms).await;
                    Heard::Caught
                }));
            }
            write::Effect::Answer(answer) => {
                let result = match answer {
                    write::Answer::Ok { acked_by } => {
                        Ok(Done { context: self.context.clone(), stamp: self.stamp, acked_by })
                    }
                    write::Answer::Unknown { acked_by } => Err(DoorError::OutcomeUnknown { acked_by }),
                };
                if let Some(tell) = self.tell.take() {
                    let _client_gone = tell.send(result);
                }
            }
        }
    }

    fn send(&mut self, to: NodeId, object: &Object, round: u32) {
        let body = match &self.sent {
            Some((sent, body)) if *sent == round => body.clone(),
            _ => {
                let place = &self.wanted.place;
                let ask = Ask::Merge { place: Place::from(place), object: Sealed::of(place, object), round };
                let left_ms = self.wanted.deadline_ms.saturating_sub(now_ms());
                let body = self.node.question_at(&self.view, place.partition(), self.floor, left_ms, ask);
                self.sent = Some((round, body.clone()));
                body
            }
        };
        let answer = self.node.ask(to, Lane::Requests, body, ANSWER_BUDGET);
        let epoch = self.epoch();
        self.waits.push(Box::pin(async move {
            let input = match answer.await {
                Ok(Answer { tell: Tell::Held { top, round }, .. }) => write::Input::Held { round, top },
                Ok(Answer { tell: Tell::Refused(Why::Stale), view, .. }) => return Heard::Stale(to, epoch, view),
                Ok(Answer { tell: Tell::Refused(Why::BelowFloor), floor, .. }) => {
                    return Heard::BelowFloor(to, epoch, floor);
                }
                Ok(_) | Err(_) => write::Input::Refused,
            };
            Heard::Owner(to, epoch, input)
        }));
    }

    /// What stands here now, with this write in it, or what came after it; and the floor before it was read. None where the
    /// own journal has refused the write.
    fn read_again(&mut self) -> Option<Arc<Object>> {
        let (store, place) = (&self.node.0.store, &self.wanted.place);
        self.floor = store.floor(place.partition());
        let newest = store.newest(place).ok().flatten();
        newest.filter(|object| object.context.covers(self.dot))
    }

    /// An owner holds nothing of the key, and its floor has risen since the object was read here.
    fn send_again(&mut self, to: NodeId, floor: u64) {
        self.node.0.store.raise_floor(self.wanted.place.partition(), floor);
        self.sent = None;
        match self.read_again() {
            Some(object) => self.send(to, &object, self.core.core().round()),
            None => self.core.tell(Step::Heard(now_ms(), to, write::Input::Refused)),
        }
    }

    /// A higher stamp stands somewhere: this write is to win, so it is minted above it.
    fn remint(&mut self, above: Stamp) {
        let store = &self.node.0.store;
        let (actor, op) = (store.actor(), self.wanted.update.op);
        let floor = store.floor(self.wanted.place.partition());
        let reminted = store.update(&self.wanted.place, |old, next| {
            let counter = next.counter;
            match old.and_then(|old| apply::remint(old, op, above, mint(actor, next))) {
                Some(Outcome::Applied { object, context, stamp }) => {
                    let object = Arc::new(object);
                    let minted = (Arc::clone(&object), Dot { actor, counter }, context, stamp);
                    Decision::Store(object, Some(minted))
                }
                // It was replaced already: whoever did so has seen it, but what became of this one nobody can say.
                Some(_) | None => Decision::Leave(None),
            }
        });
        if let Ok((pending, Some((object, dot, context, stamp)))) = reminted {
            (self.context, self.stamp, self.dot, self.floor) = (context, stamp, dot, floor);
            self.core.tell(Step::Resent(now_ms(), (stamp, dot), object));
            self.await_own(pending);
        }
    }

    /// Begins again under the rules of a newer epoch.
    fn refresh(&mut self) {
        let (view, partition) = (self.node.view(), self.wanted.place.partition());
        if view.slot(partition).epoch != self.view.slot(partition).epoch
            && let Some(rules) = write_rules(&view, &self.wanted.place, self.wanted.w)
        {
            (self.view, self.sent) = (view, None);
            // New owners know no floor of before: they get what was read in their epoch. What the own journal refused
            // nobody is sent any more.
            if let Some(object) = self.read_again() {
                self.core.tell(Step::Restarted(now_ms(), rules, object));
            }
        }
    }
}
