//! Who this node is: cluster, node id, and the cluster's certificate authority, made at birth (HOUSE decision 1).
//!
//! Files in `identity/`: `node.json` (who), `ca.pem` and `ca.key` (the authority), `node.pem` and `node.key` (this
//! node's certificate among nodes, issued by it, see [`peer`]), `server.pem` (what it shows to everyone else, see [`server`]),
//! `operators` (who may sign in where nothing else runs, see [`operators`]). All 0600. `node.json` says whether the birth was finished: until then journals may
//! be made, afterwards a missing one is a loss and is refused.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use serde::Deserialize;
use serde::Serialize;

use crate::base::file;
use crate::base::file::FileError;
use crate::base::file::Privacy;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::limits::PEM_BYTES_MAX;
use crate::base::redact::Redacted;
use crate::base::rng;
use crate::store::data_dir;

pub mod operators;
pub mod peer;
pub mod server;

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its number in it.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
    /// Its journals were made.
    pub born: bool,
    /// It came into a cluster that was there.
    pub joined: bool,
}

/// Why an identity cannot be read or made. Nothing was changed that counts.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The operating system refuses.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{path} does not say who this node is: {reason}; restore it from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Making keys or certificates failed.
    #[error("the cluster's certificate authority could not be made or used: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A key or certificate is not taken.
    #[error(transparent)]
    File(#[from] FileError),
}

/// `node.json`: text, so that support can read it aloud.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFile {
    version: u8,
    cluster: String,
    node: u64,
    name: String,
    born: bool,
    #[serde(default)]
    joined: bool,
}

const VERSION: u8 = 1;

const AUTHORITY_FILE: &str = "ca.pem";
const AUTHORITY_KEY_FILE: &str = "ca.key";

/// Reads who this node is; `None` where it was never born.
///
/// # Errors
/// [`IdentityError`].
pub fn read(dir: &Path) -> Result<Option<Identity>, IdentityError> {
    let path = dir.join("node.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(IdentityError::Io { path, source }),
    };
    let damaged = |reason: String| IdentityError::Damaged { path: path.clone(), reason };
    let file: NodeFile = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if file.version != VERSION {
        return Err(damaged(format!("version {} is not known to this release", file.version)));
    }
    let cluster = u128::from_str_radix(&file.cluster, 16).map_err(|error| damaged(error.to_string()))?;
    let NodeFile { node, name, born, joined, .. } = file;
    Ok(Some(Identity { cluster: ClusterId(cluster), node: NodeId(node), name, born, joined }))
}

/// Begins the first node of a new cluster: ids, authority, certificate. [`confirm`] ends it.
///
/// # Errors
/// [`IdentityError`]; the next attempt begins anew.
pub fn bear(dir: &Path, name: &str) -> Result<Identity, IdentityError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| IdentityError::Io { path, source }
    };
    let cluster = ClusterId(rng::u128().map_err(io(dir))?);
    let identity = Identity { cluster, node: NodeId(1), name: name.to_owned(), born: false, joined: false };
    for (file, content) in make_certificates(&identity)? {
        let path = dir.join(file);
        data_dir::write_whole(&path, content.as_bytes()).map_err(io(&path))?;
    }
    write(dir, &identity)?;
    Ok(identity)
}

/// What a node is given that joins a cluster, as PEM text.
#[derive(Debug, Clone)]
pub struct Given {
    /// The authority's certificate.
    pub authority: String,
    /// Its key: any node may let others in.
    pub authority_key: Redacted<String>,
    /// The node's certificate.
    pub certificate: String,
    /// Its key.
    pub key: Redacted<String>,
}

/// Begins a node of a cluster that is there. [`confirm`] ends it.
///
/// # Errors
/// [`IdentityError`]; the next attempt begins anew.
pub fn join(
    dir: &Path,
    cluster: ClusterId,
    node: NodeId,
    name: &str,
    given: &Given,
) -> Result<Identity, IdentityError> {
    let identity = Identity { cluster, node, name: name.to_owned(), born: false, joined: true };
    for (file, content) in [
        (AUTHORITY_KEY_FILE, given.authority_key.reveal()),
        (AUTHORITY_FILE, &given.authority),
        (peer::KEY_FILE, given.key.reveal()),
        (peer::CERTIFICATE_FILE, &given.certificate),
    ] {
        let path = dir.join(file);
        let io = |source| IdentityError::Io { path: path.clone(), source };
        data_dir::write_whole(&path, content.as_bytes()).map_err(io)?;
    }
    write(dir, &identity)?;
    Ok(identity)
}

/// What a node that joins is given by this one.
///
/// # Errors
/// [`IdentityError`].
pub fn give(dir: &Path, cluster: ClusterId, node: NodeId) -> Result<Given, IdentityError> {
    let peer::PeerFiles { authority, certificate, key } = peer::issue(dir, cluster, node)?;
    let authority_key = Redacted::new(read_text(&dir.join(AUTHORITY_KEY_FILE), Privacy::Secret)?);
    Ok(Given { authority, authority_key, certificate, key })
}

/// Notes that the node's journals are made.
///
/// # Errors
/// [`IdentityError`]; the birth goes on at the next start.
pub fn confirm(dir: &Path, identity: &Identity) -> Result<(), IdentityError> {
    write(dir, &Identity { born: true, ..identity.clone() })
}

fn write(dir: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let path = dir.join("node.json");
    let file = NodeFile {
        version: VERSION,
        cluster: identity.cluster.to_string(),
        node: identity.node.0,
        name: identity.name.clone(),
        born: identity.born,
        joined: identity.joined,
    };
    let text = serde_json::to_string_pretty(&file).map_err(io::Error::other);
    let written = text.and_then(|text| data_dir::write_whole(&path, text.as_bytes()));
    written.map_err(|source| IdentityError::Io { path, source })
}

fn make_certificates(identity: &Identity) -> Result<[(&'static str, String); 4], rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let ca = authority_params(identity.cluster)?;
    let ca_certificate = ca.self_signed(&ca_key)?;
    let node_key = KeyPair::generate()?;
    let issuer = Issuer::from_params(&ca, &ca_key);
    let node_certificate = peer::params(identity.cluster, identity.node)?.signed_by(&node_key, &issuer)?;
    Ok([
        (AUTHORITY_KEY_FILE, ca_key.serialize_pem()),
        (AUTHORITY_FILE, ca_certificate.pem()),
        (peer::KEY_FILE, node_key.serialize_pem()),
        (peer::CERTIFICATE_FILE, node_certificate.pem()),
    ])
}

/// What the authority's certificate says. It never ends by itself, whatever the clock said at birth: trust in it ends when
/// it is taken out of the clients. The same text at every issue, so that issuer and authority fit.
fn authority_params(cluster: ClusterId) -> Result<CertificateParams, rcgen::Error> {
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, format!("Ringfort cluster {cluster}"));
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(ca)
}

/// The authority with its key, to issue by.
fn authority(dir: &Path, cluster: ClusterId) -> Result<Issuer<'static, KeyPair>, IdentityError> {
    let path = dir.join(AUTHORITY_KEY_FILE);
    let key = read_text(&path, Privacy::Secret)?;
    Ok(Issuer::new(authority_params(cluster)?, KeyPair::from_pem(&key)?))
}

fn read_text(path: &Path, privacy: Privacy) -> Result<String, IdentityError> {
    let bytes = file::read(path, PEM_BYTES_MAX, privacy)?;
    String::from_utf8(bytes)
        .map_err(|error| IdentityError::Damaged { path: path.to_owned(), reason: error.to_string() })
}

/// Closes keys that strangers could read, as after a careless copy. Returns those that were open.
///
/// # Errors
/// [`IdentityError`].
pub fn close_to_others(dir: &Path) -> Result<Vec<PathBuf>, IdentityError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| IdentityError::Io { path, source }
    };
    let mut closed = Vec::new();
    for entry in fs::read_dir(dir).map_err(io(dir))? {
        let path = entry.map_err(io(dir))?.path();
        let metadata = fs::symlink_metadata(&path).map_err(io(&path))?;
        if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(io(&path))?;
            closed.push(path);
        }
    }
    closed.sort_unstable();
    Ok(closed)
}
