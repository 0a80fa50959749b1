//! Who asks most of this node: counted at the gate, told where the node has too much to do, and shown with what runs inside it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use serde::Deserialize;
use serde::Serialize;

use crate::base::limits::ASKERS_MIN;
use crate::base::limits::ASKERS_SAMPLED;
use crate::base::limits::ASKERS_SHOWN;
use crate::base::limits::ASKERS_TOLD_PERCENT;
use crate::base::limits::ASKERS_WINDOW;
use crate::base::time;
use crate::node::Node;
use crate::node::access::Caller;
use crate::proto::askers::Asker;
use crate::proto::askers::Askers;
use crate::proto::askers::Lately;

/// What was counted.
#[derive(Default)]
pub struct Counted {
    requests: AtomicU64,
    askers: Mutex<Askers>,
}

/// Somebody who asked much in the last minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskerView {
    /// The address; `local` through the control socket.
    pub from: String,
    /// The token's or user's name.
    pub name: String,
    /// Requests, about.
    pub requests: u64,
    /// Of a hundred.
    pub percent: u64,
}

impl Node {
    /// Somebody asks for values.
    pub fn note_asker(&self, caller: &Caller) {
        let counted = &self.0.askers;
        // Whoever asks much is met often enough; the others pay nothing.
        if !counted.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(ASKERS_SAMPLED) {
            return;
        }
        let asker = Asker { from: caller.from.map(|from| from.to_canonical()), name: caller.name.clone() };
        counted.askers.lock().unwrap_or_else(PoisonError::into_inner).note(asker, time::steady_ms().0);
    }

    /// Who asked most in the last minute, where that is something to speak of.
    pub(super) fn askers(&self) -> Vec<AskerView> {
        let mut askers = self.0.askers.askers.lock().unwrap_or_else(PoisonError::into_inner);
        let Lately { all, most } = askers.lately(ASKERS_SHOWN, time::steady_ms().0);
        if all.saturating_mul(ASKERS_SAMPLED) < ASKERS_MIN {
            return Vec::new();
        }
        let view = |(asker, count): (Asker, u64)| AskerView {
            from: asker.from.map_or_else(|| "local".to_owned(), |from| from.to_string()),
            name: asker.name.to_string(),
            requests: count.saturating_mul(ASKERS_SAMPLED),
            percent: count.saturating_mul(100) / all.max(1),
        };
        most.into_iter().map(view).collect()
    }

    /// Behind the words about a node that has too much to do.
    pub(super) fn who_asks_most(&self) -> String {
        self.askers().first().filter(|most| most.percent >= ASKERS_TOLD_PERCENT).map_or_else(String::new, in_words)
    }
}

fn in_words(most: &AskerView) -> String {
    let AskerView { from, name, requests, percent } = most;
    let per_s = requests / ASKERS_WINDOW.as_secs();
    format!(
        " Of what devices ask of it, {percent} % came from one address in the last minute: {from}, as `{name}`, {per_s} requests a \
         second."
    )
}

#[cfg(test)]
mod tests {
    use super::AskerView;
    use super::in_words;

    #[test]
    fn who_asks_most_is_said_with_the_rate() {
        let most = AskerView { from: "10.0.0.7".into(), name: "meters".into(), requests: 90_000, percent: 93 };
        let words = " Of what devices ask of it, 93 % came from one address in the last minute: 10.0.0.7, as `meters`, 1500 requests a second.";
        assert_eq!(in_words(&most), words);
    }
}
