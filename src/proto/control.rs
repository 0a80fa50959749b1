//! The replicated state machine of the control plane: command in, state out. Holds what must be the same everywhere:
//! the cluster's identity, its nodes and who owns what, buckets, tokens, users and their sessions, and the audit of changes. Who orders the commands is the business of the floor `control`.
//!
//! A command is checked when it is applied, not when it is sent, so that every node comes to the same answer.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::base::checksum::HmacKey;
use crate::base::id::BucketId;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
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
use crate::proto::control::layout::Staged;
use crate::proto::control::members::Change;
use crate::proto::control::members::Invite;
use crate::proto::control::members::LayoutCommit;
use crate::proto::control::members::Member;
use crate::proto::control::part::Pause;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::transition;
use crate::proto::scope::Scope;

mod buckets;
pub mod bytes;
pub mod layout;
pub mod members;
pub mod part;
mod people;
pub mod recovery;
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
    /// Its `n`, `r` and `w` for the ring: while they change, those before them are in force as well.
    pub numbers: BucketNumbers,
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
    /// Every node that was ever admitted and is not forgotten, removed ones too.
    pub members: Shared<BTreeMap<NodeId, Member>>,
    /// The id that the next node gets: never used twice.
    pub next_node: u64,
    /// Rises when the control plane is begun anew from a survivor; nodes of an older one are refused (HOUSE decision 15).
    pub generation: u64,
    /// Who owns what.
    pub layout: Shared<Layout>,
    /// A plan that waits for an operator.
    pub staged: Shared<Option<Staged>>,
    /// The number that the next staged plan gets.
    pub next_plan: u64,
    /// Who commits plans.
    pub layout_commit: LayoutCommit,
    /// Removed nodes in some list of which it was accepted that what only they had is lost.
    pub gone: BTreeSet<NodeId>,
    /// Invites by number.
    pub invites: Shared<BTreeMap<u64, Invite>>,
    /// The number that the next invite gets.
    pub next_invite: u64,
    /// How many nodes were told to go.
    pub partings: u64,
    /// Partitions on their way wait, on every node.
    pub pause: Option<Pause>,
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
    /// Changes nodes or layout.
    Cluster(Change),
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
    /// An invite with this number was made.
    InviteAdded(u64),
    /// A node was let in and has this id.
    Admitted(NodeId),
    /// It was let in before and has this id; nothing changed.
    AdmittedBefore(NodeId),
    /// It happened; no state is different but the audit.
    Noted,
}

impl Applied {
    fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Made | Self::TokenAdded(_) | Self::InviteAdded(_) | Self::Admitted(_) => Some(Outcome::Made),
            Self::Changed => Some(Outcome::Changed),
            Self::Unchanged | Self::AdmittedBefore(_) => None,
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
    /// There is no cluster yet.
    #[error("this cluster has not begun; nothing was changed; start its first node")]
    NotBegun,
    /// Whoever wants in is not told more.
    #[error(
        "this invite does not open this cluster: it is not known, or used, or has expired; nothing was changed; make \
         another with `ringfort invite`"
    )]
    NotInvited,
    /// Owners or numbers cannot change now.
    #[error(transparent)]
    Layout(#[from] transition::Refused),
    /// Nobody would own data.
    #[error("node {0} is the last that owns data; nothing was changed; let another node join first")]
    LastNode(NodeId),
    /// Acked writes may be nowhere else.
    #[error(
        "in {partitions} of 256 partitions too few others have what was acked; without node {node} it would be lost; \
         nothing was changed; bring the node back, or remove it with `--accept-loss`"
    )]
    WouldLose {
        /// Whose removal.
        node: NodeId,
        /// How many partitions.
        partitions: usize,
    },
    /// The one owns nothing or the other something.
    #[error(
        "node {new} cannot take the place of node {old}: the old one has to own data, the new one must not own any yet \
         and needs a weight; nothing was changed; see `ringfort members`"
    )]
    Unfit {
        /// Whose place.
        old: NodeId,
        /// Who was to take it.
        new: NodeId,
    },
    /// Another plan is staged, or none.
    #[error(
        "plan {given} is not what is staged now ({}); nothing was changed; look at `ringfort plan show` and commit that",
        staged.map_or_else(|| "nothing is".to_owned(), |staged| format!("plan {staged} is"))
    )]
    NoPlan {
        /// As given.
        given: u64,
        /// What is.
        staged: Option<u64>,
    },
    /// Another node was told to go meanwhile: whoever gave the order judges again.
    #[error(
        "another node was told to go at the same moment; nothing was changed; look at `ringfort members` and try again"
    )]
    Outrun,
    /// Losses are accepted for removed nodes only.
    #[error("node {0} is still a member; nothing was changed; remove it first if it is gone for ever")]
    StillMember(NodeId),
    /// A recovery was overtaken.
    #[error("the cluster is in generation {known} already, {given} is not above it; nothing was changed")]
    OldGeneration {
        /// As given.
        given: u64,
        /// Of the cluster.
        known: u64,
    },
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
            Command::RemoveBucket { name } => self.remove_bucket(name),
            Command::SetColumns { bucket, columns } => self.set_columns(bucket, columns),
            Command::AddToken(token) => self.add_token(token),
            Command::RemoveToken { id } => self.remove_token(id),
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
            Command::Cluster(change) => self.change(change),
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
        let tells = command.tells();
        let applied = self.apply(command)?;
        if let Some(outcome) = applied.outcome().filter(|_| tells) {
            if concerns_access {
                self.access_audit.push(by.clone(), what.clone(), outcome);
            }
            self.audit.push(by, what, outcome);
        }
        Ok(applied)
    }

    fn begin(&mut self, birth: Birth) -> Result<Applied, Refused> {
        if self.birth.is_some() {
            return Err(Refused::Begun);
        }
        self.birth = Some(birth);
        // Where the state before was lost, they are above all that it may have given out.
        self.next_bucket = self.next_bucket.max(1);
        self.next_token = self.next_token.max(1);
        self.settle_first();
        Ok(Applied::Made)
    }

    /// One of the chains of the audit.
    #[must_use]
    pub fn audit_chain(&self, chain: Chain) -> &Log {
        match chain {
            Chain::All => &self.audit,
            Chain::Access => &self.access_audit,
        }
    }
}
