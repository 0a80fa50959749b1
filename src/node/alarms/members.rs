//! Who is not there, and what is known of why.

use crate::base::id::NodeId;
use crate::base::limits::UNHEARD_DOUBT;
use crate::base::time::millis;
use crate::net::peer::trouble::Kind;
use crate::net::peer::trouble::Trouble;
use crate::node::alarms::mib;
use crate::node::alarms::told;
use crate::proto::alarm::Finding;
use crate::proto::alarm::Subject;
use crate::proto::alarm::code::Code;
use crate::proto::control::members::Member;
use crate::proto::member::view::Reason;
use crate::proto::member::view::Seen;
use crate::proto::member::view::Status;

const LOOK: &str = "Look at the machine and at the network to it.";

/// What is known of a node besides how it is seen.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// How it ended, where somebody said so.
    pub(super) told: Option<String>,
    /// What the last try to reach it said.
    pub(super) trouble: Option<Trouble>,
    /// Something comes from it.
    pub(super) heard: bool,
}

pub(super) fn of_member(node: NodeId, member: &Member, seen: &Seen, known: Known) -> Vec<Finding> {
    let Known { told, trouble, heard } = known;
    let (subject, name, mut found) = (Subject::Node(node), &member.name, Vec::new());
    let fails_at_its_start = seen.status == Status::Leaving && told.is_some();
    // However it went: what is at its place now is not it.
    let stranger = trouble.clone().filter(|trouble| trouble.kind == Kind::Stranger && !is_there(seen));
    if !matches!(seen.status, Status::Down | Status::Gone) && !fails_at_its_start && stranger.is_none() {
        return found;
    }
    if seen.reason == Reason::NoAnswer && told.is_none() && heard {
        let cause = format!(
            "Node {node} ({name}) runs and is heard, and nothing that is sent to it arrives: a firewall on it keeps others out, \
             or the way to it is cut or loses much. Others take it for down; nothing is lost."
        );
        let to_do = "Look at its firewall, its cable and the network to it; do not replace it.";
        found.push(Finding::new(Code::MemberDown, subject, cause, to_do));
        return found;
    }
    if seen.reason == Reason::NoAnswer && told.is_none() {
        let said = match &seen.news {
            Some(news) => {
                format!(
                    " What it said last: {} requests a second, load {} %, {} MiB of disk free.",
                    news.requests_per_s,
                    news.load,
                    mib(news.disk.free)
                ) + &told::last_words(news.alarms)
            }
            None => String::new(),
        };
        let cause = format!(
            "Node {node} ({name}) fell silent without a word: no stop, no report of a crash. Its machine, its power or the \
             network to it is gone, or all of its processes were killed or stopped.{}{said}",
            trouble.as_ref().map(in_words).unwrap_or_default()
        );
        let to_do = trouble.as_ref().map_or(LOOK, |trouble| to_do(trouble.kind));
        found.push(Finding::new(Code::MemberVanished, subject, cause, to_do));
    }
    let why = told.unwrap_or_else(|| seen.reason.in_words().to_owned());
    let cause =
        format!("Node {node} ({name}) is down: it {why}.{}", stranger.as_ref().map(in_words).unwrap_or_default());
    let to_do = match &stranger {
        Some(stranger) => to_do(stranger.kind).to_owned(),
        None => format!(
            "Start it again; if it is gone for ever `ringfort replace {name}` brings a machine into its place, and `ringfort \
             remove {name}` does without one."
        ),
    };
    let down = Finding::new(Code::MemberDown, subject, cause, to_do);
    let unheard = seen.reason == Reason::NeverHeard;
    found.push(Finding { doubt_ms: if unheard { millis(UNHEARD_DOUBT) } else { 0 }, ..down });
    found
}

fn is_there(seen: &Seen) -> bool {
    matches!(seen.status, Status::Up | Status::Suspect)
}

/// What the last try to reach it says of its machine, as sentences that begin with a blank.
fn in_words(trouble: &Trouble) -> String {
    let meaning = match trouble.kind {
        Kind::Refused => "its machine is there and answers, and Ringfort does not run on it",
        Kind::NobodyThere => {
            "nobody has its address on the network: the machine is off, its cable is out, or it has another address now"
        }
        Kind::NoAnswer => "its machine is off or hangs, or the network to it or a firewall swallows what is sent",
        Kind::Mute => "its machine takes connections, and Ringfort on it says nothing: it is stopped or hangs",
        Kind::Stranger => {
            "another one answers at its address: another machine has that address, or it was started with an empty directory \
             or with another node's"
        }
        Kind::Here => {
            "it is this machine that gives no further connections: its local ports are used up, or it has lost its address"
        }
        Kind::NoSuchName => "its name is not known here: look at DNS",
        Kind::Other => return format!(" The last try to reach it ended with \"{trouble}\"."),
    };
    format!(" The last try to reach it says that {meaning} (\"{trouble}\").")
}

fn to_do(kind: Kind) -> &'static str {
    match kind {
        Kind::Refused => "Look at the machine: start Ringfort there, and look why it ended.",
        Kind::NobodyThere => "Look at the machine: is it on, is it on the network, and at which address?",
        Kind::Mute => "Look at the machine: at its processes, and at its disk.",
        Kind::Stranger => {
            "Look which machine has that address, and with which `--data` it runs (is its disk mounted?); do not remove the node."
        }
        Kind::Here => "Look at this machine first: at its addresses, and with `ss -tan` at who holds its ports.",
        Kind::NoSuchName => "Look at DNS, or give nodes addresses that are no names.",
        Kind::NoAnswer | Kind::Other => LOOK,
    }
}

#[cfg(test)]
mod tests {
    use super::in_words;
    use crate::net::peer::trouble::Kind;
    use crate::net::peer::trouble::Trouble;

    #[test]
    fn what_the_last_try_said_is_told_with_its_meaning() {
        let words = |kind| in_words(&Trouble { kind, text: "10.0.0.3:7400 does so".to_owned() });
        assert!(words(Kind::Refused).contains("Ringfort does not run on it (\"10.0.0.3:7400 does so\")."));
        assert!(words(Kind::NobodyThere).contains("off, its cable is out, or it has another address"));
        assert_eq!(words(Kind::Other), " The last try to reach it ended with \"10.0.0.3:7400 does so\".");
    }
}
