//! A lingering close: a connection that ends before all of its request was read, as after a refusal of a body that is
//! too large, first lets the sender read the answer. Closed at once, with bytes unread, the kernel would answer the
//! sender's next packet with a reset, and the answer would be lost on the way (RFC 9112 §9.6).

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

use crate::base::limits::LINGER_TIMEOUT;

/// Bytes thrown away at a time.
const WASTE_BYTES: usize = 16 * 1024;

/// A stream that lingers when it is shut down, unless the node stops.
pub struct Lingering<S> {
    stream: S,
    stop: watch::Receiver<bool>,
    closed_for_writing: bool,
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    /// Around this stream.
    pub fn new(stream: S, stop: watch::Receiver<bool>) -> Self {
        Self { stream, stop, closed_for_writing: false, until: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, to)
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
