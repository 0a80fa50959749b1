//! A small HTTP client over TLS, plain TCP on this machine, or the control socket: commands use a connection once, `load`
//! uses it for many requests. Names go through `net::resolve`.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use hyper::Method;
use hyper::Request;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header;
use hyper_util::rt::TokioIo;
use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::percent_encode;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::base::exit::Exit;
use crate::base::redact::Redacted;
use crate::cli::output::Failure;
use crate::cli::trust;
use crate::cli::trust::Trust;
use crate::net::resolve;
use crate::node::worker;

/// How long a connection may take; a node on the same site answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Where nodes listen unless they are told otherwise.
const DEFAULT_PORT: u16 = 7480;
/// The largest answer read whole: a list page, a value, a report.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Escaped in a path segment or query value; a few marks stay readable.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Host and port, in plain HTTP: on this machine only.
    Tcp(String, u16),
    /// Host and port, over TLS.
    Tls(String, u16),
    /// The local control socket.
    Socket(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "http://{host}:{port}"),
            Self::Tls(host, port) => write!(f, "https://{host}:{port}"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Target {
    /// Reads a URL of scheme, host and port.
    ///
    /// # Errors
    /// A usage failure. A URL with a password in it is not repeated.
    pub fn parse(url: &str) -> Result<Self, Failure> {
        const FORM: &str = "write it as https://host.example:7480 or http://127.0.0.1:7480";
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?', '#']).next();
        if authority.is_some_and(|authority| authority.contains('@')) {
            let reason = "a secret in a URL can be read by every process of this machine; give --token-file FILE";
            return Err(Failure::new(Exit::Usage, format!("the node's address: {reason}; nothing was sent")));
        }
        let bad = |reason| Failure::new(Exit::Usage, format!("`{url}` is not a node's address: {reason}"));
        let uri: hyper::Uri = url.parse().map_err(|_invalid| bad(FORM))?;
        if !matches!(uri.path_and_query().map(hyper::http::uri::PathAndQuery::as_str), None | Some("" | "/")) {
            let reason = "it has more than scheme, host and port";
            return Err(Failure::new(Exit::Usage, format!("the node's address: {reason}; {FORM}; nothing was sent")));
        }
        match (uri.scheme_str(), uri.host(), uri.port_u16()) {
            (Some("http"), Some(host), port) => Ok(Self::Tcp(host.to_owned(), port.unwrap_or(DEFAULT_PORT))),
            (Some("https"), Some(host), port) => Ok(Self::Tls(host.to_owned(), port.unwrap_or(DEFAULT_PORT))),
            _ => Err(bad(FORM)),
        }
    }
}

/// Percent-encodes bytes for a path segment or a query value.
pub fn escape(bytes: &[u8]) -> String {
    percent_encode(bytes, SEGMENT).to_string()
}

/// The body of a request.
pub type RequestBody = BoxBody<Bytes, io::Error>;

/// A body of known bytes.
pub fn full(bytes: impl Into<Bytes>) -> RequestBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// An answer with its head read.
pub struct Answer {
    /// The head.
    pub head: hyper::http::response::Parts,
    body: Incoming,
}

/// Talks to one node.
#[derive(Clone)]
pub struct Client {
    target: Target,
    token: Option<Redacted<String>>,
    trust: Option<Trust>,
}

impl Client {
    /// Talks to this node with this token.
    #[must_use]
    pub fn new(target: Target, token: Option<Redacted<String>>) -> Self {
        Self { target, token, trust: None }
    }

    /// Over TLS, takes only a node that this way of checking accepts.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust: Some(trust), ..self }
    }

    /// Talks to another node of the same cluster, with the same token.
    #[must_use]
    pub fn at(&self, target: Target) -> Self {
        Self { target, ..self.clone() }
    }

    /// The node.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Sends a request and reads the answer's head.
    ///
    /// # Errors
    /// Where there is no connection or it breaks off.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: RequestBody,
    ) -> Result<Answer, Failure> {
        self.open().await?.send(method, path, headers, body).await
    }

    /// Opens a connection for many requests, one after the other.
    ///
    /// # Errors
    /// Where nobody listens.
    pub async fn open(&self) -> Result<Connection, Failure> {
        let sender = match &self.target {
            Target::Tcp(host, port) => self.handshake(self.connect_tcp(host, *port).await?).await?,
            Target::Tls(host, port) => {
                let stream = Box::pin(self.connect_tls(host, *port)).await?;
                self.handshake(stream).await?
            }
            Target::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| self.unreachable(&error))?;
                self.handshake(stream).await?
            }
        };
        Ok(Connection { client: self.clone(), sender })
    }

    async fn connect_tcp(&self, host: &str, port: u16) -> Result<TcpStream, Failure> {
        let addresses = resolve::resolve(host, port).await;
        let addresses = addresses.map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            if matches!(self.target, Target::Tcp(..)) && !address.ip().is_loopback() {
                let reason = "is not this machine, and over plain HTTP a token could be read on the way";
                let message = format!("{address} {reason}; write https:// in front; nothing was sent");
                return Err(Failure::new(Exit::Usage, message));
            }
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // A request is written at once; waiting for an acknowledgement would only delay its end.
                    stream.set_nodelay(true).map_err(|error| self.unreachable(&error))?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_elapsed) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(self.unreachable(&last))
    }

    async fn connect_tls(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, Failure> {
        let refused = |exit, reason: String| Failure::new(exit, format!("{}: {reason}; nothing was sent", self.target));
        let no_trust = || refused(Exit::Usage, "there is no authority to check it by; give --ca FILE".to_owned());
        let trust = self.trust.as_ref().ok_or_else(no_trust)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare).map_err(|error| refused(Exit::Usage, error.to_string()))?;
        let stream = self.connect_tcp(host, port).await?;
        let handshake = TlsConnector::from(Arc::clone(&trust.config)).connect(name, stream);
        match tokio::time::timeout(CONNECT_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(refused(Exit::Denied, trust::explain(&error, host, &trust.whom))),
            Err(_elapsed) => Err(self.unreachable(&io::ErrorKind::TimedOut.into())),
        }
    }

    /// What the request's `Host` says.
    fn host(&self) -> String {
        match &self.target {
            Target::Tcp(host, port) | Target::Tls(host, port) => format!("{host}:{port}"),
            Target::Socket(_) => "ringfort".to_owned(),
        }
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        Failure::new(Exit::Unavailable, format!("{} does not answer: {error}; nothing was changed", self.target))
    }

    async fn handshake<S>(&self, stream: S) -> Result<http1::SendRequest<RequestBody>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| self.broke(&error))?;
        worker::spawn("client-connection", connection);
        Ok(sender)
    }

    fn broke(&self, error: &hyper::Error) -> Failure {
        let message = format!("{} broke the connection: {error}; what was sent may have been done", self.target);
        Failure::new(Exit::Unavailable, message)
    }

    /// Sends a request without a body and reads a JSON answer.
    ///
    /// # Errors
    /// As [`Answer::json`].
    pub async fn ask(&self, method: Method, path: &str) -> Result<Value, Failure> {
        self.send(method, path, &[], full("")).await?.json().await
    }

    /// Sends a JSON document and reads a JSON answer.
    ///
    /// # Errors
    /// As [`Answer::json`].
    pub async fn tell(&self, method: Method, path: &str, document: &Value) -> Result<Value, Failure> {
        let headers = [("content-type", "application/json")];
        self.send(method, path, &headers, full(document.to_string())).await?.json().await
    }
}

/// A connection to a node that serves many requests, one after the other.
pub struct Connection {
    client: Client,
    sender: http1::SendRequest<RequestBody>,
}

impl Connection {
    /// As [`Client::send`]. The answer before must have been read to its end; after an error the connection is spent.
    ///
    /// # Errors
    /// Where the connection breaks.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: RequestBody,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, self.client.host());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.client.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        let request = request.body(body).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        self.sender.ready().await.map_err(|error| self.client.broke(&error))?;
        let answer = self.sender.send_request(request).await;
        let (head, body) = answer.map_err(|error| self.client.broke(&error))?.into_parts();
        Ok(Answer { head, body })
    }
}

impl Answer {
    /// The text of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// Where the connection breaks off.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Some(frame) = self.body.frame().await {
            let broke = |error| Failure::new(Exit::Io, format!("the answer broke off: {error}"));
            if let Ok(bytes) = frame.map_err(broke)?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The whole body of a success.
    ///
    /// # Errors
    /// The node's refusal as a failure with the fitting exit status.
    pub async fn bytes(mut self) -> Result<Vec<u8>, Failure> {
        let mut all = Vec::new();
        while let Some(piece) = self.piece().await? {
            if all.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(Failure::new(Exit::BadData, "the answer is larger than any of a node's"));
            }
            all.extend_from_slice(&piece);
        }
        if self.head.status.is_success() || self.head.status == StatusCode::MULTIPLE_CHOICES {
            return Ok(all);
        }
        Err(refusal(self.head.status, &all))
    }

    /// The body of a success as JSON; null where it is empty.
    ///
    /// # Errors
    /// As [`Answer::bytes`].
    pub async fn json(self) -> Result<Value, Failure> {
        let bytes = self.bytes().await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| Failure::new(Exit::BadData, format!("the answer is not JSON: {error}")))
    }
}

/// A problem document as a failure.
fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let exit = match status.as_u16() {
        401 | 403 => Exit::Denied,
        404 => Exit::NoInput,
        408 | 429 | 503 | 504 => Exit::TryAgain,
        507 => Exit::Io,
        400..=499 => Exit::BadData,
        _ => Exit::Internal,
    };
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let message = match text("detail") {
        detail if detail.is_empty() => format!("the node answered {status}"),
        detail => format!("{detail} ({}, request {})", text("code"), text("request_id")),
    };
    Failure::new(exit, message)
}
