//! Parts that a drill turns off as long as its file says so, to see what they cost and what comes without them: `no-box` the
//! black box, `no-recorder` the flight recorder, `no-seats` the looks at who should vote.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

static NO_BOX: AtomicBool = AtomicBool::new(false);
static NO_RECORDER: AtomicBool = AtomicBool::new(false);
static NO_SEATS: AtomicBool = AtomicBool::new(false);

/// Turns off what these words name, and all else on.
pub(super) fn look(text: &str) {
    let parts = [
        ("no-box", "the black box", &NO_BOX),
        ("no-recorder", "the flight recorder", &NO_RECORDER),
        ("no-seats", "the looks at who should vote", &NO_SEATS),
    ];
    for (word, part, is_off) in parts {
        let named = text.split_whitespace().any(|said| said == word);
        if is_off.swap(named, Ordering::Relaxed) != named {
            tracing::warn!("a drill turned {part} {}", if named { "off" } else { "on" });
        }
    }
}

/// Whether nothing is sent to those who keep this node's books, and no figures are looked at.
#[must_use]
pub fn the_box() -> bool {
    NO_BOX.load(Ordering::Relaxed)
}

/// Whether no tape is made of requests.
#[must_use]
pub fn the_recorder() -> bool {
    NO_RECORDER.load(Ordering::Relaxed)
}

/// Whether nobody brings it about that others vote.
#[must_use]
pub fn the_seats() -> bool {
    NO_SEATS.load(Ordering::Relaxed)
}
