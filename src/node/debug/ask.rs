//! Any node answers for all: it asks every other one at once, and names those who did not answer.

use futures_util::future;

use crate::base::id::NodeId;
use crate::base::limits::DIAGNOSIS_BUDGET;
use crate::base::time;
use crate::node::Node;
use crate::node::cluster::Lane;
use crate::node::cluster::NotAnswered;
use crate::proto::control::members::MemberState;
use crate::proto::diagnosis::Found;
use crate::proto::diagnosis::Wish;
use crate::proto::message::Answer;
use crate::proto::message::Ask;
use crate::proto::message::Question;
use crate::proto::message::Tell;

/// What one node said, or why it said nothing.
pub struct Said {
    /// The node.
    pub node: NodeId,
    /// What it found; where it said nothing, why, for people.
    pub found: Result<Found, &'static str>,
}

impl Node {
    /// Asks all nodes of the cluster, this one too; in order of their numbers, within [`DIAGNOSIS_BUDGET`].
    pub(in crate::node) async fn ask_all(&self, wish: &Wish) -> Vec<Said> {
        let state = self.state();
        let members = state.members.iter().filter(|(_, member)| member.state != MemberState::Removed);
        let asked =
            members.map(|(node, _)| async move { Said { node: *node, found: self.ask_one(*node, wish).await } });
        future::join_all(asked).await
    }

    /// Asks one node, which may be this one.
    ///
    /// # Errors
    /// Why there is no answer, for people.
    pub(in crate::node) async fn ask_one(&self, node: NodeId, wish: &Wish) -> Result<Found, &'static str> {
        if node == self.who().node {
            return Ok(self.find(node, wish.clone()).await);
        }
        let (steady_ms, left_ms) = (time::steady_ms().0, time::millis(DIAGNOSIS_BUDGET));
        let ask = Ask::Diagnosis(Box::new(wish.clone()));
        let stamp = self.stamp();
        let body = Question { epoch: 0, view: 0, steady_ms, left_ms, floor: 0, stamp, ask }.encode();
        let asking = self.ask(node, Lane::Bulk, body, DIAGNOSIS_BUDGET);
        match tokio::time::timeout(DIAGNOSIS_BUDGET, asking).await.unwrap_or(Err(NotAnswered::Silent)) {
            Ok(Answer { tell: Tell::Diagnosis(found), .. }) => Ok(*found),
            Ok(_) => Err("its answer is not understood"),
            Err(NotAnswered::NotSent) => Err("there is no connection to it"),
            Err(NotAnswered::Silent) => Err("it did not answer in time"),
        }
    }

    /// Answers a node that asks, in every state: what went wrong is asked when something is wrong.
    pub(in crate::node) async fn find(&self, from: NodeId, wish: Wish) -> Found {
        match wish {
            Wish::Crashes => self.find_crashes().await,
            Wish::Crash { id } => self.find_crash(&id).await,
            Wish::KeepCrash(report) => self.keep_crash(from, &report.0).await,
            Wish::Inside => self.tell_inside().await,
            Wish::Lines(wish) => self.find_lines(*wish).await,
            Wish::BookEnd { book } => self.box_end(from, book).await,
            Wish::KeepLines { book, lines } => self.keep_lines(from, book, lines).await,
            Wish::SetLevel { target, level, for_ms } => self.set_level_here(&target, level, for_ms),
            Wish::Alarms => self.alarms_to_tell(),
            Wish::BookTail { of, book, lines_max } => self.book_tail(of, &book, lines_max).await,
            Wish::FindCrashes(search) => self.search_crashes(&search).await,
            Wish::Boxes => self.tell_boxes().await,
            Wish::Timeline { of, since_ms, until_ms } => self.changes_to_tell(of, since_ms, until_ms).await,
        }
    }
}
