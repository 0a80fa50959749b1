//! Who may do what: tokens and users. API tokens are 256 random bits kept as SHA-256, passwords argon2id (HOUSE
//! decision 23). What a scope opens is decided in `proto::scope` alone.

use std::sync::Arc;

use argon2::Argon2;
use argon2::PasswordHasher;
use argon2::password_hash::SaltString;
use serde::Serialize;

use crate::base::checksum;
use crate::base::codec;
use crate::base::limits::PASSWORD_BYTES_MAX;
use crate::base::limits::PASSWORD_CHARS_MIN;
use crate::base::redact::Redacted;
use crate::base::rng;
use crate::base::time;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::node::worker;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::Token;
use crate::proto::control::User;
use crate::proto::scope::Need;
use crate::proto::scope::Scope;

/// Before every token: tells a leaked one from noise, for people and scanners.
pub const TOKEN_PREFIX: &str = "rf_";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// For logs and the owner of idempotency keys.
    pub name: Arc<str>,
    /// What the caller may do.
    pub scopes: Arc<[Scope]>,
}

impl Caller {
    /// The owner of this node, through the local control socket.
    #[must_use]
    pub fn local() -> Self {
        Self { name: "local owner".into(), scopes: [Scope::Admin].into() }
    }

    /// Nobody in particular.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { name: "anonymous".into(), scopes: [].into() }
    }

    /// Whether this caller may.
    #[must_use]
    pub fn may(&self, need: Need) -> bool {
        need.met_by(&self.scopes)
    }
}

/// Why a bearer token does not open anything. Told apart in the log only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadToken {
    /// Not one of this cluster.
    Unknown,
    /// Was one.
    Expired,
}

/// A token as shown in lists: never its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenView {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What it opens.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub made: String,
    /// When it ends.
    pub expires: Option<String>,
}

/// A user as shown in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserView {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub made: String,
}

impl Node {
    /// Who a bearer token belongs to.
    ///
    /// # Errors
    /// [`BadToken`].
    pub fn caller_of(&self, bearer: &str) -> Result<Caller, BadToken> {
        let hash = checksum::sha256(&[bearer.as_bytes()]);
        let state = self.state();
        // Hashes of 256 random bits may be compared plainly: what the time tells is not the secret.
        let token = state.token_with_hash(&hash).ok_or(BadToken::Unknown)?;
        match token.expires_ms {
            Some(expires) if time::wall_ms() >= expires => Err(BadToken::Expired),
            Some(_) | None => Ok(Caller { name: token.name.as_str().into(), scopes: token.scopes.as_slice().into() }),
        }
    }

    /// Makes a token and returns its number and secret, which is kept nowhere.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn add_token(
        &self,
        name: &str,
        scopes: Vec<Scope>,
        ttl_ms: Option<u64>,
    ) -> Result<(u64, Redacted<String>), DoorError> {
        let random: [u8; 32] =
            rng::array().map_err(|source| DoorError::Io { doing: "asking for randomness", source })?;
        let secret = format!("{TOKEN_PREFIX}{}", codec::base64url(&random));
        let made_ms = time::wall_ms();
        let token = Token {
            name: name.to_owned(),
            hash: checksum::sha256(&[secret.as_bytes()]),
            scopes,
            made_ms,
            expires_ms: ttl_ms.map(|ttl| made_ms.saturating_add(ttl)),
        };
        let applied = self.0.consensus.propose(Command::AddToken(token)).await?;
        let id = if let Applied::TokenAdded(id) = applied { id } else { 0 };
        Ok((id, Redacted::new(secret)))
    }

    /// Removes a token by its number or name.
    ///
    /// # Errors
    /// [`DoorError::NotFound`] and others.
    pub async fn remove_token(&self, which: &str) -> Result<(), DoorError> {
        let state = self.state();
        let by_name = || state.tokens.iter().find(|(_, token)| token.name == which).map(|(id, _)| *id);
        let id = which.parse().ok().filter(|id| state.tokens.contains_key(id)).or_else(by_name);
        let id = id.ok_or_else(|| DoorError::NotFound { what: "token", name: which.to_owned() })?;
        self.0.consensus.propose(Command::RemoveToken { id }).await?;
        Ok(())
    }

    /// All tokens in the order of their making.
    #[must_use]
    pub fn tokens(&self) -> Vec<TokenView> {
        let view = |(id, token): (&u64, &Token)| TokenView {
            id: *id,
            name: token.name.clone(),
            scopes: token.scopes.clone(),
            made: time::rfc3339(token.made_ms),
            expires: token.expires_ms.map(time::rfc3339),
        };
        self.state().tokens.iter().map(view).collect()
    }

    /// Adds a user or gives one a new password and scopes. Returns whether it is new.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn put_user(
        &self,
        name: &str,
        password: Redacted<String>,
        scopes: Vec<Scope>,
    ) -> Result<bool, DoorError> {
        check_password(password.reveal())?;
        let password_hash = worker::block("hashing a password", move || hash_password(password.reveal())).await?;
        let user = User { password_hash, scopes, made_ms: time::wall_ms() };
        let applied = self.0.consensus.propose(Command::PutUser { name: name.to_owned(), user }).await?;
        Ok(applied == Applied::Made)
    }

    /// Removes a user.
    ///
    /// # Errors
    /// [`DoorError::NotFound`] and others.
    pub async fn remove_user(&self, name: &str) -> Result<(), DoorError> {
        self.0.consensus.propose(Command::RemoveUser { name: name.to_owned() }).await?;
        Ok(())
    }

    /// All users by name.
    #[must_use]
    pub fn users(&self) -> Vec<UserView> {
        let view = |(name, user): (&String, &User)| UserView {
            name: name.clone(),
            scopes: user.scopes.clone(),
            made: time::rfc3339(user.made_ms),
        };
        self.state().users.iter().map(view).collect()
    }
}

fn check_password(password: &str) -> Result<(), DoorError> {
    let long_enough = password.chars().count() >= PASSWORD_CHARS_MIN;
    if long_enough && password.len() <= PASSWORD_BYTES_MAX {
        return Ok(());
    }
    let reason = format!("it has {PASSWORD_CHARS_MIN} characters at least and {PASSWORD_BYTES_MAX} bytes at most");
    Err(DoorError::OutOfRange { field: "password", reason })
}

fn hash_password(password: &str) -> Result<String, DoorError> {
    let failed = |source| DoorError::Io { doing: "hashing a password", source };
    let salt: [u8; 16] = rng::array().map_err(failed)?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    hash.map(|hash| hash.to_string()).map_err(|error| failed(std::io::Error::other(error.to_string())))
}

#[cfg(test)]
mod tests {
    use argon2::Argon2;
    use argon2::PasswordHash;
    use argon2::PasswordVerifier;

    use super::hash_password;

    fn verify_password(password: &str, hash: &str) -> bool {
        PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    }

    #[test]
    fn a_password_is_kept_as_argon2id_with_a_salt_of_its_own() {
        let (a, b) = (hash_password("correct horse").unwrap(), hash_password("correct horse").unwrap());
        assert!(a.starts_with("$argon2id$") && a != b);
        assert!(verify_password("correct horse", &a) && !verify_password("correct horsf", &a));
        assert!(!verify_password("correct horse", "not a hash"));
    }
}
