//! Tokens, users and their sessions, as the control state's commands change them.

use crate::base::limits::NAME_BYTES_MAX;
use crate::base::limits::TOKENS_MAX;
use crate::base::limits::USER_SESSIONS_MAX;
use crate::base::limits::USERS_MAX;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::Refused;
use crate::proto::control::Session;
use crate::proto::control::SessionKey;
use crate::proto::control::State;
use crate::proto::control::Token;
use crate::proto::control::User;
use crate::proto::scope::Scope;

impl User {
    fn is_admin(&self) -> bool {
        self.scopes.contains(&Scope::Admin)
    }
}

impl State {
    /// The last admin, where this command would remove or demote it.
    pub(super) fn last_admin_lost_by<'c>(&self, command: &'c Command) -> Option<&'c str> {
        let name = match command {
            Command::RemoveUser { name } => name,
            Command::PutUser { name, user } if !user.is_admin() => name,
            Command::SetScopes { name, scopes } if !scopes.contains(&Scope::Admin) => name,
            Command::Ordered { command, .. } => return self.last_admin_lost_by(command),
            Command::Begin(_)
            | Command::PutBucket { .. }
            | Command::RemoveBucket { .. }
            | Command::SetColumns { .. }
            | Command::AddToken(_)
            | Command::RemoveToken { .. }
            | Command::PutUser { .. }
            | Command::AddFirstUser { .. }
            | Command::SetScopes { .. }
            | Command::AddSession { .. }
            | Command::SetPassword { .. }
            | Command::SignIn { .. }
            | Command::ChangePassword { .. }
            | Command::RemoveSession { .. }
            | Command::Note
            | Command::NoteAccess
            | Command::Recovered { .. }
            | Command::Cluster(_) => return None,
        };
        let mut admins = self.users.iter().filter(|(_, user)| user.is_admin()).map(|(admin, _)| admin);
        (admins.next() == Some(name) && admins.next().is_none()).then_some(name)
    }

    /// The token with this hash.
    #[must_use]
    pub fn token_with_hash(&self, hash: &[u8; 32]) -> Option<&Token> {
        self.tokens_by_hash.get(hash).and_then(|id| self.tokens.get(id))
    }

    pub(super) fn add_token(&mut self, token: Token) -> Result<Applied, Refused> {
        check_name(&token.name)?;
        if self.tokens.values().any(|known| known.name == token.name) {
            return Err(Refused::Taken { what: "token", name: token.name });
        }
        if self.tokens.len() >= TOKENS_MAX {
            return Err(Refused::Full { what: "tokens", max: TOKENS_MAX });
        }
        let id = self.next_token;
        self.next_token = self.next_token.saturating_add(1);
        self.tokens_by_hash.insert(token.hash, id);
        self.tokens.insert(id, token);
        Ok(Applied::TokenAdded(id))
    }

    pub(super) fn put_user(&mut self, name: String, user: User) -> Result<Applied, Refused> {
        check_name(&name)?;
        if !self.users.contains_key(&name) && self.users.len() >= USERS_MAX {
            return Err(Refused::Full { what: "users", max: USERS_MAX });
        }
        let Some(known) = self.users.get_mut(&name) else {
            self.users.insert(name, user);
            return Ok(Applied::Made);
        };
        let other_password = known.password_hash != user.password_hash;
        *known = User { made_ms: known.made_ms, ..user };
        if other_password {
            // Whoever knew the old one must not stay.
            self.sessions.retain(|_, session| session.user != name);
        }
        Ok(Applied::Changed)
    }

    /// Refused as if the user were not there: whoever proved a password that was replaced meanwhile proved nothing.
    pub(super) fn check_proved(&self, name: &str, password_hash: &str) -> Result<(), Refused> {
        let holds = self.users.get(name).is_some_and(|user| user.password_hash == password_hash);
        if holds { Ok(()) } else { Err(Refused::NotFound { what: "user", name: name.to_owned() }) }
    }

    pub(super) fn set_password(&mut self, name: String, password_hash: String) -> Result<Applied, Refused> {
        let Some(user) = self.users.get_mut(&name) else {
            return Err(Refused::NotFound { what: "user", name });
        };
        user.password_hash = password_hash;
        // Whoever knew the old one must not stay.
        self.sessions.retain(|_, session| session.user != name);
        Ok(Applied::Changed)
    }

    pub(super) fn remove_user(&mut self, name: String) -> Result<Applied, Refused> {
        if self.users.remove(&name).is_none() {
            return Err(Refused::NotFound { what: "user", name });
        }
        self.sessions.retain(|_, session| session.user != name);
        Ok(Applied::Removed)
    }

    pub(super) fn set_scopes(&mut self, name: String, scopes: Vec<Scope>) -> Result<Applied, Refused> {
        match self.users.get_mut(&name) {
            Some(user) if user.scopes == scopes => Ok(Applied::Unchanged),
            Some(user) => {
                user.scopes = scopes;
                Ok(Applied::Changed)
            }
            None => Err(Refused::NotFound { what: "user", name }),
        }
    }

    pub(super) fn add_session(&mut self, key: SessionKey, session: Session) -> Result<Applied, Refused> {
        if !self.users.contains_key(&session.user) {
            return Err(Refused::NotFound { what: "user", name: session.user });
        }
        self.sessions.retain(|_, known| known.expires_ms > session.made_ms);
        let mut mine: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, known)| known.user == session.user)
            .map(|(k, known)| (known.made_ms, *k))
            .collect();
        mine.sort_unstable();
        let too_many = (mine.len() + 1).saturating_sub(USER_SESSIONS_MAX);
        for (_, oldest) in mine.into_iter().take(too_many) {
            self.sessions.remove(&oldest);
        }
        self.sessions.insert(key, session);
        Ok(Applied::Made)
    }

    pub(super) fn remove_token(&mut self, id: u64) -> Result<Applied, Refused> {
        match self.tokens.remove(&id) {
            Some(token) => {
                self.tokens_by_hash.remove(&token.hash);
                Ok(Applied::Removed)
            }
            None => Err(Refused::NotFound { what: "token", name: id.to_string() }),
        }
    }
}

/// Names of tokens and users go into logs and pages: no control characters, no markup.
/// Of a node: not a number alone, which would be taken for that of another one.
pub(super) fn check_node_name(name: &str) -> Result<(), Refused> {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refused::BadName("the name of a node is not a number: numbers name nodes already".to_owned()));
    }
    check_name(name)
}

pub(super) fn check_name(name: &str) -> Result<(), Refused> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | ' ');
    let edge = name.starts_with(' ') || name.ends_with(' ');
    if name.is_empty() || edge || name.len() > NAME_BYTES_MAX || !name.chars().all(good) {
        let rule = format!("a name has 1 to {NAME_BYTES_MAX} characters of A-Z a-z 0-9 . _ - @ and inner spaces");
        return Err(Refused::BadName(rule));
    }
    Ok(())
}
