//! The cluster's operations and documents: who is in it, how nodes come and go, who owns what, and where a key is.

use serde_json::Value;
use serde_json::json;

use super::operations::Content;
use super::operations::Described;
use super::operations::body;
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
use crate::http::routes::WHERE_KEY;
use crate::proto::agree::Part;
use crate::proto::agree::Verdict;

/// All that [`describe`] knows.
#[cfg(test)]
pub const DESCRIBED: &[(&str, &str)] = &[
    ("GET", "/v1/members"),
    ("POST", "/v1/members/{id}/leave"),
    ("POST", "/v1/members/{id}/remove"),
    ("POST", "/v1/members/{id}/replace"),
    ("POST", "/v1/members/{id}/drain"),
    ("POST", "/v1/members/{id}/undrain"),
    ("POST", "/v1/invites"),
    ("GET", "/v1/shared"),
    ("GET", "/v1/ring"),
    ("GET", "/v1/convergence"),
    ("POST", "/v1/ring/pause"),
    ("POST", "/v1/ring/resume"),
    ("GET", "/v1/plan"),
    ("POST", "/v1/plan"),
    ("DELETE", "/v1/plan"),
    ("POST", "/v1/plan/commit"),
    ("GET", WHERE_KEY),
];

/// The description of a route of the cluster.
pub fn describe(method: &str, path: &str) -> Option<Described> {
    Some(match (method, path) {
        ("GET", "/v1/members") => plain(vec![(200, "Every node that is not removed", Content::Json("Members"))]),
        ("POST", "/v1/invites") => {
            let mut invite = made("InviteWish", "Invite", json!({ "ttl": "24h" }));
            invite.responses.retain(|(status, ..)| ![200].contains(status));
            invite
        }
        ("POST", "/v1/members/{id}/leave") => {
            let mut leave = ordered(200, "It gives away what it owns, or did so already", "Part", None);
            leave.responses.retain(|(status, ..)| ![400, 408, 413, 422].contains(status));
            leave.responses.push((400, "The name is not one", Content::Problem));
            leave
        }
        ("POST", "/v1/members/{id}/remove") => {
            let body = body(false, &[("application/json", reference("Removal"), json!({ "accept_loss": false }))]);
            ordered(200, "Nobody waits for it any more, or did so already", "Part", body)
        }
        ("POST", "/v1/members/{id}/replace") => {
            let body = body(true, &[("application/json", reference("Replacement"), json!({ "by": 4 }))]);
            ordered(200, "The new one takes its places", "Part", body)
        }
        ("POST", "/v1/members/{id}/drain") => {
            let example = json!({ "reason": "a new power supply", "for": "1h" });
            let body = body(false, &[("application/json", reference("DrainWish"), example)]);
            ordered(200, "Devices are asked to go elsewhere, or were so already", "Part", body)
        }
        ("POST", "/v1/members/{id}/undrain") => {
            let mut undrain = ordered(200, "Devices are not asked to go elsewhere, or were not", "Part", None);
            undrain.responses.retain(|(status, ..)| ![400, 408, 413, 422].contains(status));
            undrain.responses.push((400, "The name is not one", Content::Problem));
            undrain
        }
        ("GET", WHERE_KEY) => plain(vec![
            (200, "Its owners; those that do not answer in time are named", Content::Json("Whereabouts")),
            (400, "The key or a parameter is not one", Content::Problem),
            (404, "There is no such bucket", Content::Problem),
            (414, "The key is longer than 1 KiB", Content::Problem),
        ]),
        _ => return describe_ring(method, path),
    })
}

/// Of those about who owns what, and what is shared.
fn describe_ring(method: &str, path: &str) -> Option<Described> {
    Some(match (method, path) {
        ("GET", "/v1/convergence") => plain(vec![(
            200,
            "How equal the owners' copies are, as this node knows, and what every node says of itself",
            Content::Json("Convergence"),
        )]),
        ("GET", "/v1/shared") => {
            plain(vec![(200, "Every piece, with what this node holds of it", Content::Json("Shared"))])
        }
        ("GET", "/v1/ring") => plain(vec![(200, "The layout as this node knows it", Content::Json("Ring"))]),
        ("POST", "/v1/ring/pause") => pause(),
        ("POST", "/v1/ring/resume") => plain(vec![
            (204, "They go on, or did so already", Content::Nothing),
            (504, "Whether the change took effect is unknown", Content::Problem),
            (507, "The disk is full; nothing was changed", Content::Problem),
        ]),
        ("GET", "/v1/plan") => {
            plain(vec![(200, "What is staged; `plan` is null where nothing is", Content::Json("Plans"))])
        }
        ("POST", "/v1/plan") => {
            let mut stage = ordered(201, "Staged under the number that it shows", "Plans", None);
            stage.responses.retain(|(status, ..)| ![400, 404, 408, 413, 422].contains(status));
            stage
        }
        ("DELETE", "/v1/plan") => plain(vec![
            (204, "Nothing is staged", Content::Nothing),
            (504, "Whether the change took effect is unknown", Content::Problem),
            (507, "The disk is full; nothing was changed", Content::Problem),
        ]),
        ("POST", "/v1/plan/commit") => {
            let example = json!({ "version": 3, "accept_loss": [] });
            let body = body(true, &[("application/json", reference("Commit"), example)]);
            let mut commit = ordered(200, "It has begun", "Committed", body);
            commit.responses.retain(|(status, ..)| *status != 404);
            commit
        }
        _ => return None,
    })
}

fn pause() -> Described {
    let example = json!({ "reason": "the line is needed for a backup", "for": "1h" });
    let body = body(false, &[("application/json", reference("PauseWish"), example)]);
    let mut pause = ordered(204, "", "Part", body);
    pause.responses.retain(|(status, ..)| ![204, 404, 409].contains(status));
    pause.responses.push((204, "Partitions on their way wait", Content::Nothing));
    pause
}

/// An order about nodes or layout.
fn ordered(status: u16, done: &'static str, view: &'static str, body: Option<Value>) -> Described {
    let responses = vec![
        (status, done, Content::Json(view)),
        (400, "Not JSON, or the name is not one", Content::Problem),
        (404, "There is no such node", Content::Problem),
        (408, "The body came too slowly", Content::Problem),
        (
            409,
            "Acked writes would be lost, too few voters would be left, or it does not fit what is there now; nothing was \
             changed",
            Content::Problem,
        ),
        (413, "The document is larger than 64 KiB", Content::Problem),
        (422, "A field is unknown or of a wrong type", Content::Problem),
        (504, "Whether the change took effect is unknown", Content::Problem),
        (507, "The disk is full; nothing was changed", Content::Problem),
    ];
    Described { parameters: Vec::new(), body, responses }
}

/// Schemas by name.
pub fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("Whereabouts", whereabouts()),
        ("Ring", ring()),
        ("Convergence", convergence()),
        ("Shared", shared()),
        ("Plans", plans()),
        ("Removal", object([], [("accept_loss", flag())])),
        ("Replacement", object([("by", count())], [])),
        ("Commit", object([("version", count())], [("accept_loss", list_of(count()))])),
        ("Committed", object([("committed", count()), ("layout", count())], [])),
        (
            "Part",
            object(
                [("id", count()), ("name", text()), ("part", part()), ("reason", text()), ("plan", maybe_count())],
                [],
            ),
        ),
        ("Nodes", object([("nodes", list_of(reference("DeviceNode")))], [])),
        (
            "DeviceNode",
            object([("id", count()), ("url", text()), ("zone", text()), ("near", flag()), ("load", count())], []),
        ),
        ("Members", object([("members", list_of(reference("Member")))], [])),
        ("Member", member()),
        ("InviteWish", object([], [("ttl", duration()), ("replaces", text())])),
        ("DrainWish", object([], [("reason", text()), ("for", duration())])),
        ("PauseWish", object([], [("reason", text()), ("for", duration())])),
        ("Invite", object([("token", text()), ("expires_at", instant()), ("seeds", list_of(text()))], [])),
    ]
}

fn member() -> Value {
    let figures = object(
        [
            ("load", count()),
            ("requests_per_s", count()),
            ("disk_free", count()),
            ("disk_total", count()),
            ("stored", count()),
        ],
        [],
    );
    let drain = object([("reason", text()), ("until", json!({ "type": ["string", "null"] }))], []);
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
            ("drain", json!({ "oneOf": [drain, { "type": "null" }] })),
            ("figures", json!({ "oneOf": [figures, { "type": "null" }] })),
        ],
        [],
    )
}

fn maybe_count() -> Value {
    json!({ "type": ["integer", "null"], "minimum": 0 })
}

/// How far a node's part in the cluster goes.
fn part() -> Value {
    json!({ "enum": ["joining", "member", "leaving", "removed"] })
}

/// How far a partition's transition has come.
fn phase() -> Value {
    json!({ "enum": ["settled", "both", "read_next"] })
}

fn whereabouts() -> Value {
    let nullable = || json!({ "type": ["string", "null"] });
    let held = object([("context", nullable()), ("size", count()), ("values", count())], []);
    let owner = object(
        [
            ("node", count()),
            ("name", text()),
            ("lists", list_of(json!({ "enum": ["now", "next"] }))),
            ("synced", flag()),
            ("holds", json!({ "oneOf": [held, { "type": "null" }] })),
            ("why", nullable()),
            ("hint_pending", flag()),
        ],
        [],
    );
    object(
        [("hash", text()), ("partition", count()), ("epoch", count()), ("phase", phase()), ("owners", list_of(owner))],
        [],
    )
}

fn ring() -> Value {
    let list = || object([("owners", list_of(count())), ("synced", list_of(count())), ("struck", flag())], []);
    let partition = object(
        [
            ("id", count()),
            ("epoch", count()),
            ("phase", phase()),
            ("strict", standing()),
            ("weak", standing()),
            ("now", list()),
            ("next", json!({ "oneOf": [list(), { "type": "null" }] })),
        ],
        [],
    );
    let share = object(
        [
            ("id", count()),
            ("name", text()),
            ("zone", text()),
            ("owns", count()),
            ("comes", count()),
            ("adopted", maybe_count()),
        ],
        [],
    );
    let transfer = object(
        [
            ("to", count()),
            ("name", text()),
            ("up", flag()),
            ("partitions", count()),
            ("bytes", maybe_count()),
            ("bytes_per_s", maybe_count()),
            ("eta_s", maybe_count()),
        ],
        [],
    );
    let pause = object([("reason", text()), ("since", instant()), ("until", instant())], []);
    let handoff =
        object([("node", count()), ("partitions", count()), ("bytes", count()), ("eta_s", maybe_count())], []);
    object(
        [
            ("version", count()),
            ("planned", count()),
            ("at_rest", flag()),
            ("phases", object([("settled", count()), ("both", count()), ("read_next", count())], [])),
            ("nodes", list_of(share)),
            ("partitions", list_of(partition)),
            ("handoff", handoff),
            ("strict", counts()),
            ("weak", counts()),
            ("transfers", list_of(transfer)),
            ("pause", json!({ "oneOf": [pause, { "type": "null" }] })),
        ],
        [],
    )
}

fn convergence() -> Value {
    let other = object([("node", count()), ("same_s", maybe_count()), ("differs_s", maybe_count())], []);
    let partition = object(
        [
            ("id", count()),
            ("owners", list_of(count())),
            ("root", digest()),
            ("settled", flag()),
            ("keys", count()),
            ("others", list_of(other)),
        ],
        [],
    );
    let done = ["compared", "differing", "brought", "sent", "bytes"].map(|name| (name, count()));
    object(
        [
            ("node", count()),
            ("digest", digest()),
            ("differing", count()),
            ("oldest_s", maybe_count()),
            ("unsettled", count()),
            ("heals_s", maybe_count()),
            ("healed_s", maybe_count()),
            ("nodes", list_of(node_convergence())),
            ("done", object(done, [])),
            ("partitions", list_of(partition)),
        ],
        [],
    )
}

/// What a node says of what it holds.
fn node_convergence() -> Value {
    object(
        [
            ("id", count()),
            ("name", text()),
            ("verdict", json!({ "enum": Verdict::ALL })),
            ("differs_in", list_of(json!({ "enum": Part::ALL }))),
            ("behind", count()),
            ("said_s", maybe_count()),
            ("applied", maybe_count()),
            ("digested", maybe_count()),
            ("control", digest()),
            ("layout_version", maybe_count()),
            ("layout", digest()),
            ("members", digest()),
            ("data", digest()),
            ("differing", maybe_count()),
            ("oldest_s", maybe_count()),
            ("unsettled", maybe_count()),
            ("heals_s", maybe_count()),
        ],
        [],
    )
}

/// A digest, or null before there is one.
fn digest() -> Value {
    json!({ "type": ["string", "null"], "pattern": "^[0-9a-f]{16}$" })
}

fn shared() -> Value {
    let kind = || json!({ "enum": ["consensus", "quorum", "gossip", "local"] });
    let kinds =
        object([("kind", kind()), ("meaning", text()), ("cost", text()), ("pieces", count()), ("now", text())], []);
    let piece = object(
        [
            ("name", text()),
            ("kind", kind()),
            ("what", text()),
            ("why", text()),
            ("stops", text()),
            ("goes_on", text()),
            ("entries", maybe_count()),
            ("bytes", maybe_count()),
        ],
        [],
    );
    object([("node", count()), ("kinds", list_of(kinds)), ("pieces", list_of(piece))], [])
}

/// How a partition stands.
fn standing() -> Value {
    json!({ "enum": ["whole", "below", "lost", null] })
}

/// How many partitions stand how.
fn counts() -> Value {
    let counts = object([("whole", count()), ("below", count()), ("lost", count())], []);
    json!({ "oneOf": [counts, { "type": "null" }] })
}

fn plans() -> Value {
    let node = object(
        [
            ("id", count()),
            ("name", text()),
            ("before", count()),
            ("after", count()),
            ("gains", count()),
            ("loses", count()),
        ],
        [],
    );
    let margins = || object([("machines", maybe_count()), ("zones", maybe_count())], []);
    let plan = object(
        [
            ("version", count()),
            ("nodes", list_of(node)),
            ("moves", list_of(object([("partition", count()), ("to", count())], []))),
            ("bytes", maybe_count()),
            ("seconds", maybe_count()),
            ("before", margins()),
            ("during", margins()),
            ("after", margins()),
        ],
        [],
    );
    object(
        [
            ("commit", json!({ "enum": ["auto", "manual"] })),
            ("removed", list_of(count())),
            ("plan", json!({ "oneOf": [plan, { "type": "null" }] })),
        ],
        [],
    )
}
