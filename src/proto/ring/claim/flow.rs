//! A flow of least cost through a small graph: successive shortest paths with potentials, as many paths as there are of
//! one length at a time. Costs are not negative; ties go to what was added first.
//!
//! Source: Ahuja, Magnanti, Orlin, Network Flows (1993) §9.7 and §9.8.
#![expect(clippy::indexing_slicing, reason = "every index is one that the graph gave out itself")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The graph, and what flows through it.
#[derive(Default)]
pub(super) struct Flow {
    /// Edges that leave a vertex.
    leaving: Vec<Vec<usize>>,
    /// Edge `2i` and its reverse `2i + 1`.
    edges: Vec<Edge>,
}

struct Edge {
    to: usize,
    left: usize,
    cost: i64,
}

impl Flow {
    pub(super) fn vertex(&mut self) -> usize {
        self.leaving.push(Vec::new());
        self.leaving.len() - 1
    }

    pub(super) fn edge(&mut self, from: usize, to: usize, room: usize, cost: u64) -> usize {
        let edge = self.edges.len();
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        self.edges.push(Edge { to, left: room, cost });
        self.edges.push(Edge { to: from, left: 0, cost: -cost });
        self.leaving[from].push(edge);
        self.leaving[to].push(edge + 1);
        edge
    }

    /// Sends one unit along a path from source to sink that costs nothing, where there is room on all of it. The less
    /// is left to [`run`](Self::run) the sooner it is done.
    pub(super) fn push(&mut self, path: &[usize]) {
        if path.iter().all(|&edge| self.edges[edge].left > 0 && self.edges[edge].cost == 0) {
            path.iter().for_each(|&edge| self.send(edge));
        }
    }

    fn send(&mut self, edge: usize) {
        self.edges[edge].left -= 1;
        self.edges[edge ^ 1].left += 1;
    }

    pub(super) fn is_full(&self, edge: usize) -> bool {
        self.edges[edge].left == 0
    }

    /// Sends as much as there is room for, at the least cost.
    pub(super) fn run(&mut self, source: usize, sink: usize) {
        let mut potentials = vec![0; self.leaving.len()];
        while self.measure(source, sink, &mut potentials) {
            while let Some(path) = self.path(source, sink, &potentials) {
                path.iter().for_each(|&edge| self.send(edge));
            }
        }
    }

    fn reduced(&self, from: usize, edge: &Edge, potentials: &[i64]) -> i64 {
        edge.cost + potentials[from] - potentials[edge.to]
    }

    /// Raises the potentials by the distances from the source; says whether the sink can be reached.
    fn measure(&self, source: usize, sink: usize, potentials: &mut [i64]) -> bool {
        let mut distances = vec![i64::MAX; self.leaving.len()];
        distances[source] = 0;
        let mut queue = BinaryHeap::from([Reverse((0, source))]);
        while let Some(Reverse((distance, vertex))) = queue.pop() {
            if distance > distances[vertex] {
                continue;
            }
            for &edge in &self.leaving[vertex] {
                let edge = &self.edges[edge];
                let farther = distance.saturating_add(self.reduced(vertex, edge, potentials));
                if edge.left > 0 && farther < distances[edge.to] {
                    distances[edge.to] = farther;
                    queue.push(Reverse((farther, edge.to)));
                }
            }
        }
        let farthest = distances[sink];
        if farthest == i64::MAX {
            return false;
        }
        for (potential, distance) in potentials.iter_mut().zip(distances) {
            *potential += distance.min(farthest);
        }
        true
    }

    /// Some path along edges that lie on shortest ones.
    fn path(&self, source: usize, sink: usize, potentials: &[i64]) -> Option<Vec<usize>> {
        let mut came_by = vec![None; self.leaving.len()];
        let mut open = vec![source];
        while let Some(vertex) = open.pop() {
            for &number in self.leaving[vertex].iter().rev() {
                let edge = &self.edges[number];
                let is_new = edge.to != source && came_by[edge.to].is_none();
                if is_new && edge.left > 0 && self.reduced(vertex, edge, potentials) == 0 {
                    came_by[edge.to] = Some(number);
                    open.push(edge.to);
                }
            }
        }
        let mut path = Vec::new();
        let mut at = sink;
        while at != source {
            let edge = came_by[at]?;
            path.push(edge);
            at = self.edges[edge ^ 1].to;
        }
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::Flow;

    #[test]
    fn the_whole_is_cheapest_even_where_a_first_choice_has_to_be_taken_back() {
        let mut flow = Flow::default();
        let [source, sink, a, b, x, y] = std::array::from_fn(|_| flow.vertex());
        for left in [a, b] {
            flow.edge(source, left, 1, 0);
        }
        let greedy = flow.edge(a, x, 1, 0);
        let other = flow.edge(a, y, 1, 2);
        let only = flow.edge(b, x, 1, 1);
        let dear = flow.edge(b, y, 1, 9);
        for right in [x, y] {
            flow.edge(right, sink, 1, 0);
        }
        flow.run(source, sink);
        let full = [greedy, other, only, dear].map(|edge| flow.is_full(edge));
        assert_eq!(full, [false, true, true, false]);
    }
}
