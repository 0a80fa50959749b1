//! Parts that a drill turns off as long as its file says so, to see what they cost: `no-box` the black box, `no-recorder` the
//! flight recorder.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

static NO_BOX: AtomicBool = AtomicBool::new(false);
static NO_RECORDER: AtomicBool = AtomicBool::new(false);

/// Turns off what these words name, and all else on.
pub(super) fn look(text: &str) {
    let is_named = |word: &str| text.split_whitespace().any(|said| said == word);
    if NO_BOX.swap(is_named("no-box"), Ordering::Relaxed) != is_named("no-box") {
        let turned = if is_named("no-box") { "off" } else { "on" };
        tracing::warn!("a drill turned the black box {turned}");
    }
    if NO_RECORDER.swap(is_named("no-recorder"), Ordering::Relaxed) != is_named("no-recorder") {
        let turned = if is_named("no-recorder") { "off" } else { "on" };
        tracing::warn!("a drill turned the flight recorder {turned}");
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
