//! What an admitted node says to this one on one lane: messages are handed on as they come, questions are answered side by
//! side.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

use crate::base::id::NodeId;
use crate::base::limits::PEER_CLOSE_TIMEOUT;
use crate::base::limits::PEER_QUESTION_BYTES_MAX;
use crate::base::limits::PEER_QUESTIONS_MAX;
use crate::base::limits::PEER_SILENCE_MAX;
use crate::net::peer::LaneState;
use crate::net::peer::Peer;
use crate::net::peer::Shared;
use crate::net::peer::arrive::Arrival;
use crate::net::peer::arrive::Incoming;
use crate::net::peer::count::Count;
use crate::net::peer::stream;
use crate::net::peer::stream::Ended;
use crate::net::peer::stream::Heard;
use crate::net::peer::stream::Queue;
use crate::net::peer::stream::Reader;
use crate::net::peer::stream::Stream;
use crate::net::peer::waiting::Waiting;
use crate::net::task;
use crate::net::wire::Frame;
use crate::net::wire::FrameError;
use crate::net::wire::Kind;
use crate::net::wire::Lane;
use crate::net::wire::Ready;
use crate::net::wire::Silence;
use crate::net::wire::hello::Life;

/// What one peer says on one lane, over all of its connections.
#[derive(Default)]
pub(super) struct InLane {
    /// Questions being answered, and their bytes.
    running: AtomicUsize,
    running_bytes: AtomicUsize,
    /// The newest connection. An older one ends: the peer has given it up.
    connection: Mutex<Option<Arc<Connection>>>,
    pub(super) heard: Heard,
}

impl InLane {
    fn connection(&self) -> MutexGuard<'_, Option<Arc<Connection>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connection().is_some()
    }

    /// Where the newest connection comes from.
    pub(super) fn from(&self) -> Option<IpAddr> {
        self.connection().as_ref().map(|connection| connection.from)
    }

    fn begin(&self, bytes: usize) -> bool {
        let others = self.running.fetch_add(1, Ordering::Relaxed);
        let other_bytes = self.running_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = others < PEER_QUESTIONS_MAX && other_bytes + bytes <= PEER_QUESTION_BYTES_MAX;
        if !fits {
            self.end(bytes);
        }
        fits
    }

    fn end(&self, bytes: usize) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.running_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A connection on which answers go back.
struct Connection {
    from: IpAddr,
    waiting: Mutex<Waiting>,
    wake: Notify,
    /// Its questions being answered.
    running: AtomicUsize,
    is_closing: AtomicBool,
    /// A newer one is there.
    replaced: Notify,
}

impl Connection {
    fn new(from: IpAddr) -> Self {
        Self {
            from,
            waiting: Mutex::new(Waiting::answers()),
            wake: Notify::new(),
            running: AtomicUsize::new(0),
            is_closing: AtomicBool::new(false),
            replaced: Notify::new(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False where it is too long, or too much waits to be read by the peer.
    fn say(&self, kind: Kind, id: u64, body: &[u8]) -> bool {
        let Some(frame) = Ready::new(kind, id, body) else { return false };
        let mut waiting = self.waiting();
        let was_empty = waiting.is_empty();
        let put = waiting.push(&frame).is_ok();
        drop(waiting);
        if put && was_empty {
            self.wake.notify_one();
        }
        put
    }
}

impl Queue for Arc<Connection> {
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        self.waiting().take(batch)
    }

    fn is_done(&self) -> bool {
        self.is_closing.load(Ordering::Acquire) && self.running.load(Ordering::Acquire) == 0
    }

    fn wake(&self) -> &Notify {
        &self.wake
    }
}

/// A lane of a node that proved who it is and is known here.
pub(super) struct Admitted {
    peer: Arc<Peer>,
    lane: Lane,
    life: Option<Life>,
    stream: Incoming,
    connection: Arc<Connection>,
}

impl Admitted {
    pub(super) fn new(shared: &Shared, peer: Arc<Peer>, lane: Lane, life: Option<Life>, arrival: Arrival) -> Self {
        let Arrival { mut stream, from, certified: _ } = arrival;
        stream.reader.trust();
        let connection = Arc::new(Connection::new(from.ip()));
        let older = peer.inbound.of(lane).connection().replace(Arc::clone(&connection));
        if let Some(older) = older {
            older.replaced.notify_one();
        }
        peer.inbound.of(lane).heard.now();
        shared.changed();
        // Whoever calls can be called.
        if peer.out.of(lane).seen().link == LaneState::Down {
            peer.out.of(lane).redial.notify_one();
        }
        Self { peer, lane, life, stream, connection }
    }

    /// Takes what comes until the connection ends.
    pub(super) async fn serve(self, shared: &Arc<Shared>) {
        let Self { peer, lane, life, stream, connection } = self;
        let ended = tokio::select! {
            ended = converse(shared, &peer, lane, stream, &connection) => ended,
            // What it was asked is not to be answered any more: somebody else has its number.
            () = peer.lives.end(life) => Ended::Replaced,
        };
        shared.count_end(&ended);
        tracing::debug!(node = %peer.node, lane = lane.name(), %ended, "a connection of a peer ended");
        let mut newest = peer.inbound.of(lane).connection();
        if newest.as_ref().is_some_and(|newest| Arc::ptr_eq(newest, &connection)) {
            *newest = None;
        }
        drop(newest);
        shared.changed();
    }
}

/// A connection's life.
async fn converse(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    lane: Lane,
    stream: Incoming,
    connection: &Arc<Connection>,
) -> Ended {
    let Stream { mut reader, mut writer } = stream;
    let ended = {
        let mut writing = std::pin::pin!(stream::write(&mut writer, connection));
        let ended = tokio::select! {
            ended = listen(shared, peer, lane, &mut reader, connection) => ended,
            written = &mut writing => return written.err().unwrap_or(Ended::Unneeded),
            () = fall_silent(&peer.inbound.of(lane).heard) => Ended::Silent,
            () = connection.replaced.notified() => Ended::Unneeded,
            () = shared.is_left_by(peer) => Ended::Unneeded,
        };
        if matches!(ended, Ended::Unneeded) {
            connection.is_closing.store(true, Ordering::Release);
            connection.wake.notify_one();
            let _late = tokio::time::timeout(PEER_CLOSE_TIMEOUT, writing).await;
        }
        ended
    };
    if matches!(ended, Ended::Unneeded) {
        let _late = tokio::time::timeout(PEER_CLOSE_TIMEOUT, Stream { reader, writer }.close()).await;
    }
    ended
}

/// Ends where a peer gave no sign of life for longer than it would itself put up with.
async fn fall_silent(heard: &Heard) {
    let max = 2 * PEER_SILENCE_MAX;
    loop {
        let silent = heard.ago();
        if silent >= max {
            return;
        }
        tokio::time::sleep(max - silent).await;
    }
}

async fn listen(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    lane: Lane,
    reader: &mut Reader<TlsStream<TcpStream>>,
    connection: &Arc<Connection>,
) -> Ended {
    loop {
        let frame = match reader.next_heard(&peer.inbound.of(lane).heard).await {
            Ok(frame) => frame,
            Err(ended) => return ended,
        };
        if let Err(error) = take(shared, peer, lane, connection, frame) {
            return Ended::Frame(error);
        }
    }
}

fn take(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    lane: Lane,
    connection: &Arc<Connection>,
    frame: Frame,
) -> Result<(), FrameError> {
    let Frame { kind, id, body } = frame;
    if peer.out.of(lane).is_cut() || matches!(kind, Kind::Message | Kind::Question) && shared.loses() {
        return Ok(());
    }
    match kind {
        Kind::Message => {
            let handing = catch_unwind(AssertUnwindSafe(|| shared.inbox.message(peer.node, lane, body)));
            if handing.is_err() {
                shared.counters.add(Count::HandlerFailed);
            }
        }
        Kind::Question => match Answering::begin(shared, peer, lane, connection, id, body.len()) {
            Some(answering) => drop(task::spawn("answer to a peer", answering.run(peer.node, body))),
            None => {
                shared.counters.add(Count::QuestionBusy);
                // Where this does not fit either, the asking node hears nothing and gives up in its own time.
                let _full = connection.say(Kind::Unanswered, id, &Silence::Busy.encode());
            }
        },
        Kind::Ping => {
            // As above: an unread queue is a dead connection.
            let _full = connection.say(Kind::Pong, 0, b"");
        }
        Kind::Hello | Kind::Refusal | Kind::Answer | Kind::Unanswered | Kind::Pong | Kind::Part => {
            return Err(FrameError::Unexpected);
        }
    }
    Ok(())
}

/// A question being answered; where that fails, the asking node is told.
struct Answering {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    lane: Lane,
    connection: Arc<Connection>,
    id: u64,
    bytes: usize,
    is_answered: bool,
}

impl Answering {
    fn begin(
        shared: &Arc<Shared>,
        peer: &Arc<Peer>,
        lane: Lane,
        connection: &Arc<Connection>,
        id: u64,
        bytes: usize,
    ) -> Option<Self> {
        if !peer.inbound.of(lane).begin(bytes) {
            return None;
        }
        connection.running.fetch_add(1, Ordering::AcqRel);
        Some(Self {
            shared: Arc::clone(shared),
            peer: Arc::clone(peer),
            lane,
            connection: Arc::clone(connection),
            id,
            bytes,
            is_answered: false,
        })
    }

    fn is_cut(&self) -> bool {
        self.peer.out.of(self.lane).is_cut()
    }

    async fn run(mut self, from: NodeId, body: Vec<u8>) {
        let answer = self.shared.inbox.question(from, self.lane, body).await;
        self.is_answered = self.is_cut() || self.connection.say(Kind::Answer, self.id, &answer);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.is_answered && !self.is_cut() {
            self.shared.counters.add(Count::HandlerFailed);
            let _full = self.connection.say(Kind::Unanswered, self.id, &Silence::Failed.encode());
        }
        self.peer.inbound.of(self.lane).end(self.bytes);
        self.connection.running.fetch_sub(1, Ordering::AcqRel);
        if self.connection.is_closing.load(Ordering::Acquire) {
            self.connection.wake.notify_one();
        }
    }
}
