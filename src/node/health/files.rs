//! Single files that are taken away under a running node. It still has what is in them for as long as it runs.

use std::sync::PoisonError;

use crate::node::Node;
use crate::node::worker;
use crate::proto::alarm::Finding;
use crate::proto::alarm::Subject;
use crate::proto::alarm::code::Code;
use crate::store::roots::Taken;

impl Node {
    pub(super) async fn look_at_files(&self) {
        let node = self.clone();
        let looked = worker::block("looking for its files", move || {
            let (store, journal) = (&node.0.store, node.0.data_dir.join("journal"));
            let mut files = node.0.files.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(files.taken(|| store.files(&journal)))
        });
        let taken = match looked.await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(%error, "whether the files of this node are there cannot be seen");
                return;
            }
        };
        let mut health = self.0.health.write().unwrap_or_else(PoisonError::into_inner);
        if taken != health.taken {
            tracing::error!(?taken, "whether the files of this node are there changed");
            health.taken = taken;
            self.0.store.set_adrift(health.keeps_nothing());
            drop(health);
            // What the index has proven, the next start needs no segment for.
            self.0.store.progress().settle();
        }
    }

    /// A file that is gone while the directories are there.
    pub(in crate::node) fn file_taken(&self) -> Option<Finding> {
        let health = self.health();
        if health.gone.is_some() {
            return None;
        }
        let has_others = self.state().layout.has_others(self.who().node);
        let gone = match has_others {
            true => {
                "If it is gone, leave this node running until all others are up and nothing else is wrong, then restart it \
                 and stop no other one meanwhile: it fetches from them what it lost."
            }
            false => {
                "If it is gone, save what is stored with `ringfort export` before this node is stopped: no other one has it, \
                 and its next start goes on without that file only after `ringfort doctor --accept-loss`."
            }
        };
        let cause = match health.taken? {
            Taken::Journal(path) => format!(
                "{} was removed or renamed while the node runs: what only that file holds on this machine is lost to it when \
                 this process ends; copies on other machines are whole. New writes are refused here.",
                path.display()
            ),
            Taken::Index(path) => format!(
                "{} was removed or renamed while the node runs: what is in it can be read here only where this process has it \
                 open, and is refused otherwise; copies on other machines are whole. All else goes on.",
                path.display()
            ),
        };
        let to_do = format!("If it was renamed, put it back. {gone}");
        Some(Finding::new(Code::FilesGone, Subject::Node(self.who().node), cause, to_do))
    }
}
