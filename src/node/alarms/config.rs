//! What was configured last and is not in force.

use crate::node::Node;
use crate::proto::alarm::Finding;
use crate::proto::alarm::code::Code;

impl Node {
    pub(super) fn config_refused(&self) -> Option<Finding> {
        let reason = self.settings().refused.clone()?;
        let cause = format!(
            "What was configured last was not taken: {reason}. What ran before runs on; if this node is started anew it may not \
             start."
        );
        let to_do = "Mend that, then `ringfort config reload`, before the machine or the service restarts.";
        Some(Finding::new(Code::ConfigRefused, self.me(), cause, to_do))
    }
}
