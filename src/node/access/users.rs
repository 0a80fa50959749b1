//! Users: people who sign in to the console.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::redact::Redacted;
use crate::base::time;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::error::DoorError;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::NO_PASSWORD;
use crate::proto::control::User;
use crate::proto::password;
use crate::proto::scope::Scope;

/// A user as shown in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserView {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub made: String,
    /// Whether a password opens; without one only one-time links do.
    pub password: bool,
    /// Browsers signed in now.
    pub sessions: usize,
}

impl Node {
    /// Adds a user or gives one a new password and scopes, which ends its sessions. Returns whether it is new.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn put_user(
        &self,
        caller: &Caller,
        name: &str,
        password: Redacted<String>,
        scopes: Vec<Scope>,
    ) -> Result<bool, DoorError> {
        let user = self.new_user(name, password, scopes).await?;
        let applied = self.order(caller, Command::PutUser { name: name.to_owned(), user }).await?;
        self.drop_links(name);
        self.close_claim();
        Ok(applied == Applied::Made)
    }

    /// Gives a user another password; what it may do stays, its sessions and sign-in links end.
    ///
    /// # Errors
    /// [`DoorError`]; that of a missing user also where it was removed meanwhile.
    pub async fn set_password(&self, caller: &Caller, name: &str, password: Redacted<String>) -> Result<(), DoorError> {
        // Said before anything about the password; decided when the command is applied.
        if !self.state().users.contains_key(name) {
            return Err(DoorError::NotFound { what: "user", name: name.to_owned() });
        }
        let password_hash = self.hash_new(name, password).await?;
        self.order(caller, Command::SetPassword { name: name.to_owned(), password_hash }).await?;
        self.drop_links(name);
        Ok(())
    }

    /// Changes what a user may do; its sessions go on. A user that is not there is added without a password: it signs
    /// in with one-time links. Returns whether it is new.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn set_scopes(&self, caller: &Caller, name: &str, scopes: Vec<Scope>) -> Result<bool, DoorError> {
        let command = if self.state().users.contains_key(name) {
            Command::SetScopes { name: name.to_owned(), scopes }
        } else {
            let user = User { password_hash: NO_PASSWORD.to_owned(), scopes, made_ms: time::wall_ms() };
            Command::PutUser { name: name.to_owned(), user }
        };
        let applied = self.order(caller, command).await?;
        self.close_claim();
        Ok(applied == Applied::Made)
    }

    /// Removes a user with all its sessions and sign-in links.
    ///
    /// # Errors
    /// [`DoorError::NotFound`] and others.
    pub async fn remove_user(&self, caller: &Caller, name: &str) -> Result<(), DoorError> {
        self.order(caller, Command::RemoveUser { name: name.to_owned() }).await?;
        self.drop_links(name);
        Ok(())
    }

    /// All users by name.
    #[must_use]
    pub fn users(&self) -> Vec<UserView> {
        let state = self.state();
        let now_ms = time::wall_ms();
        let mut sessions = BTreeMap::<&str, usize>::new();
        for session in state.sessions.values().filter(|session| session.expires_ms > now_ms) {
            *sessions.entry(&session.user).or_default() += 1;
        }
        let view = |(name, user): (&String, &User)| UserView {
            name: name.clone(),
            scopes: user.scopes.clone(),
            made: time::rfc3339(user.made_ms),
            password: user.password_hash != NO_PASSWORD,
            sessions: sessions.get(name.as_str()).copied().unwrap_or_default(),
        };
        state.users.iter().map(view).collect()
    }

    /// Whether a password signs this user in; without one only one-time links do.
    #[must_use]
    pub fn has_password(&self, name: &str) -> bool {
        self.state().users.get(name).is_some_and(|user| user.password_hash != NO_PASSWORD)
    }

    /// A user with a password that is good enough.
    pub(in crate::node) async fn new_user(
        &self,
        name: &str,
        password: Redacted<String>,
        scopes: Vec<Scope>,
    ) -> Result<User, DoorError> {
        let password_hash = self.hash_new(name, password).await?;
        Ok(User { password_hash, scopes, made_ms: time::wall_ms() })
    }

    /// The hash of a password that is good enough.
    pub(in crate::node) async fn hash_new(&self, name: &str, password: Redacted<String>) -> Result<String, DoorError> {
        password::check(name, password.reveal())
            .map_err(|reason| DoorError::OutOfRange { field: "password", reason })?;
        self.0.doorman.hasher.hash(password).await
    }
}
