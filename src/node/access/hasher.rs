//! Passwords become argon2id hashes and are checked against them; never more of that at once than memory and processor
//! bear.

use std::sync::Arc;

use argon2::Argon2;
use argon2::PasswordHash;
use argon2::PasswordHasher;
use argon2::PasswordVerifier;
use argon2::password_hash::SaltString;
use tokio::sync::Semaphore;

use crate::base::limits::PASSWORD_HASHES_MAX;
use crate::base::limits::PASSWORD_HASHES_WAITING_MAX;
use crate::base::redact::Redacted;
use crate::base::rng;
use crate::node::error::DoorError;
use crate::node::worker;

/// Checked where there is no hash to check, so that an unknown name takes as long as a known one. Nobody's: its hash is
/// no password's.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGluIHRoZXJlIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and checks.
pub struct Hasher {
    /// Inside at all, working or waiting.
    places: Arc<Semaphore>,
    /// Working.
    working: Arc<Semaphore>,
}

impl Default for Hasher {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(PASSWORD_HASHES_MAX + PASSWORD_HASHES_WAITING_MAX)),
            working: Arc::new(Semaphore::new(PASSWORD_HASHES_MAX)),
        }
    }
}

impl Hasher {
    /// The hash of a password, with a salt of its own.
    ///
    /// # Errors
    /// [`DoorError::Busy`] and others.
    pub async fn hash(&self, password: Redacted<String>) -> Result<String, DoorError> {
        self.work("hashing a password", move || hash(password.reveal())).await
    }

    /// Whether a password fits a hash; false after the same time where there is no hash.
    ///
    /// # Errors
    /// [`DoorError::Busy`] and others.
    pub async fn verify(&self, password: Redacted<String>, hash: Option<String>) -> Result<bool, DoorError> {
        self.work("checking a password", move || Ok(verify(password.reveal(), hash.as_deref()))).await
    }

    async fn work<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce() -> Result<T, DoorError> + Send + 'static,
    ) -> Result<T, DoorError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_full| DoorError::Busy)?;
        let turn = Arc::clone(&self.working).acquire_owned().await.map_err(|_closed| DoorError::Stopping)?;
        // Both go with the work, which goes on also where nobody waits for it any more.
        worker::block(doing, move || {
            let _held = (place, turn);
            work()
        })
        .await
    }
}

fn hash(password: &str) -> Result<String, DoorError> {
    let failed = |source| DoorError::Io { doing: "hashing a password", source };
    let salt: [u8; 16] = rng::array().map_err(failed)?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    hash.map(|hash| hash.to_string()).map_err(|error| failed(std::io::Error::other(error.to_string())))
}

fn verify(password: &str, known: Option<&str>) -> bool {
    let parsed = known.and_then(|hash| PasswordHash::new(hash).ok());
    let is_known = parsed.is_some();
    let against = parsed.or_else(|| PasswordHash::new(NOBODYS).ok());
    let fits = |hash: PasswordHash<'_>| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
    against.is_some_and(fits) && is_known
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHash;

    use super::NOBODYS;
    use super::hash;
    use super::verify;
    use crate::proto::control::NO_PASSWORD;

    #[test]
    fn a_password_is_kept_as_argon2id_with_a_salt_of_its_own() {
        let (a, b) = (hash("correct horse").unwrap(), hash("correct horse").unwrap());
        assert!(a.starts_with("$argon2id$") && a != b);
        assert!(verify("correct horse", Some(&a)) && !verify("correct horsf", Some(&a)));
        assert!(!verify("correct horse", Some(NO_PASSWORD)) && !verify("!", Some(NO_PASSWORD)));
        assert!(!verify("correct horse", None));
    }

    #[test]
    fn nobodys_hash_costs_what_a_real_one_costs() {
        let real = hash("correct horse").unwrap();
        let (real, nobodys) = (PasswordHash::new(&real).unwrap(), PasswordHash::new(NOBODYS).unwrap());
        assert_eq!((real.algorithm, real.version, &real.params), (nobodys.algorithm, nobodys.version, &nobodys.params));
        assert_eq!(real.hash.unwrap().len(), nobodys.hash.unwrap().len());
        assert_eq!(real.salt.unwrap().as_str().len(), nobodys.salt.unwrap().as_str().len());
    }
}
