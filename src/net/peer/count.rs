//! What a node counts of its peers and of those who would be: for metrics and for support.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::net::wire::FrameError;

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    /// Callers that did not speak our TLS.
    HandshakeFailed,
    /// Callers whose certificate does not hold.
    BadCertificate,
    /// Callers that were too slow to say who they are and what they want.
    ArrivalTimedOut,
    /// Callers that had to make room for others before they were known.
    CrowdedOut,
    /// Frames that came before the first words.
    BeforeHello,
    /// Callers without a certificate that wanted more than to join.
    NotAuthenticated,
    /// Callers of versions or features that do not go together with ours.
    VersionRefused,
    /// Nodes that are not members here, or not any more.
    NotAdmitted,
    /// Nodes with this node's number.
    SameNode,
    /// Connections of a node of which a later life is there.
    EarlierLife,
    /// Dialled addresses where somebody else was.
    WrongNode,
    /// Dialled nodes that refused.
    RefusedByPeer,
    /// Frames longer than they may be.
    FrameTooLong,
    /// Frames of another layout or kind.
    FrameUnknown,
    /// Frames that broke off.
    FrameTruncated,
    /// Frames that were spoilt.
    FrameSpoilt,
    /// Frames that had no business where they came.
    FrameUnexpected,
    /// Guests that were answered.
    GuestAnswered,
    /// Guests that were not, because of too many.
    GuestBusy,
    /// Questions refused because of too many.
    QuestionBusy,
    /// Questions and messages whose handling failed.
    HandlerFailed,
    /// Answers to questions that nobody waits for any more.
    AnswerLate,
    /// Questions of ours that were not answered in time.
    CallTimedOut,
    /// Frames of gossip dropped for newer ones.
    GossipDropped,
    /// Frames not taken because of a full queue.
    QueueFull,
    /// Connections to peers that were made.
    Connected,
    /// Connections from or to peers that were silent for too long.
    FellSilent,
}

impl Count {
    /// All of them with their names in metrics, in order.
    pub const ALL: [(Self, &'static str); 27] = [
        (Self::HandshakeFailed, "handshake_failed"),
        (Self::BadCertificate, "bad_certificate"),
        (Self::ArrivalTimedOut, "arrival_timed_out"),
        (Self::CrowdedOut, "crowded_out"),
        (Self::BeforeHello, "before_hello"),
        (Self::NotAuthenticated, "not_authenticated"),
        (Self::VersionRefused, "version_refused"),
        (Self::NotAdmitted, "not_admitted"),
        (Self::SameNode, "same_node"),
        (Self::EarlierLife, "earlier_life"),
        (Self::WrongNode, "wrong_node"),
        (Self::RefusedByPeer, "refused_by_peer"),
        (Self::FrameTooLong, "frame_too_long"),
        (Self::FrameUnknown, "frame_unknown"),
        (Self::FrameTruncated, "frame_truncated"),
        (Self::FrameSpoilt, "frame_spoilt"),
        (Self::FrameUnexpected, "frame_unexpected"),
        (Self::GuestAnswered, "guest_answered"),
        (Self::GuestBusy, "guest_busy"),
        (Self::QuestionBusy, "question_busy"),
        (Self::HandlerFailed, "handler_failed"),
        (Self::AnswerLate, "answer_late"),
        (Self::CallTimedOut, "call_timed_out"),
        (Self::GossipDropped, "gossip_dropped"),
        (Self::QueueFull, "queue_full"),
        (Self::Connected, "connected"),
        (Self::FellSilent, "fell_silent"),
    ];
}

impl From<FrameError> for Count {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLong { .. } => Self::FrameTooLong,
            FrameError::UnknownVersion(_) | FrameError::UnknownKind(_) => Self::FrameUnknown,
            FrameError::Truncated => Self::FrameTruncated,
            FrameError::Empty | FrameError::TooShort | FrameError::Checksum | FrameError::Hello => Self::FrameSpoilt,
            FrameError::Unexpected => Self::FrameUnexpected,
        }
    }
}

/// How often each happened since the start.
#[derive(Debug)]
pub struct Counters([AtomicU64; Count::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self(core::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Counters {
    /// It happened.
    pub(super) fn add(&self, count: Count) {
        self.add_all(count, 1);
    }

    /// It happened this often.
    pub(super) fn add_all(&self, count: Count, times: usize) {
        if let Some(counter) = self.0.get(count as usize) {
            counter.fetch_add(u64::try_from(times).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// How often.
    #[must_use]
    pub fn get(&self, count: Count) -> u64 {
        self.0.get(count as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// All by name.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Count::ALL.into_iter().map(|(count, name)| (name, self.get(count)))
    }
}

#[cfg(test)]
mod tests {
    use super::Count;
    use super::Counters;

    #[test]
    fn every_count_has_a_place_of_its_own() {
        let counters = Counters::default();
        for (at, (count, _)) in Count::ALL.into_iter().enumerate() {
            counters.add_all(count, at + 1);
        }
        let figures: Vec<u64> = counters.all().map(|(_, figure)| figure).collect();
        assert_eq!(figures, (1..=27).collect::<Vec<u64>>());
    }
}
