//! Much of what devices ask is refused: most of the time something else is an alarm as well, and this one says what it does to
//! those out there. Where nothing else is, it says what is refused, and who asks.

use crate::node::Node;
use crate::proto::alarm::Finding;
use crate::proto::alarm::code::Code;
use crate::proto::alarm::rejections::Fault;
use crate::proto::alarm::rejections::ManyRejected;

impl Node {
    pub(super) fn many_rejected(&self) -> Option<Finding> {
        let many = self.refusals().many_rejected(self.telemetry().of_values())?;
        let asks = if matches!(many.code, "busy" | "too_slow") { self.who_asks_most() } else { String::new() };
        Some(Finding::new(Code::RequestsRefused, self.me(), in_words(&many) + &asks, to_do(&many)))
    }
}

fn in_words(many: &ManyRejected) -> String {
    let ManyRejected { asked, refused, fault, code, times, last, most } = many;
    let percent = refused.saturating_mul(100) / (*asked).max(1);
    let whose = match fault {
        Fault::Ours => "though nothing was wrong with them",
        Fault::Theirs => "for what was asked",
    };
    let most = most.filter(|(_, count)| count.saturating_mul(2) > *times);
    let most = most.map(|(from, _)| format!(", most of these from {from}")).unwrap_or_default();
    format!(
        "In the last minute {refused} of {asked} requests of devices ({percent} %) were refused, {whose}: {times} with `{code}` \
         (\"{last}\"){most}."
    )
}

fn to_do(many: &ManyRejected) -> &'static str {
    match (many.code, many.fault) {
        ("busy" | "too_slow", _) => "Look who asks so much, spread it over more machines, or add one.",
        ("connections_of_one_address" | "connections_full", _) => {
            "Look which program there opens connections and does not end them."
        }
        ("tls_handshake", _) => {
            "Look whether these devices trust the authority that `ringfort ca` prints, or the certificate that is configured, and ask for \
             a name that it has."
        }
        ("no_such_bucket", _) => {
            "Look in `ringfort timeline` who removed the bucket, or give these devices the right name."
        }
        (_, Fault::Ours) => "Look at the other alarms, then in `ringfort logs --level warn`.",
        (_, Fault::Theirs) => "Look at what these devices send: their configuration or their release is wrong.",
    }
}
