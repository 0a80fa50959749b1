//! How people sign in: with name and password, with the claim code of a first run, with a one-time link. Guessing costs
//! waits ([`crate::proto::throttle`]), unknown names take as long as known ones, and nobody is locked out for good: not
//! from another address, and never from the node's own machine.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::base::checksum;
use crate::base::codec;
use crate::base::limits::NAME_BYTES_MAX;
use crate::base::limits::PASSWORD_BYTES_MAX;
use crate::base::limits::SESSION_TTL;
use crate::base::redact::Redacted;
use crate::base::time;
use crate::node::Node;
use crate::node::access;
use crate::node::access::BadToken;
use crate::node::access::Caller;
use crate::node::access::hasher::Hasher;
use crate::node::error::DoorError;
use crate::proto::audit::Via;
use crate::proto::control;
use crate::proto::control::Command;
use crate::proto::control::Refused;
use crate::proto::control::SessionKey;
use crate::proto::scope::Need;
use crate::proto::scope::Scope;

pub mod claim;
pub mod guard;
pub mod link;

use claim::Claim;
use guard::Guard;
use link::Links;

/// What this process keeps in memory for those who want in.
pub struct Doorman {
    /// Checks passwords.
    pub(super) hasher: Hasher,
    guard: Mutex<Guard>,
    claim: Mutex<Option<Claim>>,
    links: Mutex<Links>,
}

impl Doorman {
    /// Knows nobody yet.
    ///
    /// # Errors
    /// Where the kernel has no entropy yet.
    pub fn new() -> Result<Self, DoorError> {
        Ok(Self {
            hasher: Hasher::default(),
            guard: Mutex::new(Guard::new(&access::random()?)),
            claim: Mutex::default(),
            links: Mutex::default(),
        })
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A browser that has just signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// For its cookie; kept nowhere.
    pub secret: Redacted<String>,
    /// Whose.
    pub user: String,
    /// Wall milliseconds after which it is refused.
    pub expires_ms: u64,
}

/// Why somebody is not let in. No variant tells whether an account exists.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Name, password or both.
    #[error("the name or the password is not right; you are not signed in")]
    Wrong,
    /// The password that a user who is signed in has now.
    #[error("the current password is not right; nothing was changed")]
    WrongCurrent,
    /// A claim code or a one-time link.
    #[error("this code is not right, was used already or has ended; nothing was changed; ask for a new one")]
    WrongCode,
    /// Wrong too often.
    #[error("too many attempts; nothing was checked; try again in {retry_after_s} s")]
    TooMany {
        /// Seconds until the next attempt is taken.
        retry_after_s: u32,
    },
    /// The door refuses.
    #[error(transparent)]
    Door(#[from] DoorError),
}

impl Node {
    /// Signs a user in with a password. Every sign-in is a new session.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn sign_in(
        &self,
        name: &str,
        password: Redacted<String>,
        from: Option<IpAddr>,
    ) -> Result<Session, SignInError> {
        let proved = self.check_password(name, password, from).await?;
        self.begin_session(name, from, "signs in with a password", Some(proved)).await
    }

    /// Makes the first user of all, an admin, with the claim code of this run, and signs it in. Of several who try at
    /// once one succeeds.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn claim(
        &self,
        code: &str,
        name: &str,
        password: Redacted<String>,
        from: Option<IpAddr>,
    ) -> Result<Session, SignInError> {
        let attempt = self.attempt(claim::THROTTLED_AS, from)?;
        if !self.fits_claim(code) {
            self.note_failure(claim::THROTTLED_AS, from).await;
            return Err(SignInError::WrongCode);
        }
        self.0.doorman.guard().succeeded(&attempt);
        let user = self.new_user(name, password, vec![Scope::Admin]).await?;
        let caller = signing_in(name, from);
        self.order(&caller, Command::AddFirstUser { name: name.to_owned(), user }).await?;
        self.close_claim();
        self.begin_session(name, from, "signs in after the claim", None).await
    }

    /// Signs a user in with a one-time link, which is used up by it.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn use_link(&self, code: &str, from: Option<IpAddr>) -> Result<Session, SignInError> {
        let attempt = self.attempt(link::THROTTLED_AS, from)?;
        let Some(user) = self.take_link(code) else {
            self.note_failure(link::THROTTLED_AS, from).await;
            return Err(SignInError::WrongCode);
        };
        self.0.doorman.guard().succeeded(&attempt);
        self.begin_session(&user, from, "signs in with a one-time link", None).await
    }

    /// Gives a signed-in user a new password, if it knows the current one; a wrong one counts as a failed sign-in. All
    /// its sessions and sign-in links end; one session begins.
    ///
    /// # Errors
    /// [`SignInError`]; [`DoorError::Unsuitable`] for whoever has no password to change.
    pub async fn change_own_password(
        &self,
        caller: &Caller,
        current: Redacted<String>,
        new: Redacted<String>,
    ) -> Result<Session, SignInError> {
        if caller.via != Via::Session {
            let reason = "only who is signed in has a password to change; nothing was changed";
            return Err(DoorError::Unsuitable(reason.to_owned()).into());
        }
        if !self.has_password(&caller.name) {
            let reason = "you sign in with one-time links and have no password; an admin can give you one; nothing was \
                          changed";
            return Err(DoorError::Unsuitable(reason.to_owned()).into());
        }
        let wrong = |error| if matches!(error, SignInError::Wrong) { SignInError::WrongCurrent } else { error };
        let proved_hash = self.check_password(&caller.name, current, caller.from).await.map_err(wrong)?;
        let password_hash = self.hash_new(&caller.name, new).await?;
        let (begun, key, session) = new_session(&caller.name)?;
        let command = Command::ChangePassword { key, session, proved_hash, password_hash };
        match self.order(caller, command).await {
            // An admin removed the user, or gave it another password, while this one was checked.
            Err(DoorError::Control(Refused::NotFound { .. })) => return Err(SignInError::WrongCurrent),
            ordered => ordered?,
        };
        self.drop_links(&caller.name);
        Ok(begun)
    }

    /// Ends the caller's session; for anyone else there is nothing to end.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn sign_out(&self, caller: &Caller) -> Result<(), DoorError> {
        if let Some(key) = caller.session {
            self.order(caller, Command::RemoveSession { key }).await?;
        }
        Ok(())
    }

    /// Who a session belongs to, with what its user may do now.
    ///
    /// # Errors
    /// [`BadToken`].
    pub fn caller_of_session(&self, secret: &str, from: Option<IpAddr>) -> Result<Caller, BadToken> {
        let key = checksum::sha256(&[secret.as_bytes()]);
        let state = self.state();
        let session = state.sessions.get(&key).ok_or(BadToken::Unknown)?;
        if time::wall_ms() >= session.expires_ms {
            return Err(BadToken::Expired);
        }
        let user = state.users.get(&session.user).ok_or(BadToken::Unknown)?;
        Ok(Caller {
            name: session.user.as_str().into(),
            scopes: user.scopes.as_slice().into(),
            via: Via::Session,
            from,
            session: Some(key),
        })
    }

    /// Whether a caller who came in earlier would still be let in now, for what goes on for long.
    #[must_use]
    pub fn is_welcome(&self, caller: &Caller, need: Need) -> bool {
        let state = self.state();
        let now_ms = time::wall_ms();
        match caller.via {
            Via::Local => true,
            Via::Anonymous => need == Need::Nothing,
            Via::Token => state.tokens.values().any(|token| {
                token.name == *caller.name
                    && token.expires_ms.is_none_or(|expires| now_ms < expires)
                    && need.met_by(&token.scopes)
            }),
            Via::Session => {
                let session = caller.session.and_then(|key| state.sessions.get(&key));
                let session = session.filter(|session| now_ms < session.expires_ms);
                let user = session.and_then(|session| state.users.get(&session.user));
                user.is_some_and(|user| need.met_by(&user.scopes))
            }
        }
    }

    /// The hash that this is the password of, if it is the user's; a wrong one, and an unknown user's, counts.
    async fn check_password(
        &self,
        name: &str,
        password: Redacted<String>,
        from: Option<IpAddr>,
    ) -> Result<String, SignInError> {
        let attempt = self.attempt(name, from)?;
        // Longer ones are nobody's; they take the time of a wrong one without being worked on.
        let possible = name.len() <= NAME_BYTES_MAX && password.reveal().len() <= PASSWORD_BYTES_MAX;
        let (name, password) = if possible { (name, password) } else { ("", Redacted::new(String::new())) };
        let hash = self.state().users.get(name).map(|user| user.password_hash.clone());
        match self.0.doorman.hasher.verify(password, hash.clone()).await {
            Ok(true) => {
                self.0.doorman.guard().succeeded(&attempt);
                Ok(hash.unwrap_or_default())
            }
            Ok(false) => {
                self.note_failure(name, from).await;
                Err(SignInError::Wrong)
            }
            Err(error) => {
                self.0.doorman.guard().not_carried_out(&attempt);
                Err(error.into())
            }
        }
    }

    /// A session for somebody who is let in; with the hash of the password that was `proved` only where that is still
    /// the user's, for proving it takes its time.
    async fn begin_session(
        &self,
        user: &str,
        from: Option<IpAddr>,
        what: &str,
        proved: Option<String>,
    ) -> Result<Session, SignInError> {
        let (begun, key, session) = new_session(user)?;
        let command = match proved {
            Some(password_hash) => Command::SignIn { key, session, password_hash },
            None => Command::AddSession { key, session },
        };
        match self.order_in_words(&signing_in(user, from), what.to_owned(), command).await {
            // Removed, or given another password, while this one was checked.
            Err(DoorError::Control(Refused::NotFound { .. })) => return Err(SignInError::Wrong),
            ordered => ordered?,
        };
        Ok(begun)
    }
}

/// A session as its browser has it, the hash of its secret, and as it is kept.
fn new_session(user: &str) -> Result<(Session, SessionKey, control::Session), DoorError> {
    let secret = codec::base64url(&access::random()?);
    let made_ms = time::wall_ms();
    let expires_ms = made_ms.saturating_add(time::millis(SESSION_TTL));
    let key = checksum::sha256(&[secret.as_bytes()]);
    let kept = control::Session { user: user.to_owned(), made_ms, expires_ms };
    Ok((Session { secret: Redacted::new(secret), user: user.to_owned(), expires_ms }, key, kept))
}

/// Somebody on their way in, for the audit.
fn signing_in(user: &str, from: Option<IpAddr>) -> Caller {
    Caller { name: user.into(), via: Via::Session, ..Caller::anonymous(from) }
}
