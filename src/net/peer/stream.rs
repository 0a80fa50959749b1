//! A connection as frames: the first words one by one, then both directions at once.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadHalf;
use tokio::io::WriteHalf;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::base::limits::PEER_READ_BYTES;
use crate::base::limits::PEER_UNACKED_MAX;
use crate::base::time;
use crate::net::wire;
use crate::net::wire::Frame;
use crate::net::wire::FrameError;
use crate::net::wire::Kind;
use crate::net::wire::decode::Decoder;
use crate::net::wire::hello::Hello;
use crate::net::wire::hello::Refusal;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// The other side closed it.
    #[error("the other side closed the connection")]
    Closed,
    /// The operating system, or TLS.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is not what may come.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Nothing came for too long.
    #[error("the other side was silent for too long")]
    Silent,
    /// Another life of the peer counts.
    #[error("another machine with the peer's number was started later")]
    Replaced,
    /// This side has no use for it any more.
    #[error("it is not needed any more")]
    Unneeded,
}

/// Both directions.
pub(super) struct Stream<S> {
    pub(super) reader: Reader<S>,
    pub(super) writer: WriteHalf<S>,
}

/// Frames as they come.
pub(super) struct Reader<S> {
    from: ReadHalf<S>,
    decoder: Decoder,
    chunk: Box<[u8]>,
    /// What of the chunk is not decoded yet.
    at: usize,
    end: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    pub(super) fn new(stream: S) -> Self {
        let (from, writer) = tokio::io::split(stream);
        let chunk = vec![0; PEER_READ_BYTES].into_boxed_slice();
        Self { reader: Reader { from, decoder: Decoder::default(), chunk, at: 0, end: 0 }, writer }
    }

    /// Says one thing now.
    pub(super) async fn say(&mut self, kind: Kind, id: u64, body: &[u8]) -> Result<(), Ended> {
        let frame = wire::encode(kind, id, body).ok_or(FrameError::TooLong { length: 0, max: wire::BODY_BYTES_MAX })?;
        self.writer.write_all(&frame).await?;
        Ok(self.writer.flush().await?)
    }

    /// Says the first words.
    pub(super) async fn greet(&mut self, hello: &Hello) -> Result<(), Ended> {
        self.say(Kind::Hello, 0, &hello.encode()).await
    }

    /// Says no, politely, and ends the connection. Who has gone does not hear it.
    pub(super) async fn refuse(mut self, refusal: &Refusal) {
        if self.say(Kind::Refusal, 0, &refusal.encode()).await.is_ok() {
            self.close().await;
        }
    }

    /// Ends the connection in order: the other side reads all that was said. What it still sends is read for a moment,
    /// because a closed socket with unread bytes takes back what it said.
    pub(super) async fn close(mut self) {
        let _gone = self.writer.shutdown().await;
        for _ in 0..4 {
            if !matches!(self.reader.from.read(&mut self.reader.chunk).await, Ok(1..)) {
                return;
            }
        }
    }
}

impl<S: AsyncRead> Reader<S> {
    /// The next frame. Nothing is lost where it is not waited for to the end.
    pub(super) async fn next(&mut self) -> Result<Frame, Ended> {
        self.next_heard(&Heard::default()).await
    }

    /// The next frame; notes when bytes came.
    pub(super) async fn next_heard(&mut self, heard: &Heard) -> Result<Frame, Ended> {
        loop {
            let mut rest = self.chunk.get(self.at..self.end).unwrap_or_default();
            let frame = self.decoder.next(&mut rest)?;
            self.at = self.end - rest.len();
            if let Some(frame) = frame {
                return Ok(frame);
            }
            (self.at, self.end) = (0, 0);
            self.end = match self.from.read(&mut self.chunk).await {
                // TLS tells a connection that was closed in order from one that was not. Frames say it themselves.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                read => read?,
            };
            if self.end == 0 {
                self.decoder.end()?;
                return Err(Ended::Closed);
            }
            heard.now();
        }
    }

    /// It is known who speaks.
    pub(super) fn trust(&mut self) {
        self.decoder.trust();
    }
}

/// When something came last.
#[derive(Debug)]
pub(super) struct Heard {
    began: Instant,
    /// 0 is never.
    last_us: AtomicU64,
}

impl Default for Heard {
    fn default() -> Self {
        Self { began: time::mono(), last_us: AtomicU64::new(0) }
    }
}

impl Heard {
    pub(super) fn now(&self) {
        let us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_us.store(us.max(1), Ordering::Relaxed);
    }

    pub(super) fn last(&self) -> Option<Instant> {
        match self.last_us.load(Ordering::Relaxed) {
            0 => None,
            us => Some(self.began + Duration::from_micros(us)),
        }
    }

    pub(super) fn ago(&self) -> Duration {
        time::mono().saturating_duration_since(self.last().unwrap_or(self.began))
    }
}

/// What waits to be written to a connection.
pub(super) trait Queue {
    /// Moves all that waits into `batch`; false where nothing does.
    fn take(&self, batch: &mut Vec<u8>) -> bool;
    /// Nothing more will come.
    fn is_done(&self) -> bool;
    /// Told when something waits that did not, and when it is done.
    fn wake(&self) -> &Notify;
}

/// Writes what waits, all of it at once, until the queue is done.
pub(super) async fn write<S: AsyncWrite>(to: &mut WriteHalf<S>, queue: &impl Queue) -> Result<(), Ended> {
    let mut batch = Vec::new();
    loop {
        if queue.take(&mut batch) {
            to.write_all(&batch).await?;
            to.flush().await?;
        } else if queue.is_done() {
            return Ok(());
        } else {
            queue.wake().notified().await;
            // Whoever is ready to say something says it now, and all of it goes in one piece.
            tokio::task::yield_now().await;
        }
    }
}

/// Small frames go at once, and a link that takes nothing any more ends the connection.
pub(super) fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let unacked_ms = u32::try_from(PEER_UNACKED_MAX.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(tcp, unacked_ms)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::net::TcpStream;

    use super::tune;

    #[tokio::test]
    async fn a_connection_of_a_peer_waits_neither_to_send_nor_for_the_dead() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&tcp).unwrap();
        assert!(tcp.nodelay().unwrap());
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&tcp).unwrap(), 2000);
    }
}
