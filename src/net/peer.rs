//! The nodes that this one speaks with: one listener, and to each known node one connection for each lane, dialled by who
//! has something to say. Answers come back on the connection of their question. Who is known is who may speak: anybody
//! else is refused, and who has no certificate reaches nothing but [`Inbox::guest`].
//!
//! Nothing here is retried or kept for later: what could not be said is dropped, and who asked is told. Queues are bounded
//! (`base::limits`); gossip drops its oldest, the other lanes refuse.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use crate::base::id::NodeId;
use crate::base::limits::ARRIVAL_TIMEOUT;
use crate::base::limits::COURIERS_MAX;
use crate::base::limits::GUESTS_MAX;
use crate::base::limits::PEER_ADDRESSES_MAX;
use crate::base::limits::PEERS_MAX;
use crate::base::limits::TWIN_REMEMBERED;
use crate::base::rng;
use crate::net::peer::arrive::Arrivals;
use crate::net::peer::call::Asked;
use crate::net::peer::count::Count;
use crate::net::peer::count::Counters;
use crate::net::peer::cut::Cuts;
use crate::net::peer::lane::OutLane;
use crate::net::peer::lane::PerLane;
use crate::net::peer::lives::Lives;
use crate::net::peer::serve::InLane;
use crate::net::peer::stream::Ended;
use crate::net::peer::trouble::Trouble;
use crate::net::peer::twins::Twin;
use crate::net::task::Tasks;
use crate::net::tls::PeerIdentity;
use crate::net::tls::PeerTls;
use crate::net::wire::Lane;
use crate::net::wire::hello::Life;
use crate::net::wire::hello::VERSIONS;
use crate::net::wire::hello::Versions;

mod arrive;
mod call;
pub mod count;
pub mod courier;
mod cut;
mod dial;
pub mod guest;
mod lane;
mod lives;
mod round_trips;
mod serve;
mod stream;
pub mod trouble;
pub mod twins;
mod waiting;

#[cfg(test)]
mod tests;

/// Where and how.
#[derive(Debug)]
pub struct Settings {
    /// Bound already.
    pub listener: std::net::TcpListener,
    /// What this release speaks; other than [`VERSIONS`] in tests only.
    pub versions: Versions,
    /// Time to say who one is; other than [`ARRIVAL_TIMEOUT`] in tests only.
    pub arrival_timeout: Duration,
    /// How long a peer's later life must be silent before an earlier one is spoken with; other than [`TWIN_REMEMBERED`] in
    /// tests only.
    pub twin_remembered: Duration,
    /// Which life of this node this is.
    pub life: Option<Life>,
}

impl Settings {
    /// Listens there.
    ///
    /// # Errors
    /// Where the address is not this machine's or is taken.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        Ok(Self {
            listener,
            versions: VERSIONS,
            arrival_timeout: ARRIVAL_TIMEOUT,
            twin_remembered: TWIN_REMEMBERED,
            life: None,
        })
    }
}

/// Who takes what comes. A panic in it is counted and harms nothing else.
pub trait Inbox: Send + Sync + 'static {
    /// Takes a message. Must not block: all of the connection waits.
    fn message(&self, from: NodeId, lane: Lane, body: Vec<u8>);

    /// Answers a question of an admitted node. Runs to its end even where nobody waits for it any more.
    fn question(&self, from: NodeId, lane: Lane, body: Vec<u8>) -> BoxFuture<'_, Vec<u8>>;

    /// Answers the one question of a machine that is no node yet. Dropped when its time is over.
    fn guest(&self, from: SocketAddr, body: Vec<u8>) -> BoxFuture<'_, Vec<u8>>;

    /// Answers the one question of an admitted node's courier. Dropped when its time is over.
    fn courier(&self, _from: NodeId, _body: Vec<u8>) -> BoxFuture<'_, Vec<u8>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// Whether a node that nobody named here may speak on the control lane: the list of members may be old, and what mends
    /// it comes that way. Not one that is known to be gone and to vote no more.
    fn may_speak(&self, node: NodeId) -> bool;

    /// There are two of a node, which may be this one itself.
    fn twin(&self, twin: Twin);

    /// Why a node that is not known here is let in never again, in words for it; none where it may be some day.
    fn removed(&self, _node: NodeId) -> Option<String> {
        None
    }

    /// A node says that this one was removed from the cluster, and in these words why.
    fn is_removed(&self, _by: NodeId, _why: &str) {}
}

/// Why something was not sent: nobody else has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// Not a node that is known here.
    #[error("the node is not known")]
    Unknown,
    /// Too much waits already.
    #[error("too much waits for the node already")]
    Full,
    /// There is no connection, and the last attempt to get one failed.
    #[error("the node cannot be reached")]
    Down,
    /// Longer than anything that is said.
    #[error("it is longer than a message may be")]
    TooLarge,
    /// This node stops, or the other one was forgotten.
    #[error("the connections to the node are closed")]
    Closed,
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody heard it.
    #[error(transparent)]
    NotSent(#[from] NotSent),
    /// The other node has too much to do; it did nothing.
    #[error("the node has too much to do")]
    Busy,
    /// The connection ended; whether anything was done is not known.
    #[error("the connection ended before the answer")]
    Lost,
    /// No answer in time; whether anything was done is not known.
    #[error("no answer in time")]
    TimedOut,
    /// The other node failed over it; what was done is not known.
    #[error("the node failed over the question")]
    Failed,
}

/// How it is with a lane to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneState {
    /// Called for the first time, or again at once after a connection that was good. What is to be said waits.
    Dialling,
    /// Connected.
    Up,
    /// Not reached; called again and again. Nothing waits.
    Down,
}

/// A lane to a peer, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneView {
    /// Which.
    pub lane: Lane,
    /// This node's connection.
    pub state: LaneState,
    /// Since when it is so.
    pub since: Instant,
    /// Where it is connected to.
    pub address: Option<SocketAddr>,
    /// The peer has a connection to this node.
    pub inbound: bool,
    /// Why there was no connection last, where there is none now.
    pub why: Option<Trouble>,
}

/// A peer, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkView {
    /// Its number.
    pub node: NodeId,
    /// Where it is looked for.
    pub addresses: Vec<String>,
    /// Its lanes in order.
    pub lanes: Vec<LaneView>,
    /// When anything came from it last.
    pub last_heard: Option<Instant>,
}

/// This node among nodes. Copies are the same.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

struct Shared {
    node: NodeId,
    versions: Versions,
    arrival_timeout: Duration,
    twin_remembered: Duration,
    life: Option<Life>,
    tls: PeerTls,
    inbox: Arc<dyn Inbox>,
    counters: Counters,
    peers: RwLock<Known>,
    cuts: Mutex<Cuts>,
    /// Of a hundred messages so many are dropped (`Peers::lose`).
    lost_percent: AtomicU8,
    arrivals: Arrivals,
    guests: Arc<Semaphore>,
    couriers: Arc<Semaphore>,
    tasks: Tasks,
    address: SocketAddr,
    changes: watch::Sender<u64>,
}

struct Peer {
    node: NodeId,
    /// Somebody here said that it is a member; else it may speak on the control lane only.
    named: AtomicBool,
    addresses: Mutex<Vec<String>>,
    out: PerLane<OutLane>,
    inbound: PerLane<InLane>,
    gone: watch::Sender<bool>,
    lives: Lives,
    /// Where the life before the one that counts listened.
    before: Mutex<Option<SocketAddr>>,
}

impl Peers {
    /// Listens. Nobody is known yet. Needs tokio around it.
    ///
    /// # Errors
    /// Where certificates are not what they should be, or the listener does not work.
    pub fn start(settings: Settings, identity: &PeerIdentity, inbox: Arc<dyn Inbox>) -> io::Result<Self> {
        let tls = PeerTls::new(identity).map_err(io::Error::other)?;
        settings.listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(settings.listener)?;
        let shared = Arc::new(Shared {
            node: identity.node,
            versions: settings.versions,
            arrival_timeout: settings.arrival_timeout,
            twin_remembered: settings.twin_remembered,
            life: settings.life,
            tls,
            inbox,
            counters: Counters::default(),
            peers: RwLock::default(),
            cuts: Mutex::default(),
            lost_percent: AtomicU8::new(0),
            arrivals: Arrivals::default(),
            guests: Arc::new(Semaphore::new(GUESTS_MAX)),
            couriers: Arc::new(Semaphore::new(COURIERS_MAX)),
            tasks: Tasks::new(),
            address: listener.local_addr()?,
            changes: watch::Sender::new(0),
        });
        shared.tasks.vital("peers", arrive::listen(Arc::clone(&shared), listener));
        Ok(Self(shared))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Lets a node in and calls it at these addresses (`host:port`, the likeliest first), for ever. Again with other
    /// addresses: it is looked for there from now on. False where this is the node itself, or there are too many.
    pub fn know(&self, node: NodeId, mut addresses: Vec<String>) -> bool {
        addresses.truncate(PEER_ADDRESSES_MAX);
        let shared = &self.0;
        let mut peers = shared.peers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(&node) {
            peer.named.store(true, Ordering::Relaxed);
            let mut known = peer.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            if *known != addresses {
                *known = addresses;
                Lane::ALL.into_iter().for_each(|lane| peer.out.of(lane).redial.notify_one());
            }
            return true;
        }
        Shared::begin(shared, &mut peers, node, addresses, true).is_some()
    }

    /// Lets a node in no more: its connections end, questions to it have no answer.
    pub fn forget(&self, node: NodeId) {
        let peer = self.0.peers.write().unwrap_or_else(PoisonError::into_inner).remove(&node);
        if let Some(peer) = peer {
            peer.gone.send_replace(true);
            Lane::ALL.into_iter().for_each(|lane| peer.out.of(lane).end());
            self.0.changed();
        }
    }

    /// Who is known, in order.
    #[must_use]
    pub fn known(&self) -> Vec<NodeId> {
        self.0.peers.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Says something. Whether it is heard is not known.
    ///
    /// # Errors
    /// [`NotSent`], at once.
    pub fn send(&self, to: NodeId, lane: Lane, body: &[u8]) -> Result<(), NotSent> {
        let peer = self.0.peer(to).ok_or(NotSent::Unknown)?;
        let dropped = peer.out.of(lane).say(body).inspect_err(|error| self.0.count_unsent(*error))?;
        self.0.count_dropped(dropped);
        Ok(())
    }

    /// Asks something. The question is on its way when this returns; the future waits for the answer. Where that is
    /// dropped, the question is forgotten, not taken back.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call(
        &self,
        to: NodeId,
        lane: Lane,
        body: &[u8],
        within: Duration,
    ) -> impl Future<Output = Result<Vec<u8>, CallError>> + Send + use<> {
        let asked = self.ask(to, lane, body);
        let shared = Arc::clone(&self.0);
        async move {
            let answer = asked?.wait(within).await;
            if answer == Err(CallError::TimedOut) {
                shared.counters.add(Count::CallTimedOut);
            }
            answer
        }
    }

    fn ask(&self, to: NodeId, lane: Lane, body: &[u8]) -> Result<Asked, NotSent> {
        let peer = self.0.peer(to).ok_or(NotSent::Unknown)?;
        let asked = peer.out.of(lane).ask(body).inspect_err(|error| self.0.count_unsent(*error));
        let (id, answer, dropped) = asked?;
        self.0.count_dropped(dropped);
        Ok(Asked::new(peer, lane, id, answer))
    }

    /// All peers and how it is with them, in order.
    #[must_use]
    pub fn links(&self) -> Vec<LinkView> {
        let peers = self.0.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().map(|peer| peer.view()).collect()
    }

    /// How long the smallest question to a peer and its answer take, in the middle of the last ones; none where it is not connected
    /// or was not for long.
    #[must_use]
    pub fn round_trip(&self, node: NodeId) -> Option<Duration> {
        let peers = self.0.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(&node)?.out.of(dial::TIMED).round_trip()
    }

    /// How long ago anything came from a peer, a sign of life among it; none where nothing ever did.
    #[must_use]
    pub fn heard_ago(&self, node: NodeId) -> Option<Duration> {
        let peers = self.0.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(&node)?.last_heard().map(|at| at.elapsed())
    }

    /// Bytes that wait to be written, to all of them.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        let peers = self.0.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().flat_map(|peer| Lane::ALL.map(|lane| peer.out.of(lane).waiting_bytes())).sum()
    }

    /// Tells whenever a link comes or goes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// For tests and drills: drops all that goes between this node and `node` (or all) on `lane` (or all), silently and
    /// both ways, or stops doing so.
    pub fn cut(&self, lane: Option<Lane>, node: Option<NodeId>, cut: bool) {
        // The locks in the order of `know`.
        let peers = self.0.peers.read().unwrap_or_else(PoisonError::into_inner);
        let mut cuts = self.0.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.set(lane, node, cut);
        for (peer, lane) in peers.values().flat_map(|peer| Lane::ALL.map(|lane| (peer, lane))) {
            let out = peer.out.of(lane);
            out.cut.store(cuts.is_cut(lane, peer.node), Ordering::Relaxed);
            out.redial.notify_one();
        }
    }

    /// For tests and drills: drops so many of a hundred questions, answers and messages that come, each on its own.
    pub fn lose(&self, percent: u8) {
        self.0.lost_percent.store(percent.min(100), Ordering::Relaxed);
    }

    /// Ends all: nobody is let in any more, what waits is written, questions being answered get a moment.
    pub async fn close(&self) {
        self.0.tasks.close().await;
        self.0.changed();
    }
}

type Known = BTreeMap<NodeId, Arc<Peer>>;

impl Shared {
    /// Whether what has just come is dropped.
    fn loses(&self) -> bool {
        let percent = self.lost_percent.load(Ordering::Relaxed);
        // Without entropy nothing is lost.
        percent > 0 && rng::nonzero_u64().is_ok_and(|drawn| drawn % 100 < u64::from(percent))
    }

    /// A node of which nobody here has heard, and that may speak nevertheless. None where there are too many.
    fn meet(self: &Arc<Self>, node: NodeId) -> Option<Arc<Peer>> {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        match peers.get(&node) {
            Some(peer) => Some(Arc::clone(peer)),
            None => Self::begin(self, &mut peers, node, Vec::new(), false),
        }
    }

    fn begin(
        shared: &Arc<Self>,
        peers: &mut Known,
        node: NodeId,
        addresses: Vec<String>,
        named: bool,
    ) -> Option<Arc<Peer>> {
        if node == shared.node || peers.len() >= PEERS_MAX || shared.tasks.is_stopped() {
            return None;
        }
        let cuts = shared.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = Arc::new(Peer {
            node,
            named: AtomicBool::new(named),
            addresses: Mutex::new(addresses),
            out: PerLane::new(|lane| OutLane::new(lane, cuts.is_cut(lane, node))),
            inbound: PerLane::new(|_| InLane::default()),
            gone: watch::Sender::new(false),
            lives: Lives::default(),
            before: Mutex::default(),
        });
        peers.insert(node, Arc::clone(&peer));
        for lane in Lane::ALL {
            shared.tasks.vital("lane to a peer", dial::keep(Arc::clone(shared), Arc::clone(&peer), lane));
        }
        Some(peer)
    }

    fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    /// Returns once there is no use for connections with this peer.
    async fn is_left_by(&self, peer: &Peer) {
        let mut gone = peer.gone.subscribe();
        tokio::select! {
            _ = gone.wait_for(|gone| *gone) => {}
            () = self.tasks.stopped() => {}
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn count_unsent(&self, error: NotSent) {
        if error == NotSent::Full {
            self.counters.add(Count::QueueFull);
        }
    }

    fn count_dropped(&self, dropped: usize) {
        if dropped > 0 {
            self.counters.add_all(Count::GossipDropped, dropped);
        }
    }

    fn count_end(&self, ended: &Ended) {
        match ended {
            Ended::Frame(error) => self.counters.add(Count::from(*error)),
            Ended::Silent => self.counters.add(Count::FellSilent),
            Ended::Closed | Ended::Io(_) | Ended::Replaced | Ended::Unneeded => {}
        }
    }
}

impl Peer {
    fn addresses(&self) -> Vec<String> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It is there: whatever lane waits to call it again does so now.
    fn redial_others(&self, than: Lane) {
        let others = Lane::ALL.into_iter().filter(|lane| *lane != than).map(|lane| self.out.of(lane));
        others.filter(|out| out.seen().link == LaneState::Down).for_each(|out| out.redial.notify_one());
    }

    fn last_heard(&self) -> Option<Instant> {
        let heard = Lane::ALL.map(|lane| self.out.of(lane).heard.last().max(self.inbound.of(lane).heard.last()));
        heard.into_iter().flatten().max()
    }

    fn view(&self) -> LinkView {
        let lanes = Lane::ALL.map(|lane| {
            let seen = self.out.of(lane).seen();
            let inbound = self.inbound.of(lane).is_connected();
            let (state, since) = (seen.link, seen.since);
            LaneView { lane, state, since, address: seen.address, inbound, why: seen.why }
        });
        LinkView { node: self.node, addresses: self.addresses(), lanes: lanes.to_vec(), last_heard: self.last_heard() }
    }
}
