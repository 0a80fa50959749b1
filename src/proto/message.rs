//! Every word that nodes say to each other about data. Who carries them is the floor `net`; what they lead to, `node`.
//!
//! Each question carries the slot's epoch in its sender's view, how far that view has come (the index of the control log
//! that it was read at), the sender's steady clock, by which remembered operations are rebased, and how much time is left.
//! An answer carries the last two of its own node. A version byte and a checksum are around each.

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::codec;
use crate::base::codec::Blob;
use crate::base::codec::DecodeError;
use crate::base::id::NodeId;
use crate::base::id::OpId;
use crate::base::id::PartitionId;
use crate::proto::causal::Context;
use crate::proto::causal::Dot;
use crate::proto::diagnosis::Found;
use crate::proto::diagnosis::Wish;
use crate::proto::exchange::Root;
use crate::proto::key::IndexKey;
use crate::proto::merkle::Leaves;
use crate::proto::object::Action;
use crate::proto::object::Basis;
use crate::proto::object::Condition;
use crate::proto::object::Object;
use crate::proto::object::Stamp;
use crate::proto::object::apply::Refusal;
use crate::proto::rows;
use crate::proto::standing::Remembered;
use crate::proto::standing::Standing;

/// The format of questions and answers. With the second they carry a stamp.
const VERSION: u8 = 2;
/// Told apart from other sealed bytes.
const QUESTION: &[u8] = b"question";
/// See [`QUESTION`].
const ANSWER: &[u8] = b"answer";
/// See [`QUESTION`].
const WORD: &[u8] = b"word";
/// See [`QUESTION`].
const VOUCHED: &[u8] = b"vouched";

/// A place as it travels: checked before it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place(Blob);

impl From<&IndexKey> for Place {
    fn from(place: &IndexKey) -> Self {
        Self(Blob(bytes::Bytes::copy_from_slice(place.as_bytes())))
    }
}

impl Place {
    /// The place, where it is one.
    #[must_use]
    pub fn get(&self) -> Option<IndexKey> {
        IndexKey::parse(&self.0.0)
    }
}

/// An object as it travels: sealed for its place, as on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed(Blob);

impl Sealed {
    /// Seals an object for its place.
    #[must_use]
    pub fn of(place: &IndexKey, object: &Object) -> Self {
        Self(Blob(object.encode(place).into()))
    }

    /// Opens it.
    ///
    /// # Errors
    /// It is not what was sealed for this place.
    pub fn open(&self, place: &IndexKey) -> Result<Object, DecodeError> {
        Object::decode(place, &self.0.0)
    }

    /// Its bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.0.len()
    }

    /// Never: an object has bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }
}

/// A write on its way to an owner that may mint for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarded {
    /// Names it for the node that forwards it: comes back with [`Word::Ended`].
    pub job: u64,
    /// The key.
    pub place: Place,
    /// What is asked for.
    pub action: Action,
    /// Which earlier values it replaces.
    pub basis: Basis,
    /// A condition on what is there.
    pub condition: Condition,
    /// The operation's id.
    pub op: OpId,
    /// Whether the client named it.
    pub keyed: bool,
    /// `?w=`.
    pub w: Option<u8>,
}

/// What is asked of an owner. Variants are appended, never reordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Merge this into what you hold.
    Merge {
        /// The key.
        place: Place,
        /// What to merge.
        object: Sealed,
        /// Comes back with the answer.
        round: u32,
    },
    /// What do you hold, in short?
    Digest {
        /// The key.
        place: Place,
    },
    /// What do you hold?
    Object {
        /// The key.
        place: Place,
    },
    /// Do this in my place; the result comes as a [`Word`].
    Forward(Box<Forwarded>),
    /// A page of a slot's objects behind this place.
    PageOfObjects {
        /// The slot.
        partition: PartitionId,
        /// Where the last page ended.
        after: Option<Place>,
    },
    /// A page of their fingerprints.
    PageOfDigests {
        /// The slot.
        partition: PartitionId,
        /// Where the last page ended.
        after: Option<Place>,
    },
    /// These objects.
    These {
        /// The slot.
        partition: PartitionId,
        /// Which.
        places: Vec<Place>,
    },
    /// What do you hold, for people to see?
    Where {
        /// The key.
        place: Place,
    },
    /// Rows of many slots, in key order. The question's epoch is the version of the sender's whole layout: whatever slot
    /// changed since has a later one.
    Rows(Box<rows::Wish>),
    /// What do you hold of these slots, each in the epoch that I know, of what I own too?
    Roots {
        /// With their epochs.
        slots: Vec<(PartitionId, u64)>,
    },
    /// The leaves of a slot's tree, of what I own too.
    Leaves {
        /// The slot.
        partition: PartitionId,
    },
    /// A page of the fingerprints in some leaves.
    PageOfLeaves {
        /// The slot.
        partition: PartitionId,
        /// Which.
        leaves: Leaves,
        /// Where the last page ended.
        after: Option<Place>,
    },
    /// The fingerprints of what is newest at these places.
    DigestsOf {
        /// The slot.
        partition: PartitionId,
        /// Which.
        places: Vec<Place>,
    },
    /// What do you remember of me? Answered also by a node that answers nothing else yet.
    Remember,
    /// Which of these graves may go, as far as you are concerned? Raise your floor, and refuse where it is as high already.
    Graves {
        /// The slot.
        partition: PartitionId,
        /// The new floor.
        floor: u64,
        /// With fingerprints.
        graves: Vec<(Place, u64)>,
    },
    /// All members have raised their floors: remove these, where they are unchanged.
    Purge {
        /// The slot.
        partition: PartitionId,
        /// The floor.
        floor: u64,
        /// With fingerprints.
        graves: Vec<(Place, u64)>,
    },
    /// What do you know about what went wrong? Answered in every state.
    Diagnosis(Box<Wish>),
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The slot's epoch in the sender's view.
    pub epoch: u64,
    /// How far the sender's view has come.
    pub view: u64,
    /// The sender's steady clock.
    pub steady_ms: u64,
    /// How long an answer is waited for.
    pub left_ms: u64,
    /// Of the sender's slot when it read the object that it sends; of one that asks for objects, its floor now. See
    /// [`purge`](crate::proto::purge).
    pub floor: u64,
    /// When it was asked, as a hybrid stamp: what the asked node logs afterwards is later.
    pub stamp: u64,
    /// What.
    pub ask: Ask,
}

/// Why a node does not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The question is of an older epoch; nothing was done.
    Stale,
    /// This node may not do that; nothing was done.
    NotOwner,
    /// It cannot do it now; nothing was done.
    NotYet,
    /// What was sent was read below the floor that the answer tells, and nothing is held here; nothing was done.
    BelowFloor,
}

/// What an owner holds of a key, without the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holding {
    /// Nothing.
    Nothing,
    /// An object.
    Object {
        /// Of context and values: [`Object::fingerprint`].
        digest: u64,
        /// Bytes of the values that can be read.
        size: u64,
        /// How many of those there are.
        values: u32,
    },
    /// Something that cannot be read.
    Damaged,
}

/// What an owner answers. Variants are appended, never reordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tell {
    /// Merged and durable.
    Held {
        /// In an lww bucket, what stands there now.
        top: Option<(Stamp, Dot)>,
        /// Of the question.
        round: u32,
    },
    /// In short; `None` = nothing.
    Digest(Option<Context>),
    /// What is held.
    Object(Option<Sealed>),
    /// A forward has come.
    Received,
    /// No.
    Refused(Why),
    /// Objects.
    Objects {
        /// With their places, in order.
        objects: Vec<(Place, Sealed)>,
        /// Whether more follow.
        more: bool,
    },
    /// Fingerprints.
    Digests {
        /// With their places, in order.
        digests: Vec<(Place, u64)>,
        /// Whether more follow.
        more: bool,
    },
    /// What is held, for people.
    Where(Holding),
    /// Rows.
    Rows {
        /// In the order asked for.
        rows: Vec<rows::Row>,
        /// Whether more follow.
        more: bool,
        /// Slots of which this node can tell nothing; where there are any, the rows do not count.
        without: rows::Partitions,
    },
    /// What is held of slots, in the order asked for; none where it cannot be said now.
    Roots(Vec<Option<Root>>),
    /// The leaves of a tree, in order.
    Leaves(Vec<u64>),
    /// What is remembered of the node that asks.
    Remembered(Remembered),
    /// The floor is raised; and of each grave, in the order asked for, whether it may go.
    Agreed(Vec<bool>),
    /// Graves are removed.
    Removed,
    /// What is known of it.
    Diagnosis(Box<Found>),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// How far this node's view has come.
    pub view: u64,
    /// Its steady clock.
    pub steady_ms: u64,
    /// How far its journals are durable; none where it is in doubt about them.
    pub standing: Option<Standing>,
    /// Its floor of the slot that was asked about, before it read what it tells.
    pub floor: u64,
    /// The highest stamp of what was purged there, as far as it knows.
    pub purged: Option<Stamp>,
    /// When it was answered, as in a [`Question`].
    pub stamp: u64,
    /// What.
    pub tell: Tell,
}

/// Why nothing was stored, as it is told to the node that forwarded a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The object refuses.
    Refused(Refusal),
    /// Too much is under way.
    Busy,
    /// No room on the owner's disk.
    DiskFull {
        /// MiB that it keeps free.
        reserve_mib: u64,
    },
    /// The values together are too large.
    TooLarge {
        /// Bytes.
        len: u64,
    },
    /// What is stored there is damaged.
    Corrupt(String),
    /// Too few owners could be asked.
    NoQuorum {
        /// Answered.
        answered: u8,
        /// Needed.
        need: u8,
    },
}

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// On enough disks.
    Ok {
        /// For whoever saw this write only.
        context: Context,
        /// When.
        stamp: Stamp,
        /// Owners on whose disk it is.
        acked_by: Vec<NodeId>,
    },
    /// Nothing was stored anywhere.
    Failed(Failure),
    /// It may be stored.
    Unknown {
        /// Owners on whose disk it is for sure.
        acked_by: Vec<NodeId>,
    },
}

/// What is said without an answer. Variants are appended, never reordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// A forward has ended.
    Ended {
        /// Of [`Forwarded`].
        job: u64,
        /// How.
        ended: Ended,
    },
    /// I am here, and do not reach who leads: perhaps nobody knows where I am, nor I where that one is.
    IAmHere {
        /// Where others reach the sender.
        addresses: Vec<String>,
    },
    /// The answer to that: where nodes are, as far as the sender knows. Whoever is there has to prove who it is.
    TheyAreHere {
        /// Each with its addresses.
        nodes: Vec<(NodeId, Vec<String>)>,
    },
    /// This is remembered of you, and you speak of less: you have lost something.
    YouHad(Remembered),
    /// I end myself now.
    LastWords {
        /// Why, for people.
        reason: String,
    },
}

macro_rules! travels {
    ($type:ty, $context:expr) => {
        impl $type {
            /// Bytes for the wire.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                codec::seal(VERSION, $context, self)
            }

            /// Reverses [`Self::encode`].
            ///
            /// # Errors
            /// The bytes are not one of these.
            pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                read($context, bytes)
            }
        }
    };
}

travels!(Question, QUESTION);
travels!(Answer, ANSWER);
travels!(Word, WORD);

/// What is answered on the control lane, with what the node says of itself: that floor knows of the group only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    /// See [`Answer::standing`].
    pub standing: Option<Standing>,
    /// The answer.
    pub body: Blob,
}

travels!(Vouched, VOUCHED);

fn read<T: DeserializeOwned>(context: &[u8], bytes: &[u8]) -> Result<T, DecodeError> {
    codec::unseal(VERSION, context, bytes)
}

impl Question {
    /// The slot that it is about; `None` where a place is not one, and where it is about many.
    #[must_use]
    pub fn partition(&self) -> Option<PartitionId> {
        match &self.ask {
            Ask::Merge { place, .. } | Ask::Digest { place } | Ask::Object { place } | Ask::Where { place } => {
                place.get().map(|place| place.partition())
            }
            Ask::Forward(forwarded) => forwarded.place.get().map(|place| place.partition()),
            Ask::PageOfObjects { partition, .. }
            | Ask::PageOfDigests { partition, .. }
            | Ask::These { partition, .. }
            | Ask::Leaves { partition }
            | Ask::PageOfLeaves { partition, .. }
            | Ask::DigestsOf { partition, .. }
            | Ask::Graves { partition, .. }
            | Ask::Purge { partition, .. } => Some(*partition),
            Ask::Rows(_) | Ask::Roots { .. } | Ask::Remember | Ask::Diagnosis(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;
    use super::Ask;
    use super::Holding;
    use super::Place;
    use super::Question;
    use super::Sealed;
    use super::Tell;
    use crate::base::id::BucketId;
    use crate::proto::key::IndexKey;
    use crate::proto::key::Key;
    use crate::proto::object::Object;
    use crate::proto::object::Stamp;

    #[test]
    fn a_word_is_read_as_it_was_said_and_no_other_is() {
        let place = IndexKey::new(BucketId(7), &Key::new(b"k".to_vec()).unwrap());
        let object = Object::default();
        let ask = Ask::Merge { place: Place::from(&place), object: Sealed::of(&place, &object), round: 3 };
        let question = Question { epoch: 1, view: 2, steady_ms: 3, left_ms: 4, floor: 5, stamp: 6, ask };
        let bytes = question.encode();
        assert_eq!(Question::decode(&bytes), Ok(question.clone()));
        assert_eq!(question.partition(), Some(place.partition()));
        assert!(Answer::decode(&bytes).is_err(), "a question is no answer");
        let Ask::Merge { object: sealed, .. } = &question.ask else { unreachable!() };
        assert_eq!(sealed.open(&place), Ok(object));
        let other = IndexKey::new(BucketId(8), &Key::new(b"k".to_vec()).unwrap());
        assert!(sealed.open(&other).is_err(), "sealed for its place");
        let answer =
            Answer { view: 1, steady_ms: 2, standing: None, floor: 3, purged: None, stamp: 4, tell: Tell::Received };
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        let asked = Question { ask: Ask::Where { place: Place::from(&place) }, ..question };
        assert_eq!(asked.partition(), Some(place.partition()));
        assert_eq!(Question::decode(&asked.encode()), Ok(asked));
        let told = Tell::Where(Holding::Object { digest: 1, size: 2, values: 3 });
        let answer =
            Answer { view: 1, steady_ms: 2, standing: None, floor: 3, purged: Some(Stamp(4)), stamp: 5, tell: told };
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        for cut in 0..bytes.len() {
            assert!(Question::decode(&bytes[..cut]).is_err());
        }
    }
}
