//! Calling a peer, one connection for each lane, for ever: at once, and after a failure with growing waits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::base::backoff::Backoff;
use crate::base::limits::PEER_CLOSE_TIMEOUT;
use crate::base::limits::PEER_DIAL_TIMEOUT;
use crate::base::limits::PEER_PING_EVERY;
use crate::base::limits::PEER_REDIAL_FIRST;
use crate::base::limits::PEER_REDIAL_MAX;
use crate::base::limits::PEER_SILENCE_MAX;
use crate::base::rng;
use crate::base::time;
use crate::net::neighbours;
use crate::net::peer::CallError;
use crate::net::peer::LaneState;
use crate::net::peer::Peer;
use crate::net::peer::Shared;
use crate::net::peer::count::Count;
use crate::net::peer::lane::OutLane;
use crate::net::peer::stream;
use crate::net::peer::stream::Ended;
use crate::net::peer::stream::Reader;
use crate::net::peer::stream::Stream;
use crate::net::peer::trouble::Trouble;
use crate::net::peer::twins::Met;
use crate::net::peer::twins::Twin;
use crate::net::resolve;
use crate::net::resolve::ResolveError;
use crate::net::routes;
use crate::net::tls;
use crate::net::wire::Frame;
use crate::net::wire::FrameError;
use crate::net::wire::Kind;
use crate::net::wire::Lane;
use crate::net::wire::Silence;
use crate::net::wire::hello::Hello;
use crate::net::wire::hello::Life;
use crate::net::wire::hello::Purpose;
use crate::net::wire::hello::Reason;
use crate::net::wire::hello::Refusal;

/// The lane whose round trips are timed: what goes over it is small, and nobody's disk is waited for.
pub(super) const TIMED: Lane = Lane::Gossip;

/// Why a peer could not be reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// It has no address, or one that is none.
    #[error("no address of it is known")]
    NoAddress,
    /// Its name is not known.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// No connection, or not to it.
    #[error("{address}: {source}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Nothing came in time.
    #[error(
        "{address} does not answer{}{}",
        if *.nobody { ", and nobody on the network says that it is there" } else { "" },
        .by.as_ref().map(|by| format!(" (asked by the interface {by})")).unwrap_or_default()
    )]
    Timeout {
        /// Where.
        address: String,
        /// The network was asked who has that address, in vain.
        nobody: bool,
        /// The interface that this machine sends by to there.
        by: Option<String>,
    },
    /// Whoever took the connection said nothing in time.
    #[error("{0} takes connections and says nothing")]
    Mute(SocketAddr),
    /// It says no.
    #[error("it refuses: {}", .0.text)]
    Refused(Refusal),
    /// The first words went wrong.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// Somebody else with its number was started later.
    #[error("{0} is an earlier life of it")]
    EarlierLife(SocketAddr),
    /// A test or a drill says so.
    #[error("cut")]
    Cut,
}

/// Keeps a lane to a peer connected until there is no use for it.
pub(super) async fn keep(shared: Arc<Shared>, peer: Arc<Peer>, lane: Lane) {
    let out = peer.out.of(lane);
    let mut backoff = Backoff::new(PEER_REDIAL_FIRST, PEER_REDIAL_MAX);
    loop {
        let dialled = tokio::select! {
            dialled = dial(&shared, &peer, lane) => dialled,
            () = shared.is_left_by(&peer) => break,
        };
        match dialled {
            Ok((stream, life, address)) => {
                out.up(address);
                shared.counters.add(Count::Connected);
                shared.changed();
                peer.redial_others(lane);
                let began = time::mono();
                let ended = tokio::select! {
                    ended = converse(&shared, &peer, lane, stream) => ended,
                    () = peer.lives.end(life) => Ended::Replaced,
                };
                shared.count_end(&ended);
                if matches!(ended, Ended::Unneeded) {
                    break;
                }
                let lived = began.elapsed() >= PEER_REDIAL_MAX;
                tracing::debug!(node = %peer.node, lane = lane.name(), %ended, "a connection to a peer ended");
                out.lost(if lived { LaneState::Dialling } else { LaneState::Down }, Trouble::ended(&ended));
                shared.changed();
                if lived {
                    backoff.reset();
                    continue;
                }
            }
            Err(error) => {
                tracing::debug!(node = %peer.node, lane = lane.name(), %error, "a peer cannot be reached");
                out.lost(LaneState::Down, Trouble::from(&error));
                shared.changed();
            }
        }
        let wait = backoff.wait(rng::nonzero_u64().unwrap_or_default());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = out.redial.notified() => {}
            () = shared.is_left_by(&peer) => break,
        }
    }
    out.end();
    shared.changed();
}

type Dialled = (Stream<TlsStream<TcpStream>>, Option<Life>, SocketAddr);

/// The first address of a peer where it is, and wants to speak.
async fn dial(shared: &Shared, peer: &Peer, lane: Lane) -> Result<Dialled, DialError> {
    let out = peer.out.of(lane);
    if out.is_cut() {
        return Err(DialError::Cut);
    }
    let mut last = DialError::NoAddress;
    for text in peer.addresses() {
        match dial_at(shared, peer, lane, &text).await {
            Ok(dialled) => return Ok(dialled),
            Err(error) => {
                // Nobody waits for the further addresses of a node that is not at its first.
                out.lost(LaneState::Down, Trouble::from(&error));
                last = error;
            }
        }
    }
    Err(last)
}

async fn dial_at(shared: &Shared, peer: &Peer, lane: Lane, text: &str) -> Result<Dialled, DialError> {
    let late = |nobody, by| DialError::Timeout { address: text.to_owned(), nobody, by };
    let (host, port) = text.rsplit_once(':').ok_or(DialError::NoAddress)?;
    let Ok(port) = port.parse() else { return Err(DialError::NoAddress) };
    let found = within(resolve::resolve(host, port)).await.ok_or_else(|| late(false, None))??;
    let mut last = DialError::NoAddress;
    for address in found {
        let connected = match within(TcpStream::connect(address)).await {
            Some(Ok(tcp)) => {
                within(introduce(shared, peer, lane, tcp, address)).await.unwrap_or(Err(DialError::Mute(address)))
            }
            Some(Err(source)) => Err(DialError::Connect { address, source }),
            None => Err(late(neighbours::is_nobodys(address.ip()), routes::interface_to(address.ip()))),
        };
        match connected {
            Ok((stream, life)) => return Ok((stream, life, address)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn within<T>(step: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(PEER_DIAL_TIMEOUT, step).await.ok()
}

/// TLS and the first words.
async fn introduce(
    shared: &Shared,
    peer: &Peer,
    lane: Lane,
    tcp: TcpStream,
    address: SocketAddr,
) -> Result<(Stream<TlsStream<TcpStream>>, Option<Life>), DialError> {
    let failed = |source| DialError::Connect { address, source };
    stream::tune(&tcp).map_err(failed)?;
    let shaken = shared.tls.dial(tcp, peer.node).await.inspect_err(|error| {
        if tls::is_wrong_node(error) {
            shared.counters.add(Count::WrongNode);
        }
    });
    let mut stream = Stream::new(shaken.map_err(failed)?);
    let hello = Hello { versions: shared.versions, purpose: Purpose::Lane(lane), life: shared.life };
    stream.greet(&hello).await?;
    let frame = stream.reader.next().await?;
    match frame.kind {
        Kind::Hello => {}
        Kind::Refusal => {
            shared.counters.add(Count::RefusedByPeer);
            let refusal = Refusal::decode(&frame.body).map_err(Ended::Frame)?;
            if refusal.reason == Reason::Removed {
                shared.inbox.is_removed(peer.node, &refusal.text);
            }
            if refusal.reason == Reason::SameNode {
                shared.inbox.twin(Twin::Fenced { by: peer.node, why: refusal.text.clone() });
            }
            return Err(DialError::Refused(refusal));
        }
        Kind::Message | Kind::Question | Kind::Answer | Kind::Unanswered | Kind::Ping | Kind::Pong | Kind::Part => {
            return Err(DialError::Ended(Ended::Frame(FrameError::Unexpected)));
        }
    }
    let theirs = Hello::decode(&frame.body).map_err(Ended::Frame)?;
    // It found a version in common, so there is one.
    if theirs.purpose != hello.purpose || shared.versions.agree(&theirs.versions).is_err() {
        return Err(DialError::Ended(Ended::Frame(FrameError::Hello)));
    }
    if shared.admit(peer, theirs.life, Met::At(address)).is_err() {
        shared.counters.add(Count::EarlierLife);
        return Err(DialError::EarlierLife(address));
    }
    stream.reader.trust();
    Ok((stream, theirs.life))
}

/// A connection's life.
async fn converse(shared: &Shared, peer: &Peer, lane: Lane, stream: Stream<TlsStream<TcpStream>>) -> Ended {
    let out = peer.out.of(lane);
    let Stream { mut reader, mut writer } = stream;
    let ended = {
        let mut writing = std::pin::pin!(stream::write(&mut writer, out));
        let (ended, writes) = tokio::select! {
            ended = listen(shared, out, &mut reader) => (ended, true),
            written = &mut writing => (written.err().unwrap_or(Ended::Unneeded), false),
            () = beat(out, lane == TIMED) => (Ended::Silent, true),
            () = shared.is_left_by(peer) => (Ended::Unneeded, true),
        };
        if matches!(ended, Ended::Unneeded) && writes {
            out.finish();
            let _late = tokio::time::timeout(PEER_CLOSE_TIMEOUT, writing).await;
        }
        ended
    };
    if matches!(ended, Ended::Unneeded) {
        let _late = tokio::time::timeout(PEER_CLOSE_TIMEOUT, Stream { reader, writer }.close()).await;
    }
    ended
}

/// Takes answers.
async fn listen<S: tokio::io::AsyncRead>(shared: &Shared, out: &OutLane, reader: &mut Reader<S>) -> Ended {
    loop {
        let frame = match reader.next_heard(&out.heard).await {
            Ok(frame) => frame,
            Err(ended) => return ended,
        };
        if let Err(error) = take(shared, out, frame) {
            return Ended::Frame(error);
        }
    }
}

fn take(shared: &Shared, out: &OutLane, frame: Frame) -> Result<(), FrameError> {
    let Frame { kind, id, body } = frame;
    if out.is_cut() || kind == Kind::Answer && shared.loses() {
        return Ok(());
    }
    let answer = match kind {
        Kind::Answer => Ok(body),
        Kind::Unanswered => Err(match Silence::decode(&body) {
            Silence::Busy => CallError::Busy,
            Silence::Failed => CallError::Failed,
        }),
        Kind::Pong => {
            out.ponged();
            return Ok(());
        }
        Kind::Hello | Kind::Refusal | Kind::Message | Kind::Question | Kind::Ping | Kind::Part => {
            return Err(FrameError::Unexpected);
        }
    };
    if !out.end_call(id, answer) {
        shared.counters.add(Count::AnswerLate);
    }
    Ok(())
}

/// Asks for signs of life, on a lane that is timed also where there are others; ends where none came for too long.
async fn beat(out: &OutLane, timed: bool) {
    let mut silent = Duration::ZERO;
    while silent < PEER_SILENCE_MAX {
        tokio::time::sleep(PEER_PING_EVERY.min(PEER_SILENCE_MAX - silent)).await;
        silent = out.heard.ago();
        if timed {
            out.time_a_round_trip();
        } else if silent >= PEER_PING_EVERY {
            let _something_waits = out.ping();
        }
    }
}
