//! How many partitions each node gets, before it is asked which, and how many owners of one partition a zone may have.
//!
//! Seats are given one by one to whoever deserves the next most (Webster's divisors). So a node that is added or taken
//! away only takes from the others, or only gives to them: none of them changes seats with another.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::base::limits::PARTITIONS;

/// A node that owns something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) zone: usize,
    pub(super) weight: u64,
}

/// All of them.
pub(super) struct Shares {
    pub(super) members: Vec<Member>,
    /// Nodes by zone.
    sizes: Vec<usize>,
}

impl Shares {
    pub(super) fn new(members: Vec<Member>) -> Self {
        let mut sizes = BTreeMap::<usize, usize>::new();
        for member in &members {
            *sizes.entry(member.zone).or_default() += 1;
        }
        Self { members, sizes: sizes.into_values().collect() }
    }

    pub(super) fn zone(&self, node: usize) -> usize {
        self.members.get(node).map(|member| member.zone).unwrap_or_default()
    }

    /// Owners that each zone has at least and at most among the first `len` of a list: as even as zones are large.
    fn bounds(&self, len: usize) -> Vec<(usize, usize)> {
        let holds = |most: usize| self.sizes.iter().map(|size| most.min(*size)).sum::<usize>() >= len;
        let most = (1..len).find(|&most| holds(most)).unwrap_or(len);
        self.sizes.iter().map(|&size| (size.min(most.saturating_sub(1)), size.min(most))).collect()
    }

    /// How many more owners each zone may have in a slot that is to have `len` owners and has these. The most is all that
    /// has to be watched: place by place zones fill up level by level, and of three places that are taken at once two
    /// zones that may have two each have at least one.
    pub(super) fn room(&self, len: usize, owners: &[usize]) -> Vec<usize> {
        let has = |zone| owners.iter().filter(|&&owner| self.zone(owner) == zone).count();
        self.bounds(len).into_iter().enumerate().map(|(zone, (_, most))| most.saturating_sub(has(zone))).collect()
    }

    /// Each node's share of the first `len` places.
    pub(super) fn of(&self, len: usize) -> Vec<usize> {
        self.within(len, &vec![PARTITIONS; self.members.len()])
    }

    /// The same where a node may have at most so many.
    pub(super) fn within(&self, len: usize, most: &[usize]) -> Vec<usize> {
        let bounds = self.bounds(len);
        let mut zones = vec![0; bounds.len()];
        let mut seats = vec![0; self.members.len()];
        for left in (1..=len * PARTITIONS).rev() {
            let owed = |zone: usize| {
                let (least, _) = bounds.get(zone).copied().unwrap_or_default();
                (least * PARTITIONS).saturating_sub(zones.get(zone).copied().unwrap_or_default())
            };
            // From here on all that is left is owed to zones that have too little.
            let owed_only = (0..zones.len()).map(owed).sum::<usize>() >= left;
            let may = |node: usize, zone: usize| {
                let (_, limit) = bounds.get(zone).copied().unwrap_or_default();
                zones.get(zone).is_some_and(|has| *has < limit * PARTITIONS)
                    && seats.get(node) < most.get(node)
                    && (!owed_only || owed(zone) > 0)
            };
            let all = self.members.iter().zip(&seats).enumerate();
            let next = all.filter(|(node, (member, _))| may(*node, member.zone)).max_by(|(a, left), (b, right)| {
                // Of equals the first one, and it stays so whoever else is there.
                deserves(*left, *right).then(b.cmp(a))
            });
            let Some((node, (member, _))) = next else { break };
            let zone = member.zone;
            zones.iter_mut().skip(zone).take(1).for_each(|has| *has += 1);
            seats.iter_mut().skip(node).take(1).for_each(|has| *has += 1);
        }
        seats
    }
}

/// Compares weight per seat, as if half a seat had been given beside the next one.
fn deserves((a, has): (&Member, &usize), (b, other): (&Member, &usize)) -> Ordering {
    let seats = |has: usize| u64::try_from(2 * has + 1).unwrap_or(u64::MAX);
    a.weight.saturating_mul(seats(*other)).cmp(&b.weight.saturating_mul(seats(*has)))
}

#[cfg(test)]
mod tests {
    use super::Member;
    use super::Shares;

    fn shares(members: &[(usize, u64)]) -> Shares {
        Shares::new(members.iter().map(|&(zone, weight)| Member { zone, weight }).collect())
    }

    #[test]
    fn seats_follow_weights_within_what_one_node_and_one_zone_can_have() {
        assert_eq!(shares(&[(0, 1), (0, 1), (0, 1), (0, 1), (0, 2)]).of(3), [128, 128, 128, 128, 256]);
        assert_eq!(shares(&[(0, 9), (0, 1), (0, 1), (0, 1)]).of(3), [256, 171, 171, 170]);
        // Three zones: each has one owner of every slot, whatever it weighs.
        assert_eq!(shares(&[(0, 1), (1, 1), (2, 1), (2, 3)]).of(3), [256, 256, 64, 192]);
        // Two: one of them has two owners of a slot, at least one each.
        assert_eq!(shares(&[(0, 1), (1, 9), (1, 9), (1, 9)]).of(3), [256, 171, 171, 170]);
        assert_eq!(shares(&[(0, 1), (0, 1), (1, 1), (1, 1)]).of(3), [192, 192, 192, 192]);
    }

    #[test]
    fn zones_are_as_even_as_they_are_large() {
        let all = shares(&[(0, 1), (1, 1), (1, 1), (1, 1), (2, 1), (2, 1)]);
        assert_eq!(all.room(3, &[]), [1, 1, 1]);
        assert_eq!(all.room(3, &[0]), [0, 1, 1]);
        assert_eq!(all.room(5, &[0, 1, 4]), [0, 1, 1]);
        assert_eq!(all.room(6, &[]), [1, 3, 2]);
        assert_eq!(all.bounds(5), [(1, 1), (1, 2), (1, 2)]);
        assert_eq!(shares(&[(0, 1), (0, 1), (1, 1)]).room(3, &[]), [2, 1]);
    }
}
