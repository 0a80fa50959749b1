//! Who is on the other side: TLS 1.3 with certificates of the cluster's authority that name cluster and node. Who dials
//! knows whom it dials. Who listens also lets in callers without a certificate, as guests; a certificate that does not
//! hold ends the handshake. Nothing is resumed: every connection is checked.

use std::io;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::DistinguishedName;
use rustls::Error;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::SignatureScheme;
use rustls::client::Resumption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use rustls::server::NoServerSessionStorage;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerified;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::TLS13;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::TlsConnector;
use tokio_rustls::client;
use tokio_rustls::server;

use crate::base::checksum;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::redact::Redacted;
use crate::proto::certificate;

/// What both sides say they speak (ALPN), so that nobody is led here who meant to speak something else.
const PROTOCOL: &[u8] = b"ringfort-peer";

/// Who this node is among nodes, and how it proves it. Texts are PEM.
#[derive(Debug, Clone)]
pub struct PeerIdentity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its number.
    pub node: NodeId,
    /// The cluster's authority.
    pub authority: String,
    /// The certificate that names both.
    pub certificate: String,
    /// Its key.
    pub key: Redacted<String>,
}

/// TLS among nodes, in both directions.
#[derive(Clone)]
pub struct PeerTls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    cluster: ClusterId,
}

impl PeerTls {
    /// Ready to listen and to dial.
    ///
    /// # Errors
    /// Where certificates or key are not what they should be.
    pub fn new(identity: &PeerIdentity) -> Result<Self, Error> {
        let authority = certificate(&identity.authority)?;
        let own = certificate(&identity.certificate)?;
        if named(&own) != Some((identity.cluster, identity.node)) {
            return Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        }
        let key = PrivateKeyDer::from_pem_slice(identity.key.reveal().as_bytes())
            .map_err(|error| Error::General(format!("the node's key: {error}")))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone())?;
        let peers = Arc::new(Peers { cluster: Some(identity.cluster), authority: verifier(roots)? });
        // The authority goes with it: a guest knows only its fingerprint.
        let chain = vec![own, authority];
        let server = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        let listening = Arc::<Peers>::clone(&peers);
        let mut server =
            server.with_client_cert_verifier(listening).with_single_cert(chain.clone(), key.clone_key())?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        let client = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        let client = client.dangerous().with_custom_certificate_verifier(peers).with_client_auth_cert(chain, key)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(ready(client))),
            cluster: identity.cluster,
        })
    }

    /// Takes a connection. Says who it is where it showed a certificate, and that one held.
    ///
    /// # Errors
    /// Where the handshake fails.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<(server::TlsStream<TcpStream>, Option<NodeId>)> {
        let stream = self.acceptor.accept(tcp).await?;
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() != Some(PROTOCOL) {
            return Err(io::Error::other(Error::NoApplicationProtocol));
        }
        let caller = match session.peer_certificates().and_then(<[_]>::first) {
            None => None,
            Some(shown) => {
                let who = named(shown).filter(|(cluster, _)| *cluster == self.cluster);
                Some(who.ok_or_else(|| io::Error::other(Error::InvalidCertificate(CertificateError::NotValidForName)))?)
            }
        };
        Ok((stream, caller.map(|(_, node)| node)))
    }

    /// Makes a connection to this node one that is surely with it.
    ///
    /// # Errors
    /// Where the handshake fails, or somebody else is there.
    pub async fn dial(&self, tcp: TcpStream, node: NodeId) -> io::Result<client::TlsStream<TcpStream>> {
        let name = ServerName::try_from(certificate::peer_name(self.cluster, node)).map_err(io::Error::other)?;
        connect(&self.connector, name, tcp).await
    }
}

/// Makes a connection to any node of the cluster whose authority has this SHA-256, without a certificate of one's own.
///
/// # Errors
/// Where the handshake fails, or somebody else is there.
pub(super) async fn dial_as_guest(tcp: TcpStream, sha256: [u8; 32]) -> io::Result<client::TlsStream<TcpStream>> {
    let client = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
    let client = client.map_err(io::Error::other)?.dangerous();
    let client = client.with_custom_certificate_verifier(Arc::new(Pinned { sha256 })).with_no_client_auth();
    let name = ServerName::try_from("join.peer.ringfort").map_err(io::Error::other)?;
    connect(&TlsConnector::from(Arc::new(ready(client))), name, tcp).await
}

/// Whether somebody other than the one dialled was there.
pub(super) fn is_wrong_node(error: &io::Error) -> bool {
    matches!(inner(error), Some(Error::InvalidCertificate(CertificateError::NotValidForName)))
}

/// Whether a handshake failed because a certificate does not hold.
pub(super) fn is_bad_certificate(error: &io::Error) -> bool {
    matches!(inner(error), Some(Error::InvalidCertificate(_)))
}

fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

async fn connect(
    connector: &TlsConnector,
    name: ServerName<'static>,
    tcp: TcpStream,
) -> io::Result<client::TlsStream<TcpStream>> {
    let stream = connector.connect(name, tcp).await?;
    if stream.get_ref().1.alpn_protocol() != Some(PROTOCOL) {
        return Err(io::Error::other(Error::NoApplicationProtocol));
    }
    Ok(stream)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn ready(mut client: ClientConfig) -> ClientConfig {
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    client.resumption = Resumption::disabled();
    // Which node is dialled is nobody's business on the way.
    client.enable_sni = false;
    client
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| Error::General(format!("a certificate: {error}")))
}

/// Whom a certificate names.
fn named(der: &CertificateDer<'_>) -> Option<(ClusterId, NodeId)> {
    certificate::read(der).and_then(|facts| certificate::peer(&facts))
}

/// Checks chain, time and use: a certificate among nodes is one that a client may show, on either side.
fn verifier(roots: RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    builder.allow_unauthenticated().build().map_err(|error| Error::General(error.to_string()))
}

/// Takes certificates of nodes: of one cluster, or of the authority's whatever its name.
#[derive(Debug)]
struct Peers {
    cluster: Option<ClusterId>,
    authority: Arc<dyn ClientCertVerifier>,
}

impl Peers {
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(ClusterId, NodeId), Error> {
        self.authority.verify_client_cert(end_entity, intermediates, now)?;
        let who = named(end_entity).filter(|(cluster, _)| self.cluster.is_none_or(|own| own == *cluster));
        who.ok_or(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }
}

impl ClientCertVerifier for Peers {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates, now).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authority.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authority.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.supported_verify_schemes()
    }
}

impl ServerCertVerifier for Peers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (cluster, node) = self.check(end_entity, intermediates, now)?;
        if self.cluster.is_some() && server_name.to_str() != certificate::peer_name(cluster, node) {
            return Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authority.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authority.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.supported_verify_schemes()
    }
}

/// For guests: takes the authority out of the chain that it is shown, where it is the one that the invite names.
#[derive(Debug)]
struct Pinned {
    sha256: [u8; 32],
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates.iter().find(|shown| checksum::sha256(&[shown]) == self.sha256);
        let mut roots = RootCertStore::empty();
        roots.add(authority.ok_or(CertificateError::UnknownIssuer)?.clone().into_owned())?;
        let peers = Peers { cluster: None, authority: verifier(roots)? };
        peers.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
