//! Which certificate this node shows: the customer's where files are named, else its own, issued by the cluster's
//! authority for every name and address that the node is reached by, and issued again before it ends or when they
//! change. What is shown was checked: it parses, key and certificate fit, and it is valid now.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;

use crate::base::codec;
use crate::base::file;
use crate::base::file::FileError;
use crate::base::file::Privacy;
use crate::base::limits::CERTIFICATE_WARN;
use crate::base::limits::PEM_BYTES_MAX;
use crate::base::limits::SERVER_CERTIFICATE_VALID;
use crate::base::limits::SERVER_NAMES_MAX;
use crate::base::listen::Listen;
use crate::base::time;
use crate::net::interfaces;
use crate::node::Node;
use crate::proto::certificate;
use crate::proto::certificate::Facts;
use crate::store::identity::IdentityError;
use crate::store::identity::server;

/// Issued by the cluster's authority.
const OWN: &str = "own";
/// Given by the customer.
const FILE: &str = "file";

/// What the configuration says about certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The customer's own, as PEM files.
    pub files: Option<Files>,
    /// Further names and addresses for the node's own certificate.
    pub names: Vec<String>,
    /// Where the node listens.
    pub listen: Vec<Listen>,
}

/// A customer's certificate with its chain, and the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Certificates, the node's own first.
    pub certificate: PathBuf,
    /// The private key of the first.
    pub key: PathBuf,
}

/// A certificate for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateView {
    /// `own`, issued by the cluster's authority, or `file`, the customer's.
    pub origin: &'static str,
    /// Names and addresses it is made out for.
    pub names: Vec<String>,
    /// The issuer's common name.
    pub issuer: String,
    /// Milliseconds since 1970.
    pub not_before_ms: u64,
    /// Milliseconds since 1970.
    pub not_after_ms: u64,
    /// SHA-256 of it.
    pub fingerprint: String,
}

/// A certificate that may be shown.
pub struct Shown {
    /// For TLS.
    pub certified: Arc<CertifiedKey>,
    /// For people.
    pub view: CertificateView,
}

/// Why a certificate cannot be shown. The one shown before stays.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file of the customer's is not taken.
    #[error(transparent)]
    File(#[from] FileError),
    /// The authority does not work.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Not what it should be.
    #[error("{path} {reason}")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would do.
        reason: String,
    },
}

/// The authority of this node's cluster, for people and clients that want to trust it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate.
    pub pem: String,
    /// SHA-256 of it.
    pub fingerprint: String,
    /// The same, as bytes.
    pub sha256: [u8; 32],
}

impl Authority {
    pub(super) fn read(identity_dir: &Path) -> Result<Self, IdentityError> {
        let pem = server::authority(identity_dir)?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| IdentityError::Damaged { path: identity_dir.join("ca.pem"), reason: error.to_string() })?;
        Ok(Self { fingerprint: fingerprint(&der), sha256: Sha256::digest(&der).into(), pem })
    }
}

/// SHA-256 of a certificate in groups that can be read aloud: `sha256:9f86:d081:…`.
#[must_use]
pub fn fingerprint(der: &[u8]) -> String {
    let hex = codec::hex(&Sha256::digest(der));
    let groups: Vec<String> =
        hex.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    format!("sha256:{}", groups.join(":"))
}

impl Node {
    /// The cluster's authority.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// The certificate to show now; issues one where the own one does not fit any more. Blocks on the disk.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn certificate(&self, wanted: &Wanted) -> Result<Shown, CertificateError> {
        match &wanted.files {
            Some(files) => customers(files),
            None => self.own(wanted),
        }
    }

    fn own(&self, wanted: &Wanted) -> Result<Shown, CertificateError> {
        let dir = self.0.data_dir.join("identity");
        let names = self.names(wanted);
        let now_ms = time::wall_ms();
        if let Some(shown) = self.issued(&server::read(&dir)?.unwrap_or_default(), now_ms) {
            let same_names = shown.view.names.iter().collect::<BTreeSet<_>>() == names.iter().collect();
            let left_ms = shown.view.not_after_ms.saturating_sub(now_ms);
            if same_names && left_ms > time::millis(SERVER_CERTIFICATE_VALID / 3) {
                return Ok(shown);
            }
        }
        let pem = server::issue(&dir, &self.0.identity, &names, now_ms)?;
        tracing::info!(?names, "a server certificate was issued");
        self.issued(&pem, now_ms).ok_or_else(|| CertificateError::Unfit {
            path: dir.join("ca.key"),
            reason: "does not belong to ca.pem beside it; restore identity/ from a backup".to_owned(),
        })
    }

    /// Every name and address that this node is reached by, the surest first, as many as a certificate carries.
    fn names(&self, wanted: &Wanted) -> Vec<String> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let given = wanted.names.iter().map(String::as_str);
        let words = ["localhost", "127.0.0.1", "::1"].into_iter().chain(given).chain([&*host, &*self.who().name]);
        let mut names: Vec<String> = words.map(canonical).collect();
        for address in wanted.listen.iter().filter(|listen| listen.tls).map(|listen| listen.address.ip()) {
            if address.is_unspecified() {
                let all = interfaces::addresses().into_iter();
                let reached = all.filter(|found| address.is_ipv6() || found.is_ipv4());
                names.extend(reached.map(|found| found.to_string()));
            } else {
                names.push(address.to_string());
            }
        }
        let mut seen = BTreeSet::new();
        names.retain(|name| ServerName::try_from(name.as_str()).is_ok() && seen.insert(name.clone()));
        names.truncate(SERVER_NAMES_MAX);
        names
    }

    /// What was issued last, where it is by this authority and valid now. Its names may be those of another day: better
    /// than nothing where no other can be issued.
    #[must_use]
    pub fn last_issued(&self) -> Option<Shown> {
        let pem = server::read(&self.0.data_dir.join("identity")).ok()??;
        self.issued(&pem, time::wall_ms())
    }

    fn issued(&self, pem: &[u8], now_ms: u64) -> Option<Shown> {
        let shown = parse(pem, pem, OWN).ok()?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.0.authority.pem.as_bytes()).ok()?).ok()?;
        let parsed = ParsedCertificate::try_from(shown.certified.end_entity_cert().ok()?).ok()?;
        let algorithms = ring::default_provider().signature_verification_algorithms.all;
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
        let good = rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms);
        good.is_ok().then_some(shown)
    }
}

/// What a node that does not run would show: the customer's, else what was issued last, also where that is not valid any more:
/// whoever has to look at a node that fails is better asked whether to go on than not let in.
#[must_use]
pub fn of_stopped(data: &Path, files: Option<&Files>) -> Option<Shown> {
    let given =
        files.and_then(|files| customers(files).inspect_err(|error| tracing::error!(%error, "certificate")).ok());
    given.or_else(|| {
        let pem = server::read(&data.join("identity")).ok()??;
        parse(&pem, &pem, OWN).ok()
    })
}

/// One spelling of each name: `Host.Example` and `host.example` are the same, and so are two forms of an address.
fn canonical(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string())
}

/// The customer's certificate, checked.
///
/// # Errors
/// [`CertificateError`].
pub fn customers(files: &Files) -> Result<Shown, CertificateError> {
    let certificate = file::read(&files.certificate, PEM_BYTES_MAX, Privacy::Public)?;
    let key = file::read(&files.key, PEM_BYTES_MAX, Privacy::Secret)?;
    let shown = parse(&certificate, &key, FILE).map_err(|unfit| {
        let (path, reason) = match unfit {
            Unfit::Certificate(reason) => (&files.certificate, reason),
            Unfit::Key(reason) => (&files.key, reason),
        };
        CertificateError::Unfit { path: path.clone(), reason }
    })?;
    let now_ms = time::wall_ms();
    let unfit = |reason| Err(CertificateError::Unfit { path: files.certificate.clone(), reason });
    if now_ms > shown.view.not_after_ms {
        return unfit(format!("is out of date since {}; get a new one", time::rfc3339(shown.view.not_after_ms)));
    }
    if now_ms < shown.view.not_before_ms {
        let from = time::rfc3339(shown.view.not_before_ms);
        return unfit(format!("is valid from {from} only, and this machine's clock says {}", time::rfc3339(now_ms)));
    }
    Ok(shown)
}

/// What is wrong with which of two files.
enum Unfit {
    Certificate(String),
    Key(String),
}

/// From PEM text to what TLS takes, with key and certificate compared.
fn parse(certificate: &[u8], key: &[u8], origin: &'static str) -> Result<Shown, Unfit> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| Unfit::Certificate(format!("is not PEM text: {error}")))?;
    let first = chain.first().ok_or_else(|| Unfit::Certificate("holds no certificate in PEM form".to_owned()))?;
    let facts = certificate::read(first);
    let facts = facts.ok_or_else(|| Unfit::Certificate("holds a certificate that cannot be read".to_owned()))?;
    let Facts { issuer, names, not_before_ms, not_after_ms } = facts;
    let view = CertificateView { origin, names, issuer, not_before_ms, not_after_ms, fingerprint: fingerprint(first) };
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        Unfit::Key(format!("holds no private key in PEM form ({error}); one with a passphrase must be decrypted first"))
    })?;
    let certified = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| {
        if let rustls::Error::InvalidCertificate(reason) = error {
            return Unfit::Certificate(format!("cannot be used: {reason}"));
        }
        let differ = matches!(error, rustls::Error::InconsistentKeys(_));
        Unfit::Key(if differ {
            "is not the key of that certificate".to_owned()
        } else {
            format!("cannot be used: {error}")
        })
    })?;
    Ok(Shown { certified: Arc::new(certified), view })
}

impl CertificateView {
    /// Whether the cluster's authority issued it.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.origin == OWN
    }

    /// A sentence where it is a customer's and will not last much longer. An own one is renewed by itself.
    #[must_use]
    pub fn warning(&self, now_ms: u64) -> Option<String> {
        let left = Duration::from_millis(self.not_after_ms.saturating_sub(now_ms));
        if self.is_own() || left >= CERTIFICATE_WARN {
            return None;
        }
        let until = time::rfc3339(self.not_after_ms);
        Some(format!(
            "The certificate in tls_cert is valid until {until} only; replace the files and run `ringfort config reload`"
        ))
    }
}
