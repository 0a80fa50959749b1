//! What the storage engine says by way of `log`: its first error is said there and nowhere else, and what comes after it is only
//! that it is poisoned.

use std::sync::Mutex;
use std::sync::Once;
use std::sync::PoisonError;

use log::Level;
use log::LevelFilter;
use log::Log;
use log::Metadata;
use log::Record;

/// Who is listened to. Others have their own way to be heard, or say things to which strangers bring them.
const SPEAKERS: [&str; 2] = ["fjall", "lsm_tree"];

/// The first error since the process began.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

struct Voice;

impl Log for Voice {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let first = metadata.target().split("::").next();
        metadata.level() <= Level::Warn && SPEAKERS.iter().any(|speaker| first == Some(*speaker))
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (from, said) = (record.target(), record.args());
        if record.level() == Level::Error {
            tracing::error!(from, "the storage engine: {said}");
            let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| said.to_string());
        } else {
            tracing::warn!(from, "the storage engine: {said}");
        }
    }

    fn flush(&self) {}
}

/// Hears the engine from now on.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Where somebody else listens, it is heard there.
        if log::set_logger(&Voice).is_ok() {
            log::set_max_level(LevelFilter::Warn);
        }
    });
}

/// The first error that it told.
#[must_use]
pub fn first_error() -> Option<String> {
    FIRST.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(test)]
mod tests {
    use super::first_error;
    use super::listen;

    #[test]
    fn the_first_error_of_the_engine_is_kept_and_nobody_else_is_heard() {
        listen();
        log::error!(target: "rustls::conn", "a stranger knocked");
        log::warn!(target: "fjall::compaction", "this takes long");
        assert_eq!(first_error(), None);
        log::error!(target: "fjall::worker_pool", "Worker #0 crashed: Io(Input/output error)");
        log::error!(target: "lsm_tree", "and then");
        assert_eq!(first_error().as_deref(), Some("Worker #0 crashed: Io(Input/output error)"));
    }
}
