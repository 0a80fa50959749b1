//! Listeners and connections: HTTP/1.1 and HTTP/2 over TLS, without it on loopback addresses and on the local control
//! socket, within limits, and an orderly stop.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::PermissionsExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::Response;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tower_service::Service;

use crate::base::limits::ANSWER_PATIENCE;
use crate::base::limits::CONNECTIONS_MAX;
use crate::base::limits::CONNECTIONS_PER_ADDRESS_MAX;
use crate::base::limits::H2_CONNECTION_WINDOW_BYTES;
use crate::base::limits::H2_PIECE_BYTES;
use crate::base::limits::H2_RESETS_MAX;
use crate::base::limits::H2_STREAM_WINDOW_BYTES;
use crate::base::limits::H2_STREAMS_MAX;
use crate::base::limits::HEAD_BYTES_MAX;
use crate::base::limits::HEAD_READ_TIMEOUT;
use crate::base::limits::KEEP_ALIVE_TIMEOUT;
use crate::base::limits::LINGER_TIMEOUT;
use crate::base::limits::LISTEN_QUEUE;
use crate::base::limits::OPEN_FILES_RESERVE;
use crate::base::limits::OWNER_CONNECTIONS_MAX;
use crate::base::limits::SEND_BUFFER_BYTES;
use crate::base::limits::SHUTDOWN_GRACE;
use crate::base::listen::Listen;
use crate::base::open_files;
use crate::base::pulse;
use crate::base::time;
use crate::front::answer;
use crate::front::crowd::Crowd;
use crate::front::crowd::Seat;
use crate::front::gate::Peer;
use crate::front::guest::Overstayed;
use crate::front::linger::Lingering;
use crate::front::problem::Problem;
use crate::front::tls;
use crate::front::tls::Tls;
use crate::node::Node;
use crate::node::drill;
use crate::node::worker;
use crate::proto::alarm::rejections::Fault;
use crate::proto::alarm::rejections::Rejection;

/// A wait after `accept` failed, as with too many open files: trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bound listeners, not yet served.
pub struct Listeners {
    tcp: Vec<(TcpListener, Option<Tls>)>,
    control: Option<(UnixListener, PathBuf)>,
    /// Why there is no control socket, where one is wanted.
    no_control: Option<String>,
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
        tcp.push((bind_tcp(listen.address).map_err(failed)?, tls));
    }
    let mut no_control = None;
    let control = control.and_then(|path| match bind_control(path) {
        Ok(listener) => Some((listener, path.to_owned())),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "there is no local control socket");
            no_control = Some(format!("{}: {error}", path.display()));
            None
        }
    });
    std::future::ready(Ok(Listeners { tcp, control, no_control })).await
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit it.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(LISTEN_QUEUE)
}

fn bind_control(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
        // Started by hand instead of by a service manager, which makes it. The socket in it is the owner's alone.
        std::fs::DirBuilder::new().mode(0o755).create(dir)?;
    }
    match std::fs::symlink_metadata(path) {
        // A socket that nobody listens on was left by a process that is gone; anything else is not ours to remove.
        Ok(there) if there.file_type().is_socket() => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Ok(_) | Err(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        },
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Listeners {
    /// Why there is no control socket, where one is wanted.
    #[must_use]
    pub fn no_control(&self) -> Option<&str> {
        self.no_control.as_deref()
    }

    /// The TCP addresses, with the ports the system chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<Listen> {
        let bound = self.tcp.iter().filter_map(|(listener, tls)| Some((listener.local_addr().ok()?, tls.is_some())));
        bound.map(|(address, tls)| Listen { address, tls }).collect()
    }

    /// Serves until `stop` is true, then lets requests in flight finish, for a while.
    /// Whom it turns away before there is a request, `node` is told.
    pub async fn serve(self, router: Router, node: Option<Node>, stop: watch::Receiver<bool>) {
        let server = Server { router, node, crowd: Crowd::new(connections_max()), stop: stop.clone() };
        // The owner gets in also when everyone else's places are taken.
        let owner = Server { crowd: Crowd::new(OWNER_CONNECTIONS_MAX), ..server.clone() };
        let mut accepting = Vec::new();
        for (listener, tls) in self.tcp {
            let (server, listener) = (server.clone(), Arc::new(listener));
            let accept = move || server.clone().accept_tcp(Arc::clone(&listener), tls.clone());
            accepting.push(worker::keep("accept", accept));
        }
        if let Some((listener, path)) = self.control {
            let (owner, listener) = (owner.clone(), Arc::new(listener));
            let accept = move || owner.clone().accept_control(Arc::clone(&listener), path.clone());
            accepting.push(worker::keep("accept-control", accept));
        }
        for task in accepting {
            let _ended = task.await;
        }
        let ended = async {
            server.crowd.emptied().await;
            owner.crowd.emptied().await;
        };
        if tokio::time::timeout(SHUTDOWN_GRACE, ended).await.is_err() {
            tracing::warn!("some requests did not finish in time and were cut off");
        }
    }
}

/// As many connections as there are files for them.
fn connections_max() -> usize {
    let open_files = open_files::raise_limit().unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit of open files cannot be raised");
        open_files::limit()
    });
    // A small limit is shared evenly.
    let max = open_files.saturating_sub(OPEN_FILES_RESERVE).max(open_files / 2).min(CONNECTIONS_MAX);
    if max < CONNECTIONS_MAX {
        tracing::warn!(
            open_files,
            connections = max,
            "fewer connections are served, because this process may not open more files; raise LimitNOFILE"
        );
    }
    max
}

#[derive(Clone)]
struct Server {
    router: Router,
    /// None where no store is open.
    node: Option<Node>,
    crowd: Crowd,
    stop: watch::Receiver<bool>,
}

impl Server {
    async fn accept_tcp(mut self, listener: Arc<TcpListener>, tls: Option<Tls>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = asked_to_stop(&mut self.stop) => return,
            };
            match accepted {
                // Whoever called while this process stood still has gone to another node.
                Ok(_) if pulse::just_stood_still() => {}
                Ok((stream, address)) => {
                    // Small answers must not wait for more.
                    let _unsupported = stream.set_nodelay(true);
                    let came = time::mono();
                    let seat = tokio::select! {
                        seat = self.crowd.seat(address.ip()) => seat,
                        () = asked_to_stop(&mut self.stop) => return,
                    };
                    let Some(seat) = seat else {
                        self.note_rejection("connections_of_one_address", &over_the_limit(), address.ip());
                        continue;
                    };
                    if came.elapsed() >= ANSWER_PATIENCE {
                        self.note_rejection(
                            "connections_full",
                            "all connections that may be are busy, and new ones wait",
                            address.ip(),
                        );
                    }
                    let server = self.clone();
                    match tls.clone() {
                        Some(tls) => worker::spawn("connection", server.converse_tls(stream, tls, address, seat)),
                        None => worker::spawn("connection", server.converse(stream, Peer::Tcp(address), seat)),
                    };
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    async fn accept_control(mut self, listener: Arc<UnixListener>, path: PathBuf) {
        loop {
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
                    if stream.peer_cred().is_ok_and(|peer| peer.uid() == me || peer.uid() == 0)
                        && let Some(seat) = self.crowd.seat(Ipv4Addr::LOCALHOST.into()).await
                    {
                        worker::spawn("connection", self.clone().converse(stream, Peer::Local, seat));
                    }
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    fn note_rejection(&self, code: &'static str, text: &str, from: IpAddr) {
        if let Some(node) = &self.node {
            node.note_rejection(Rejection { code, fault: Fault::Theirs, text, from: Some(from), counted: false });
        }
    }

    /// The handshake is the connection's own affair: a slow one keeps a seat, and nobody waiting.
    async fn converse_tls(self, stream: TcpStream, tls: Tls, address: SocketAddr, seat: Seat) {
        let stream = tokio::select! {
            stream = tls.handshake(stream, Arc::clone(&seat.guest), self.stop.clone()) => stream,
            _how = seat.guest.overstayed() => return,
        };
        match stream {
            Ok(stream) => Box::pin(self.converse(stream, Peer::Tls(address), seat)).await,
            Err(Some(why)) => self.note_rejection("tls_handshake", &why, address.ip()),
            Err(None) => {}
        }
    }

    async fn converse<S>(self, stream: S, peer: Peer, seat: Seat)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { router, crowd, mut stop, .. } = self;
        let guest = Arc::clone(&seat.guest);
        let standstills = pulse::standstills();
        let service = service_fn(move |request: Request<Incoming>| {
            // It may have waited since before the process stood still; the owner waits as long as it takes.
            let outdated = peer != Peer::Local && pulse::standstills() != standstills;
            let exchange = guest.begin();
            let version = request.version();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            let (mut router, crowd) = (router.clone(), crowd.clone());
            async move {
                if outdated {
                    return Err(io::Error::other("this process stood still; its connections of before are dropped"));
                }
                let mut response = answered(worker::named("request", async move {
                    drill::meet_request();
                    router.call(request).await
                }))
                .await;
                if peer.is_tls() && !peer.is_loopback() {
                    response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, tls::STRICT_TRANSPORT);
                }
                Ok(answer::hand_over(&crowd, exchange, version, response).await)
            }
        });
        let builder = builder();
        let stream = TokioIo::new(Lingering::new(stream, Arc::clone(&seat.guest), stop.clone()));
        let mut connection = pin!(builder.serve_connection(stream, service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = asked_to_stop(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            how = seat.guest.overstayed() => {
                if how == Overstayed::Resting {
                    connection.as_mut().graceful_shutdown();
                    let _said_goodbye = tokio::time::timeout(LINGER_TIMEOUT, connection).await;
                }
                Ok(())
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended in an error");
        }
    }
}

fn over_the_limit() -> String {
    format!("{CONNECTIONS_PER_ADDRESS_MAX} connections of one address are busy, and no more are taken from there")
}

/// A panic in a request ends that one, and no other of its connection.
async fn answered(answering: impl Future<Output = Result<Response<Body>, Infallible>>) -> Response<Body> {
    match AssertUnwindSafe(answering).catch_unwind().await {
        Ok(Ok(response)) => response,
        Err(_panic) => {
            let detail = "this node failed over the request, and reports why; whether anything was changed is not known; \
                          a second try may succeed, best on another node";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "panicked", detail).into_response()
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Ours are stricter (`linger`, `guest`); hyper's would count the rest between two requests as part of a head.
        .header_read_timeout(KEEP_ALIVE_TIMEOUT + HEAD_READ_TIMEOUT)
        // No `pipeline_flush`: with it hyper 1.12 never sends the 400 or 431 for a head that it cannot read.
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_pending_accept_reset_streams(H2_RESETS_MAX)
        .max_local_error_reset_streams(H2_RESETS_MAX)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(H2_PIECE_BYTES)
        .keep_alive_interval(Some(HEAD_READ_TIMEOUT));
    builder
}

/// Returns when a stop is asked for, or nobody can ask any more.
async fn asked_to_stop(stop: &mut watch::Receiver<bool>) {
    let _nobody_left = stop.wait_for(|stop| *stop).await;
}

async fn pause(error: &io::Error) {
    open_files::note(error);
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::bind_control;

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/ctl.sock");
        assert!(bind_control(&path).is_ok(), "its directory is made");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "somebody's work").unwrap();
        assert!(bind_control(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's work");
        std::fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        assert!(bind_control(&path).is_err());
        drop(other);
        assert!(bind_control(&path).is_ok());
    }
}
