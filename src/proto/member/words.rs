//! What one membership sends to another, as bytes.
//!
//! ```text
//! version (1) ‖ cluster (16, LE) ‖ what the sender says of itself (postcard) ‖ a packet of the protocol, or nothing
//! ```
//! A node speaks of itself only, directly to each other one: nothing that is passed on can be made up on the way.

use foca::Header;
use serde::Deserialize;
use serde::Serialize;

use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::limits::MEMBER_MESSAGE_BYTES_MAX;
use crate::base::limits::RELEASE_BYTES_MAX;
use crate::base::limits::SWIM_PACKET_BYTES;
use crate::proto::alarm::code::CodeSet;
use crate::proto::member::identity::Id;
use crate::proto::standing::Standing;

/// The form of messages.
const VERSION: u8 = 5;

/// Whether a node serves devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serving {
    /// Yes.
    Yes,
    /// What it has begun; nothing new.
    Draining,
    /// It has to get back what it lost first.
    Recovering,
    /// No.
    #[default]
    No,
}

/// What a node says of itself while it lives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct News {
    /// Whether it serves.
    pub serving: Serving,
    /// Of its software.
    pub release: String,
    /// The version of the layout that it knows.
    pub layout: u64,
    /// The last control command that it has applied.
    pub applied: u64,
    /// How busy its machine is, in per cent: a hint.
    pub load: u8,
    /// Requests a second that it answered in the last minute.
    pub requests_per_s: u32,
    /// Its disk.
    pub disk: DiskNews,
    /// What comes to it.
    pub handoff: HandoffNews,
    /// How far its journals are durable; none where it is in doubt about them.
    pub standing: Option<Standing>,
    /// What it holds, in short; none before it has looked.
    pub digests: Option<Digests>,
    /// Its wall clock, a few seconds ago, in milliseconds; 0 before it has looked.
    pub wall_ms: u64,
    /// What is wrong with it by its own word.
    pub alarms: CodeSet,
}

/// What a node holds, in short, so that every other one can tell whether all hold the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Digests {
    /// The last control command that is in the first two.
    pub applied: u64,
    /// Of the control state as of then: two nodes that come to different ones have had different histories.
    pub control: u64,
    /// Of who owns what, which is a part of it.
    pub layout: u64,
    /// Of who was admitted, and whether this node sees them as there.
    pub members: u64,
    /// Of all that it holds as an owner; none before everything was looked through.
    pub data: Option<u64>,
    /// Pairs of a partition and another owner that are not the same.
    pub differing: u32,
    /// Seconds since the oldest of these differences was found.
    pub oldest_s: Option<u64>,
    /// Partitions that it owns and has not looked through since the last write to them.
    pub unsettled: u32,
    /// Seconds until nothing of it differs, as it reckons; none where nothing differs, or one of those is not there.
    pub heals_s: Option<u64>,
}

/// Bytes of a node's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiskNews {
    /// Free.
    pub free: u64,
    /// All.
    pub total: u64,
    /// What it stores, graves included; what its index takes before it has looked.
    pub stored: u64,
}

/// How far a node is with what it is to own. How many partitions are left is seen from the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HandoffNews {
    /// Bytes of objects that came since it started.
    pub bytes: u64,
    /// Bytes that came in a second, over the last few.
    pub bytes_per_s: u64,
    /// Seconds until the rest is there, by the pace so far.
    pub eta_s: Option<u64>,
}

/// What a node says when it goes in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goodbye {
    /// It will be back.
    Restart,
    /// Somebody stopped it.
    Stop,
}

/// A node's word of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Of which life.
    pub(super) start: u64,
    /// Rises with every change.
    pub(super) seq: u64,
    /// It goes.
    pub(super) goodbye: Option<Goodbye>,
    /// The rest.
    pub(super) news: News,
}

/// Why a message was left alone. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// Longer or shorter than any.
    #[error("its length is not that of a message")]
    Size,
    /// From a release with another form.
    #[error("its form is not known to this release")]
    Version,
    /// Another cluster's.
    #[error("it belongs to another cluster")]
    Foreign,
    /// This node admits nobody of this id.
    #[error("its sender is not known as a member")]
    Stranger,
    /// Somebody has this node's own id: a copy of its directory runs.
    #[error("its sender has this node's own id")]
    Twin,
    /// The packet says that it is from another node than it came from.
    #[error("it speaks for another node than its sender")]
    Impostor,
    /// It does not parse.
    #[error("it does not parse")]
    Malformed,
    /// The protocol has no use for it.
    #[error("the protocol refuses it")]
    Refused,
}

/// In front of a stamped message; a message itself begins with [`VERSION`].
const STAMPED: u8 = 0xf1;

/// A message, with when it is said before it: a hybrid stamp.
#[must_use]
pub fn stamp(stamp: u64, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.len() + 9);
    bytes.push(STAMPED);
    bytes.extend_from_slice(&stamp.to_le_bytes());
    bytes.extend_from_slice(message);
    bytes
}

/// Reverses [`stamp`]; what has none is of an earlier release, and said at no time.
#[must_use]
pub fn stamped(bytes: &[u8]) -> (u64, &[u8]) {
    let rest = bytes.strip_prefix(&[STAMPED]).and_then(<[u8]>::split_first_chunk::<8>);
    rest.map_or((0, bytes), |(stamp, message)| (u64::from_le_bytes(*stamp), message))
}

/// The bytes of a message.
pub(super) fn encode(cluster: ClusterId, record: &Record, packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&cluster.0.to_le_bytes());
    let mut bytes = postcard::to_extend(record, bytes).unwrap_or_else(|error| {
        // Only a type that postcard cannot represent fails here: a bug of ours, found by its first test.
        unreachable!("a record must be representable: {error}")
    });
    bytes.extend_from_slice(packet);
    bytes
}

/// Reverses [`encode`] for what came from this node: its record and its packet.
pub(super) fn decode(cluster: ClusterId, from: NodeId, bytes: &[u8]) -> Result<(Record, &[u8]), Ignored> {
    if bytes.len() > MEMBER_MESSAGE_BYTES_MAX {
        return Err(Ignored::Size);
    }
    let (version, rest) = bytes.split_first().ok_or(Ignored::Size)?;
    if *version != VERSION {
        return Err(Ignored::Version);
    }
    let (theirs, rest) = rest.split_first_chunk::<16>().ok_or(Ignored::Size)?;
    if u128::from_le_bytes(*theirs) != cluster.0 {
        return Err(Ignored::Foreign);
    }
    let Ok((record, packet)) = postcard::take_from_bytes::<Record>(rest) else { return Err(Ignored::Malformed) };
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    if record.news.release.len() > RELEASE_BYTES_MAX || !record.news.release.chars().all(named) {
        return Err(Ignored::Malformed);
    }
    if packet.len() > SWIM_PACKET_BYTES {
        return Err(Ignored::Size);
    }
    if !packet.is_empty() {
        let Ok((header, _)) = postcard::take_from_bytes::<Header<Id>>(packet) else { return Err(Ignored::Malformed) };
        if header.src.node != from {
            return Err(Ignored::Impostor);
        }
    }
    Ok((record, packet))
}

#[cfg(test)]
mod tests {
    use super::Digests;
    use super::DiskNews;
    use super::Goodbye;
    use super::HandoffNews;
    use super::News;
    use super::Record;
    use super::Serving;
    use super::decode;
    use super::encode;
    use crate::base::id::ClusterId;
    use crate::base::id::NodeId;
    use crate::base::limits::MEMBER_MESSAGE_BYTES_MAX;
    use crate::base::limits::RELEASE_BYTES_MAX;
    use crate::base::limits::SWIM_PACKET_BYTES;
    use crate::proto::alarm::code::CODES;
    use crate::proto::alarm::code::CodeSet;
    use crate::proto::standing::Reach;
    use crate::proto::standing::Standing;

    #[test]
    fn the_longest_record_and_the_longest_packet_are_one_message() {
        let reach = Reach { journal: u64::MAX, opened: u64::MAX, group: u64::MAX };
        let news = News {
            serving: Serving::Recovering,
            release: "9".repeat(RELEASE_BYTES_MAX),
            layout: u64::MAX,
            applied: u64::MAX,
            load: u8::MAX,
            requests_per_s: u32::MAX,
            disk: DiskNews { free: u64::MAX, total: u64::MAX, stored: u64::MAX },
            handoff: HandoffNews { bytes: u64::MAX, bytes_per_s: u64::MAX, eta_s: Some(u64::MAX) },
            standing: Some(Standing { start: u64::MAX, data: Some(reach), control: Some(reach) }),
            digests: Some(Digests {
                applied: u64::MAX,
                control: u64::MAX,
                layout: u64::MAX,
                members: u64::MAX,
                data: Some(u64::MAX),
                differing: u32::MAX,
                oldest_s: Some(u64::MAX),
                unsettled: u32::MAX,
                heals_s: Some(u64::MAX),
            }),
            wall_ms: u64::MAX,
            alarms: CodeSet::from_iter(CODES),
        };
        let record = Record { start: u64::MAX, seq: u64::MAX, goodbye: Some(Goodbye::Stop), news };
        let said = encode(ClusterId(u128::MAX), &record, &[]);
        assert!(said.len() + SWIM_PACKET_BYTES <= MEMBER_MESSAGE_BYTES_MAX, "{} bytes", said.len());
        assert_eq!(decode(ClusterId(u128::MAX), NodeId(1), &said), Ok((record, &[][..])));
    }
}
