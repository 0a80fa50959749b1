//! A drill: lanes of a running node that are cut, and messages that are lost, as long as a file says so; and failures for
//! real, one for each time that a word for it appears there. Only where an environment variable says which file; for tests
//! and for operators who want to see what a cluster does.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::id::NodeId;
use crate::base::limits::CUT_FILE_BYTES_MAX;
use crate::base::limits::CUT_FILE_EVERY;
use crate::base::time;
use crate::net::peer::Peers;
use crate::net::wire::Lane;
use crate::node::worker;

mod fail;
pub mod kept;
pub mod spare;

pub use fail::meet_body;
pub use fail::meet_feed;
pub use fail::meet_request;

/// Names the file.
pub const CUT_FILE: &str = "RINGFORT_TEST_CUT_FILE";

/// Lines of a storm between two looks at the clock: a hundred looks a second at the most that tests ask for.
const STORM_AT_ONCE: u32 = 1000;

/// Begins to look at the file, where one is named: what it lists (`control`, `gossip`, `requests`, `bulk`, between blanks)
/// is cut for all other nodes, with `loss=50` half of all messages that come is lost, and with `storm=1000` so many lines a second are
/// logged, and with `no-box`, `no-recorder` and `no-seats` (see `spare`) what they name is off; without the file nothing is. `abort@2` and other such words make node 2 fail, see `fail`; with `@2` each of the others is for node 2 only as well.
pub fn begin(peers: &Peers, node: NodeId) {
    let Some(path) = std::env::var_os(CUT_FILE).map(PathBuf::from) else { return };
    tracing::error!(
        path = %path.display(),
        "{CUT_FILE} is set: lanes to other nodes are cut and messages lost as this file says; unset it on a machine that \
         is to serve"
    );
    let peers = peers.clone();
    worker::keep("drill", move || follow(peers.clone(), node, path.clone()));
}

async fn follow(peers: Peers, node: NodeId, path: PathBuf) {
    let (mut cut, mut lost) = (BTreeSet::new(), 0);
    let mut failures = fail::Failures::begin(&read(&path), node);
    loop {
        let text = read(&path);
        failures.look(&text);
        let text = said_to(node, &text);
        spare::look(&text);
        let lines = number_of(&text, "storm=");
        let storm = tokio::task::spawn_blocking(move || storm(lines));
        let (wanted, loss) = (listed(&text), loss_of(&text));
        if loss != lost {
            tracing::warn!(percent = loss, "a drill changed how many messages are lost");
            peers.lose(loss);
            lost = loss;
        }
        for lane in Lane::ALL {
            let name = lane.name();
            if wanted.contains(name) != cut.contains(name) {
                tracing::warn!(lane = name, cut = wanted.contains(name), "a drill changed a lane");
                peers.cut(Some(lane), None, wanted.contains(name));
            }
        }
        cut = wanted;
        tokio::time::sleep(CUT_FILE_EVERY).await;
        let _ended = storm.await;
    }
}

/// Words for a node: those for every one, and those that end with its number.
fn said_to(node: NodeId, text: &str) -> String {
    let words = text.split_whitespace().filter_map(|word| match word.split_once('@') {
        Some((word, number)) => (number == node.to_string()).then_some(word),
        None => Some(word),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Lanes that a text names; other words are passed over.
fn listed(text: &str) -> BTreeSet<&'static str> {
    let named = |lane: &Lane| text.split_whitespace().any(|word| word == lane.name());
    Lane::ALL.into_iter().filter(named).map(Lane::name).collect()
}

/// Logs for a tenth of a second, so many lines a second, from several places: what one that has gone wrong does.
fn storm(lines_per_s: u32) {
    let begun = time::mono();
    for line in 0..lines_per_s / 10 {
        // As evenly as whoever fails at each request would.
        if line % STORM_AT_ONCE == 0 {
            let due = Duration::from_secs(1) * line / lines_per_s;
            std::thread::park_timeout(due.saturating_sub(begun.elapsed()));
        }
        match line % 4 {
            0 => tracing::info!(line, "a storm of lines"),
            1 => tracing::warn!(line, "a storm of lines, in another place"),
            2 => tracing::info!(line, what = "where", "a storm of lines from a third one"),
            _ => tracing::info!("a storm of lines from a fourth one"),
        }
    }
}

/// The number behind a word, 0 where it is not there.
fn number_of(text: &str, word: &str) -> u32 {
    let said = text.split_whitespace().find_map(|given| given.strip_prefix(word));
    said.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// How many of a hundred messages a text says are lost.
fn loss_of(text: &str) -> u8 {
    let said = text.split_whitespace().find_map(|word| word.strip_prefix("loss="));
    said.and_then(|percent| percent.parse().ok()).unwrap_or(0)
}

fn read(path: &Path) -> String {
    let mut text = Vec::new();
    let file = std::fs::File::open(path);
    // What cannot be read names nothing.
    let _read = file.and_then(|file| file.take(CUT_FILE_BYTES_MAX).read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::listed;
    use super::loss_of;
    use super::number_of;
    use super::read;
    use super::said_to;
    use crate::base::id::NodeId;

    #[test]
    fn only_lanes_that_are_named_are_cut() {
        assert_eq!(listed(""), BTreeSet::new());
        assert_eq!(listed("bulk\n control\tcontrols x\n"), BTreeSet::from(["bulk", "control"]));
        assert_eq!(["", "loss=x", "bulk loss=50", "loss=300"].map(loss_of), [0, 0, 50, 0]);
        assert_eq!(["", "storm=x", "bulk storm=5 loss=1"].map(|text| number_of(text, "storm=")), [0, 0, 5]);
        assert_eq!(said_to(NodeId(2), "bulk loss=5@2 gossip@12 storm=3@1 control@2"), "bulk loss=5 control");
        assert_eq!(read(std::path::Path::new("/nothing/here")), "");
    }
}
