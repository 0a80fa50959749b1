//! HTTPS: handshakes within a deadline, with the certificate of the moment. A new certificate is shown from the next
//! handshake on; connections that stand live on.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use axum::http::HeaderValue;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::base::limits::HANDSHAKE_TIMEOUT;
use crate::front::guest::Guest;
use crate::front::linger::Lingering;

/// The first byte of every TLS connection: a record with a handshake message in it.
const HANDSHAKE_RECORD: u8 = 0x16;

/// Tells a browser never to come without TLS again, for a year.
pub const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Who speaks HTTP here has sent a token over an open wire already: no redirection, which would only hide that.
const PLAIN_HTTP: &str = "This port speaks HTTPS: ask again with https:// in front. Nothing was done. \
    If a token was sent along, it was readable on the way: make a new one.\n";

/// What TLS listeners share: the configuration with the certificate of the moment.
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

impl Tls {
    /// Shows this certificate.
    ///
    /// # Errors
    /// Where there is no randomness for the tickets.
    pub fn new(certificate: Arc<CertifiedKey>) -> Result<Self, rustls::Error> {
        Ok(Self(Arc::new(RwLock::new(configure(certificate)?))))
    }

    /// Shows this certificate from the next handshake on. Sessions of before are not resumed.
    ///
    /// # Errors
    /// As [`Tls::new`]; the one before is shown then.
    pub fn show(&self, certificate: Arc<CertifiedKey>) -> Result<(), rustls::Error> {
        let config = configure(certificate)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// From a connection to a TLS stream, or why it did not become one, where that says something: who knocks and goes, comes
    /// too slowly, or is there when the node stops, says nothing.
    pub(super) async fn handshake(
        &self,
        stream: TcpStream,
        guest: Arc<Guest>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<TlsStream<TcpStream>, Option<String>> {
        let stopped = stop.clone();
        tokio::select! {
            done = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.shake(stream, guest, stopped)) => done.unwrap_or(Err(None)),
            _ = stop.wait_for(|stop| *stop) => Err(None),
        }
    }

    async fn shake(
        &self,
        stream: TcpStream,
        guest: Arc<Guest>,
        stop: watch::Receiver<bool>,
    ) -> Result<TlsStream<TcpStream>, Option<String>> {
        let mut first = [0];
        if stream.peek(&mut first).await.unwrap_or(0) == 0 {
            return Err(None);
        }
        if first != [HANDSHAKE_RECORD] {
            refuse_plain(stream, guest, stop).await;
            return Err(Some("it does not speak TLS: http:// was asked where https:// is served".to_owned()));
        }
        let config = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let shaken = TlsAcceptor::from(config).accept(stream).await;
        shaken.map_err(|error| {
            tracing::debug!(%error, "a TLS handshake failed");
            // Only what the other side said or did wrong; that it went away is not its reason.
            let told = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
            told.then(|| error.to_string())
        })
    }
}

/// TLS 1.3 and 1.2 with rustls' own choice of ciphers; HTTP/2 before HTTP/1.1. Tickets, so that millions of devices that
/// come back cost no memory here.
fn configure(certificate: Arc<CertifiedKey>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = builder
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// A short answer to who speaks plain HTTP to this port, and the end of the connection.
async fn refuse_plain(stream: TcpStream, guest: Arc<Guest>, stop: watch::Receiver<bool>) {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{PLAIN_HTTP}",
        PLAIN_HTTP.len()
    );
    let mut stream = Lingering::new(stream, guest, stop);
    // Who has gone does not hear it.
    let _gone = stream.write_all(answer.as_bytes()).await;
    let _gone = stream.shutdown().await;
}
