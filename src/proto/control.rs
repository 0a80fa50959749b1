//! The replicated state machine of the control plane: command in, state out. Holds what must be the same everywhere:
//! the cluster's identity, buckets, tokens, users and their sessions, and the audit of changes. Who orders the commands is the business of the floor `control`.
//!
//! A command is checked when it is applied, not when it is sent, so that every node comes to the same answer.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::base::checksum::HmacKey;
use crate::base::id::BucketId;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::limits::BUCKETS_MAX;
use crate::base::limits::NAME_BYTES_MAX;
use crate::base::limits::TOKENS_MAX;
use crate::base::limits::USER_SESSIONS_MAX;
use crate::base::limits::USERS_MAX;
use crate::base::redact::Redacted;
use crate::base::shared::Shared;
use crate::proto::audit::By;
use crate::proto::audit::Chain;
use crate::proto::audit::Log;
use crate::proto::audit::Outcome;
use crate::proto::audit::Via;
use crate::proto::bucket::Definition;
use crate::proto::bucket::OutOfRange;
use crate::proto::bucket::Word;
use crate::proto::bucket::word;
use crate::proto::key;
use crate::proto::scope::Scope;

mod words;

#[cfg(test)]
mod tests;

/// What is known of one bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its number on disk.
    pub id: BucketId,
    /// Its definition.
    pub definition: Definition,
    /// The header of the last CSV import: the order of columns of a CSV export.
    pub columns: Vec<String>,
}

/// A token as kept: its secret only as a hash (HOUSE decision 23).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// For people; unique.
    pub name: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// What it opens.
    pub scopes: Vec<Scope>,
    /// Wall milliseconds of its making.
    pub made_ms: u64,
    /// Wall milliseconds after which it is refused.
    pub expires_ms: Option<u64>,
}

/// A person who signs in to the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// argon2id in PHC text form, or [`NO_PASSWORD`].
    pub password_hash: String,
    /// What the user may do.
    pub scopes: Vec<Scope>,
    /// Wall milliseconds of its making.
    pub made_ms: u64,
}

/// In place of a hash: no password opens, the user signs in with one-time links.
pub const NO_PASSWORD: &str = "!";

impl User {
    fn is_admin(&self) -> bool {
        self.scopes.contains(&Scope::Admin)
    }
}

/// A browser that is signed in. Its secret is kept only as a hash, which is its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose. What they may do is that of the user at each request.
    pub user: String,
    /// Wall milliseconds of the sign-in.
    pub made_ms: u64,
    /// Wall milliseconds after which it is refused.
    pub expires_ms: u64,
}

/// SHA-256 of a session's secret.
pub type SessionKey = [u8; 32];

/// The whole control state. Every node holds a copy and reads it locally. Cheap to clone: what a command leaves alone is
/// shared by the states before and after it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// Set by the first command, never changed.
    pub birth: Option<Birth>,
    /// Rises when the control group begins anew without the majority of its voters; what an older one says counts no
    /// more.
    pub generation: u64,
    /// Buckets by name.
    pub buckets: Shared<BTreeMap<String, Bucket>>,
    /// The number the next bucket gets: never used twice, so old data cannot show up in a new bucket.
    pub next_bucket: u32,
    /// Tokens by number.
    pub tokens: Shared<BTreeMap<u64, Token>>,
    /// Their numbers by hash: every request looks one up.
    pub tokens_by_hash: Shared<BTreeMap<[u8; 32], u64>>,
    /// The number the next token gets.
    pub next_token: u64,
    /// Users by name.
    pub users: Shared<BTreeMap<String, User>>,
    /// Their sessions by the hash of the secret.
    pub sessions: Shared<BTreeMap<SessionKey, Session>>,
    /// Who changed what.
    pub audit: Log,
    /// Of that, what concerns who gets in, once more: a chain and a budget of its own, which nobody but those who give
    /// access can use up.
    pub access_audit: Log,
}

/// How a cluster begins.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its first node.
    pub node: NodeId,
    /// Wall milliseconds.
    pub at_ms: u64,
    /// Authenticates the contexts that clients carry.
    pub context_secret: [u8; 32],
}

impl std::fmt::Debug for Birth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Birth {{ cluster: {}, node: {}, at_ms: {} }}", self.cluster, self.node, self.at_ms)
    }
}

impl Birth {
    /// The secret behind `Ringfort-Context`.
    #[must_use]
    pub fn context_secret(&self) -> Redacted<HmacKey> {
        Redacted::new(HmacKey::new(&self.context_secret))
    }
}

/// A change. Stored in the control journal: variants are appended, never reordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The first one.
    Begin(Birth),
    /// Makes a bucket; the same definition again is no change.
    PutBucket {
        /// Its name.
        name: String,
        /// Its definition.
        definition: Definition,
    },
    /// Removes a bucket and with it all its data.
    RemoveBucket {
        /// Its name.
        name: String,
    },
    /// Remembers the header of a CSV import.
    SetColumns {
        /// The bucket.
        bucket: String,
        /// The header, in order.
        columns: Vec<String>,
    },
    /// Adds a token.
    AddToken(Token),
    /// Removes a token.
    RemoveToken {
        /// Its number.
        id: u64,
    },
    /// Adds a user or replaces its password and scopes.
    PutUser {
        /// Its name.
        name: String,
        /// The rest.
        user: User,
    },
    /// Removes a user with all its sessions.
    RemoveUser {
        /// Its name.
        name: String,
    },
    /// Adds the first user of all; refused where there is one, so that of two who try only one succeeds.
    AddFirstUser {
        /// Its name.
        name: String,
        /// The rest.
        user: User,
    },
    /// Changes what a user may do; its sessions go on.
    SetScopes {
        /// The user.
        name: String,
        /// All it may do from now on.
        scopes: Vec<Scope>,
    },
    /// Signs a user in. Takes away what has expired, and the user's oldest session where there are too many.
    AddSession {
        /// Hash of its secret.
        key: SessionKey,
        /// The rest.
        session: Session,
    },
    /// Signs out.
    RemoveSession {
        /// Hash of its secret.
        key: SessionKey,
    },
    /// Changes nothing: something happened that the audit should tell.
    Note,
    /// A command with who gives it; a change leaves an entry in the audit. Unless it comes through the control socket,
    /// it may not leave the cluster without an admin.
    Ordered {
        /// Who, from where, when.
        by: By,
        /// In words; given, so that every release chains the same.
        what: String,
        /// The command.
        command: Box<Self>,
    },
    /// Gives a user another password; what it may do stays, its sessions end.
    SetPassword {
        /// The user.
        name: String,
        /// argon2id in PHC text form.
        password_hash: String,
    },
    /// As [`Command::AddSession`] for whoever proved a password; refused where the user has another one by now.
    SignIn {
        /// Hash of its secret.
        key: SessionKey,
        /// The rest.
        session: Session,
        /// Of the password that was proved.
        password_hash: String,
    },
    /// Gives a user who proved its password another one: all its sessions end and this one begins. Refused where the
    /// user has another password by now.
    ChangePassword {
        /// Hash of the new session's secret.
        key: SessionKey,
        /// The rest.
        session: Session,
        /// Of the password that was proved.
        proved_hash: String,
        /// argon2id in PHC text form.
        password_hash: String,
    },
    /// As [`Command::Note`], for what concerns who gets in.
    NoteAccess,
    /// The control group goes on without voters that are gone for ever.
    Recovered {
        /// Higher than all before.
        generation: u64,
    },
}

/// What a command brought about. Sent between nodes: variants are appended, never reordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// Something new is there.
    Made,
    /// Something that was there is different now.
    Changed,
    /// All was so already.
    Unchanged,
    /// It is gone.
    Removed,
    /// A token with this number was added.
    TokenAdded(u64),
    /// It happened; no state is different but the audit.
    Noted,
}

impl Applied {
    fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Made | Self::TokenAdded(_) => Some(Outcome::Made),
            Self::Changed => Some(Outcome::Changed),
            Self::Unchanged => None,
            Self::Removed => Some(Outcome::Removed),
            Self::Noted => Some(Outcome::Noted),
        }
    }
}

/// Why a command is refused; the state is as before. Sent between nodes: variants are appended, never reordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    /// Nothing of this name.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// bucket, token, user.
        #[serde(deserialize_with = "word")]
        what: Word,
        /// As given.
        name: String,
    },
    /// The name is taken.
    #[error("there is already a {what} `{name}`")]
    Taken {
        /// token.
        #[serde(deserialize_with = "word")]
        what: Word,
        /// As given.
        name: String,
    },
    /// A field is out of its range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// A name breaks its rule.
    #[error("{0}")]
    BadName(String),
    /// The kind of a bucket cannot change: its data would mean something else.
    #[error("bucket `{0}` keeps its kind: what is stored in it would change its meaning; make a new bucket")]
    KindFixed(String),
    /// A limit is reached.
    #[error("there are {max} {what} already, which is the most; remove one first")]
    Full {
        /// buckets, tokens, users.
        #[serde(deserialize_with = "word")]
        what: Word,
        /// The limit.
        max: usize,
    },
    /// The cluster has begun already.
    #[error("this cluster has begun already")]
    Begun,
    /// There is a first user.
    #[error("this cluster has a user already; sign in, or have an admin add you")]
    Claimed,
    /// Nobody could change users and tokens any more.
    #[error(
        "user `{0}` is the last admin; make another one first, or use `ringfort user` as the node's owner on its own \
         machine"
    )]
    LastAdmin(String),
}

impl State {
    /// Applies a command.
    ///
    /// # Errors
    /// [`Refused`], with the state unchanged.
    pub fn apply(&mut self, command: Command) -> Result<Applied, Refused> {
        match command {
            Command::Begin(birth) => self.begin(birth),
            Command::PutBucket { name, definition } => self.put_bucket(name, definition),
            Command::RemoveBucket { name } => match self.buckets.remove(&name) {
                Some(_) => Ok(Applied::Removed),
                None => Err(Refused::NotFound { what: "bucket", name }),
            },
            Command::SetColumns { bucket, columns } => self.set_columns(bucket, columns),
            Command::AddToken(token) => self.add_token(token),
            Command::RemoveToken { id } => match self.tokens.remove(&id) {
                Some(token) => {
                    self.tokens_by_hash.remove(&token.hash);
                    Ok(Applied::Removed)
                }
                None => Err(Refused::NotFound { what: "token", name: id.to_string() }),
            },
            Command::PutUser { name, user } => self.put_user(name, user),
            Command::RemoveUser { name } => self.remove_user(name),
            Command::AddFirstUser { name, user } => {
                if self.users.is_empty() {
                    self.put_user(name, user)
                } else {
                    Err(Refused::Claimed)
                }
            }
            Command::SetScopes { name, scopes } => self.set_scopes(name, scopes),
            Command::AddSession { key, session } => self.add_session(key, session),
            Command::SetPassword { name, password_hash } => self.set_password(name, password_hash),
            Command::SignIn { key, session, password_hash } => {
                self.check_proved(&session.user, &password_hash)?;
                self.add_session(key, session)
            }
            Command::ChangePassword { key, session, proved_hash, password_hash } => {
                self.check_proved(&session.user, &proved_hash)?;
                self.set_password(session.user.clone(), password_hash)?;
                self.add_session(key, session)?;
                Ok(Applied::Changed)
            }
            Command::RemoveSession { key } => {
                Ok(if self.sessions.remove(&key).is_some() { Applied::Removed } else { Applied::Unchanged })
            }
            Command::Note | Command::NoteAccess => Ok(Applied::Noted),
            Command::Recovered { generation } if generation > self.generation => {
                self.generation = generation;
                Ok(Applied::Changed)
            }
            Command::Recovered { .. } => Ok(Applied::Unchanged),
            Command::Ordered { by, what, command } => self.order(by, what, *command),
        }
    }

    fn order(&mut self, by: By, what: String, command: Command) -> Result<Applied, Refused> {
        if by.via != Via::Local
            && let Some(name) = self.last_admin_lost_by(&command)
        {
            return Err(Refused::LastAdmin(name.to_owned()));
        }
        let concerns_access = command.concerns_access();
        let applied = self.apply(command)?;
        if let Some(outcome) = applied.outcome() {
            if concerns_access {
                self.access_audit.push(by.clone(), what.clone(), outcome);
            }
            self.audit.push(by, what, outcome);
        }
        Ok(applied)
    }

    /// The last admin, where this command would remove or demote it.
    fn last_admin_lost_by<'c>(&self, command: &'c Command) -> Option<&'c str> {
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
            | Command::Recovered { .. } => return None,
        };
        let mut admins = self.users.iter().filter(|(_, user)| user.is_admin()).map(|(admin, _)| admin);
        (admins.next() == Some(name) && admins.next().is_none()).then_some(name)
    }

    fn begin(&mut self, birth: Birth) -> Result<Applied, Refused> {
        if self.birth.is_some() {
            return Err(Refused::Begun);
        }
        self.birth = Some(birth);
        self.next_bucket = 1;
        self.next_token = 1;
        Ok(Applied::Made)
    }

    fn put_bucket(&mut self, name: String, definition: Definition) -> Result<Applied, Refused> {
        key::check_bucket_name(&name).map_err(|error| Refused::BadName(error.to_string()))?;
        definition.check()?;
        if let Some(bucket) = self.buckets.get_mut(&name) {
            if bucket.definition == definition {
                return Ok(Applied::Unchanged);
            }
            if bucket.definition.kind != definition.kind {
                return Err(Refused::KindFixed(name));
            }
            bucket.definition = definition;
            return Ok(Applied::Changed);
        }
        if self.buckets.len() >= BUCKETS_MAX {
            return Err(Refused::Full { what: "buckets", max: BUCKETS_MAX });
        }
        let id = BucketId(self.next_bucket);
        self.next_bucket = self.next_bucket.saturating_add(1);
        self.buckets.insert(name, Bucket { id, definition, columns: Vec::new() });
        Ok(Applied::Made)
    }

    fn set_columns(&mut self, bucket: String, columns: Vec<String>) -> Result<Applied, Refused> {
        match self.buckets.get_mut(&bucket) {
            Some(known) if known.columns == columns => Ok(Applied::Unchanged),
            Some(known) => {
                known.columns = columns;
                Ok(Applied::Changed)
            }
            None => Err(Refused::NotFound { what: "bucket", name: bucket }),
        }
    }

    /// One of the chains of the audit.
    #[must_use]
    pub fn audit_chain(&self, chain: Chain) -> &Log {
        match chain {
            Chain::All => &self.audit,
            Chain::Access => &self.access_audit,
        }
    }

    /// The token with this hash.
    #[must_use]
    pub fn token_with_hash(&self, hash: &[u8; 32]) -> Option<&Token> {
        self.tokens_by_hash.get(hash).and_then(|id| self.tokens.get(id))
    }

    fn add_token(&mut self, token: Token) -> Result<Applied, Refused> {
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

    fn put_user(&mut self, name: String, user: User) -> Result<Applied, Refused> {
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
    fn check_proved(&self, name: &str, password_hash: &str) -> Result<(), Refused> {
        let holds = self.users.get(name).is_some_and(|user| user.password_hash == password_hash);
        if holds { Ok(()) } else { Err(Refused::NotFound { what: "user", name: name.to_owned() }) }
    }

    fn set_password(&mut self, name: String, password_hash: String) -> Result<Applied, Refused> {
        let Some(user) = self.users.get_mut(&name) else {
            return Err(Refused::NotFound { what: "user", name });
        };
        user.password_hash = password_hash;
        // Whoever knew the old one must not stay.
        self.sessions.retain(|_, session| session.user != name);
        Ok(Applied::Changed)
    }

    fn remove_user(&mut self, name: String) -> Result<Applied, Refused> {
        if self.users.remove(&name).is_none() {
            return Err(Refused::NotFound { what: "user", name });
        }
        self.sessions.retain(|_, session| session.user != name);
        Ok(Applied::Removed)
    }

    fn set_scopes(&mut self, name: String, scopes: Vec<Scope>) -> Result<Applied, Refused> {
        match self.users.get_mut(&name) {
            Some(user) if user.scopes == scopes => Ok(Applied::Unchanged),
            Some(user) => {
                user.scopes = scopes;
                Ok(Applied::Changed)
            }
            None => Err(Refused::NotFound { what: "user", name }),
        }
    }

    fn add_session(&mut self, key: SessionKey, session: Session) -> Result<Applied, Refused> {
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
}

/// Names of tokens and users go into logs and pages: no control characters, no markup.
fn check_name(name: &str) -> Result<(), Refused> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | ' ');
    let edge = name.starts_with(' ') || name.ends_with(' ');
    if name.is_empty() || edge || name.len() > NAME_BYTES_MAX || !name.chars().all(good) {
        let rule = format!("a name has 1 to {NAME_BYTES_MAX} characters of A-Z a-z 0-9 . _ - @ and inner spaces");
        return Err(Refused::BadName(rule));
    }
    Ok(())
}
