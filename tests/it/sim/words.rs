//! How things look in a trace: short enough to read a thousand lines of them.

use crate::control::Change;
use crate::proto::causal::Dot;
use crate::proto::object::Content;
use crate::proto::object::Object;

/// `n2/1.3#5`: the fifth of node 2 in its first life, in its third incarnation there.
pub fn dot(dot: Dot) -> String {
    let life = dot.actor.incarnation.0;
    format!("n{}/{}.{}#{}", dot.actor.node, life >> 16, life & 0xffff, dot.counter)
}

/// Dots in words.
pub fn dots(all: &[Dot]) -> String {
    all.iter().map(|one| dot(*one)).collect::<Vec<_>>().join(" ")
}

/// Its values and how many operations it remembers.
pub fn object(object: Option<&Object>) -> String {
    let Some(object) = object else { return "nothing".to_owned() };
    let siblings = object.siblings.iter().map(|sibling| {
        let what = match &sibling.content {
            Content::Value { body, .. } => body.0.get(..2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]])).to_string(),
            Content::Tombstone => "grave".to_owned(),
        };
        format!("{}={what}@{}", dot(sibling.dot), sibling.stamp.0 & 0xffff_ffff_ffff)
    });
    format!("[{}] {:?}", siblings.collect::<Vec<_>>().join(", "), object.context)
        .replace("VersionVector", "")
        .replace("Actor { node: NodeId(", "n(")
        .replace("), incarnation: Incarnation(", "/")
        .replace(") }", ")")
}

/// A change of control state.
pub fn change(change: &Change) -> String {
    match change {
        Change::Report { node, adopted, synced } => {
            let mut lists: Vec<_> = synced.iter().map(|(_, since)| since).collect();
            lists.dedup();
            format!("n{node} has adopted {adopted} and is synced in {} slots, lists {lists:?}", synced.len())
        }
        other => format!("{other:?}"),
    }
}
