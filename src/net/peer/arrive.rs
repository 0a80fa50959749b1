//! Who calls: from a bare connection to a guest or an admitted node, and nothing in between. Until it is known which, a
//! connection is an [`Arrival`], of which there are few, for a short time, with short frames, and which can do nothing but
//! say its first words.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use crate::base::id::NodeId;
use crate::base::limits::ARRIVALS_MAX;
use crate::base::open_files;
use crate::net::peer::Shared;
use crate::net::peer::count::Count;
use crate::net::peer::courier::Courier;
use crate::net::peer::guest::Guest;
use crate::net::peer::serve::Admitted;
use crate::net::peer::stream;
use crate::net::peer::stream::Ended;
use crate::net::peer::stream::Stream;
use crate::net::peer::twins::Met;
use crate::net::peer::twins::Twin;
use crate::net::tls;
use crate::net::wire::FrameError;
use crate::net::wire::Kind;
use crate::net::wire::Lane;
use crate::net::wire::hello::Hello;
use crate::net::wire::hello::Life;
use crate::net::wire::hello::Purpose;
use crate::net::wire::hello::Reason;
use crate::net::wire::hello::Refusal;

/// Where no connection can be accepted, as without file descriptors: how long until it is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) type Incoming = Stream<TlsStream<TcpStream>>;

/// Connections of which it is not yet known who they are, the oldest first.
#[derive(Default)]
pub(super) struct Arrivals(Mutex<Present>);

#[derive(Default)]
struct Present {
    last: u64,
    running: BTreeMap<u64, Arriving>,
}

struct Arriving {
    from: IpAddr,
    /// How it is ended; nothing while it begins.
    end: Option<AbortHandle>,
}

impl Present {
    /// The oldest of those who have the most: a flood crowds out itself.
    fn crowded_out(&self) -> Option<u64> {
        let mut counts = BTreeMap::<IpAddr, usize>::new();
        self.running.values().for_each(|arriving| *counts.entry(arriving.from).or_default() += 1);
        let most = counts.values().copied().max()?;
        self.running.iter().find(|(_, arriving)| counts.get(&arriving.from) == Some(&most)).map(|(number, _)| *number)
    }
}

/// One of them; given up where it is dropped.
pub(super) struct Place {
    shared: Arc<Shared>,
    number: u64,
}

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, Present> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Begins a task with a place of its own. Where there is none one makes room: it had more time than it needed.
    fn give(shared: &Arc<Shared>, from: IpAddr, task: impl FnOnce(Self) -> JoinHandle<()>) {
        let mut present = shared.arrivals.lock();
        if present.running.len() >= ARRIVALS_MAX
            && let Some(gone) = present.crowded_out().and_then(|number| present.running.remove(&number))
        {
            if let Some(end) = gone.end {
                end.abort();
            }
            shared.counters.add(Count::CrowdedOut);
        }
        present.last += 1;
        let number = present.last;
        present.running.insert(number, Arriving { from, end: None });
        drop(present);
        let running = task(Self { shared: Arc::clone(shared), number }).abort_handle();
        // It may have gone again already.
        if let Some(known) = shared.arrivals.lock().running.get_mut(&number) {
            known.end = Some(running);
        }
    }

    /// It is known who this is: nobody is crowded out any more.
    pub(super) fn leave(self) {
        drop(self);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.arrivals.lock().running.remove(&self.number);
    }
}

/// Takes connections.
pub(super) async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.tasks.stopped() => return,
        };
        match accepted {
            Ok((tcp, from)) => Place::give(&shared, from.ip(), |place| {
                let arriving = arrive(Arc::clone(&shared), tcp, from, place);
                shared.tasks.spawn("lane from a peer", arriving)
            }),
            Err(error) => {
                open_files::note(&error);
                tracing::warn!(%error, "a connection of a peer could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn arrive(shared: Arc<Shared>, tcp: TcpStream, from: SocketAddr, place: Place) {
    let deadline = Instant::now() + shared.arrival_timeout;
    let introduced = tokio::select! {
        introduced = tokio::time::timeout_at(deadline, introduce(&shared, tcp, from)) => introduced,
        () = shared.tasks.stopped() => return,
    };
    match introduced {
        Ok(Some(Caller::Peer(admitted))) => {
            place.leave();
            admitted.serve(&shared).await;
        }
        Ok(Some(Caller::Guest(guest))) => {
            let served = tokio::select! {
                served = tokio::time::timeout_at(deadline, guest.serve(&shared, place)) => served,
                () = shared.tasks.stopped() => return,
            };
            if served.is_err() {
                shared.counters.add(Count::ArrivalTimedOut);
            }
        }
        Ok(Some(Caller::Courier(courier))) => {
            let served = tokio::select! {
                served = tokio::time::timeout_at(deadline, courier.serve(&shared, place)) => served,
                () = shared.tasks.stopped() => return,
            };
            if served.is_err() {
                shared.counters.add(Count::ArrivalTimedOut);
            }
        }
        Ok(None) => {}
        Err(_late) => shared.counters.add(Count::ArrivalTimedOut),
    }
}

/// Who it turned out to be. There is nothing else to be.
enum Caller {
    Guest(Guest),
    Courier(Courier),
    Peer(Admitted),
}

/// A connection with TLS around it, before its first words.
pub(super) struct Arrival {
    pub(super) stream: Incoming,
    pub(super) from: SocketAddr,
    /// Whom its certificate names, where it showed one.
    pub(super) certified: Option<NodeId>,
}

async fn introduce(shared: &Arc<Shared>, tcp: TcpStream, from: SocketAddr) -> Option<Caller> {
    stream::tune(&tcp).ok()?;
    let (stream, certified) = match shared.tls.accept(tcp).await {
        Ok(accepted) => accepted,
        Err(error) => {
            let bad = tls::is_bad_certificate(&error);
            shared.counters.add(if bad { Count::BadCertificate } else { Count::HandshakeFailed });
            tracing::debug!(%from, %error, "a caller at the peers' port did not get through the handshake");
            return None;
        }
    };
    let mut arrival = Arrival { stream: Stream::new(stream), from, certified };
    match arrival.hear().await {
        Ok(hello) => arrival.judge(shared, hello).await,
        // Written in a layout of another time: what is said back stays the same for ever.
        Err((Count::FrameUnknown, _)) => {
            let text = format!("a frame of layout {} is understood here", crate::net::wire::LAYOUT);
            arrival.refuse(shared, Count::FrameUnknown, Reason::Versions, text).await
        }
        Err((count, ended)) => {
            shared.counters.add(count);
            tracing::debug!(%from, %ended, "a caller at the peers' port did not say what it wants");
            None
        }
    }
}

impl Arrival {
    /// Its first words.
    async fn hear(&mut self) -> Result<Hello, (Count, Ended)> {
        let frame = self.stream.reader.next().await.map_err(|ended| match ended {
            Ended::Frame(error) => (Count::from(error), ended),
            Ended::Closed | Ended::Io(_) | Ended::Silent | Ended::Replaced | Ended::Unneeded => {
                (Count::HandshakeFailed, ended)
            }
        })?;
        if frame.kind != Kind::Hello {
            return Err((Count::BeforeHello, Ended::Frame(FrameError::Unexpected)));
        }
        Hello::decode(&frame.body).map_err(|error| (Count::from(error), Ended::Frame(error)))
    }

    /// Who it is, what it speaks, what it wants: in this order.
    async fn judge(mut self, shared: &Arc<Shared>, hello: Hello) -> Option<Caller> {
        let (count, reason, text) = match self.find(shared, &hello) {
            Ok(found) => {
                let life = self.certified.and(shared.life);
                let answer = Hello { versions: shared.versions, purpose: hello.purpose, life };
                self.stream.greet(&answer).await.ok()?;
                return Some(found.caller(shared, self));
            }
            Err(refused) => refused,
        };
        self.refuse(shared, count, reason, text).await
    }

    fn find(&self, shared: &Arc<Shared>, hello: &Hello) -> Result<Found, (Count, Reason, String)> {
        if self.certified == Some(shared.node) {
            shared.inbox.twin(Twin::Called { from: self.from.ip() });
            return Err((Count::SameNode, Reason::SameNode, format!("this is node {} already", shared.node)));
        }
        if let Err(text) = shared.versions.agree(&hello.versions) {
            return Err((Count::VersionRefused, Reason::Versions, text));
        }
        match (self.certified, hello.purpose) {
            (None, Purpose::Join) => Ok(Found::Guest),
            (None, _) => {
                let text = "without a certificate there is nothing to do here but to join".to_owned();
                Err((Count::NotAuthenticated, Reason::Purpose, text))
            }
            (Some(node), Purpose::Lane(lane)) => match shared.peer(node) {
                Some(peer) if lane != Lane::Control && !peer.named.load(Ordering::Relaxed) => {
                    Err((Count::NotAdmitted, Reason::NotAdmitted, not_known(node)))
                }
                Some(peer) if peer.out.of(lane).is_cut() => Err((Count::NotAdmitted, Reason::Busy, "cut".to_owned())),
                Some(peer) => match shared.admit(&peer, hello.life, Met::From(self.from.ip())) {
                    Ok(()) => Ok(Found::Peer(peer, lane, hello.life)),
                    Err(text) => Err((Count::EarlierLife, Reason::SameNode, text)),
                },
                None if let Some(why) = shared.inbox.removed(node) => Err((Count::NotAdmitted, Reason::Removed, why)),
                None if lane == Lane::Control && shared.inbox.may_speak(node) => match shared.meet(node) {
                    Some(peer) => Ok(Found::Peer(peer, lane, hello.life)),
                    None => Err((Count::NotAdmitted, Reason::Busy, "no room for another node".to_owned())),
                },
                None => Err((Count::NotAdmitted, Reason::NotAdmitted, not_known(node))),
            },
            // Says nothing of which life is spoken with, and none is judged by it.
            (Some(node), Purpose::Courier) => match shared.peer(node) {
                Some(peer) if peer.out.of(Lane::Bulk).is_cut() => {
                    Err((Count::NotAdmitted, Reason::Busy, "cut".to_owned()))
                }
                Some(peer) if peer.named.load(Ordering::Relaxed) => Ok(Found::Courier(node)),
                Some(_) => Err((Count::NotAdmitted, Reason::NotAdmitted, not_known(node))),
                None => match shared.inbox.removed(node) {
                    Some(why) => Err((Count::NotAdmitted, Reason::Removed, why)),
                    None => Err((Count::NotAdmitted, Reason::NotAdmitted, not_known(node))),
                },
            },
            (Some(_), Purpose::Join | Purpose::Other) => {
                let text = "a node with a certificate has joined already".to_owned();
                Err((Count::FrameUnexpected, Reason::Purpose, text))
            }
        }
    }

    async fn refuse<T>(self, shared: &Shared, count: Count, reason: Reason, text: String) -> Option<T> {
        shared.counters.add(count);
        tracing::debug!(from = %self.from, node = self.certified.map(|node| node.0), text, "a caller was refused");
        self.stream.refuse(&Refusal { versions: shared.versions, reason, text }).await;
        None
    }
}

fn not_known(node: NodeId) -> String {
    format!("node {node} is not known as a member here")
}

enum Found {
    Guest,
    Courier(NodeId),
    Peer(Arc<super::Peer>, Lane, Option<Life>),
}

impl Found {
    fn caller(self, shared: &Arc<Shared>, arrival: Arrival) -> Caller {
        match self {
            Self::Guest => Caller::Guest(Guest::new(arrival.stream, arrival.from)),
            Self::Courier(node) => Caller::Courier(Courier::new(arrival.stream, node)),
            Self::Peer(peer, lane, life) => Caller::Peer(Admitted::new(shared, peer, lane, life, arrival)),
        }
    }
}
