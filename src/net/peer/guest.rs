//! Machines that are no nodes yet: what they can do here, which is to ask one question, and how a machine asks it
//! elsewhere.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::TcpStream;

use crate::base::limits::GUEST_FRAME_BYTES_MAX;
use crate::base::limits::PEER_CLOSE_TIMEOUT;
use crate::net::peer::Shared;
use crate::net::peer::arrive::Incoming;
use crate::net::peer::arrive::Place;
use crate::net::peer::count::Count;
use crate::net::peer::stream;
use crate::net::peer::stream::Ended;
use crate::net::peer::stream::Stream;
use crate::net::resolve;
use crate::net::tls;
use crate::net::wire::FrameError;
use crate::net::wire::Kind;
use crate::net::wire::Silence;
use crate::net::wire::hello::Hello;
use crate::net::wire::hello::Purpose;
use crate::net::wire::hello::Refusal;
use crate::net::wire::hello::VERSIONS;

/// Bytes of a guest's question and of its answer: a frame without its head.
pub const GUEST_BODY_BYTES_MAX: usize = GUEST_FRAME_BYTES_MAX - 32;

/// A caller without a certificate. All that can be done with it is [`Guest::serve`].
pub(super) struct Guest {
    stream: Incoming,
    from: SocketAddr,
}

impl Guest {
    pub(super) fn new(stream: Incoming, from: SocketAddr) -> Self {
        Self { stream, from }
    }

    /// Takes its one question and answers it.
    pub(super) async fn serve(mut self, shared: &Arc<Shared>, place: Place) {
        let frame = match self.stream.reader.next().await {
            Ok(frame) if frame.kind == Kind::Question => frame,
            Ok(_) => return shared.counters.add(Count::NotAuthenticated),
            Err(ended) => return shared.count_end(&ended),
        };
        let Ok(turn) = shared.guests.try_acquire() else {
            shared.counters.add(Count::GuestBusy);
            let _gone = self.stream.say(Kind::Unanswered, frame.id, &Silence::Busy.encode()).await;
            return self.stream.close().await;
        };
        place.leave();
        let (from, question) = (self.from, frame.body);
        let answering = AssertUnwindSafe(async { shared.inbox.guest(from, question).await }).catch_unwind();
        let said = match answering.await {
            Ok(answer) if answer.len() <= GUEST_BODY_BYTES_MAX => {
                shared.counters.add(Count::GuestAnswered);
                self.stream.say(Kind::Answer, frame.id, &answer).await
            }
            Ok(_) | Err(_) => {
                shared.counters.add(Count::HandlerFailed);
                self.stream.say(Kind::Unanswered, frame.id, &Silence::Failed.encode()).await
            }
        };
        // The next one's turn, whether this one goes or not.
        drop(turn);
        if said.is_ok() {
            let _late = tokio::time::timeout(PEER_CLOSE_TIMEOUT, self.stream.close()).await;
        }
    }
}

/// Why a question to join has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Not reached, or not a node of the cluster with that authority.
    #[error("{address}: {reason}")]
    Unreachable {
        /// As given.
        address: String,
        /// Why.
        reason: String,
    },
    /// It says no.
    #[error("{address} refuses: {reason}")]
    Refused {
        /// As given.
        address: String,
        /// In its words.
        reason: String,
    },
    /// It has too much to do; nothing was done.
    #[error("{address} has too much to do; try again")]
    Busy {
        /// As given.
        address: String,
    },
    /// It failed over the question; what was done is not known.
    #[error("{address} failed over the question")]
    Failed {
        /// As given.
        address: String,
    },
}

/// Asks the node at this address (`host:port`) of the cluster whose authority's certificate has this SHA-256, without a
/// certificate of one's own.
///
/// # Errors
/// [`AskError`].
pub async fn ask(
    address: &str,
    authority_sha256: [u8; 32],
    body: &[u8],
    within: Duration,
) -> Result<Vec<u8>, AskError> {
    let asking = ask_there(address, authority_sha256, body);
    let late = |_late| AskError::Unreachable { address: address.to_owned(), reason: "no answer in time".to_owned() };
    tokio::time::timeout(within, asking).await.map_err(late)?
}

async fn ask_there(text: &str, authority_sha256: [u8; 32], body: &[u8]) -> Result<Vec<u8>, AskError> {
    let address = || text.to_owned();
    let failed = |reason: String| AskError::Unreachable { address: address(), reason };
    let place = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = place.ok_or_else(|| failed("is not written as host:port".to_owned()))?;
    let found = resolve::resolve(host, port).await.map_err(|error| failed(error.to_string()))?;
    let mut last = failed("has no address".to_owned());
    for place in found {
        let tcp = match TcpStream::connect(place).await {
            Ok(tcp) => tcp,
            Err(error) => {
                last = failed(error.to_string());
                continue;
            }
        };
        stream::tune(&tcp).map_err(|error| failed(error.to_string()))?;
        let shaken = tls::dial_as_guest(tcp, authority_sha256).await.map_err(|error| failed(error.to_string()))?;
        let mut stream = Stream::new(shaken);
        let (kind, answer) = converse(&mut stream, body).await.map_err(|ended| failed(ended.to_string()))?;
        stream.close().await;
        return match (kind, Silence::decode(&answer)) {
            (Kind::Answer, _) => Ok(answer),
            (Kind::Unanswered, Silence::Busy) => Err(AskError::Busy { address: address() }),
            (Kind::Refusal, _) => {
                let refusal = Refusal::decode(&answer).map_err(|error| failed(error.to_string()))?;
                Err(AskError::Refused { address: address(), reason: refusal.text })
            }
            _ => Err(AskError::Failed { address: address() }),
        };
    }
    Err(last)
}

/// The first words and the question. Where the first are not answered in kind, that is the answer to both.
async fn converse<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    stream: &mut Stream<S>,
    body: &[u8],
) -> Result<(Kind, Vec<u8>), Ended> {
    stream.greet(&Hello { versions: VERSIONS, purpose: Purpose::Join, life: None }).await?;
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
