//! The cluster's operations and documents: who is in it, and how others come in.

use serde_json::Value;
use serde_json::json;

use super::operations::Content;
use super::operations::Described;
use super::operations::made;
use super::operations::plain;
use super::schemas::count;
use super::schemas::duration;
use super::schemas::flag;
use super::schemas::instant;
use super::schemas::list_of;
use super::schemas::object;
use super::schemas::reference;
use super::schemas::text;

/// All that [`describe`] knows.
#[cfg(test)]
pub const DESCRIBED: &[(&str, &str)] = &[("GET", "/v1/members"), ("POST", "/v1/invites")];

/// The description of a route of the cluster.
pub fn describe(method: &str, path: &str) -> Option<Described> {
    Some(match (method, path) {
        ("GET", "/v1/members") => plain(vec![(200, "Every node that is not removed", Content::Json("Members"))]),
        ("POST", "/v1/invites") => {
            let mut invite = made("InviteWish", "Invite", json!({ "ttl": "24h" }));
            invite.responses.retain(|(status, ..)| ![200, 404].contains(status));
            invite
        }
        _ => return None,
    })
}

/// Schemas by name.
pub fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("Members", object([("members", list_of(reference("Member")))], [])),
        ("Member", member()),
        ("InviteWish", object([], [("ttl", duration())])),
        ("Invite", object([("token", text()), ("expires_at", instant()), ("seeds", list_of(text()))], [])),
    ]
}

fn member() -> Value {
    object(
        [
            ("id", count()),
            ("name", text()),
            ("zone", text()),
            ("weight", count()),
            ("state", json!({ "enum": ["up", "suspect", "down", "leaving", "gone"] })),
            ("part", part()),
            ("serving", json!({ "enum": ["yes", "draining", "recovering", "no"] })),
            ("link", json!({ "enum": ["good", "broken", "unknown"] })),
            ("release", text()),
            ("since", instant()),
            ("reason", text()),
            ("addresses", list_of(text())),
            ("url", json!({ "type": ["string", "null"] })),
            ("voter", flag()),
        ],
        [],
    )
}

/// How far a node's part in the cluster goes.
fn part() -> Value {
    json!({ "enum": ["joining", "member", "leaving", "removed"] })
}
