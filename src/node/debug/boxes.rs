//! Whose books this node keeps, and who keeps those of a node: how much it is, how much it may be, and how new.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::base::limits::BOX_BYTES_MAX;
use crate::base::limits::BOXES_MAX;
use crate::base::time;
use crate::node::Node;
use crate::node::debug::blackbox::BOOKS;
use crate::node::debug::blackbox::PEERS_DIR;
use crate::node::debug::logs;
use crate::node::worker;
use crate::proto::diagnosis::Found;
use crate::proto::diagnosis::Wish;
use crate::proto::logline;
use crate::store::crashes::Crashes;

/// What one node keeps of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Whose it is.
    pub of: NodeId,
    /// Bytes of its books and crash reports.
    pub bytes: u64,
    /// How many there may be.
    pub bytes_max: u64,
    /// When the newest line was said; null where there is none.
    pub newest: Option<String>,
}

/// The same, with who keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptView {
    /// The one that is meant: who keeps it, or whose it is.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Bytes of books and crash reports.
    pub bytes: u64,
    /// How many there may be.
    pub bytes_max: u64,
    /// When the newest line was said; null where there is none.
    pub newest: Option<String>,
}

/// The boxes that a node has to do with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct BoxesView {
    /// Who keeps its books, as far as they answer.
    pub kept_by: Vec<KeptView>,
    /// Whose books it keeps; none where it does not answer.
    pub keeps: Vec<KeptView>,
}

impl Node {
    /// For another node: whose books are kept here.
    pub(super) async fn tell_boxes(&self) -> Found {
        let (peers, crashes) = (self.blackbox_dir().join(PEERS_DIR), Crashes::of(&self.0.data_dir));
        let looked = worker::block("looking at black boxes", move || Ok(kept_in(&peers, &crashes)));
        let kept = looked.await.unwrap_or_default();
        Found::Boxes(kept.iter().filter_map(|kept| Some(Blob(serde_json::to_vec(kept).ok()?.into()))).collect())
    }

    /// Who keeps the books of a node, and whose it keeps.
    pub async fn boxes_of(&self, node: NodeId) -> BoxesView {
        let names = self.node_names();
        let name = |of: NodeId| names.get(&of).cloned().unwrap_or_else(|| format!("node {of}"));
        let view = |about: NodeId, kept: Kept| KeptView {
            node: about,
            name: name(about),
            bytes: kept.bytes,
            bytes_max: kept.bytes_max,
            newest: kept.newest,
        };
        let mut boxes = BoxesView::default();
        for said in self.ask_all(&Wish::Boxes).await {
            let Ok(Found::Boxes(told)) = said.found else { continue };
            for kept in told.iter().take(2 * BOXES_MAX).filter_map(|kept| serde_json::from_slice::<Kept>(&kept.0).ok())
            {
                if said.node == node {
                    boxes.keeps.push(view(kept.of, kept));
                } else if kept.of == node {
                    boxes.kept_by.push(view(said.node, kept));
                }
            }
        }
        boxes
    }
}

fn kept_in(peers: &Path, crashes: &Crashes) -> Vec<Kept> {
    let all = fs::read_dir(peers).into_iter().flatten().flatten();
    let nodes = all.filter_map(|entry| Some((NodeId(entry.file_name().to_str()?.parse().ok()?), entry.path())));
    let mut kept: Vec<Kept> = nodes
        .map(|(of, dir)| {
            let books = BOOKS.map(|book| dir.join(book));
            let last = |book: &std::path::PathBuf| {
                let tail = logs::reader(book.clone()).tail(1).ok()?;
                tail.first().and_then(|line| logline::head(&line.bytes)).map(|head| head.key.stamp)
            };
            Kept {
                of,
                bytes: books.iter().map(|book| bytes_in(book)).sum::<u64>() + crashes.bytes_of(of),
                bytes_max: BOX_BYTES_MAX,
                newest: books.iter().filter_map(last).max().map(|stamp| time::rfc3339(stamp.ms())),
            }
        })
        .collect();
    kept.sort_by_key(|kept| kept.of);
    kept
}

/// Bytes of the files in a directory.
fn bytes_in(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::kept_in;
    use crate::base::id::NodeId;
    use crate::base::limits::BOX_BYTES_MAX;
    use crate::proto::logline::stamp::Stamp;
    use crate::store::crashes::Crashes;

    #[test]
    fn a_box_is_as_large_as_all_that_is_in_it_and_as_new_as_its_newest_line() {
        let dir = tempfile::tempdir().unwrap();
        let peers = dir.path().join("peers");
        let line = |ms| {
            let stamp = Stamp::of_ms(ms);
            format!("{{\"stamp\":\"{stamp}\",\"node\":3,\"n\":1,\"level\":\"info\",\"target\":\"t\"}}\n")
        };
        for (book, ms) in [("log", 1000), ("figures", 5000)] {
            fs::create_dir_all(peers.join("3").join(book)).unwrap();
            fs::write(peers.join("3").join(book).join("00000000000000000000.log"), line(ms)).unwrap();
        }
        fs::create_dir_all(peers.join("7")).unwrap();
        fs::create_dir_all(peers.join("no-node")).unwrap();
        let kept = kept_in(&peers, &Crashes::of(dir.path()));
        assert_eq!(kept.iter().map(|kept| kept.of).collect::<Vec<_>>(), [NodeId(3), NodeId(7)]);
        assert_eq!((kept[0].bytes, kept[0].bytes_max), (2 * line(1).len() as u64, BOX_BYTES_MAX));
        assert_eq!(kept[0].newest.as_deref(), Some("1970-01-01T00:00:05.000Z"));
        assert_eq!((kept[1].bytes, kept[1].newest.as_deref()), (0, None));
        assert_eq!(kept_in(&dir.path().join("none"), &Crashes::of(dir.path())), []);
    }
}
