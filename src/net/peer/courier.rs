//! Couriers: a process of a node that has no store brings a report of how another process of it ended, and asks one
//! question, which is to keep it. It shows the node's certificate; it is no lane and speaks for no life of the node.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::TcpStream;

use crate::base::id::NodeId;
use crate::base::limits::PEER_CLOSE_TIMEOUT;
use crate::net::peer::Shared;
use crate::net::peer::arrive::Incoming;
use crate::net::peer::arrive::Place;
use crate::net::peer::count::Count;
use crate::net::peer::stream;
use crate::net::peer::stream::Ended;
use crate::net::peer::stream::Stream;
use crate::net::resolve;
use crate::net::tls::PeerIdentity;
use crate::net::tls::PeerTls;
use crate::net::wire::FrameError;
use crate::net::wire::Kind;
use crate::net::wire::Silence;
use crate::net::wire::hello::Hello;
use crate::net::wire::hello::Purpose;
use crate::net::wire::hello::Refusal;
use crate::net::wire::hello::VERSIONS;

/// A courier of an admitted node. All that can be done with it is [`Courier::serve`].
pub(super) struct Courier {
    stream: Incoming,
    node: NodeId,
}

impl Courier {
    pub(super) fn new(stream: Incoming, node: NodeId) -> Self {
        Self { stream, node }
    }

    /// Takes its one question and answers it. Where there are too many of them it is told so before it has said it.
    pub(super) async fn serve(mut self, shared: &Arc<Shared>, place: Place) {
        let Ok(turn) = shared.couriers.try_acquire() else {
            shared.counters.add(Count::GuestBusy);
            let _gone = self.stream.say(Kind::Unanswered, 1, &Silence::Busy.encode()).await;
            return self.stream.close().await;
        };
        place.leave();
        // It is known who speaks, and how many there are at once.
        self.stream.reader.trust();
        let frame = match self.stream.reader.next().await {
            Ok(frame) if frame.kind == Kind::Question => frame,
            Ok(_) => return shared.counters.add(Count::FrameUnexpected),
            Err(ended) => return shared.count_end(&ended),
        };
        let (node, question) = (self.node, frame.body);
        let answering = AssertUnwindSafe(async { shared.inbox.courier(node, question).await }).catch_unwind();
        let said = match answering.await {
            Ok(answer) => self.stream.say(Kind::Answer, frame.id, &answer).await,
            Err(_panic) => {
                shared.counters.add(Count::HandlerFailed);
                self.stream.say(Kind::Unanswered, frame.id, &Silence::Failed.encode()).await
            }
        };
        drop(turn);
        if said.is_ok() {
            let _late = tokio::time::timeout(PEER_CLOSE_TIMEOUT, self.stream.close()).await;
        }
    }
}

/// Asks the node at this address (`host:port`) one question in this node's name.
///
/// # Errors
/// Why there is no answer, for people. Whether anything was done is not known then.
pub async fn ask(
    identity: &PeerIdentity,
    to: NodeId,
    address: &str,
    body: &[u8],
    within: Duration,
) -> Result<Vec<u8>, String> {
    let asked = tokio::time::timeout(within, ask_there(identity, to, address, body)).await;
    asked.unwrap_or_else(|_late| Err("no answer in time".to_owned()))
}

async fn ask_there(identity: &PeerIdentity, to: NodeId, address: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    let words = |error: std::io::Error| error.to_string();
    let tls = PeerTls::new(identity).map_err(|error| error.to_string())?;
    let place = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = place.ok_or("is not written as host:port")?;
    let found = resolve::resolve(host, port).await.map_err(|error| error.to_string())?;
    let mut last = "has no address".to_owned();
    for place in found {
        let tcp = match TcpStream::connect(place).await {
            Ok(tcp) => tcp,
            Err(error) => {
                last = words(error);
                continue;
            }
        };
        stream::tune(&tcp).map_err(words)?;
        let mut stream = Stream::new(tls.dial(tcp, to).await.map_err(words)?);
        let (kind, answer) = converse(&mut stream, body).await.map_err(|ended| ended.to_string())?;
        let _late = tokio::time::timeout(PEER_CLOSE_TIMEOUT, stream.close()).await;
        return match kind {
            Kind::Answer => Ok(answer),
            Kind::Refusal => Err(Refusal::decode(&answer).map_or_else(|error| error.to_string(), |said| said.text)),
            Kind::Unanswered | Kind::Hello | Kind::Message | Kind::Question | Kind::Ping | Kind::Pong | Kind::Part => {
                Err("it has too much to do, or failed over it".to_owned())
            }
        };
    }
    Err(last)
}

/// The first words and the question. Where the first are not answered in kind, that is the answer to both.
async fn converse<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    stream: &mut Stream<S>,
    body: &[u8],
) -> Result<(Kind, Vec<u8>), Ended> {
    stream.reader.trust();
    stream.greet(&Hello { versions: VERSIONS, purpose: Purpose::Courier, life: None }).await?;
    let mut frame = stream.reader.next().await?;
    if frame.kind == Kind::Hello {
        stream.say(Kind::Question, 1, body).await?;
        frame = stream.reader.next().await?;
    }
    match frame.kind {
        Kind::Refusal | Kind::Answer | Kind::Unanswered => Ok((frame.kind, frame.body)),
        Kind::Hello | Kind::Message | Kind::Question | Kind::Ping | Kind::Pong | Kind::Part => {
            Err(FrameError::Unexpected.into())
        }
    }
}
