//! A task that fails as long as the drill's file says `panic-kept`: to see at work what starts it again, and what takes
//! over where that does not help.

use std::path::PathBuf;

use crate::base::limits::CUT_FILE_EVERY;
use crate::node::drill::CUT_FILE;
use crate::node::drill::read;
use crate::node::worker;

/// The word.
const WORD: &str = "panic-kept";

/// Begins to look at the file, where one is named.
pub fn begin() {
    let Some(path) = std::env::var_os(CUT_FILE).map(PathBuf::from) else { return };
    worker::keep("drilled", move || fail_on_order(path.clone()));
}

#[expect(clippy::panic, reason = "a drill: this is what it is for")]
async fn fail_on_order(path: PathBuf) {
    loop {
        if read(&path).split_whitespace().any(|word| word == WORD) {
            panic!("a drill made this task fail");
        }
        tokio::time::sleep(CUT_FILE_EVERY).await;
    }
}
