//! Listeners and connections: HTTP/1.1 and HTTP/2 over TLS, without it on loopback addresses and on the local control
//! socket, within limits, and an orderly stop.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::header;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tower_service::Service;

use crate::base::limits::CONNECTIONS_MAX;
use crate::base::limits::H2_STREAMS_MAX;
use crate::base::limits::HEAD_BYTES_MAX;
use crate::base::limits::HEAD_READ_TIMEOUT;
use crate::base::limits::OWNER_CONNECTIONS_MAX;
use crate::base::limits::SHUTDOWN_GRACE;
use crate::base::listen::Listen;
use crate::front::gate::Peer;
use crate::front::linger::Lingering;
use crate::front::tls;
use crate::front::tls::Tls;
use crate::node::worker;

/// A wait after `accept` failed, as with too many open files: trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bound listeners, not yet served.
pub struct Listeners {
    tcp: Vec<(TcpListener, Option<Tls>)>,
    control: Option<(UnixListener, PathBuf)>,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// As configured.
    pub address: String,
    /// The operating system's word.
    pub source: io::Error,
}

/// Binds all addresses and the control socket. A control socket that cannot be made is a warning: the node serves
/// without it.
///
/// # Errors
/// [`BindError`] for the first address; an HTTPS address without `tls` is one.
pub async fn bind(addresses: &[Listen], tls: Option<&Tls>, control: Option<&Path>) -> Result<Listeners, BindError> {
    let mut tcp = Vec::with_capacity(addresses.len());
    for listen in addresses {
        let failed = |source| BindError { address: listen.to_string(), source };
        let tls = match (listen.tls, tls) {
            (true, Some(tls)) => Some(tls.clone()),
            (true, None) => return Err(failed(io::Error::other("there is no certificate"))),
            (false, _) => None,
        };
        tcp.push((TcpListener::bind(listen.address).await.map_err(failed)?, tls));
    }
    let control = control.and_then(|path| match bind_control(path) {
        Ok(listener) => Some((listener, path.to_owned())),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "there is no local control socket");
            None
        }
    });
    Ok(Listeners { tcp, control })
}

fn bind_control(path: &Path) -> io::Result<UnixListener> {
    // We hold the data directory's lock: whoever made this file is gone.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Listeners {
    /// The TCP addresses, with the ports the system chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<Listen> {
        let bound = self.tcp.iter().filter_map(|(listener, tls)| Some((listener.local_addr().ok()?, tls.is_some())));
        bound.map(|(address, tls)| Listen { address, tls }).collect()
    }

    /// Serves until `stop` is true, then lets requests in flight finish, for a while.
    pub async fn serve(self, router: Router, stop: watch::Receiver<bool>) {
        let server = Server { router, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)), stop: stop.clone() };
        // The owner gets in also when everyone else's places are taken.
        let owner = Server { places: Arc::new(Semaphore::new(OWNER_CONNECTIONS_MAX)), ..server.clone() };
        let mut accepting = Vec::new();
        for (listener, tls) in self.tcp {
            accepting.push(worker::spawn("accept", server.clone().accept_tcp(listener, tls)));
        }
        if let Some((listener, path)) = self.control {
            accepting.push(worker::spawn("accept-control", owner.clone().accept_control(listener, path)));
        }
        for task in accepting {
            let _ended = task.await;
        }
        // Every connection holds a place.
        let all = |places| u32::try_from(places).unwrap_or(u32::MAX);
        let ended = async {
            let _all = server.places.acquire_many(all(CONNECTIONS_MAX)).await;
            let _all = owner.places.acquire_many(all(OWNER_CONNECTIONS_MAX)).await;
        };
        if tokio::time::timeout(SHUTDOWN_GRACE, ended).await.is_err() {
            tracing::warn!("some requests did not finish in time and were cut off");
        }
    }
}

#[derive(Clone)]
struct Server {
    router: Router,
    places: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl Server {
    async fn accept_tcp(mut self, listener: TcpListener, tls: Option<Tls>) {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = asked_to_stop(&mut self.stop) => return,
            };
            match accepted {
                Ok((stream, address)) => {
                    // Small answers must not wait for more.
                    let _unsupported = stream.set_nodelay(true);
                    let server = self.clone();
                    match tls.clone() {
                        Some(tls) => worker::spawn("connection", server.converse_tls(stream, tls, address, place)),
                        None => worker::spawn("connection", server.converse(stream, Peer::Tcp(address), place)),
                    };
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    async fn accept_control(mut self, listener: UnixListener, path: PathBuf) {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = asked_to_stop(&mut self.stop) => {
                    let _gone = std::fs::remove_file(&path);
                    return;
                }
            };
            match accepted {
                Ok((stream, _)) => {
                    // The file's mode keeps others out; this says it again.
                    let me = rustix::process::geteuid().as_raw();
                    if stream.peer_cred().is_ok_and(|peer| peer.uid() == me || peer.uid() == 0) {
                        worker::spawn("connection", self.clone().converse(stream, Peer::Local, place));
                    }
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    /// The handshake is the connection's own affair: a slow one keeps a place, and nobody waiting.
    async fn converse_tls(self, stream: TcpStream, tls: Tls, address: SocketAddr, place: OwnedSemaphorePermit) {
        if let Some(stream) = tls.handshake(stream, self.stop.clone()).await {
            Box::pin(self.converse(stream, Peer::Tls(address), place)).await;
        }
    }

    async fn converse<S>(self, stream: S, peer: Peer, place: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { router, mut stop, .. } = self;
        let _place = place;
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            let mut router = router.clone();
            async move {
                let mut response = router.call(request).await?;
                if peer.is_tls() && !peer.is_loopback() {
                    response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, tls::STRICT_TRANSPORT);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let builder = builder();
        let stream = TokioIo::new(Lingering::new(stream, stop.clone()));
        let mut connection = pin!(builder.serve_connection(stream, service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = asked_to_stop(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended in an error");
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_TIMEOUT)
        // No `pipeline_flush`: with it hyper 1.12 never sends the 400 or 431 for a head that it cannot read.
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_concurrent_streams(H2_STREAMS_MAX)
        .keep_alive_interval(Some(HEAD_READ_TIMEOUT));
    builder
}

/// Returns when a stop is asked for, or nobody can ask any more.
async fn asked_to_stop(stop: &mut watch::Receiver<bool>) {
    let _nobody_left = stop.wait_for(|stop| *stop).await;
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
