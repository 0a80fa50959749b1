//! The certificate that a node shows to other nodes: it names cluster and node, and may be shown by a client only, so that
//! what devices are shown never passes for it, nor the other way round. It never ends by itself: a node is let in because
//! it is a member, and put out by ceasing to be one.

use std::path::Path;

use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::base::file::Privacy;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::redact::Redacted;
use crate::proto::certificate;
use crate::store::data_dir;
use crate::store::identity;
use crate::store::identity::AUTHORITY_FILE;
use crate::store::identity::Identity;
use crate::store::identity::IdentityError;

pub(super) const CERTIFICATE_FILE: &str = "node.pem";
pub(super) const KEY_FILE: &str = "node.key";

/// What a node proves with who it is, as PEM text.
#[derive(Debug, Clone)]
pub struct PeerFiles {
    /// The cluster's authority.
    pub authority: String,
    /// The node's certificate, issued by it.
    pub certificate: String,
    /// The certificate's key.
    pub key: Redacted<String>,
}

/// This node's. A certificate of a release that did not write the cluster's name into it so is issued again, for the same
/// key.
///
/// # Errors
/// [`IdentityError`].
pub fn read(dir: &Path, who: &Identity) -> Result<PeerFiles, IdentityError> {
    let path = dir.join(CERTIFICATE_FILE);
    let mut certificate = identity::read_text(&path, Privacy::Secret)?;
    let key = identity::read_text(&dir.join(KEY_FILE), Privacy::Secret)?;
    let names = |text: &str| {
        let der = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
        certificate::read(&der).and_then(|facts| certificate::peer(&facts))
    };
    if names(&certificate) != Some((who.cluster, who.node)) {
        let issuer = identity::authority(dir, who.cluster)?;
        certificate = params(who.cluster, who.node)?.signed_by(&KeyPair::from_pem(&key)?, &issuer)?.pem();
        data_dir::write_whole(&path, certificate.as_bytes()).map_err(|source| IdentityError::Io { path, source })?;
    }
    let authority = identity::read_text(&dir.join(AUTHORITY_FILE), Privacy::Public)?;
    Ok(PeerFiles { authority, certificate, key: Redacted::new(key) })
}

/// Makes a key and a certificate for a node that is admitted.
///
/// # Errors
/// [`IdentityError`].
pub fn issue(dir: &Path, cluster: ClusterId, node: NodeId) -> Result<PeerFiles, IdentityError> {
    let issuer = identity::authority(dir, cluster)?;
    let key = KeyPair::generate()?;
    let certificate = params(cluster, node)?.signed_by(&key, &issuer)?.pem();
    let authority = identity::read_text(&dir.join(AUTHORITY_FILE), Privacy::Public)?;
    Ok(PeerFiles { authority, certificate, key: Redacted::new(key.serialize_pem()) })
}

/// What the certificate says. Valid from the first day that a clock can show, because many begin there.
pub(super) fn params(cluster: ClusterId, node: NodeId) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![certificate::peer_name(cluster, node)])?;
    params.distinguished_name.push(DnType::CommonName, format!("Ringfort node {node} among nodes"));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = rcgen::date_time_ymd(1970, 1, 1);
    Ok(params)
}

#[cfg(test)]
mod tests {
    use rcgen::Issuer;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::CERTIFICATE_FILE;
    use super::issue;
    use super::read;
    use crate::base::id::NodeId;
    use crate::proto::certificate;
    use crate::store::identity;

    fn named(pem: &str) -> Option<(crate::base::id::ClusterId, NodeId)> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        certificate::peer(&certificate::read(&der).unwrap())
    }

    #[test]
    fn a_node_proves_its_number_and_issues_for_others() {
        let dir = tempfile::tempdir().unwrap();
        let who = identity::bear(dir.path(), "n1").unwrap();
        let files = read(dir.path(), &who).unwrap();
        assert_eq!(named(&files.certificate), Some((who.cluster, NodeId(1))));
        assert_eq!(read(dir.path(), &who).unwrap().certificate, files.certificate, "issued once");
        let other = issue(dir.path(), who.cluster, NodeId(7)).unwrap();
        assert_eq!(named(&other.certificate), Some((who.cluster, NodeId(7))));
        assert_eq!(other.authority, files.authority);
        assert!(!format!("{other:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_certificate_of_before_is_issued_again_for_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let who = identity::bear(dir.path(), "n1").unwrap();
        let files = read(dir.path(), &who).unwrap();
        let key = rcgen::KeyPair::from_pem(files.key.reveal()).unwrap();
        let old = rcgen::CertificateParams::new(vec![format!("n1.{}.ringfort", who.cluster)]).unwrap();
        let old = old.signed_by(&key, &Issuer::new(rcgen::CertificateParams::default(), &key)).unwrap().pem();
        std::fs::write(dir.path().join(CERTIFICATE_FILE), &old).unwrap();
        let again = read(dir.path(), &who).unwrap();
        assert_eq!(named(&again.certificate), Some((who.cluster, NodeId(1))));
        assert_eq!(again.key.reveal(), files.key.reveal());
        assert_eq!(std::fs::read_to_string(dir.path().join(CERTIFICATE_FILE)).unwrap(), again.certificate);
    }
}
