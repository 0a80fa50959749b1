//! A question that waits for its answer. Dropped, it is forgotten.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::net::peer::CallError;
use crate::net::peer::Peer;
use crate::net::peer::lane::Answer;
use crate::net::wire::Lane;

pub(super) struct Asked {
    answer: oneshot::Receiver<Answer>,
    entry: Entry,
}

/// Its place among those that wait.
struct Entry {
    peer: Arc<Peer>,
    lane: Lane,
    id: u64,
    is_ended: bool,
}

impl Asked {
    pub(super) fn new(peer: Arc<Peer>, lane: Lane, id: u64, answer: oneshot::Receiver<Answer>) -> Self {
        Self { answer, entry: Entry { peer, lane, id, is_ended: false } }
    }

    pub(super) async fn wait(mut self, within: Duration) -> Answer {
        let Ok(answer) = tokio::time::timeout(within, &mut self.answer).await else {
            return Err(CallError::TimedOut);
        };
        self.entry.is_ended = true;
        // Whoever ends a question says how.
        answer.unwrap_or(Err(CallError::Lost))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.is_ended {
            self.peer.out.of(self.lane).forget_call(self.id);
        }
    }
}
