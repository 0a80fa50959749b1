//! What anti-entropy is for: a node comes back without what it held of a partition, and does not know.
//!
//! Such a node breaks its word, and a cluster notices it by other means. Here only what nothing else needs goes: all other
//! owners hold the same durably, no slot is in a transition, and none begins before it is back.

use crate::faults::Fault;
use crate::io::Event;
use crate::io::host_of;
use crate::io::node_of;
use crate::net::Host;
use crate::world::World;

impl World {
    /// Of what vanished, something is not back yet.
    pub(super) fn is_anything_gone(&mut self) -> bool {
        let nodes = &self.nodes;
        self.gone.retain(|(host, number)| nodes[*host].disk.durable.objects[*number].is_none());
        !self.gone.is_empty()
    }

    /// Whether a node's copy of a key is one that all other owners have too.
    fn is_spare(&self, host: Host, number: usize) -> bool {
        let (id, view) = (node_of(host), self.io.log.last());
        let numbers = view.buckets[self.io.bucket_of[number]].numbers;
        let slot = view.layout.slot(self.io.partition_of[number]);
        let owners: Vec<_> = slot.write_owners(numbers).collect();
        let print =
            |host: Host| self.nodes[host].disk.durable.objects[number].as_ref().map(|object| object.fingerprint());
        let mine = print(host);
        mine.is_some()
            && owners.len() > 1
            && owners.contains(&id)
            && owners.iter().all(|owner| slot.now.is_synced(*owner) && print(host_of(*owner)) == mine)
    }

    /// A process dies; of one partition, or one of its keys, its disk has nothing any more.
    pub(super) fn vanish(&mut self, host: Host) {
        if !self.io.lives[host].1 || !self.io.log.last().layout.is_at_rest() {
            return;
        }
        let spare: Vec<usize> = (0..self.io.partition_of.len()).filter(|number| self.is_spare(host, *number)).collect();
        if spare.is_empty() {
            return;
        }
        self.nodes[host].crash(&mut self.io);
        let back = self.io.rng.within(50_000, 1_500_000);
        self.io.queue.after(back, Event::Restart(host));
        let partition = self.io.partition_of[*self.io.rng.pick(&spare)];
        for number in spare {
            if self.io.partition_of[number] != partition {
                continue;
            }
            self.io.trace(|| format!("k{number} vanishes from n{}", node_of(host)));
            self.nodes[host].disk.lose(number);
            self.gone.insert((host, number));
        }
        self.io.faults.hit(Fault::Vanish);
    }
}
