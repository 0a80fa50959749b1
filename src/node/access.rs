//! Who may do what: callers, tokens and users. API tokens are 256 random bits kept as SHA-256, passwords argon2id (HOUSE
//! decision 23). What a scope opens is decided in `proto::scope` alone; how people sign in is [`crate::node::session`].

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::base::checksum;
use crate::base::codec;
use crate::base::redact::Redacted;
use crate::base::rng;
use crate::base::time;
use crate::control::consensus::Consensus as _;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::proto::audit::By;
use crate::proto::audit::Via;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::Refused;
use crate::proto::control::SessionKey;
use crate::proto::control::Token;
use crate::proto::scope::Need;
use crate::proto::scope::Scope;

pub mod hasher;
mod operators;
pub mod users;

/// Before every token: tells a leaked one from noise, for people and scanners.
pub const TOKEN_PREFIX: &str = "rf_";

/// Who asks. Cheap to make and to clone: every request has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// For logs, the audit and, with `via`, the owner of idempotency keys.
    pub name: Arc<str>,
    /// What the caller may do.
    pub scopes: Arc<[Scope]>,
    /// How they came in.
    pub via: Via,
    /// Where they ask from; none through the control socket.
    pub from: Option<IpAddr>,
    /// Which session, where they came in with one.
    pub session: Option<SessionKey>,
}

impl Caller {
    /// The owner of this node, through the local control socket.
    #[must_use]
    pub fn local() -> Self {
        Self { name: "local owner".into(), scopes: [Scope::Admin].into(), via: Via::Local, from: None, session: None }
    }

    /// Nobody in particular.
    #[must_use]
    pub fn anonymous(from: Option<IpAddr>) -> Self {
        Self { name: "anonymous".into(), scopes: [].into(), via: Via::Anonymous, from, session: None }
    }

    /// Whether this caller may.
    #[must_use]
    pub fn may(&self, need: Need) -> bool {
        (need == Need::Owner && self.via == Via::Local) || need.met_by(&self.scopes)
    }

    /// As the audit names it, now.
    fn by(&self) -> By {
        By { name: self.name.to_string(), via: self.via, from: self.from, at_ms: time::wall_ms() }
    }
}

/// Why a bearer token or a session does not open anything. Told apart in the log only.
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

impl Node {
    /// Who a bearer token belongs to.
    ///
    /// # Errors
    /// [`BadToken`].
    pub fn caller_of(&self, bearer: &str, from: Option<IpAddr>) -> Result<Caller, BadToken> {
        let hash = checksum::sha256(&[bearer.as_bytes()]);
        let state = self.state();
        // Hashes of 256 random bits may be compared plainly: what the time tells is not the secret.
        let token = state.token_with_hash(&hash).ok_or(BadToken::Unknown)?;
        match token.expires_ms {
            Some(expires) if time::wall_ms() >= expires => Err(BadToken::Expired),
            Some(_) | None => Ok(Caller {
                name: token.name.as_str().into(),
                scopes: token.scopes.as_slice().into(),
                via: Via::Token,
                from,
                session: None,
            }),
        }
    }

    /// Commits a command in a caller's name, with an entry in the audit where it changes something.
    ///
    /// # Errors
    /// [`DoorError`].
    pub(super) async fn order(&self, caller: &Caller, command: Command) -> Result<Applied, DoorError> {
        let what = command.in_words();
        self.order_in_words(caller, what, command).await
    }

    /// The same in words of the caller's own choice.
    pub(super) async fn order_in_words(
        &self,
        caller: &Caller,
        what: String,
        command: Command,
    ) -> Result<Applied, DoorError> {
        let order = Command::Ordered { by: caller.by(), what, command: Box::new(command) };
        Ok(self.0.consensus.propose(order).await?)
    }

    /// Makes a token and returns its number and secret, which is kept nowhere.
    ///
    /// # Errors
    /// [`DoorError`]; also for a name of digits, which would be taken for the number of another token.
    pub async fn add_token(
        &self,
        caller: &Caller,
        name: &str,
        scopes: Vec<Scope>,
        ttl_ms: Option<u64>,
    ) -> Result<(u64, Redacted<String>), DoorError> {
        // Not where it is applied: journals may hold such names from before.
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
            let rule = "a token's name is more than a number, as each token has a number too";
            return Err(DoorError::Control(Refused::BadName(rule.to_owned())));
        }
        let secret = format!("{TOKEN_PREFIX}{}", codec::base64url(&random()?));
        let made_ms = time::wall_ms();
        let token = Token {
            name: name.to_owned(),
            hash: checksum::sha256(&[secret.as_bytes()]),
            scopes,
            made_ms,
            expires_ms: ttl_ms.map(|ttl| made_ms.saturating_add(ttl)),
        };
        let applied = self.order(caller, Command::AddToken(token)).await?;
        let id = if let Applied::TokenAdded(id) = applied { id } else { 0 };
        Ok((id, Redacted::new(secret)))
    }

    /// Removes a token by its number or name.
    ///
    /// # Errors
    /// [`DoorError::NotFound`] and others.
    pub async fn remove_token(&self, caller: &Caller, which: &str) -> Result<(), DoorError> {
        let state = self.state();
        let by_name = || state.tokens.iter().find(|(_, token)| token.name == which);
        let by_number = which.parse().ok().and_then(|id| state.tokens.get_key_value(&id));
        let found = by_number.or_else(by_name);
        let (id, token) = found.ok_or_else(|| DoorError::NotFound { what: "token", name: which.to_owned() })?;
        let what = format!("removes token {id}, `{}`", token.name);
        self.order_in_words(caller, what, Command::RemoveToken { id: *id }).await?;
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
}

/// 256 random bits: a secret that nobody guesses.
///
/// # Errors
/// Where the kernel has no entropy yet.
pub fn random() -> Result<[u8; 32], DoorError> {
    rng::array().map_err(|source| DoorError::Io { doing: "asking for randomness", source })
}
