//! What was configured last and is not in force.

use crate::node::Node;
use crate::proto::alarm::Finding;
use crate::proto::alarm::code::Code;

impl Node {
    /// The local control socket could not be made; this node goes on without it.
    pub fn note_no_socket(&self, why: String) {
        let _first_word_counts = self.0.cluster.alarms.no_socket.set(why);
    }

    pub(super) fn config_refused(&self) -> Option<Finding> {
        self.not_taken().or_else(|| self.no_socket())
    }

    fn no_socket(&self) -> Option<Finding> {
        let why = self.0.cluster.alarms.no_socket.get()?;
        let cause = format!(
            "It has no local control socket ({why}): on that machine `ringfort` reaches it with `--url` and a token only, and nobody \
             is its owner there. All else goes on."
        );
        let to_do = "Look at that path and its rights, and whether its service may make Unix sockets (AF_UNIX in \
                     `RestrictAddressFamilies=`); then restart it.";
        Some(Finding::new(Code::ConfigRefused, self.me(), cause, to_do))
    }

    fn not_taken(&self) -> Option<Finding> {
        let reason = self.settings().refused.clone()?;
        let cause = format!(
            "What was configured last was not taken: {reason}. What ran before runs on; if this node is started anew it may not \
             start."
        );
        let to_do = "Mend that, then `ringfort config reload`, before the machine or the service restarts.";
        Some(Finding::new(Code::ConfigRefused, self.me(), cause, to_do))
    }
}
