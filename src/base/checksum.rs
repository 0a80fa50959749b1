//! Checksums: CRC32C finds accidents, SHA-256 names content and chains groups.

use sha2::Digest;
use sha2::Sha256;

/// CRC32C of the parts one after another.
#[must_use]
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
}

/// SHA-256 of the parts one after another. The parts are not delimited: give fixed widths or lengths where it matters.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The first 16 bytes of [`sha256`].
#[must_use]
pub fn sha256_16(parts: &[&[u8]]) -> [u8; 16] {
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().zip(sha256(parts)) {
        *to = from;
    }
    short
}

/// The first 8 bytes of [`sha256`] as a little-endian number.
#[must_use]
pub fn sha256_u64(parts: &[&[u8]]) -> u64 {
    let mut short = [0; 8];
    for (to, from) in short.iter_mut().zip(sha256(parts)) {
        *to = from;
    }
    u64::from_le_bytes(short)
}

/// A key of HMAC-SHA-256 (RFC 2104), made ready once: half of the work for a short message is the key's own.
#[derive(Clone)]
pub struct HmacKey {
    inner: Sha256,
    outer: Sha256,
}

impl HmacKey {
    /// From 32 bytes.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        const BLOCK: usize = 64;
        let padded = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            Sha256::new_with_prefix(block)
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// The code of the parts one after another, cut to 16 bytes.
    #[must_use]
    pub fn mac_16(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut inner = self.inner.clone();
        parts.iter().for_each(|part| inner.update(part));
        let mut outer = self.outer.clone();
        outer.update(inner.finalize());
        let mut short = [0; 16];
        short.iter_mut().zip(outer.finalize()).for_each(|(to, from)| *to = from);
        short
    }
}

#[cfg(test)]
mod tests {
    use super::HmacKey;
    use super::crc32c;
    use super::sha256;

    #[test]
    fn the_algorithms_are_the_standard_ones() {
        assert_eq!(crc32c(&[b"1234", b"56789"]), 0xE306_9283);
        assert_eq!(sha256(&[b"a", b"bc"])[..4], [0xba, 0x78, 0x16, 0xbf]);
        // HMAC-SHA-256 with the key 00 01 … 1f over "Ringfort", from Python's `hmac`.
        let key: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let golden = [52, 69, 151, 143, 60, 25, 178, 115, 120, 89, 210, 95, 200, 179, 185, 13];
        assert_eq!(HmacKey::new(&key).mac_16(&[b"Ring", b"fort"]), golden);
    }
}
