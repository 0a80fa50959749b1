//! One ordered log of changes, which every node learns sooner or later: it stands in for the consensus library. A node
//! knows a prefix of it.

use std::cell::RefCell;
use std::sync::Arc;

use crate::base::id::NodeId;
use crate::base::id::PartitionId;
use crate::proto::bucket::Kind;
use crate::proto::ring::layout::Candidate;
use crate::proto::ring::layout::Layout;
use crate::proto::ring::numbers::BucketNumbers;
use crate::proto::ring::numbers::Numbers;
use crate::proto::ring::plan::Plan;

/// A bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// How its concurrent writes are settled.
    pub kind: Kind,
    /// How many owners count.
    pub numbers: BucketNumbers,
}

/// Control state after some prefix of the log.
#[derive(Debug, Clone)]
pub struct View {
    /// Who owns what.
    pub layout: Layout,
    /// The buckets.
    pub buckets: Vec<Bucket>,
}

impl View {
    /// All buckets' numbers.
    pub fn numbers(&self) -> Vec<BucketNumbers> {
        self.buckets.iter().map(|bucket| bucket.numbers).collect()
    }
}

/// A change of control state.
#[derive(Debug, Clone)]
pub enum Change {
    /// These machines own the data from now on.
    Machines(Vec<NodeId>),
    /// A bucket gets other numbers.
    Numbers(usize, Numbers),
    /// A node reports how far it is.
    Report {
        /// Who.
        node: NodeId,
        /// The newest layout version that it has adopted.
        adopted: u64,
        /// Slots that it has merged, with the epochs.
        synced: Vec<(PartitionId, u64)>,
    },
}

/// The log.
pub struct Log {
    views: Vec<Arc<View>>,
}

impl Log {
    /// Begins with a first view.
    pub fn new(first: View) -> Self {
        Self { views: vec![Arc::new(first)] }
    }

    /// How many views there are.
    pub fn len(&self) -> usize {
        self.views.len()
    }

    /// The view after a prefix.
    pub fn view(&self, index: usize) -> &Arc<View> {
        &self.views[index]
    }

    /// The newest.
    pub fn last(&self) -> &Arc<View> {
        &self.views[self.views.len() - 1]
    }

    /// Applies a change; true where it made a difference.
    pub fn apply(&mut self, change: &Change) -> bool {
        let mut view = View::clone(self.last());
        if !change_view(&mut view, change) {
            return false;
        }
        self.views.push(Arc::new(view));
        true
    }
}

thread_local! {
    static FIRST_PLANS: RefCell<Vec<(Vec<NodeId>, Plan)>> = const { RefCell::new(Vec::new()) };
}

/// The first plan of every world is one of few, and takes as long to make as half of a world to run.
fn first_plan(machines: &[NodeId], make: impl FnOnce() -> Plan) -> Plan {
    FIRST_PLANS.with_borrow_mut(|plans| {
        if let Some((_, plan)) = plans.iter().find(|(known, _)| known == machines) {
            return plan.clone();
        }
        let plan = make();
        plans.push((machines.to_vec(), plan.clone()));
        plan
    })
}

fn change_view(view: &mut View, change: &Change) -> bool {
    let numbers = view.numbers();
    match change {
        Change::Machines(machines) => {
            let candidate = |node: &NodeId| (*node, Candidate { zone: node.to_string(), weight: 1 });
            let make = |layout: &Layout| Plan::new(layout, machines.iter().map(candidate).collect());
            let plan =
                if view.layout.version == 1 { first_plan(machines, || make(&view.layout)) } else { make(&view.layout) };
            view.layout.commit(plan, &numbers).is_ok()
        }
        Change::Numbers(bucket, to) => match view.layout.change_numbers(view.buckets[*bucket].numbers, *to) {
            Ok(changed) => {
                let before = std::mem::replace(&mut view.buckets[*bucket].numbers, changed);
                before != changed
            }
            Err(_) => false,
        },
        Change::Report { node, adopted, synced } => {
            let before = view.layout.clone();
            view.layout.report(*node, *adopted, synced, &numbers);
            for bucket in &mut view.buckets {
                if bucket.numbers.old.is_some() && view.layout.is_settled(bucket.numbers) {
                    bucket.numbers = bucket.numbers.now.into();
                }
            }
            view.layout != before
        }
    }
}

impl View {
    /// The first machine alone owns everything; the others are told to join.
    pub fn first(machines: &[NodeId], buckets: Vec<Bucket>) -> Self {
        let candidate = Candidate { zone: "1".to_owned(), weight: 1 };
        Self { layout: Layout::first(machines[0], candidate), buckets }
    }
}
