//! What people want to know of a certificate (X.509, RFC 5280): for whom it is, by whom, and how long. Reads only; whether
//! a signature is right is for TLS to say.

use core::net::IpAddr;
use core::net::Ipv6Addr;

use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::time;

/// What the name of a node's certificate among nodes ends in. No certificate for devices carries such a name alone, and
/// none may be shown by a client, as these may.
const PEER_SUFFIX: &str = ".peer.ringfort";

/// The one name in a node's certificate among nodes: `n7.<cluster>.peer.ringfort`.
#[must_use]
pub fn peer_name(cluster: ClusterId, node: NodeId) -> String {
    format!("n{node}.{cluster}{PEER_SUFFIX}")
}

/// Whom a certificate names; `None` where it names anything but one node.
#[must_use]
pub fn peer(facts: &Facts) -> Option<(ClusterId, NodeId)> {
    let [name] = facts.names.as_slice() else { return None };
    let (node, cluster) = name.strip_prefix('n')?.strip_suffix(PEER_SUFFIX)?.split_once('.')?;
    let who = (ClusterId(u128::from_str_radix(cluster, 16).ok()?), NodeId(node.parse().ok()?));
    // One way to write it only.
    (peer_name(who.0, who.1) == *name).then_some(who)
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The issuer's common name; empty where it has none.
    pub issuer: String,
    /// Names and addresses it is made out for, in its order.
    pub names: Vec<String>,
    /// Valid from; milliseconds since 1970, 0 where earlier.
    pub not_before_ms: u64,
    /// Valid until; milliseconds since 1970.
    pub not_after_ms: u64,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, constructed: the version.
const VERSION: u8 = 0xa0;
/// `[3]`, constructed: the extensions.
const EXTENSIONS: u8 = 0xa3;
/// `[2]` of a general name.
const DNS_NAME: u8 = 0x82;
/// `[7]` of a general name.
const IP_ADDRESS: u8 = 0x87;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Reads a certificate in DER; `None` where it is not one.
#[must_use]
pub fn read(der: &[u8]) -> Option<Facts> {
    let mut certificate = Elements(Elements(der).expect(SEQUENCE)?);
    let mut fields = Elements(certificate.expect(SEQUENCE)?);
    fields.pass_over(VERSION);
    fields.expect(INTEGER)?;
    fields.expect(SEQUENCE)?;
    let issuer = common_name(fields.expect(SEQUENCE)?).unwrap_or_default();
    let mut validity = Elements(fields.expect(SEQUENCE)?);
    let (not_before_ms, not_after_ms) = (instant(validity.next()?)?, instant(validity.next()?)?);
    let extensions = fields.find(|(tag, _)| *tag == EXTENSIONS);
    let names = extensions.and_then(|(_, body)| alternative_names(body)).unwrap_or_default();
    Some(Facts { issuer, names, not_before_ms, not_after_ms })
}

/// The elements of a DER value, one behind the other: tag, length, content.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (len, rest) = match usize::from(*first) {
            len @ ..=0x7f => (len, rest),
            // The long form: how many bytes the length has, then those. Four are a certificate of gigabytes.
            long @ 0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(long - 0x80)?;
                (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((*tag, content))
    }
}

impl<'a> Elements<'a> {
    /// The next element's content, where it has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// Passes over an optional element.
    fn pass_over(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }
}

fn common_name(name: &[u8]) -> Option<String> {
    let attributes = Elements(name).filter(|(tag, _)| *tag == SET).flat_map(|(_, set)| Elements(set));
    attributes.filter(|(tag, _)| *tag == SEQUENCE).find_map(|(_, attribute)| {
        let mut attribute = Elements(attribute);
        (attribute.expect(OBJECT_ID)? == COMMON_NAME).then(|| attribute.next().map(|(_, text)| printable(text)))?
    })
}

fn alternative_names(extensions: &[u8]) -> Option<Vec<String>> {
    let list = Elements(extensions).expect(SEQUENCE)?;
    let content = Elements(list).find_map(|(_, extension)| {
        let mut extension = Elements(extension);
        let is_it = extension.expect(OBJECT_ID)? == SUBJECT_ALT_NAME;
        // A mark "critical" may stand in between.
        is_it.then(|| extension.find(|(tag, _)| *tag == OCTET_STRING))?
    })?;
    let names = Elements(Elements(content.1).expect(SEQUENCE)?);
    Some(
        names
            .filter_map(|(tag, name)| match tag {
                DNS_NAME => Some(printable(name)),
                IP_ADDRESS => address(name).map(|address| address.to_string()),
                _ => None,
            })
            .collect(),
    )
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| Ipv6Addr::from(sixteen).into())
}

/// For a terminal or a page: nothing that would control it.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ` in milliseconds since 1970.
fn instant((tag, text): (u8, &[u8])) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let year: u64 = text.get(..2)?.parse().ok()?;
            // RFC 5280 §4.1.2.5.1
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
    let days = time::days_since_1970(year, part(0)?, part(2)?)?;
    Some((days * 86_400 + part(4)? * 3600 + part(6)? * 60 + part(8)?) * 1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::proptest;
    use rcgen::CertificateParams;
    use rcgen::DnType;
    use rcgen::KeyPair;

    use super::peer;
    use super::peer_name;
    use super::read;
    use crate::base::id::ClusterId;
    use crate::base::id::NodeId;

    fn made(names: &[&str]) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Some\u{1b}[1mbody");
        params.distinguished_name.push(DnType::OrganizationName, "Somewhere");
        params.not_before = rcgen::date_time_ymd(1975, 1, 1);
        params.not_after = rcgen::date_time_ymd(2051, 3, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_says_for_whom_by_whom_and_how_long() {
        let facts = read(&made(&["a.example", "10.0.0.5", "fd00::1"])).unwrap();
        assert_eq!(facts.issuer, "Some\u{fffd}[1mbody");
        assert_eq!(facts.names, ["a.example", "10.0.0.5", "fd00::1"]);
        assert_eq!((facts.not_before_ms, facts.not_after_ms), (157_766_400_000, 2_561_241_600_000));
        assert_eq!(read(&made(&[])).unwrap().names, Vec::<String>::new());
    }

    #[test]
    fn a_node_is_named_by_one_name_in_one_way() {
        let who = (ClusterId(0xab), NodeId(7));
        let name = peer_name(who.0, who.1);
        assert_eq!(name, "n7.000000000000000000000000000000ab.peer.ringfort");
        let of = |names: &[&str]| peer(&read(&made(names)).unwrap());
        assert_eq!(of(&[&name]), Some(who));
        assert_eq!((of(&[]), of(&[&name, "a.example"])), (None, None));
        for other in ["n07.000000000000000000000000000000ab.peer.ringfort", "n7.ab.peer.ringfort", "n7.peer.ringfort"] {
            assert_eq!(of(&[other]), None, "{other}");
        }
        assert_eq!(of(&[&name.replace(".peer", "")]), None);
        assert_eq!(of(&[&name.to_uppercase()]), None);
    }

    #[test]
    fn a_certificate_cut_anywhere_is_none_or_says_less() {
        let whole = made(&["a.example"]);
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), None, "{len}");
        }
    }

    proptest! {
        #[test]
        fn bytes_of_all_kinds_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0..300_usize) {
            let _any = read(&bytes);
            let mut changed = made(&["a.example", "10.0.0.5"]);
            let end = (at + bytes.len()).min(changed.len());
            if at < end {
                changed[at..end].copy_from_slice(&bytes[..end - at]);
            }
            let _any = read(&changed);
        }
    }
}
