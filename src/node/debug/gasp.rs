//! Last words: a process that is about to end itself tells its peers why, within a fixed short time, and ends then whether
//! anybody heard it or not. And what this node knows of why another one is down: its last words, the report about its end,
//! or that it vanished without either.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::thread;

use crate::base::flight::cut;
use crate::base::id::NodeId;
use crate::base::limits::LAST_WORDS;
use crate::base::limits::LAST_WORDS_BYTES_MAX;
use crate::base::time;
use crate::node::Node;
use crate::node::cluster::now_ms;
use crate::proto::crash;
use crate::proto::member::view::Seen;
use crate::proto::member::view::Status;
use crate::proto::message::Word;

/// How much earlier than the last sign of life last words may come: those travel on different lanes. Less than any restart
/// takes, so that they are not taken for those of the next life.
const ORDER_SLACK_MS: u64 = 300;

static SPEAKER: OnceLock<Node> = OnceLock::new();

/// From now on this node is the one that speaks.
pub fn speaks(node: &Node) {
    let _first_counts = SPEAKER.set(node.clone());
}

/// Tells all peers why this process ends. Returns after [`LAST_WORDS`], whatever happens meanwhile: it says so on a thread of
/// its own, which may hang at a lock without keeping anybody from ending the process.
pub fn last_words(reason: &str) {
    let (Some(node), reason) = (SPEAKER.get(), cut(reason.to_owned(), LAST_WORDS_BYTES_MAX)) else { return };
    let (never, silent) = mpsc::sync_channel::<()>(1);
    let said = thread::Builder::new().name("last-words".to_owned()).spawn(move || {
        let (word, heirs) = (Word::LastWords { reason }, node.heirs());
        let is_heard = !heirs.is_empty();
        heirs.into_iter().for_each(|peer| node.say(peer, &word));
        if is_heard {
            // What was said is written by the runtime meanwhile.
            thread::park();
        }
        drop(never);
    });
    if said.is_ok() {
        let _time_is_over = silent.recv_timeout(LAST_WORDS);
    }
}

/// What is known of how other nodes ended.
#[derive(Debug, Default)]
pub struct Ends(Mutex<BTreeMap<NodeId, End>>);

#[derive(Debug, Clone)]
struct End {
    /// On this node's steady clock: signs of life from later on are of another life.
    until_ms: u64,
    text: String,
    /// It serves its rescue console from then on.
    rescue: bool,
}

impl Ends {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, End>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, node: NodeId, slack_ms: u64, text: String, rescue: bool) {
        self.lock().insert(node, End { until_ms: now_ms() + slack_ms, text, rescue });
    }
}

impl Node {
    /// Another node says why it ends.
    pub(in crate::node) fn hear_last_words(&self, from: NodeId, reason: String) {
        if self.state().member(from).is_none() {
            return;
        }
        let reason = crash::line(reason, LAST_WORDS_BYTES_MAX);
        tracing::warn!(%from, reason, "a node ends itself, and says why");
        self.0.ends.note(from, ORDER_SLACK_MS, format!("ended itself and said why: {reason}"), false);
    }

    /// A report came about its end.
    pub(in crate::node) fn note_end(&self, node: NodeId, reason: &str, rescue: bool) {
        self.0.ends.note(node, 0, format!("failed: {reason}"), rescue);
    }

    /// How a node that is down ended, where it said so itself or a report did.
    pub(in crate::node) fn end_told(&self, node: NodeId, seen: &Seen) -> Option<String> {
        self.end_of(node, seen).map(|end| end.text)
    }

    /// Whether a node that is down serves its rescue console, as its last report says.
    pub(in crate::node) fn is_rescued(&self, node: NodeId, seen: &Seen) -> bool {
        self.end_of(node, seen).is_some_and(|end| end.rescue)
    }

    fn end_of(&self, node: NodeId, seen: &Seen) -> Option<End> {
        let said_ms = seen.said_ms.filter(|_| seen.status == Status::Down)?;
        self.0.ends.lock().get(&node).filter(|end| end.until_ms >= said_ms).cloned()
    }

    /// Why a node is down, as half a sentence behind its name.
    pub(in crate::node) fn why_down(&self, node: NodeId, seen: &Seen) -> String {
        let words = seen.reason.in_words();
        let Some(said_ms) = seen.said_ms.filter(|_| seen.status == Status::Down) else { return words.to_owned() };
        if let Some(end) = self.end_told(node, seen) {
            return end;
        }
        let ago_ms = now_ms().saturating_sub(said_ms);
        let at = time::rfc3339(time::wall_ms().saturating_sub(ago_ms));
        format!("vanished without a word: it {words}, and the last news of it came at {at}")
    }
}
