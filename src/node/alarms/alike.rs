//! What every machine says of itself at once: something that they share is a likelier cause than the same accident on each.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::base::id::NodeId;
use crate::base::limits::ALIKE_MACHINES_MIN;
use crate::node::Node;
use crate::node::alarms::AllAlarms;
use crate::proto::alarm::Alarm;

impl Node {
    fn machines(&self) -> BTreeSet<NodeId> {
        let state = self.state();
        state.members.keys().filter(|node| state.member(**node).is_some()).copied().collect()
    }

    /// Adds to what every one of them says that it does.
    pub(super) fn note_alike(&self, alarms: &mut [Alarm]) {
        let (machines, me) = (self.machines(), self.who().node);
        let own = |alarm: &Alarm| alarm.node.filter(|node| alarm.said_by.unwrap_or(me) == *node);
        let codes = of_every(&machines, alarms.iter().filter_map(|alarm| Some((alarm.code.name(), own(alarm)?))));
        for alarm in alarms.iter_mut().filter(|alarm| own(alarm).is_some() && codes.contains(alarm.code.name())) {
            alarm.cause += &words(machines.len());
            alarm.text = format!("{} {}", alarm.cause, alarm.to_do);
        }
    }

    /// The same of the alarms of all nodes.
    pub(super) fn note_alike_of_all(&self, all: &mut AllAlarms) {
        let machines = self.machines();
        let own = |told_by: &[NodeId], alarm: &Value| {
            let node = alarm.get("node").and_then(Value::as_u64).map(NodeId);
            node.filter(|node| told_by.contains(node))
        };
        let told = all.alarms.iter();
        let told = told.filter_map(|told| Some((part(&told.alarm, "code")?, own(&told.told_by, &told.alarm)?)));
        let codes: BTreeSet<String> = of_every(&machines, told).into_iter().map(ToOwned::to_owned).collect();
        for told in &mut all.alarms {
            if own(&told.told_by, &told.alarm).is_none()
                || !part(&told.alarm, "code").is_some_and(|code| codes.contains(code))
            {
                continue;
            }
            let cause = part(&told.alarm, "cause").unwrap_or_default().to_owned() + &words(machines.len());
            let text = format!("{cause} {}", part(&told.alarm, "to_do").unwrap_or_default());
            for (name, now) in [("cause", cause), ("text", text)] {
                if let Some(said) = told.alarm.get_mut(name) {
                    *said = Value::String(now);
                }
            }
        }
    }
}

fn part<'a>(alarm: &'a Value, name: &str) -> Option<&'a str> {
    alarm.get(name)?.as_str()
}

fn words(machines: usize) -> String {
    format!(
        " All {machines} machines say the same of themselves: look first at what they share, such as storage, a host, a network, or \
         a job that runs on each at the same time."
    )
}

/// Of what kind something is that every one of these says of itself.
fn of_every<'c>(machines: &BTreeSet<NodeId>, told: impl Iterator<Item = (&'c str, NodeId)>) -> BTreeSet<&'c str> {
    if machines.len() < ALIKE_MACHINES_MIN {
        return BTreeSet::new();
    }
    let mut by_code: BTreeMap<&str, BTreeSet<NodeId>> = BTreeMap::new();
    for (code, node) in told {
        by_code.entry(code).or_default().insert(node);
    }
    by_code.into_iter().filter(|(_, nodes)| machines.is_subset(nodes)).map(|(code, _)| code).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::of_every;
    use crate::base::id::NodeId;

    #[test]
    fn what_all_say_is_told_from_what_some_say() {
        let machines = |count: u64| (1..=count).map(NodeId).collect::<BTreeSet<_>>();
        let told =
            [("slow_disk", 1), ("slow_disk", 3), ("starved", 1), ("slow_disk", 2), ("starved", 2), ("starved", 2)];
        let of = |count| of_every(&machines(count), told.into_iter().map(|(code, node)| (code, NodeId(node))));
        assert_eq!(of(3), BTreeSet::from(["slow_disk"]));
        assert!(of(4).is_empty() && of(1).is_empty(), "one machine is alike to nobody");
    }
}
