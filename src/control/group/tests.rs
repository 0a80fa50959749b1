//! Several groups in one process, with real journals, over lanes that tests cut and freeze.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;

use super::Birth;
use super::Group;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::time;
use crate::control::consensus::Consensus;
use crate::control::consensus::ProposeError;
use crate::control::lane::Call;
use crate::control::lane::LaneError;
use crate::control::lane::RaftLane;
use crate::proto::bucket::Definition;
use crate::proto::control;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::State;
use crate::proto::standing::Pledge;
use crate::proto::voters::Candidate;
use crate::store::journal::recovery;

mod alone;
mod faults;
mod formats;
mod growth;
mod pledges;

/// Far above what anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the lanes do now.
#[derive(Default)]
struct Weather {
    /// From, to.
    cut: BTreeSet<(u64, u64)>,
    frozen: BTreeSet<u64>,
}

#[derive(Default)]
struct Net {
    nodes: Mutex<BTreeMap<u64, Group>>,
    weather: Mutex<Weather>,
}

impl Net {
    fn passes(&self, from: u64, to: u64) -> bool {
        let weather = self.weather.lock().unwrap();
        !weather.cut.contains(&(from, to)) && !weather.frozen.contains(&from) && !weather.frozen.contains(&to)
    }

    fn node(&self, id: u64) -> Option<Group> {
        self.nodes.lock().unwrap().get(&id).cloned()
    }
}

struct Lane {
    me: u64,
    net: Arc<Net>,
}

impl RaftLane for Lane {
    fn call(&self, to: NodeId, body: Vec<u8>, _within: Duration) -> Call<'_> {
        Box::pin(async move {
            if !self.net.passes(self.me, to.0) {
                // Lost: whoever asked waits in vain.
                std::future::pending::<()>().await;
            }
            let Some(group) = self.net.node(to.0) else { return Err(LaneError::NotSent) };
            let from = NodeId(self.me);
            // In the other process: it goes on also where nobody waits for it.
            let answer = super::spawn("control command", async move { group.handle(from, body).await }).await.unwrap();
            if !self.net.passes(to.0, self.me) {
                std::future::pending::<()>().await;
            }
            Ok(answer)
        })
    }
}

/// Nodes 1, 2, ... with their directories.
#[derive(Default)]
struct Cluster {
    net: Arc<Net>,
    dirs: BTreeMap<u64, TempDir>,
}

fn birth(node: u64) -> recovery::Birth {
    recovery::Birth { cluster: ClusterId(5), node: NodeId(node), generation: 0, tag: node }
}

fn put(name: impl Into<String>) -> Command {
    Command::PutBucket { name: name.into(), definition: Definition::default() }
}

fn begin() -> Command {
    Command::Begin(control::Birth { cluster: ClusterId(5), node: NodeId(1), at_ms: 0, context_secret: [1; 32] })
}

/// Waits for a value.
async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = time::mono() + PATIENCE;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(time::mono() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Cluster {
    /// One node alone, with its first command.
    async fn of_one() -> Self {
        let mut cluster = Self::default();
        let group = cluster.start(1, Birth::Found(birth(1))).await;
        group.propose(begin()).await.unwrap();
        cluster
    }

    /// This many voters.
    async fn of(nodes: u64) -> Self {
        let mut cluster = Self::of_one().await;
        for node in 2..=nodes {
            cluster.start(node, Birth::Join(birth(node))).await;
        }
        cluster.seat(&(1..=nodes).collect::<Vec<_>>()).await;
        cluster
    }

    fn dir(&self, node: u64) -> PathBuf {
        self.dirs[&node].path().join("control")
    }

    async fn start(&mut self, node: u64, birth: Birth) -> Group {
        self.start_with(node, birth, Pledge::Kept).await
    }

    async fn start_with(&mut self, node: u64, birth: Birth, pledge: Pledge) -> Group {
        if let std::collections::btree_map::Entry::Vacant(place) = self.dirs.entry(node) {
            let dir = place.insert(tempfile::tempdir().unwrap());
            std::fs::create_dir(dir.path().join("control")).unwrap();
        }
        let lane = Arc::new(Lane { me: node, net: Arc::clone(&self.net) });
        let on_poison = Box::new(move |error: &_| panic!("node {node}: {error}"));
        let (group, _) = Group::open(&self.dir(node), NodeId(node), birth, lane, on_poison).await.unwrap();
        group.set_pledge(pledge);
        self.net.nodes.lock().unwrap().insert(node, group.clone());
        group
    }

    fn node(&self, node: u64) -> Group {
        self.net.node(node).unwrap()
    }

    fn all(&self) -> Vec<Group> {
        self.net.nodes.lock().unwrap().values().cloned().collect()
    }

    /// As a process that is killed: its journal is not closed. What it had written is there for the next life.
    async fn kill(&mut self, node: u64) {
        let group = self.net.nodes.lock().unwrap().remove(&node).unwrap();
        group.0.stop();
        group.0.raft.shutdown().await.unwrap();
        group.0.writer.close();
        let (old, copy) = (self.dir(node), self.dirs[&node].path().join("copy"));
        std::fs::create_dir(&copy).unwrap();
        for file in std::fs::read_dir(&old).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
        group.0.log.close();
        std::fs::remove_dir_all(&old).unwrap();
        std::fs::rename(copy, old).unwrap();
    }

    async fn restart(&mut self, node: u64) -> Group {
        self.kill(node).await;
        self.start(node, Birth::Known).await
    }

    /// The one that all who run take for the leader.
    async fn leader(&self) -> u64 {
        let among: Vec<_> = self.all();
        eventually("a leader", || agreed(&among)).await
    }

    /// Makes the leader arrange the group until nothing is left to do.
    async fn seat(&self, nodes: &[u64]) {
        let members: BTreeMap<_, _> = nodes.iter().map(|node| (NodeId(*node), Candidate::default())).collect();
        let live: BTreeSet<_> = members.keys().copied().collect();
        let voters = if nodes.len() < 3 { 1 } else { 3 };
        let deadline = time::mono() + PATIENCE;
        loop {
            for group in self.all() {
                let _later = group.reconcile(&members, &live).await;
            }
            let seated = |group: &Group| {
                let status = group.status().members;
                let named = status.voters.iter().flatten().chain(&status.learners).count();
                status.voters.len() == 1 && status.voters[0].len() == voters && named == nodes.len()
            };
            let running: Vec<_> = nodes.iter().filter_map(|node| self.net.node(*node)).collect();
            if running.iter().all(seated) {
                return;
            }
            assert!(
                time::mono() < deadline,
                "never seated: {:?}",
                self.all().iter().map(Group::status).collect::<Vec<_>>()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn cut(&self, from: u64, to: u64) {
        self.net.weather.lock().unwrap().cut.insert((from, to));
    }

    fn isolate(&self, node: u64) {
        for other in self.dirs.keys().copied().filter(|other| *other != node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    fn freeze(&self, node: u64) {
        self.net.weather.lock().unwrap().frozen.insert(node);
    }

    fn heal(&self) {
        *self.net.weather.lock().unwrap() = Weather::default();
    }

    /// The state that all who run come to.
    async fn agree(&self) -> Arc<State> {
        let among = self.all();
        eventually("one state", || {
            let views: Vec<_> = among.iter().map(|group| group.watch().borrow().clone()).collect();
            let last = among.iter().map(|group| group.0.last()).collect::<BTreeSet<_>>();
            let same = views.windows(2).all(|two| two[0].next == two[1].next) && last.len() == 1;
            let whole = last.first().copied().flatten().map(|id| id.index + 1) == Some(views[0].next);
            (same && whole && agreed(&among).is_some()).then(|| Arc::clone(&views[0].state))
        })
        .await;
        let states: Vec<_> = among.iter().map(|group| group.state()).collect();
        assert!(states.windows(2).all(|two| two[0] == two[1]), "they differ");
        Arc::clone(&states[0])
    }

    fn close(&self) {
        for group in self.all() {
            group.close();
        }
    }
}

fn agreed(among: &[Group]) -> Option<u64> {
    let leaders: BTreeSet<_> = among.iter().map(Group::leader).collect();
    let leader = leaders.first().copied().flatten().filter(|_| leaders.len() == 1)?;
    let leads = |group: &Group| group.0.me == leader && group.0.leads().is_some();
    among.iter().any(leads).then_some(leader.0)
}

fn names(state: &State) -> Vec<&str> {
    state.buckets.keys().map(String::as_str).collect()
}

fn is_refusal(outcome: &Result<Applied, ProposeError>) -> bool {
    matches!(outcome, Err(ProposeError::Unavailable { .. }))
}
