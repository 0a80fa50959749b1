//! The first run: whoever can read this process's terminal or journal, or is its owner, knows a code that makes the
//! first user. It is kept in memory only, and ends when there is a user.

use std::sync::PoisonError;

use crate::base::checksum;
use crate::base::redact::Redacted;
use crate::node::Node;
use crate::node::access;
use crate::node::error::DoorError;

/// What wrong codes count under, which can be no user's name.
pub(super) const THROTTLED_AS: &str = "<claim>";

/// No letters or digits that are taken for one another: I and 1, O and 0.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Of 5 random bits each: 80 together.
const SYMBOLS: usize = 16;
/// For reading it aloud.
const GROUP: usize = 4;

/// A code.
pub struct Claim {
    code: Redacted<String>,
}

impl Claim {
    fn new(random: &[u8; 32]) -> Self {
        let symbol = |byte: &u8| char::from(ALPHABET.get(usize::from(byte % 32)).copied().unwrap_or_default());
        let symbols: Vec<char> = random.iter().take(SYMBOLS).map(symbol).collect();
        let groups: Vec<String> = symbols.chunks(GROUP).map(|group| group.iter().collect()).collect();
        Self { code: Redacted::new(groups.join("-")) }
    }

    fn fits(&self, given: &str) -> bool {
        // Compared as hashes, so that the time tells nothing of the code.
        normal_hash(given) == normal_hash(self.code.reveal())
    }
}

/// People type lower case, spaces, and no hyphens.
fn normal_hash(code: &str) -> [u8; 32] {
    let symbols: String = code.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    checksum::sha256(&[symbols.to_uppercase().as_bytes()])
}

impl Node {
    /// Whether no user exists yet.
    #[must_use]
    pub fn is_unclaimed(&self) -> bool {
        self.state().users.is_empty()
    }

    /// The code that makes the first user, four groups of four; none where there is a user. The same until it is used.
    ///
    /// # Errors
    /// Where the kernel has no entropy yet.
    pub fn claim_code(&self) -> Result<Option<Redacted<String>>, DoorError> {
        if !self.is_unclaimed() {
            return Ok(None);
        }
        let fresh = Claim::new(&access::random()?);
        let mut claim = self.0.doorman.claim.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Some(claim.get_or_insert(fresh).code.clone()))
    }

    /// Says the code where the one who started this process reads it: the terminal, or the service manager's journal.
    pub fn announce_claim(&self) {
        match self.claim_code() {
            Ok(Some(code)) => {
                let page = self.address_to_open().map(|address| format!("{address}/")).unwrap_or_default();
                tracing::info!(code = code.reveal(), page, "no user is here yet: open the page and enter the code");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "no claim code could be made"),
        }
    }

    pub(super) fn fits_claim(&self, code: &str) -> bool {
        let claim = self.0.doorman.claim.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_unclaimed() && claim.as_ref().is_some_and(|claim| claim.fits(code))
    }

    /// There is a user: the code is no longer good, also not when all users are removed again.
    pub(in crate::node) fn close_claim(&self) {
        *self.0.doorman.claim.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::Claim;

    #[test]
    fn a_code_is_readable_and_forgives_how_it_is_typed() {
        let random = std::array::from_fn(|i| u8::try_from(i * 11 % 256).unwrap());
        let claim = Claim::new(&random);
        let code = claim.code.reveal();
        let groups: Vec<&str> = code.split('-').collect();
        assert!(groups.len() == 4 && groups.iter().all(|group| group.len() == 4), "{code}");
        assert!(!code.contains(['I', 'O', '0', '1']));
        for given in [code.clone(), code.to_lowercase(), code.replace('-', ""), code.replace('-', " ")] {
            assert!(claim.fits(&given), "{given}");
        }
        for given in ["", "-", "AAAA-AAAA-AAAA-AAAA", &code[1..], &format!("{code}A")] {
            assert!(!claim.fits(given), "{given}");
        }
    }

    #[test]
    fn every_symbol_is_as_likely() {
        let mut seen = std::collections::BTreeMap::new();
        for byte in 0..=255 {
            *seen.entry(Claim::new(&[byte; 32]).code.reveal().clone()).or_insert(0) += 1;
        }
        assert!(seen.len() == 32 && seen.values().all(|count| *count == 8));
    }
}
