//! Which life of a peer is spoken with. Of a directory that was copied, or put back from an older copy, two machines can
//! show one number; nobody may count both as one owner or one voter. The one that was started more often is spoken with,
//! and every node decides that alike; the other is refused as long as that one was heard lately.

use tokio::sync::watch;

use crate::net::wire::hello::Life;

/// The life that counts; none before the first connection.
#[derive(Debug)]
pub(super) struct Lives(watch::Sender<Option<Life>>);

impl Default for Lives {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Lives {
    /// The life that counts.
    pub(super) fn counts(&self) -> Option<Life> {
        *self.0.borrow()
    }

    /// Whether a connection of this life may be. A life that counts from now on ends the connections of the one before.
    pub(super) fn admit(&self, life: Option<Life>, is_silent: impl FnOnce() -> bool) -> bool {
        // Of a release that does not say.
        let Some(life) = life else { return true };
        let mut is_admitted = true;
        self.0.send_if_modified(|counts| {
            is_admitted = counts.is_none_or(|counts| counts <= life) || is_silent();
            let changes = is_admitted && *counts != Some(life);
            if changes {
                *counts = Some(life);
            }
            changes
        });
        is_admitted
    }

    /// Returns once another life counts than that of this connection.
    pub(super) async fn end(&self, of: Option<Life>) {
        let Some(life) = of else { return std::future::pending().await };
        let mut counts = self.0.subscribe();
        // The sender lives as long as the peer.
        let _other = counts.wait_for(|counts| *counts != Some(life)).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::Lives;
    use crate::net::wire::hello::Life;

    #[test]
    fn the_later_life_counts_as_long_as_it_is_heard() {
        let lives = Lives::default();
        let life = |start, draw| Some(Life { start, draw });
        assert!(lives.admit(life(3, 9), || false) && lives.admit(life(3, 9), || false));
        assert!(lives.end(life(3, 9)).now_or_never().is_none());
        assert!(!lives.admit(life(2, 99), || false) && !lives.admit(life(3, 8), || false));
        assert!(lives.end(life(3, 9)).now_or_never().is_none(), "who is refused ends nothing");
        assert!(lives.admit(None, || false) && lives.end(None).now_or_never().is_none());
        assert!(lives.admit(life(4, 1), || false) && lives.end(life(3, 9)).now_or_never().is_some());
        assert!(!lives.admit(life(3, 9), || false) && lives.admit(life(3, 9), || true));
        assert!(lives.end(life(4, 1)).now_or_never().is_some());
    }
}
