//! What this process lacks: files that it may open, and its processor.

use crate::base::limits::FILES_MET_WITHIN;
use crate::base::limits::STARVED_PERCENT;
use crate::base::open_files;
use crate::base::time;
use crate::node::Node;
use crate::node::alarms::lock;
use crate::node::debug::machine;
use crate::node::debug::machine::ProcessorLimit;
use crate::proto::alarm::Finding;
use crate::proto::alarm::code::Code;

impl Node {
    pub(super) fn findings_of_the_process(&self) -> Vec<Finding> {
        self.lacks_files().into_iter().chain(self.lacks_processor()).collect()
    }

    fn lacks_files(&self) -> Option<Finding> {
        if !open_files::met_within(FILES_MET_WITHIN) {
            return None;
        }
        let limit = open_files::limit();
        let cause = format!(
            "It can open no more files or connections ({limit} are allowed): devices get no answer from it. What is stored \
             is safe."
        );
        let to_do = "See who holds so many connections, or raise LimitNOFILE of the service and start it again.";
        Some(Finding::new(Code::FilesUsedUp, self.me(), cause, to_do))
    }

    fn lacks_processor(&self) -> Option<Finding> {
        let alarms = &self.0.cluster.alarms;
        let limited = machine::processor_limit().map(|ProcessorLimit { percent, held_back_ms }| {
            (percent, lock(&alarms.held_back).look(time::steady_ms().0, held_back_ms))
        });
        if let Some((limit, held_back)) = limited.filter(|(_, held_back)| *held_back >= STARVED_PERCENT) {
            let cause = format!(
                "It gets too little of its processor: its service or container may use {limit} % of one, and wanted more for \
                 {held_back} % of the last seconds. Requests are slow; what is stored is safe."
            );
            let to_do = "Raise that limit (`CPUQuota=` of the service, `--cpus` of the container).";
            return Some(Finding::new(Code::Starved, self.me(), cause, to_do));
        }
        let (percent, longest_ms) = lock(&alarms.lateness).late();
        if percent < STARVED_PERCENT {
            return None;
        }
        let cause = format!(
            "It gets too little of its processor: for {percent} % of the last seconds what should have run had to wait, up to \
             {longest_ms} ms. Requests are slow; what is stored is safe."
        );
        let to_do = "Look what else uses the processor, or whether the host of a virtual machine holds it back.";
        Some(Finding::new(Code::Starved, self.me(), cause, to_do))
    }
}
