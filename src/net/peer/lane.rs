//! What this node says to one peer on one lane, and the questions that wait for their answers. What waits outlives neither
//! a connection nor a call that nobody takes: it is dropped, and who asked is told whether it can have been heard.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::sync::oneshot;

use crate::base::limits::PEER_CALLS_MAX;
use crate::base::time;
use crate::net::peer::CallError;
use crate::net::peer::LaneState;
use crate::net::peer::NotSent;
use crate::net::peer::round_trips::RoundTrips;
use crate::net::peer::stream::Heard;
use crate::net::peer::stream::Queue;
use crate::net::peer::trouble::Trouble;
use crate::net::peer::waiting::Waiting;
use crate::net::wire::Kind;
use crate::net::wire::Lane;
use crate::net::wire::Ready;

/// What becomes of a question.
pub(super) type Answer = Result<Vec<u8>, CallError>;

/// One thing for each lane.
#[derive(Debug)]
pub(super) struct PerLane<T> {
    gossip: T,
    control: T,
    requests: T,
    bulk: T,
}

impl<T> PerLane<T> {
    pub(super) fn new(mut make: impl FnMut(Lane) -> T) -> Self {
        Self {
            gossip: make(Lane::Gossip),
            control: make(Lane::Control),
            requests: make(Lane::Requests),
            bulk: make(Lane::Bulk),
        }
    }

    pub(super) fn of(&self, lane: Lane) -> &T {
        match lane {
            Lane::Gossip => &self.gossip,
            Lane::Control => &self.control,
            Lane::Requests => &self.requests,
            Lane::Bulk => &self.bulk,
        }
    }
}

/// A lane to a peer.
#[derive(Debug)]
pub(super) struct OutLane {
    state: Mutex<State>,
    next_id: AtomicU64,
    /// For the writer.
    wake: Notify,
    /// It is worth calling again now.
    pub(super) redial: Notify,
    /// When this lane's connection was heard.
    pub(super) heard: Heard,
    round_trips: Mutex<RoundTrips>,
    /// Drop everything silently (`Peers::cut`).
    pub(super) cut: AtomicBool,
}

#[derive(Debug)]
struct State {
    waiting: Waiting,
    calls: HashMap<u64, Pending>,
    link: LaneState,
    since: Instant,
    address: Option<SocketAddr>,
    why: Option<Trouble>,
    /// Nothing more is taken.
    done: bool,
}

#[derive(Debug)]
struct Pending {
    tell: oneshot::Sender<Answer>,
    /// Where its frame begins in all bytes that ever waited here.
    at: u64,
}

/// What is to be seen of a lane.
pub(super) struct Seen {
    pub(super) link: LaneState,
    pub(super) since: Instant,
    pub(super) address: Option<SocketAddr>,
    pub(super) why: Option<Trouble>,
}

impl OutLane {
    pub(super) fn new(lane: Lane, cut: bool) -> Self {
        let state = State {
            waiting: Waiting::to_peer(lane),
            calls: HashMap::new(),
            link: LaneState::Dialling,
            since: time::mono(),
            address: None,
            why: None,
            done: false,
        };
        Self {
            state: Mutex::new(state),
            next_id: AtomicU64::new(1),
            wake: Notify::new(),
            redial: Notify::new(),
            heard: Heard::default(),
            round_trips: Mutex::default(),
            cut: AtomicBool::new(cut),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something. Returns how many older ones were dropped for it.
    pub(super) fn say(&self, body: &[u8]) -> Result<usize, NotSent> {
        let frame = Ready::new(Kind::Message, 0, body).ok_or(NotSent::TooLarge)?;
        let mut state = self.state();
        state.check()?;
        self.put(&mut state, &frame).map(|(_, dropped)| dropped)
    }

    /// Asks something.
    pub(super) fn ask(&self, body: &[u8]) -> Result<(u64, oneshot::Receiver<Answer>, usize), NotSent> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = Ready::new(Kind::Question, id, body).ok_or(NotSent::TooLarge)?;
        let (tell, answer) = oneshot::channel();
        let mut state = self.state();
        state.check()?;
        if state.calls.len() >= PEER_CALLS_MAX {
            return Err(NotSent::Full);
        }
        let (at, dropped) = self.put(&mut state, &frame)?;
        state.calls.insert(id, Pending { tell, at });
        Ok((id, answer, dropped))
    }

    /// Asks for a sign of life, unless something waits already. Whether it did.
    pub(super) fn ping(&self) -> bool {
        let mut state = self.state();
        let ping = Ready::new(Kind::Ping, 0, b"").filter(|_| state.waiting.is_empty());
        // A queue with nothing in it takes it.
        ping.is_some_and(|ping| self.put(&mut state, &ping).is_ok())
    }

    /// Asks for a sign of life also where there are others, to see how long it takes.
    pub(super) fn time_a_round_trip(&self) {
        // Noted before it can be answered.
        let mut round_trips = self.round_trips();
        if self.ping() {
            round_trips.ask(time::mono());
        }
    }

    /// A sign of life that was asked for came.
    pub(super) fn ponged(&self) {
        self.round_trips().answered(time::mono());
    }

    /// How long the smallest question and its answer take, in the middle of the last ones.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trips().middle()
    }

    fn round_trips(&self) -> MutexGuard<'_, RoundTrips> {
        self.round_trips.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, state: &mut State, frame: &Ready<'_>) -> Result<(u64, usize), NotSent> {
        let was_empty = state.waiting.is_empty();
        let put = state.waiting.push(frame).map_err(|_full| NotSent::Full)?;
        if was_empty {
            self.wake.notify_one();
        }
        Ok(put)
    }

    /// Gives a question its end. False where nobody waits for it any more.
    pub(super) fn end_call(&self, id: u64, answer: Answer) -> bool {
        let pending = self.state().calls.remove(&id);
        pending.is_some_and(|pending| pending.tell.send(answer).is_ok())
    }

    /// Nobody waits for this question any more.
    pub(super) fn forget_call(&self, id: u64) {
        self.state().calls.remove(&id);
    }

    /// There is a connection.
    pub(super) fn up(&self, address: SocketAddr) {
        self.heard.now();
        *self.round_trips() = RoundTrips::default();
        self.state().turn(LaneState::Up, Some(address), None);
    }

    /// There is none any more: `link` says whether another one may be there at once.
    pub(super) fn lost(&self, link: LaneState, why: Trouble) {
        let mut state = self.state();
        state.turn(link, None, Some(why));
        state.drop_all(NotSent::Down);
    }

    /// There will be none any more. What waits may still be written.
    pub(super) fn finish(&self) {
        self.state().done = true;
        self.wake.notify_one();
    }

    /// Nothing is to be said any more.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.done = true;
        state.drop_all(NotSent::Closed);
        self.wake.notify_one();
    }

    pub(super) fn seen(&self) -> Seen {
        let state = self.state();
        Seen { link: state.link, since: state.since, address: state.address, why: state.why.clone() }
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.state().waiting.len()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }
}

impl State {
    fn check(&self) -> Result<(), NotSent> {
        match self.link {
            _ if self.done => Err(NotSent::Closed),
            LaneState::Down => Err(NotSent::Down),
            LaneState::Dialling | LaneState::Up => Ok(()),
        }
    }

    fn turn(&mut self, link: LaneState, address: Option<SocketAddr>, why: Option<Trouble>) {
        if self.link != link {
            self.since = time::mono();
        }
        (self.link, self.address, self.why) = (link, address, why);
    }

    fn drop_all(&mut self, unsent: NotSent) {
        let untaken = self.waiting.clear();
        for (_, pending) in self.calls.drain() {
            let end = if pending.at >= untaken { CallError::NotSent(unsent) } else { CallError::Lost };
            // Who asked may have gone.
            let _gone = pending.tell.send(Err(end));
        }
    }
}

impl Queue for OutLane {
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let some = self.state().waiting.take(batch);
        if self.is_cut() {
            batch.clear();
        }
        some
    }

    fn is_done(&self) -> bool {
        self.state().done
    }

    fn wake(&self) -> &Notify {
        &self.wake
    }
}
