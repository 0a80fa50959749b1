//! Randomness as an input: the only place that asks the operating system for entropy.

use std::io;

/// Fills `bytes` from the kernel.
///
/// # Errors
/// Where the kernel has no entropy to give (before a system is fully booted).
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(io::Error::other)
}

/// A random array.
///
/// # Errors
/// As [`fill`].
pub fn array<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// A random number of 64 bits, never 0: 0 means "none" in several formats.
///
/// # Errors
/// As [`fill`].
pub fn nonzero_u64() -> io::Result<u64> {
    loop {
        let number = u64::from_le_bytes(array()?);
        if number != 0 {
            return Ok(number);
        }
    }
}

/// A random number of 128 bits.
///
/// # Errors
/// As [`fill`].
pub fn u128() -> io::Result<u128> {
    Ok(u128::from_le_bytes(array()?))
}
