//! A lingering close: a connection that ends before all of its request was read, as after a refusal of a body that is
//! too large, first lets the sender read the answer. Closed at once, with bytes unread, the kernel would answer the
//! sender's next packet with a reset, and the answer would be lost on the way (RFC 9112 §9.6). And a time limit for its
//! beginning.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::sync::watch;
use tokio::time::Sleep;

use crate::base::limits::HEAD_READ_TIMEOUT;
use crate::base::limits::LINGER_TIMEOUT;

/// Bytes thrown away at a time.
const WASTE_BYTES: usize = 16 * 1024;

/// How an HTTP/2 connection begins; HTTP/1 is told from it by the first byte that differs.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Until it is known which HTTP a connection speaks, hyper has no time limit for it: this is ours.
struct Opening {
    until: Pin<Box<Sleep>>,
    /// Bytes of the preface that came.
    seen: usize,
}

/// A stream that must begin to speak in time, and lingers when it is shut down, unless the node stops.
pub struct Lingering<S> {
    stream: S,
    opening: Option<Opening>,
    stop: watch::Receiver<bool>,
    closed_for_writing: bool,
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    /// Around this stream.
    pub fn new(stream: S, stop: watch::Receiver<bool>) -> Self {
        let opening = Opening { until: Box::pin(tokio::time::sleep(HEAD_READ_TIMEOUT)), seen: 0 };
        Self { stream, opening: Some(opening), stop, closed_for_writing: false, until: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, to);
        let Some(opening) = &mut self.opening else { return read };
        if read.is_pending() {
            ready!(opening.until.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let new = to.filled().get(before..).unwrap_or_default();
        let rest = H2_PREFACE.get(opening.seen..).unwrap_or_default();
        opening.seen += new.len();
        if new.len() >= rest.len() || !rest.starts_with(new) {
            self.opening = None;
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closed_for_writing {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.closed_for_writing = true;
        }
        if *this.stop.borrow() {
            return Poll::Ready(Ok(()));
        }
        let until = this.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_TIMEOUT)));
        let mut waste = [0; WASTE_BYTES];
        while until.as_mut().poll(context).is_pending() {
            let mut waste = ReadBuf::new(&mut waste);
            let read = ready!(Pin::new(&mut this.stream).poll_read(context, &mut waste));
            if read.is_err() || waste.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::sync::watch;

    use super::Lingering;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_begin_to_speak_is_given_up() {
        for begun in [&b""[..], b"PRI * HT"] {
            let (mut client, server) = tokio::io::duplex(64);
            let (_stop, stopped) = watch::channel(false);
            let mut server = Lingering::new(server, stopped);
            client.write_all(begun).await.unwrap();
            let mut read = vec![0; 64];
            let ended = loop {
                match server.read(&mut read).await {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_speaks_may_take_its_time() {
        for begun in [&b"PUT /"[..], super::H2_PREFACE] {
            let (mut client, server) = tokio::io::duplex(64);
            let (_stop, stopped) = watch::channel(false);
            let mut server = Lingering::new(server, stopped);
            client.write_all(begun).await.unwrap();
            let mut read = vec![0; begun.len()];
            server.read_exact(&mut read).await.unwrap();
            tokio::time::sleep(2 * super::HEAD_READ_TIMEOUT).await;
            let late = tokio::time::timeout(super::HEAD_READ_TIMEOUT, server.read(&mut read)).await;
            assert!(late.is_err(), "nothing more came, and nothing is wrong");
        }
    }
}
