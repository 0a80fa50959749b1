//! The token that an operator carries to a machine that is to join: where to knock, whose answer to believe, and the
//! secret that opens once. One line of text, for copying by hand and by mail.
//!
//! ```text
//! ringfort-join-<base64url of: version (1) ‖ length of the body (2, LE) ‖ body ‖ CRC32C of all before (4, LE)>
//! body (postcard): SHA-256 of the CA's certificate (32), secret (32), expiry in wall milliseconds, addresses
//! ```
//! The length tells a token that was cut from one that was changed. Whether it has expired is the cluster's to judge: the
//! joiner's clock may be wrong, so what it says is a hint. The cluster keeps the secret only as SHA-256.

use serde::Deserialize;
use serde::Serialize;

use crate::base::checksum;
use crate::base::codec;
use crate::base::limits::JOIN_TOKEN_CHARS_MAX;
use crate::base::limits::NODE_ADDRESSES_MAX;
use crate::base::redact::Redacted;
use crate::proto::control::members::is_address;

/// What every token begins with: known at sight, and found by those who search texts for secrets.
const PREFIX: &str = "ringfort-join-";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 3;
const CRC_BYTES: usize = 4;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Where nodes of the cluster are reached: `host:port`.
    pub seeds: Vec<String>,
    /// SHA-256 of the cluster's CA certificate (DER): who answers has to show it.
    pub authority: [u8; 32],
    /// Opens once.
    pub secret: Redacted<[u8; 32]>,
    /// Wall milliseconds of the cluster.
    pub expires_ms: u64,
}

/// Why a text is no token. Nothing was sent to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Something else.
    #[error("this is no join token: it does not begin with `ringfort-join-`; copy the whole line of `ringfort invite`")]
    Foreign,
    /// Its end is missing.
    #[error("this join token is cut off; copy the whole line of `ringfort invite`")]
    Cut,
    /// It is longer than any.
    #[error("this join token is too long; copy the line of `ringfort invite` and nothing else")]
    Long,
    /// A letter is another one.
    #[error("this join token is damaged: at least one letter was changed; copy it again")]
    Changed,
    /// From another release.
    #[error("this join token is of form {found}, which this release does not know; join with the cluster's release")]
    Version {
        /// In the token.
        found: u8,
    },
    /// It names nobody to believe: anybody could answer.
    #[error("this join token names no authority, so nobody's answer could be believed; make another")]
    NoAuthority,
    /// It says nowhere to knock.
    #[error(
        "this join token has no good address of a node; make another, with `--advertise` if the node is behind NAT"
    )]
    NoSeeds,
}

#[derive(Serialize, Deserialize)]
struct Body {
    authority: [u8; 32],
    secret: [u8; 32],
    expires_ms: u64,
    seeds: Vec<String>,
}

/// What the cluster keeps of a secret.
#[must_use]
pub fn secret_hash(secret: &Redacted<[u8; 32]>) -> [u8; 32] {
    checksum::sha256(&[b"ringfort join secret", secret.reveal()])
}

impl JoinToken {
    /// The line to copy. It is a secret.
    #[must_use]
    pub fn reveal(&self) -> String {
        let Self { seeds, authority, secret, expires_ms } = self;
        let (authority, secret, expires_ms, seeds) = (*authority, *secret.reveal(), *expires_ms, seeds.clone());
        let body = Body { authority, secret, expires_ms, seeds };
        let body = postcard::to_stdvec(&body).unwrap_or_else(|error| {
            // Only a type that postcard cannot represent fails here: a bug of ours, found by its first test.
            unreachable!("a token must be representable: {error}")
        });
        // What is longer than this is refused by whoever reads it, as it is beyond every limit.
        let len = u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes();
        let bytes = [&[VERSION][..], &len, &body].concat();
        let crc = checksum::crc32c(&[&bytes]).to_le_bytes();
        format!("{PREFIX}{}", codec::base64url(&[bytes, crc.to_vec()].concat()))
    }

    /// Reads a line that somebody copied; white space in it is taken for the work of a mail program.
    ///
    /// # Errors
    /// [`BadToken`].
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).take(JOIN_TOKEN_CHARS_MAX + 1).collect();
        let letters = text.strip_prefix(PREFIX).ok_or(BadToken::Foreign)?;
        if text.len() > JOIN_TOKEN_CHARS_MAX {
            return Err(BadToken::Long);
        }
        if !letters.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_')) {
            return Err(BadToken::Changed);
        }
        let whole = letters.len() - letters.len() % 4;
        let start = letters.get(..whole).and_then(codec::from_base64url).ok_or(BadToken::Changed)?;
        let Some(&[version, low, high]) = start.first_chunk::<HEAD_BYTES>() else { return Err(BadToken::Cut) };
        if version != VERSION {
            return Err(BadToken::Version { found: version });
        }
        let len = HEAD_BYTES + usize::from(u16::from_le_bytes([low, high])) + CRC_BYTES;
        // Six bits to a letter.
        if letters.len() < (len * 4).div_ceil(3) {
            return Err(BadToken::Cut);
        }
        let bytes = codec::from_base64url(letters).ok_or(BadToken::Changed)?;
        let (rest, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(BadToken::Cut)?;
        if bytes.len() != len || checksum::crc32c(&[rest]) != u32::from_le_bytes(*crc) {
            return Err(BadToken::Changed);
        }
        let body = rest.get(HEAD_BYTES..).unwrap_or_default();
        let Ok((Body { authority, secret, expires_ms, seeds }, [])) = postcard::take_from_bytes(body) else {
            return Err(BadToken::Changed);
        };
        if authority == [0; 32] {
            return Err(BadToken::NoAuthority);
        }
        if seeds.is_empty() || seeds.len() > NODE_ADDRESSES_MAX || !seeds.iter().all(|seed| is_address(seed)) {
            return Err(BadToken::NoSeeds);
        }
        Ok(Self { seeds, authority, secret: Redacted::new(secret), expires_ms })
    }

    /// What the cluster keeps of its secret.
    #[must_use]
    pub fn secret_hash(&self) -> [u8; 32] {
        secret_hash(&self.secret)
    }

    /// Whether it has expired by this clock: a hint, as only the cluster's counts.
    #[must_use]
    pub fn seems_expired(&self, wall_ms: u64) -> bool {
        wall_ms >= self.expires_ms
    }
}

#[cfg(test)]
mod tests {
    use crate::base::checksum;
    use crate::base::codec;
    use crate::base::redact::Redacted;
    use crate::proto::invite::BadToken;
    use crate::proto::invite::JoinToken;

    fn token() -> JoinToken {
        JoinToken {
            seeds: vec!["10.0.0.1:7400".into(), "[fd00::1]:7400".into()],
            authority: [7; 32],
            secret: Redacted::new([9; 32]),
            expires_ms: 1_800_000_000_000,
        }
    }

    /// The same bytes with another version, or another body, and the checksum that they would have.
    fn forged(change: impl Fn(&mut Vec<u8>)) -> String {
        let text = token().reveal();
        let mut bytes = codec::from_base64url(text.strip_prefix("ringfort-join-").unwrap()).unwrap();
        bytes.truncate(bytes.len() - 4);
        change(&mut bytes);
        let crc = checksum::crc32c(&[&bytes]).to_le_bytes();
        format!("ringfort-join-{}", codec::base64url(&[bytes, crc.to_vec()].concat()))
    }

    #[test]
    fn a_token_is_read_as_it_was_made_also_where_a_mail_broke_it_into_lines() {
        let text = token().reveal();
        assert_eq!(JoinToken::parse(&text), Ok(token()));
        let broken = format!("  {}\r\n{}\n", &text[..60], &text[60..]);
        assert_eq!(JoinToken::parse(&broken), Ok(token()));
        // Golden: a token is carried from one release to another.
        let golden = "ringfort-join-AWQABwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQ\
                      kJCYCg8cKxNAINMTAuMC4wLjE6NzQwMA5bZmQwMDo6MV06NzQwMNCDryw";
        assert_eq!(text, golden);
        assert!(token().seems_expired(1_800_000_000_000) && !token().seems_expired(1_799_999_999_999));
    }

    #[test]
    fn every_cut_and_every_changed_letter_is_told() {
        let text = token().reveal();
        for len in 0..text.len() {
            let bad = JoinToken::parse(&text[..len]).unwrap_err();
            let expected = if len < "ringfort-join-".len() { BadToken::Foreign } else { BadToken::Cut };
            assert_eq!(bad, expected, "{len}");
        }
        for at in 0..text.len() {
            for other in ['A', 'b', '7', '_', '-', '.', 'é'] {
                let mut letters: Vec<char> = text.chars().collect();
                if letters[at] != other {
                    letters[at] = other;
                    let changed: String = letters.into_iter().collect();
                    assert!(JoinToken::parse(&changed).is_err(), "{changed}");
                }
            }
        }
        assert_eq!(JoinToken::parse(&format!("{text}AAAA")), Err(BadToken::Changed));
        assert_eq!(JoinToken::parse(&format!("ringfort-join-{}", "A".repeat(5000))), Err(BadToken::Long));
    }

    #[test]
    fn what_could_be_answered_by_anybody_is_no_token() {
        assert_eq!(JoinToken::parse(&forged(|bytes| bytes[3..35].fill(0))), Err(BadToken::NoAuthority));
        assert_eq!(JoinToken::parse(&forged(|bytes| bytes[0] = 2)), Err(BadToken::Version { found: 2 }));
        assert_eq!(JoinToken::parse(&forged(|_| {})), Ok(token()));
        for seeds in [vec![], vec!["nowhere".to_owned()], vec!["a:1".to_owned(); 9]] {
            let bad = JoinToken { seeds, ..token() };
            assert_eq!(JoinToken::parse(&bad.reveal()), Err(BadToken::NoSeeds));
        }
    }

    #[test]
    fn the_secret_is_not_printed_and_the_cluster_knows_only_its_hash() {
        let shown = format!("{:?}", token());
        assert!(shown.contains("[redacted]") && !shown.contains("9, 9"), "{shown}");
        assert_ne!(token().secret_hash(), [9; 32]);
        assert_ne!(token().secret_hash(), JoinToken { secret: Redacted::new([8; 32]), ..token() }.secret_hash());
    }
}
