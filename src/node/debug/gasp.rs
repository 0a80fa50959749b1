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
use crate::proto::crash::Report;
use crate::proto::member::view::Reason;
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

#[derive(Debug, Clone, Default)]
struct End {
    /// On this node's steady clock: signs of life from later on are of another life.
    until_ms: u64,
    /// When it was heard, on the same clock.
    heard_ms: u64,
    /// When it was, by the wall clock of the machine that ended; none: the node said it itself.
    reported_ms: Option<u64>,
    text: String,
    /// It serves its rescue console from then on.
    rescue: bool,
}

impl Ends {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, End>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, node: NodeId, slack_ms: u64, end: End) {
        let heard_ms = now_ms();
        self.lock().insert(node, End { until_ms: heard_ms + slack_ms, heard_ms, ..end });
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
        let text = format!("ended itself and said why: {reason}");
        self.0.ends.note(from, ORDER_SLACK_MS, End { text, ..End::default() });
    }

    /// A report came about an end. Returns what is to be told of it, as half a sentence behind the node's name: where it only
    /// supposes, and the node itself had said why, that. Nothing, where an earlier report said it.
    pub(in crate::node) fn note_end(&self, report: &Report) -> Option<String> {
        let Report { node, at_ms, rescue, .. } = *report;
        match self.end_known(report) {
            Some(End { reported_ms: Some(_), .. }) => None,
            Some(end) => Some(end.text),
            None => {
                let text = format!("failed: {}", report.reason);
                let end = End { text: text.clone(), rescue, reported_ms: Some(at_ms), ..End::default() };
                self.0.ends.note(node, 0, end);
                Some(text)
            }
        }
    }

    /// What is known of the end of a run, if its report only supposes how it was. Clocks differ between machines: times of two
    /// are not compared, but how long ago each was. A report that was long on its way makes a short run too short for that.
    fn end_known(&self, report: &Report) -> Option<End> {
        let since_ms = report.since_ms?;
        let ran_ms = report.at_ms.saturating_sub(since_ms);
        let is_of_that_run = |end: &&End| match end.reported_ms {
            Some(at_ms) => at_ms > since_ms,
            None => now_ms().saturating_sub(end.heard_ms) < ran_ms,
        };
        self.0.ends.lock().get(&report.node).filter(is_of_that_run).cloned()
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
        // Who said that it restarts and ended by a failure since does not come back by itself.
        let said_ms = seen.said_ms.filter(|_| matches!(seen.status, Status::Down | Status::Leaving))?;
        self.0.ends.lock().get(&node).filter(|end| end.until_ms >= said_ms).cloned()
    }

    /// Why a node is down, as half a sentence behind its name.
    pub(in crate::node) fn why_down(&self, node: NodeId, seen: &Seen) -> String {
        if let Some(end) = self.end_told(node, seen) {
            return end;
        }
        let heard = seen.said_ms.filter(|_| seen.status == Status::Down).map(|said_ms| {
            let ago_ms = now_ms().saturating_sub(said_ms);
            time::rfc3339(time::wall_ms().saturating_sub(ago_ms))
        });
        down_in_words(seen.reason, heard.as_deref())
    }
}

/// The reason, and when the last news came of who is down.
fn down_in_words(reason: Reason, heard: Option<&str>) -> String {
    let words = reason.in_words();
    let Some(at) = heard else { return words.to_owned() };
    match reason {
        // It did say a word.
        Reason::Restarts | Reason::RestartedNot | Reason::Stops | Reason::Stopped => {
            format!("{words}; the last news of it came at {at}")
        }
        Reason::Answers | Reason::OneProbe | Reason::NoAnswer | Reason::NeverHeard => {
            format!("vanished without a word: it {words}, and the last news of it came at {at}")
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::proto::member::view::Reason;

    #[test]
    fn who_said_that_it_restarts_has_not_vanished_without_a_word() {
        let at = Some("2026-11-29T18:00:00Z");
        let silent = super::down_in_words(Reason::NoAnswer, at);
        assert!(silent.starts_with("vanished without a word: it gave no answer"), "{silent}");
        assert_eq!(
            super::down_in_words(Reason::RestartedNot, at),
            "said that it restarts and has not come back; the last news of it came at 2026-11-29T18:00:00Z"
        );
        assert_eq!(super::down_in_words(Reason::Restarts, None), "said that it restarts");
    }
}
