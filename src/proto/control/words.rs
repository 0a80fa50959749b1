//! Commands as the audit sees them: in words, with names and numbers, never a secret; and whether they concern access.

use crate::proto::control::Command;
use crate::proto::control::NO_PASSWORD;
use crate::proto::scope::Scope;

impl Command {
    /// What it does, as the rest of a sentence that begins with who gives it.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Begin(birth) => format!("begins cluster {}", birth.cluster),
            Self::PutBucket { name, definition } => format!(
                "sets bucket `{name}`: kind {}, n {}, r {}, w {}, ttl {}, class {}",
                format!("{:?}", definition.kind).to_lowercase(),
                definition.n,
                definition.r,
                definition.w,
                definition.ttl_ms.map_or_else(|| "none".to_owned(), |ttl| format!("{ttl} ms")),
                format!("{:?}", definition.class).to_lowercase(),
            ),
            Self::RemoveBucket { name } => format!("removes bucket `{name}` with all its data"),
            Self::SetColumns { bucket, columns } => {
                format!("sets the {} columns of bucket `{bucket}` for CSV", columns.len())
            }
            Self::AddToken(token) => format!("makes token `{}` for {}", token.name, list(&token.scopes)),
            Self::RemoveToken { id } => format!("removes token {id}"),
            Self::PutUser { name, user } => {
                let password = if user.password_hash == NO_PASSWORD { "without a password" } else { "with a password" };
                format!("sets user `{name}` {password} for {}", list(&user.scopes))
            }
            Self::RemoveUser { name } => format!("removes user `{name}`"),
            Self::AddFirstUser { name, user } => {
                format!("claims this cluster as its first user `{name}` for {}", list(&user.scopes))
            }
            Self::SetScopes { name, scopes } => format!("sets what user `{name}` may do to {}", list(scopes)),
            Self::SetPassword { name, .. } => format!("gives user `{name}` another password"),
            Self::AddSession { session, .. } | Self::SignIn { session, .. } => {
                format!("signs in as `{}`", session.user)
            }
            Self::ChangePassword { .. } => "changes their own password, which ends their other sessions".to_owned(),
            Self::RemoveSession { .. } => "signs out".to_owned(),
            Self::Note | Self::NoteAccess => "notes something".to_owned(),
            Self::Recovered { generation } => {
                format!("begins generation {generation} of the control plane, without the voters that are lost")
            }
            Self::Ordered { what, .. } => what.clone(),
        }
    }

    /// Whether it changes who gets in and what they may do. What everyone does with their own account is not among it,
    /// or signing in and out would push out what matters.
    #[must_use]
    pub fn concerns_access(&self) -> bool {
        match self {
            Self::AddToken(_)
            | Self::RemoveToken { .. }
            | Self::PutUser { .. }
            | Self::RemoveUser { .. }
            | Self::AddFirstUser { .. }
            | Self::SetScopes { .. }
            | Self::SetPassword { .. }
            | Self::NoteAccess
            | Self::Recovered { .. } => true,
            Self::Ordered { command, .. } => command.concerns_access(),
            Self::Begin(_)
            | Self::PutBucket { .. }
            | Self::RemoveBucket { .. }
            | Self::SetColumns { .. }
            | Self::AddSession { .. }
            | Self::SignIn { .. }
            | Self::ChangePassword { .. }
            | Self::RemoveSession { .. }
            | Self::Note => false,
        }
    }
}

fn list(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(", ")
}
