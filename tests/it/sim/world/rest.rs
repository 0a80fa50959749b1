//! What a world has to be like long after the last fault: nothing is on its way any more.

use crate::check::Promise;
use crate::check::Violation;
use crate::io::host_of;
use crate::queue::Us;
use crate::world::ROUGH;
use crate::world::World;

/// So long after the last fault nothing differs any more: all roots are the same.
const QUIET: Us = 10_000_000;

impl World {
    /// Slots are at rest, nobody has to be told of anything, and everyone knows the newest control state. Of
    /// each key all owners hold the same: who missed what was known, or the last read has mended it.
    pub(super) fn is_at_rest(&self) -> Result<(), Violation> {
        let unwell = |text: String| Err(Violation(Promise::Well, format!("long after all is well, {text}")));
        let log = &self.io.log;
        if !log.last().layout.is_at_rest() {
            return unwell("slots are on their way".to_owned());
        }
        for node in &self.nodes {
            if node.view + 1 != log.len() {
                return unwell(format!("n{} knows {} of {} views", node.id, node.view + 1, log.len()));
            }
            if !node.hints.is_empty() || !node.marks.durable.missed.is_empty() {
                return unwell(format!("n{} has to tell of {:?}", node.id, node.hints));
            }
        }
        if self.io.compared_at > ROUGH + QUIET {
            return unwell(format!("owners compared what they hold, at {}", self.io.compared_at));
        }
        for number in (0..self.io.partition_of.len()).filter(|_| self.io.graves) {
            let numbers = log.last().buckets[self.io.bucket_of[number]].numbers;
            let slot = log.last().layout.slot(self.io.partition_of[number]);
            if slot.write_owners(numbers).all(|owner| self.nodes[host_of(owner)].could_purge(&self.io, number)) {
                return unwell(format!("the grave of k{number} is still there"));
            }
        }
        for (number, partition) in self.io.partition_of.iter().enumerate() {
            let bucket = &log.last().buckets[self.io.bucket_of[number]];
            let slot = log.last().layout.slot(*partition);
            let held = |owner| self.nodes[host_of(owner)].disk.durable.objects[number].as_ref();
            let mut prints =
                slot.write_owners(bucket.numbers).map(|owner| held(owner).map(|object| object.fingerprint()));
            let first = prints.next();
            if !prints.all(|print| Some(print) == first) {
                return unwell(format!("the owners of k{number} do not hold the same"));
            }
        }
        Ok(())
    }
}
