//! How values become bytes on disk and in tokens: a version byte, postcard, a checksum. Also the byte strings that
//! postcard should copy in one piece, and base64url.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::DeserializeOwned;
use serde::de::Visitor;

use crate::base::checksum;

/// Why bytes could not be decoded. Nothing is applied when this is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too short, or the checksum does not fit.
    #[error("the checksum does not fit: these bytes are not what was written")]
    Checksum,
    /// Written by another release.
    #[error("format version {found} is not known to this release (it reads {known})")]
    Version {
        /// In the bytes.
        found: u8,
        /// Of this release.
        known: u8,
    },
    /// Checksum and version fit, but the content does not parse.
    #[error("the content does not parse")]
    Content,
}

/// `[version][postcard body][crc32c of context, version and body]`. The context (such as the key) is not stored: bytes
/// that were read from the wrong place fail their checksum.
pub fn seal<T: Serialize>(version: u8, context: &[u8], value: &T) -> Vec<u8> {
    let body = postcard::to_extend(value, vec![version]).unwrap_or_else(|error| {
        // Only a type that postcard cannot represent fails here: a bug of ours, found by that type's first test.
        unreachable!("a stored type must be representable: {error}")
    });
    let mut bytes = body;
    let crc = checksum::crc32c(&[context, &bytes]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The same in one piece of memory; `None` where it is longer than `bytes_max`, which is found out before all of it is
/// written.
pub fn seal_within<T: Serialize>(version: u8, context: &[u8], value: &T, bytes_max: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; bytes_max];
    let (first, rest) = bytes.split_first_mut()?;
    let room = rest.len().checked_sub(4)?;
    *first = version;
    let len = 1 + postcard::to_slice(value, rest.get_mut(..room)?).ok()?.len();
    bytes.truncate(len);
    let crc = checksum::crc32c(&[context, &bytes]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    Some(bytes)
}

/// Reverses [`seal`].
///
/// # Errors
/// [`DecodeError`]; the bytes are never trusted before the checksum fits.
pub fn unseal<T: DeserializeOwned>(known: u8, context: &[u8], bytes: &[u8]) -> Result<T, DecodeError> {
    let (rest, crc) = bytes.split_last_chunk::<4>().ok_or(DecodeError::Checksum)?;
    if checksum::crc32c(&[context, rest]) != u32::from_le_bytes(*crc) {
        return Err(DecodeError::Checksum);
    }
    let (found, body) = rest.split_first().ok_or(DecodeError::Checksum)?;
    if *found != known {
        return Err(DecodeError::Version { found: *found, known });
    }
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(DecodeError::Content),
    }
}

/// A byte string that serde sees as bytes, not as a list of numbers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Blob(pub bytes::Bytes);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BlobVisitor;
        impl Visitor<'_> for BlobVisitor {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes::Bytes::copy_from_slice(bytes)))
            }
        }
        deserializer.deserialize_bytes(BlobVisitor)
    }
}

/// base64url without padding: for tokens, contexts and anything in a URL or header.
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reverses [`base64url`]; `None` for anything that it would not have produced.
#[must_use]
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Standard base64 with padding: for values inside JSON.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reverses [`base64`].
#[must_use]
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reverses [`hex`] for exactly `N` bytes; `None` for anything that it would not have produced.
#[must_use]
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let good = text.len() == 2 * N && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2).filter(|_| good)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::DecodeError;
    use super::from_hex;
    use super::hex;
    use super::seal;
    use super::seal_within;
    use super::unseal;

    #[test]
    fn any_flipped_bit_and_any_other_context_is_noticed() {
        let sealed = seal(1, b"key", &(7_u32, "text".to_owned()));
        assert_eq!(unseal::<(u32, String)>(1, b"key", &sealed), Ok((7, "text".to_owned())));
        assert_eq!(unseal::<(u32, String)>(1, b"kez", &sealed), Err(DecodeError::Checksum));
        assert_eq!(unseal::<(u32, String)>(2, b"key", &sealed), Err(DecodeError::Version { found: 1, known: 2 }));
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal::<(u32, String)>(1, b"key", &bad), Err(DecodeError::Checksum), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(unseal::<(u32, String)>(1, b"key", &sealed[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn what_fits_is_sealed_the_same_and_what_does_not_is_none() {
        let value = (7_u32, "text".repeat(20));
        let sealed = seal(1, b"key", &value);
        for max in [sealed.len(), sealed.len() + 1, 1000] {
            assert_eq!(seal_within(1, b"key", &value, max).as_ref(), Some(&sealed), "{max}");
        }
        for max in [0, 1, 4, 5, sealed.len() - 1] {
            assert_eq!(seal_within(1, b"key", &value, max), None, "{max}");
        }
    }

    #[test]
    fn hexadecimal_is_read_as_it_is_written() {
        assert_eq!(from_hex::<3>(&hex(&[0, 171, 255])), Some([0, 171, 255]));
        for bad in ["", "00ab", "00abfff", "00ABff", "00abfg", "+0abff", "00aé1"] {
            assert_eq!(from_hex::<3>(bad), None, "{bad}");
        }
    }
}
