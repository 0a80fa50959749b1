//! What others say of themselves, in short, as it comes with their news: it is known at once and without asking, and is all there
//! is where a node cannot be asked any more.

use std::collections::BTreeMap;

use crate::base::time;
use crate::node::Node;
use crate::node::alarms::AllAlarms;
use crate::node::alarms::ToldBy;
use crate::node::alarms::lock;
use crate::proto::alarm::Alarm;
use crate::proto::alarm::Finding;
use crate::proto::alarm::Key;
use crate::proto::alarm::Subject;
use crate::proto::alarm::code::CodeSet;
use crate::proto::member::view::Seen;
use crate::proto::member::view::Status;

/// Since when each was heard, in wall milliseconds.
pub(super) type Heard = BTreeMap<Key, u64>;

impl Node {
    /// What is wrong with this node by its own word, as of the last look.
    pub(in crate::node) fn codes(&self) -> CodeSet {
        let alarms = lock(&self.0.cluster.alarms.board).alarms();
        alarms.into_iter().filter(|alarm| alarm.subject == self.me()).map(|alarm| alarm.code).collect()
    }

    /// What those that are there said last of themselves.
    pub(super) fn told(&self) -> Vec<Alarm> {
        let (state, sight, now_ms) = (self.state(), self.sight(), time::wall_ms());
        let mut heard = lock(&self.0.cluster.alarms.heard);
        let before = std::mem::take(&mut *heard);
        let mut told = Vec::new();
        for (node, codes) in sight.iter().filter_map(|(node, seen)| Some((*node, said(seen)?))) {
            let name = state.members.get(&node).map_or("", |member| member.name.as_str());
            for code in codes.iter() {
                let key = Key { code, subject: Subject::Node(node) };
                let since_ms = before.get(&key).copied().unwrap_or(now_ms);
                heard.insert(key, since_ms);
                let cause = format!("Node {node} ({name}) {}, as it says itself.", code.says());
                let to_do = "Ask it for the details: `ringfort status`, or Inside, Timeline.";
                let finding = Finding::new(code, key.subject, cause, to_do);
                told.push(Alarm { said_by: Some(node), ..Alarm::new(finding, since_ms) });
            }
        }
        told
    }
}

/// Of one that is there.
fn said(seen: &Seen) -> Option<CodeSet> {
    let there = matches!(seen.status, Status::Up | Status::Suspect | Status::Leaving);
    seen.news.as_ref().filter(|_| there).map(|news| news.alarms)
}

/// Behind other words about one that is gone.
pub(super) fn last_words(codes: CodeSet) -> String {
    let says: Vec<&str> = codes.iter().map(|code| code.says()).collect();
    if says.is_empty() { String::new() } else { format!(" It had said that it {}.", says.join(", that it ")) }
}

impl AllAlarms {
    /// What nodes said of themselves that do not answer now.
    pub(super) fn add_heard(&mut self, told: Vec<Alarm>) {
        for alarm in told {
            let Some(node) = alarm.said_by.filter(|node| self.unanswered.contains_key(node)) else { continue };
            let Ok(alarm) = serde_json::to_value(&alarm) else { continue };
            self.alarms.push(ToldBy { alarm, told_by: vec![node] });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::last_words;
    use crate::proto::alarm::code::Code;
    use crate::proto::alarm::code::CodeSet;

    #[test]
    fn what_a_node_had_said_before_it_went_is_said() {
        assert_eq!(last_words(CodeSet::default()), "");
        let codes = CodeSet::from_iter([Code::SlowDisk, Code::DiskFull]);
        let words = " It had said that it has no room for new data, that it has a disk that takes long to sync.";
        assert_eq!(last_words(codes), words);
    }
}
