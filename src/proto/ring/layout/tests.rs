//! What a request asks of a slot.

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::proto::ring::layout::Candidate;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::layout::List;
use crate::proto::ring::layout::Next;
use crate::proto::ring::layout::Slot;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::numbers::Numbers;
use crate::proto::ring::numbers::Old;

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn list(since: u64, owners: &[u64], synced: &[u64]) -> List {
    List { synced: nodes(synced), ..List::new(since, nodes(owners)) }
}

fn numbers(n: u8, r: u8, w: u8) -> BucketNumbers {
    Numbers { n, r, w }.into()
}

fn writes(slot: &Slot, numbers: BucketNumbers) -> Vec<(Vec<NodeId>, usize)> {
    slot.writes(numbers).map(|quorum| (quorum.owners.into_owned(), quorum.need)).collect()
}

fn reads(slot: &Slot, numbers: BucketNumbers) -> (Vec<NodeId>, usize) {
    let quorum = slot.reads(numbers);
    (quorum.owners.into_owned(), quorum.need)
}

#[test]
fn a_cluster_of_one_answers_alone() {
    let layout = Layout::first(NodeId(1), Candidate { zone: "a".to_owned(), weight: 1 });
    assert_eq!(layout.slots().count(), 256);
    for (_, slot) in layout.slots() {
        assert_eq!(writes(slot, numbers(3, 2, 2)), [(nodes(&[1]), 1)]);
        assert_eq!(reads(slot, numbers(3, 2, 2)), (nodes(&[1]), 1));
    }
    assert!(layout.is_at_rest() && layout.is_settled(numbers(3, 2, 2)));
}

#[test]
fn a_bucket_counts_within_its_first_n_and_reads_only_the_synced() {
    let slot = Slot { epoch: 4, now: list(4, &[5, 3, 1, 2], &[1, 2, 5]), next: None };
    assert_eq!(writes(&slot, numbers(3, 1, 3)), [(nodes(&[5, 3, 1]), 3)]);
    assert_eq!(reads(&slot, numbers(3, 1, 3)), (nodes(&[5, 1]), 1));
    assert_eq!(reads(&slot, numbers(1, 1, 1)), (nodes(&[5]), 1));
    // A list that is shorter than n: all of it, and its majority.
    assert_eq!(writes(&slot, numbers(5, 1, 5)), [(nodes(&[5, 3, 1, 2]), 3)]);
    assert_eq!(reads(&slot, numbers(5, 1, 5)), (nodes(&[5, 1, 2]), 3));
    assert!(slot.is_owner(NodeId(1), numbers(3, 1, 3)) && !slot.is_owner(NodeId(2), numbers(3, 1, 3)));
}

#[test]
fn in_a_transition_writes_need_both_lists_and_reads_one() {
    let next = Next { list: list(6, &[4, 2, 3], &[2, 4]), reads: None };
    let mut slot = Slot { epoch: 6, now: list(4, &[1, 2, 3], &[1, 2, 3]), next: Some(next) };
    let bucket = BucketNumbers {
        now: Numbers { n: 2, r: 1, w: 2 },
        old: Some(Old { numbers: Numbers { n: 3, r: 2, w: 2 }, before: 6 }),
    };
    let both = [(nodes(&[1, 2, 3]), 2), (nodes(&[4, 2]), 2)];
    assert_eq!((writes(&slot, bucket), reads(&slot, bucket)), (both.to_vec(), (nodes(&[1, 2, 3]), 2)));
    assert_eq!(slot.write_owners(bucket).collect::<Vec<_>>(), nodes(&[1, 2, 3, 4]));
    slot.next.as_mut().unwrap().reads = Some(7);
    assert_eq!((writes(&slot, bucket), reads(&slot, bucket)), (both.to_vec(), (nodes(&[4, 2]), 1)));
    let owners: Vec<u64> = (1..=5).filter(|&id| slot.is_owner(NodeId(id), bucket)).collect();
    assert_eq!(owners, [1, 2, 3, 4]);
}

#[test]
fn the_stored_form_is_small_and_has_a_slot_for_every_partition() {
    let mut layout = Layout::first(NodeId(1), Candidate { zone: "a".to_owned(), weight: 1 });
    for partition in PartitionId::all() {
        layout.slots.at_mut(partition).now = list(300, &[1, 2, 3, 4, 5, 6, 7, 8, 9], &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
    let bytes = postcard::to_stdvec(&layout).unwrap();
    assert!(bytes.len() < 8 * 1024, "{}", bytes.len());
    assert_eq!(postcard::from_bytes::<Layout>(&bytes).unwrap(), layout);
    let five: Vec<Slot> = layout.slots().take(5).map(|(_, slot)| slot.clone()).collect();
    let bytes = postcard::to_stdvec(&five).unwrap();
    assert!(postcard::from_bytes::<crate::proto::ring::slots::Slots<Slot>>(&bytes).is_err());
}
