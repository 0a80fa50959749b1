//! Whom a client trusts over HTTPS: the authorities in a file, or, at the first contact, the one authority with a known
//! fingerprint. There is no way to trust anyone.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use sha2::Digest;
use sha2::Sha256;

use crate::base::exit::Exit;
use crate::base::limits::AUTHORITIES_BYTES_MAX;
use crate::cli::output::Failure;
use crate::cli::secret;

/// Bytes of a SHA-256.
const DIGEST_BYTES: usize = 32;

/// A way to check a node's certificate.
#[derive(Debug, Clone)]
pub struct Trust {
    /// For TLS.
    pub config: Arc<ClientConfig>,
    /// For sentences, such as `the authority in ca.pem`.
    pub whom: String,
}

impl Trust {
    /// The authorities in a PEM file.
    ///
    /// # Errors
    /// Where it cannot be read or holds none.
    pub fn file(path: &Path) -> Result<Self, Failure> {
        let text = secret::read_whole(path, AUTHORITIES_BYTES_MAX)?;
        let bad =
            |reason: String| Failure::new(Exit::BadData, format!("{}: {reason}; nothing was sent", path.display()));
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| bad(format!("is not PEM text: {error}")))?;
            roots.add(certificate).map_err(|error| bad(format!("holds a certificate that cannot be used: {error}")))?;
        }
        if roots.is_empty() {
            return Err(bad("holds no certificate in PEM form".to_owned()));
        }
        let config = builder()?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { config: ready(config), whom: format!("the authority in {}", path.display()) })
    }

    /// The one authority with this fingerprint, which the node must show as part of its chain.
    ///
    /// # Errors
    /// Where it is none.
    pub fn fingerprint(text: &str) -> Result<Self, Failure> {
        let fingerprint = parse(text).ok_or_else(|| {
            let form = "write the 64 digits that `ringfort ca --fingerprint` prints on the node's machine";
            Failure::new(Exit::Usage, format!("`{text}` is not a fingerprint: {form}; nothing was sent"))
        })?;
        let pinned = Pinned { fingerprint, provider: Arc::new(ring::default_provider()) };
        let config = builder()?.dangerous().with_custom_certificate_verifier(Arc::new(pinned)).with_no_client_auth();
        Ok(Self { config: ready(config), whom: "the authority with that fingerprint".to_owned() })
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Failure> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| Failure::new(Exit::Internal, error.to_string()))
}

/// One request a connection: HTTP/1.1 is enough.
fn ready(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// `sha256:9f86:d081:…`, with or without the word, the colons, and in capitals.
pub fn parse(text: &str) -> Option<[u8; DIGEST_BYTES]> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.strip_prefix("sha256:").unwrap_or(&text).replace([':', ' ', '-'], "");
    if digits.len() != 2 * DIGEST_BYTES || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; DIGEST_BYTES];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Takes a chain that ends in the authority with this fingerprint, and then checks it as any other: signatures, time and
/// the node's name.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; DIGEST_BYTES],
    provider: Arc<CryptoProvider>,
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
        let is_it = |certificate: &&CertificateDer<'_>| Sha256::digest(certificate).as_slice() == self.fingerprint;
        let authority = intermediates.iter().chain([end_entity]).find(is_it);
        let mut roots = RootCertStore::empty();
        roots.add(authority.ok_or(CertificateError::UnknownIssuer)?.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider)).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a handshake failed, in words.
pub fn explain(error: &io::Error, host: &str, whom: &str) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(reason)) => explain_certificate(reason, host, whom),
        Some(Error::InvalidMessage(_)) => "what answers there does not speak HTTPS; is it http://?".to_owned(),
        Some(other) => format!("the TLS handshake failed: {other}"),
        None => format!("the connection broke off in the TLS handshake: {error}"),
    }
}

fn explain_certificate(reason: &CertificateError, host: &str, whom: &str) -> String {
    let unknown = [CertificateError::UnknownIssuer, CertificateError::BadSignature];
    if unknown.contains(reason) {
        return format!("its certificate does not come from {whom}: it is another node's, or somebody is in between");
    }
    if let CertificateError::NotValidForNameContext { presented, .. } = reason {
        return format!(
            "its certificate is not made out for `{host}` but for {}; use one of these, or add `{host}` to the node's \
             `names`",
            presented.join(", ")
        );
    }
    format!("its certificate is not accepted: {reason}")
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_fingerprint_is_understood_however_it_was_copied() {
        let digits = "0123456789abcdef".repeat(4);
        let expected = parse(&digits).unwrap();
        assert_eq!(expected[..3], [0x01, 0x23, 0x45]);
        let grouped: Vec<String> =
            digits.as_bytes().chunks(2).map(|two| String::from_utf8(two.to_vec()).unwrap()).collect();
        for form in
            [format!("sha256:{digits}"), grouped.join(":").to_uppercase(), format!(" SHA256:{} ", grouped.join(" "))]
        {
            assert_eq!(parse(&form), Some(expected), "{form}");
        }
        for bad in [
            "",
            "sha256:",
            &digits[1..],
            &format!("{digits}0"),
            &digits.replace('a', "g"),
            &"+1".repeat(32),
            &"é".repeat(32),
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
