//! The first words of a connection: which versions and features either side has, and for what the connection is. These
//! layouts stay for ever; later releases may put more behind them, which is passed over. Pure.
//!
//! ```text
//! Hello    0 u16 lowest version   2 u16 highest   4 u64 features asked for   12 u64 features had   20 u8 purpose
//!          21 u64 starts   29 u64 random: which life of the node; left out by a machine that is none yet
//! Refusal  0 u16 lowest version   2 u16 highest   4 u64 features had         12 u8 reason          13 text
//! ```

use crate::base::limits::REFUSAL_TEXT_BYTES_MAX;
use crate::net::wire::FrameError;
use crate::net::wire::Lane;

/// What a release speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The lowest version.
    pub lowest: u16,
    /// The highest version.
    pub highest: u16,
    /// Features that it has, a bit each.
    pub features: u64,
    /// Those of them without which it speaks with nobody.
    pub required: u64,
}

/// This release.
pub const VERSIONS: Versions = Versions { lowest: 1, highest: 1, features: 0, required: 0 };

/// One life of a node. Of two that show one number the one that was started later counts, and of equals either, but the same
/// one for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// Higher than at every start before, as its directory remembers.
    pub start: u64,
    /// Random at each start.
    pub draw: u64,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A machine without a certificate wants to join.
    Join,
    /// A lane of an admitted node.
    Lane(Lane),
    /// A process of an admitted node that brings a report of how another process of it ended. No lane, and of no life.
    Courier,
    /// Something that a later release knows.
    Other,
}

/// The first frame of who dials, and the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// What it speaks.
    pub versions: Versions,
    /// What it wants; repeated in the answer.
    pub purpose: Purpose,
    /// Of which life who says so is.
    pub life: Option<Life>,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No version in common, or a feature that one of both does not know.
    Versions,
    /// The node is not, or no longer, a member.
    NotAdmitted,
    /// The node has the number of the one it speaks with.
    SameNode,
    /// Too many ask.
    Busy,
    /// The certificate does not go with the purpose.
    Purpose,
    /// The node was a member, and is one never again.
    Removed,
    /// A reason of a later release.
    Other,
}

/// A polite no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the refusing side speaks.
    pub versions: Versions,
    /// Why.
    pub reason: Reason,
    /// For people.
    pub text: String,
}

impl Versions {
    /// The version to speak with somebody who speaks `theirs`: the highest in common.
    ///
    /// # Errors
    /// A sentence that names both where there is none, or where a feature that one requires is not had by the other.
    pub fn agree(&self, theirs: &Self) -> Result<u16, String> {
        let version = self.highest.min(theirs.highest);
        if version < self.lowest.max(theirs.lowest) {
            return Err(format!(
                "this node speaks the versions {} to {}, the other {} to {}",
                self.lowest, self.highest, theirs.lowest, theirs.highest
            ));
        }
        let (unknown, missing) = (theirs.required & !self.features, self.required & !theirs.features);
        if unknown | missing != 0 {
            return Err(format!("features are missing: {unknown:#x} on this node, {missing:#x} on the other"));
        }
        Ok(version)
    }
}

impl Purpose {
    fn code(self) -> u8 {
        match self {
            Self::Join => 0,
            Self::Lane(Lane::Gossip) => 1,
            Self::Lane(Lane::Control) => 2,
            Self::Lane(Lane::Requests) => 3,
            Self::Lane(Lane::Bulk) => 4,
            Self::Courier => 5,
            Self::Other => 255,
        }
    }

    fn from_code(code: u8) -> Self {
        let lanes = Lane::ALL.into_iter().map(Self::Lane);
        lanes.chain([Self::Join, Self::Courier]).find(|purpose| purpose.code() == code).unwrap_or(Self::Other)
    }
}

impl Hello {
    /// The body of its frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Versions { lowest, highest, features, required } = self.versions;
        let mut body = [lowest.to_le_bytes(), highest.to_le_bytes()].concat();
        body.extend(required.to_le_bytes());
        body.extend(features.to_le_bytes());
        body.push(self.purpose.code());
        if let Some(Life { start, draw }) = self.life {
            body.extend(start.to_le_bytes());
            body.extend(draw.to_le_bytes());
        }
        body
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`FrameError::Hello`].
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut rest = body;
        let versions = Versions {
            lowest: u16::from_le_bytes(take(&mut rest)?),
            highest: u16::from_le_bytes(take(&mut rest)?),
            required: u64::from_le_bytes(take(&mut rest)?),
            features: u64::from_le_bytes(take(&mut rest)?),
        };
        let [purpose] = take(&mut rest)?;
        let (start, draw) = (take(&mut rest).ok(), take(&mut rest).ok());
        let life = start.zip(draw).map(|(start, draw)| (u64::from_le_bytes(start), u64::from_le_bytes(draw)));
        let life = life.map(|(start, draw)| Life { start, draw });
        Ok(Self { versions, purpose: Purpose::from_code(purpose), life })
    }
}

impl Reason {
    const ALL: [Self; 7] =
        [Self::Versions, Self::NotAdmitted, Self::SameNode, Self::Busy, Self::Purpose, Self::Removed, Self::Other];

    fn code(self) -> u8 {
        match self {
            Self::Versions => 1,
            Self::NotAdmitted => 2,
            Self::SameNode => 3,
            Self::Busy => 4,
            Self::Purpose => 5,
            Self::Removed => 6,
            Self::Other => 255,
        }
    }
}

impl Refusal {
    /// The body of its frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Versions { lowest, highest, features, required: _ } = self.versions;
        let mut body = [lowest.to_le_bytes(), highest.to_le_bytes()].concat();
        body.extend(features.to_le_bytes());
        body.push(self.reason.code());
        body.extend(self.text.bytes().take(REFUSAL_TEXT_BYTES_MAX));
        body
    }

    /// Reads one; its text is safe for a terminal.
    ///
    /// # Errors
    /// [`FrameError::Hello`].
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut rest = body;
        let versions = Versions {
            lowest: u16::from_le_bytes(take(&mut rest)?),
            highest: u16::from_le_bytes(take(&mut rest)?),
            features: u64::from_le_bytes(take(&mut rest)?),
            required: 0,
        };
        let [code] = take(&mut rest)?;
        let reason = Reason::ALL.into_iter().find(|reason| reason.code() == code).unwrap_or(Reason::Other);
        let text = String::from_utf8_lossy(rest.get(..REFUSAL_TEXT_BYTES_MAX).unwrap_or(rest));
        let text = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        Ok(Self { versions, reason, text })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], FrameError> {
    let (bytes, behind) = rest.split_first_chunk::<N>().ok_or(FrameError::Hello)?;
    *rest = behind;
    Ok(*bytes)
}
