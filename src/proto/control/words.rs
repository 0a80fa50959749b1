//! Commands as the audit sees them: in words, with names and numbers, never a secret; and whether they concern access.

use crate::base::time;
use crate::proto::control::Command;
use crate::proto::control::NO_PASSWORD;
use crate::proto::control::members::Change;
use crate::proto::control::members::LayoutCommit;
use crate::proto::control::part::Drain;
use crate::proto::control::part::Part;
use crate::proto::control::part::Pause;
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
            Self::Cluster(change) => change.in_words(),
        }
    }

    /// Whether the audit tells of it: what nodes report of their part of the layout is no change by anybody.
    pub(super) fn tells(&self) -> bool {
        !matches!(self, Self::Cluster(Change::Report { .. }))
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
            Self::Cluster(change) => change.concerns_access(),
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

impl Change {
    fn in_words(&self) -> String {
        match self {
            Self::Invite { expires_ms, replaces, .. } => {
                let place = replaces.map(|old| format!(" in the place of node {old}")).unwrap_or_default();
                format!("makes an invite for one node{place}, good until {}", time::rfc3339(*expires_ms))
            }
            Self::RemoveInvite { id } => format!("takes back invite {id}"),
            Self::Admit(admission) => format!(
                "lets node `{}` in: zone {}, weight {}, at {}",
                admission.name,
                admission.zone,
                admission.weight,
                words(&admission.addresses),
            ),
            Self::Announce { node, announcement } => {
                let name = announcement.name.as_ref().map(|name| format!(" `{name}`")).unwrap_or_default();
                let at = words(&announcement.addresses);
                format!("says where node {node}{name} is: at {at}, release {}", announcement.release)
            }
            Self::Alter { node, zone, weight } => {
                let zone = zone.as_ref().map(|zone| format!("zone {zone}"));
                let weight = weight.map(|weight| format!("weight {weight}"));
                let what: Vec<_> = zone.into_iter().chain(weight).collect();
                format!("gives node {node} {}", words(&what))
            }
            Self::Parting { part: Part::Leave { node }, .. } => format!("lets node {node} leave"),
            Self::Parting { part: Part::Remove { node, accept_loss }, .. } => {
                let loss = if *accept_loss { ", and gives up what only it had" } else { "" };
                format!("removes node {node}{loss}")
            }
            Self::Parting { part: Part::Replace { old, new }, .. } => format!("replaces node {old} by node {new}"),
            Self::Drain { node, drain: None } => format!("sends devices to node {node} again"),
            Self::Drain { node, drain: Some(Drain { reason, until_ms }) } => {
                let until = until_ms.map(|until| format!(" until {}", time::rfc3339(until))).unwrap_or_default();
                format!("sends devices away from node {node}{until}: {reason}")
            }
            Self::PauseHandoff { pause: None } => "lets handoff go on".to_owned(),
            Self::PauseHandoff { pause: Some(Pause { reason, until_ms, .. }) } => {
                format!("pauses handoff on all nodes until {}: {reason}", time::rfc3339(*until_ms))
            }
            Self::StagePlan => "stages a plan for all nodes".to_owned(),
            Self::ClearPlan => "drops the staged plan".to_owned(),
            Self::CommitPlan { version, accept_loss } if accept_loss.is_empty() => format!("commits plan {version}"),
            Self::CommitPlan { version, accept_loss } => {
                let gone: Vec<_> = accept_loss.iter().map(ToString::to_string).collect();
                format!("commits plan {version}, and gives up what only nodes {} had", words(&gone))
            }
            Self::SetLayoutCommit(LayoutCommit::Auto) => "lets plans be committed by themselves".to_owned(),
            Self::SetLayoutCommit(LayoutCommit::Manual) => "lets plans wait for an operator".to_owned(),
            Self::Report { node, synced, .. } => format!("reports {} lists of node {node}", synced.len()),
            Self::Lost { node } => format!("says that node {node} lost what it had"),
            Self::Recovered { generation } => format!("recovers the control plane as generation {generation}"),
        }
    }

    /// Which machines are in is a matter of access; what they own is not.
    fn concerns_access(&self) -> bool {
        match self {
            Self::Invite { .. }
            | Self::RemoveInvite { .. }
            | Self::Admit(_)
            | Self::Parting { .. }
            | Self::Recovered { .. } => true,
            Self::CommitPlan { accept_loss, .. } => !accept_loss.is_empty(),
            Self::Announce { .. }
            | Self::Alter { .. }
            | Self::Drain { .. }
            | Self::PauseHandoff { .. }
            | Self::StagePlan
            | Self::ClearPlan
            | Self::SetLayoutCommit(_)
            | Self::Report { .. }
            | Self::Lost { .. } => false,
        }
    }
}

fn words(items: &[String]) -> String {
    if items.is_empty() { "nothing".to_owned() } else { items.join(", ") }
}

fn list(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(", ")
}
