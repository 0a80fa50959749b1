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

/// HMAC-SHA-256 (RFC 2104) of the parts under a 32-byte key, cut to 16 bytes.
#[must_use]
pub fn hmac_16(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 16] {
    const BLOCK: usize = 64;
    let mut inner = [0x36_u8; BLOCK];
    let mut outer = [0x5c_u8; BLOCK];
    for ((i, o), k) in inner.iter_mut().zip(outer.iter_mut()).zip(key) {
        *i ^= k;
        *o ^= k;
    }
    let mut all: Vec<&[u8]> = vec![&inner];
    all.extend_from_slice(parts);
    sha256_16(&[&outer, &sha256(&all)])
}

#[cfg(test)]
mod tests {
    use super::crc32c;
    use super::hmac_16;
    use super::sha256;

    #[test]
    fn the_algorithms_are_the_standard_ones() {
        assert_eq!(crc32c(&[b"1234", b"56789"]), 0xE306_9283);
        assert_eq!(sha256(&[b"a", b"bc"])[..4], [0xba, 0x78, 0x16, 0xbf]);
        // HMAC-SHA-256 with the key 00 01 … 1f over "Ringfort", from Python's `hmac`.
        let key: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let golden = [52, 69, 151, 143, 60, 25, 178, 115, 120, 89, 210, 95, 200, 179, 185, 13];
        assert_eq!(hmac_16(&key, &[b"Ring", b"fort"]), golden);
    }
}
