//! The certificate that this node shows to devices, programs and browsers, issued by the cluster's authority. One file,
//! `server.pem`, holds its key, itself and the authority, so that a replacement is whole or not at all. The authority is
//! part of the chain: a client that knows only its fingerprint can check what it is shown (`ringfort ca fetch`).

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;

use crate::base::file;
use crate::base::file::Privacy;
use crate::base::limits::PEM_BYTES_MAX;
use crate::base::limits::SERVER_CERTIFICATE_BACKDATE;
use crate::base::limits::SERVER_CERTIFICATE_VALID;
use crate::store::data_dir;
use crate::store::identity;
use crate::store::identity::AUTHORITY_FILE;
use crate::store::identity::Identity;
use crate::store::identity::IdentityError;

const SERVER_FILE: &str = "server.pem";

/// A clock beyond this says nothing; certificates know four digits of a year.
const CLOCK_S_MAX: u64 = 200_000_000_000;

/// The authority's certificate as PEM text.
///
/// # Errors
/// [`IdentityError`].
pub fn authority(dir: &Path) -> Result<String, IdentityError> {
    identity::read_text(&dir.join(AUTHORITY_FILE), Privacy::Public)
}

/// What was issued last: key and chain as PEM text. `None` where nothing was.
///
/// # Errors
/// [`IdentityError`].
pub fn read(dir: &Path) -> Result<Option<Vec<u8>>, IdentityError> {
    let path = dir.join(SERVER_FILE);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(_) | Err(_) => Ok(Some(file::read(&path, PEM_BYTES_MAX, Privacy::Secret)?)),
    }
}

/// Issues a certificate with a key of its own for these names and addresses and keeps both. Returns what [`read`] would.
///
/// # Errors
/// [`IdentityError`]; what was issued last is still there.
pub fn issue(dir: &Path, who: &Identity, names: &[String], now_ms: u64) -> Result<Vec<u8>, IdentityError> {
    let issuer = identity::authority(dir, who.cluster)?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, format!("Ringfort node {}", who.node));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = Duration::from_secs((now_ms / 1000).min(CLOCK_S_MAX));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(SERVER_CERTIFICATE_BACKDATE);
    params.not_after = epoch + now + SERVER_CERTIFICATE_VALID;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    let text = format!("{}{}{}", key.serialize_pem(), certificate.pem(), authority(dir)?);
    let path = dir.join(SERVER_FILE);
    data_dir::write_whole(&path, text.as_bytes()).map_err(|source| IdentityError::Io { path, source })?;
    Ok(text.into_bytes())
}
