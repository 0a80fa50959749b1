//! A lingering close: a connection that ends before all of its request was read, as after a refusal of a body that is
//! too large, first lets the sender read the answer. Closed at once, with bytes unread, the kernel would answer the
//! sender's next packet with a reset, and the answer would be lost on the way (RFC 9112 §9.6). A time limit for its
//! beginning and for every head. And a word to those whose request cannot be read.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use axum::body::Bytes;
use bytes::Buf;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::sync::watch;
use tokio::time::Sleep;

use crate::base::limits::HEAD_READ_TIMEOUT;
use crate::base::limits::LINGER_TIMEOUT;
use crate::front::frames::Frames;
use crate::front::framing::Framing;
use crate::front::guest::Guest;
use crate::front::unread;

/// Bytes thrown away at a time.
const WASTE_BYTES: usize = 16 * 1024;

/// How an HTTP/2 connection begins; HTTP/1 is told from it by the first byte that differs.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    /// Not known yet: it has sent so many bytes of the preface.
    Preface(usize),
    Http1,
    Http2,
}

/// A stream that must begin to speak in time, send the head of each HTTP/1 request in time, and lingers when it is shut
/// down, unless the node stops.
pub struct Lingering<S> {
    stream: S,
    speaks: Speaks,
    framing: Framing,
    frames: Frames,
    guest: Arc<Guest>,
    /// When the head of a request must be there. hyper has one limit for a head and for the rest before it, and none
    /// until it knows which HTTP a connection speaks.
    head_until: Option<Pin<Box<Sleep>>>,
    stop: watch::Receiver<bool>,
    /// What is left to say to a request that cannot be read.
    refusal: Bytes,
    closed_for_writing: bool,
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    /// Around this stream.
    pub fn new(stream: S, guest: Arc<Guest>, stop: watch::Receiver<bool>) -> Self {
        let head_until = Some(head_timer());
        Self {
            stream,
            speaks: Speaks::Preface(0),
            framing: Framing::default(),
            frames: Frames::default(),
            guest,
            head_until,
            stop,
            refusal: Bytes::new(),
            closed_for_writing: false,
            until: None,
        }
    }

    /// Bytes came.
    fn heard(&mut self, new: &mut [u8]) {
        // Behind the preface, where that ends here.
        let mut begin = 0;
        if let Speaks::Preface(seen) = self.speaks {
            let rest = H2_PREFACE.get(seen..).unwrap_or_default();
            self.speaks = if new.starts_with(rest) {
                begin = rest.len();
                Speaks::Http2
            } else if rest.starts_with(new) {
                Speaks::Preface(seen + new.len())
            } else {
                // What looked like a preface was a method.
                self.framing.inspect(&mut H2_PREFACE.get(..seen).unwrap_or_default().to_vec());
                Speaks::Http1
            };
        }
        match self.speaks {
            Speaks::Preface(_) => {}
            Speaks::Http1 => self.framing.inspect(new),
            Speaks::Http2 => self.frames.inspect(new.get_mut(begin..).unwrap_or_default()),
        }
        let head_follows = self.speaks == Speaks::Http1 && self.guest.idle_since().is_some();
        match self.speaks {
            Speaks::Preface(_) => {}
            Speaks::Http1 if head_follows && !new.is_empty() => {
                self.head_until.get_or_insert_with(head_timer);
            }
            Speaks::Http1 | Speaks::Http2 => self.head_until = None,
        }
    }

    /// Nothing came: whether that is too late.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let Some(until) = &mut self.head_until else { return false };
        if self.guest.idle_since().is_none() {
            // The head became a request.
            self.head_until = None;
            return false;
        }
        until.as_mut().poll(context).is_ready()
    }
}

fn head_timer() -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep(HEAD_READ_TIMEOUT))
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, to);
        if read.is_ready() {
            self.heard(to.filled_mut().get_mut(before..).unwrap_or_default());
        } else if self.is_late(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Lingering<S> {
    /// Takes an answer over that hyper gives by itself, to say it better; hyper says nothing behind it.
    fn takes_over(&mut self, answer: &[u8]) -> bool {
        // Not the bytes of a value that look like one.
        if !unread::may_be_refusal(answer) || self.speaks != Speaks::Http1 || !self.guest.is_answered() {
            return false;
        }
        let explained = unread::explain(answer, self.framing.is_over());
        explained.map(|explained| self.refusal = explained.into()).is_some()
    }

    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.refusal))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.refusal.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        if self.takes_over(from) {
            return Poll::Ready(Ok(from.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = from.first()
            && self.takes_over(first)
        {
            return Poll::Ready(Ok(first.len()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(context))?;
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.guest.flushed();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closed_for_writing {
            ready!(this.poll_refusal(context))?;
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
    use std::sync::Arc;

    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::io::DuplexStream;
    use tokio::sync::watch;

    use super::Lingering;
    use crate::base::time;
    use crate::front::guest::Guest;

    struct Line {
        client: DuplexStream,
        server: Lingering<DuplexStream>,
        guest: Arc<Guest>,
        _stop: watch::Sender<bool>,
    }

    fn line() -> Line {
        let (client, server) = tokio::io::duplex(64);
        let (stop, stopped) = watch::channel(false);
        let guest = Arc::new(Guest::new(time::mono()));
        Line { client, server: Lingering::new(server, Arc::clone(&guest), stopped), guest, _stop: stop }
    }

    /// Reads until there is an error.
    async fn end(line: &mut Line) -> io::ErrorKind {
        let mut read = vec![0; 64];
        loop {
            match line.server.read(&mut read).await {
                Ok(_) => {}
                Err(error) => break error.kind(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_begin_to_speak_or_not_end_its_head_is_given_up() {
        for begun in [&b""[..], b"PRI * HT", b"GET / HTTP/1.1\r\nhost:"] {
            let mut line = line();
            line.client.write_all(begun).await.unwrap();
            assert_eq!(end(&mut line).await, io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_byte_by_byte_is_given_up_too() {
        let Line { mut client, mut server, .. } = line();
        let began = tokio::time::Instant::now();
        let trickle = async {
            while client.write_all(b"G").await.is_ok() {
                tokio::time::sleep(super::HEAD_READ_TIMEOUT / 5).await;
            }
        };
        let read = async {
            let mut read = [0; 1];
            while server.read_exact(&mut read).await.is_ok() {}
        };
        tokio::select! { () = trickle => {}, () = read => {} }
        assert_eq!(began.elapsed(), super::HEAD_READ_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_in_a_request_or_speaking_http2_may_take_its_time() {
        for begun in [&b"PUT /"[..], super::H2_PREFACE] {
            let mut line = line();
            line.client.write_all(begun).await.unwrap();
            let mut read = vec![0; begun.len()];
            line.server.read_exact(&mut read).await.unwrap();
            let _request = line.guest.begin();
            let late = tokio::time::timeout(3 * super::HEAD_READ_TIMEOUT, line.server.read(&mut read)).await;
            assert!(late.is_err(), "nothing more came, and nothing is wrong");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_request_the_next_head_has_its_own_time() {
        let mut line = line();
        line.client.write_all(b"a whole head").await.unwrap();
        let mut read = vec![0; 12];
        line.server.read_exact(&mut read).await.unwrap();
        drop(line.guest.begin());
        let request = line.guest.begin();
        let rest = tokio::time::timeout(3 * super::HEAD_READ_TIMEOUT, line.server.read(&mut read)).await;
        assert!(rest.is_err());
        drop(request);
        let rest = tokio::time::timeout(3 * super::HEAD_READ_TIMEOUT, line.server.read(&mut read)).await;
        assert!(rest.is_err(), "between two requests it may rest");
        line.client.write_all(b"G").await.unwrap();
        assert_eq!(end(&mut line).await, io::ErrorKind::TimedOut);
    }
}
