//! What this process lacks: files that it may open, threads, memory, its processor, and the program that it was started from.

use crate::base::limits::FAULTS_PER_S;
use crate::base::limits::FILES_MET_WITHIN;
use crate::base::limits::STARVED_PERCENT;
use crate::base::open_files;
use crate::base::program;
use crate::base::time;
use crate::node::Node;
use crate::node::alarms::lock;
use crate::node::debug::machine;
use crate::node::debug::machine::Paging;
use crate::node::debug::machine::ProcessorLimit;
use crate::node::debug::machine::ThreadLimit;
use crate::node::status::RELEASE;
use crate::proto::alarm::Finding;
use crate::proto::alarm::code::Code;

impl Node {
    pub(super) fn findings_of_the_process(&self) -> Vec<Finding> {
        let lacks = [
            self.lacks_files(),
            self.lacks_threads(),
            self.lacks_memory(),
            self.lacks_processor(),
            self.lacks_its_program(),
        ];
        lacks.into_iter().flatten().collect()
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

    fn lacks_threads(&self) -> Option<Finding> {
        let ThreadLimit { limit, refused } = machine::thread_limit()?;
        if !lock(&self.0.cluster.alarms.refused_threads).look(time::steady_ms().0, refused) {
            return None;
        }
        let cause = format!(
            "The system gives it no more threads: its service or container may have {limit} threads and processes. Requests \
             that wait for its disk wait longer, or get no answer. What is stored is safe."
        );
        let to_do =
            "Raise that limit (`TasksMax=` of the service, `--pids-limit` of the container) and start it again.";
        Some(Finding::new(Code::ThreadsUsedUp, self.me(), cause, to_do))
    }

    fn lacks_memory(&self) -> Option<Finding> {
        let Paging { faults, swapped } = machine::paging()?;
        let per_s = lock(&self.0.cluster.alarms.faults).look(time::steady_ms().0, faults);
        if per_s < FAULTS_PER_S {
            return None;
        }
        let cause = format!(
            "It is short of memory: {per_s} times a second it waits for memory that was moved to a disk, and {} MiB of it are in \
             swap. Requests are slow; what is stored is safe.",
            swapped / (1024 * 1024)
        );
        let to_do = "Look what else takes the memory of that machine, or raise what its service or container may have \
                     (`MemoryHigh=`, `MemoryMax=`).";
        Some(Finding::new(Code::MemoryShort, self.me(), cause, to_do))
    }

    fn lacks_its_program(&self) -> Option<Finding> {
        let path = program::replaced()?;
        let cause = format!(
            "The file of its program, {path}, was removed or replaced while it runs: it goes on as it was started, as release \
             {RELEASE}, and whatever is there when its service starts again is what runs then. What is stored is safe."
        );
        let to_do = "After an update restart its service; otherwise put the program back before anything restarts it.";
        Some(Finding::new(Code::ProgramReplaced, self.me(), cause, to_do))
    }

    fn lacks_processor(&self) -> Option<Finding> {
        let alarms = &self.0.cluster.alarms;
        let limited = machine::processor_limit().map(|ProcessorLimit { percent, held_back_ms }| {
            (percent, lock(&alarms.held_back).look(time::steady_ms().0, held_back_ms))
        });
        if let Some((limit, held_back)) = limited.filter(|(_, held_back)| *held_back >= STARVED_PERCENT) {
            let cause = format!(
                "It gets too little of its processor: its service or container may use {limit} % of one, and wanted more for \
                 {held_back} % of the last seconds. Requests are slow; what is stored is safe.{}",
                self.who_asks_most()
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
             {longest_ms} ms. Requests are slow; what is stored is safe.{}",
            self.who_asks_most()
        );
        let to_do = "Look what else uses the processor, or whether the host of a virtual machine holds it back.";
        Some(Finding::new(Code::Starved, self.me(), cause, to_do))
    }
}
