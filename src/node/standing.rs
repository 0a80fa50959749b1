//! Whether this node still has what it said it had, and what it does where it has not: the driver of `proto::standing`, and of
//! the refill behind it (ADR 23). One task, from the start to the end of the process.
//!
//! Invariants:
//! - Before it is certain, the node is not [serving](Node::is_serving): it acks nothing, answers no read, mints nothing; and as
//!   a voter it does nothing either. It says nothing of its journals.
//! - It answers what it remembers of others in every state: so nodes that start together do not wait for each other.
//! - A loss is on disk before anything is done about it, and until all of it is done. Whoever is killed in between goes on.
//! - What counted as merged before the loss is struck out, durably, before the layout hears of the loss; the layout knows
//!   that the node has lost what it had before it merges the first slot; and every slot is merged, durably, before it serves.
//! - The journal has another number before the node says anything of it again.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use futures_util::future::join_all;
use tokio::sync::watch;

use crate::base::id::NodeId;
use crate::base::limits::DOUBT_ASK;
use crate::base::limits::DOUBT_PATIENCE;
use crate::base::limits::MEMORY_EVERY;
use crate::base::limits::REPORT_AGAIN;
use crate::base::limits::STANDING_TICK;
use crate::base::rng;
use crate::base::time;
use crate::control::consensus::Consensus as _;
use crate::node::Node;
use crate::node::cluster::Lane;
use crate::node::cluster::View;
use crate::node::cluster::draw;
use crate::node::cluster::now_ms;
use crate::node::error::DoorError;
use crate::node::worker;
use crate::proto::control::Command;
use crate::proto::control::State;
use crate::proto::control::members::Change;
use crate::proto::message::Answer;
use crate::proto::message::Ask;
use crate::proto::message::Question;
use crate::proto::message::Tell;
use crate::proto::message::Word;
use crate::proto::ring::layout::Slot;
use crate::proto::ring::sources::Sources;
use crate::proto::standing::Doubt;
use crate::proto::standing::Gap;
use crate::proto::standing::Pledge;
use crate::proto::standing::Reach;
use crate::proto::standing::Remembered;
use crate::proto::standing::Said;
use crate::proto::standing::Standing;
use crate::proto::standing::Verdict;
use crate::store::identity::Identity;
use crate::store::marks::Marks;
use crate::store::memory::Known;
use crate::store::memory::Loss;
use crate::store::memory::MemoryFile;
use crate::store::memory::Own;

/// How far the two journals were durable as this process, or the first one in doubt, began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    /// Which start this is.
    pub(super) start: u64,
    /// The journal of the data.
    pub(super) data: u64,
    /// That of the control group.
    pub(super) control: u64,
    /// Others vote in it.
    pub(super) others_vote: bool,
}

/// How this node stands, as far as it knows.
pub(super) struct Stand {
    /// What it remembers.
    pub(super) memory: MemoryFile,
    opened: Mutex<Opened>,
    doubts: Mutex<Doubts>,
    whole: AtomicBool,
    woken: watch::Sender<()>,
    /// How far a refill is, as the task saw it last: slots that are merged, of how many.
    refilled: Mutex<(usize, usize)>,
}

/// What it is not certain of.
#[derive(Default)]
struct Doubts {
    data: Option<Doubt>,
    control: Option<Doubt>,
}

/// Of a loss, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossView {
    /// What happened; none while it still asks.
    pub why: Option<String>,
    /// Slots that are merged anew.
    pub merged: usize,
    /// Of so many.
    pub slots: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stand {
    /// Of a node that has just opened its journals up to here. With nobody to ask it is certain at once; the control group's
    /// journal is asked about where others vote.
    ///
    /// # Errors
    /// Of the operating system.
    pub(super) fn begin(
        memory: MemoryFile,
        opened: Opened,
        identity: &Identity,
        state: &State,
    ) -> std::io::Result<Self> {
        let counts_on_others = !state.layout.shares_with(identity.node).is_empty();
        // Whoever is just let in has said nothing yet.
        let asks_data = identity.born && counts_on_others && memory.read(|known| known.loss.is_none());
        let asks_control = opened.others_vote && memory.read(|known| !known.pledge_broken);
        memory.change(|known| {
            known.data.doubt = asks_data.then(|| known.data.doubt.unwrap_or(opened.data));
            known.control.doubt = asks_control.then(|| known.control.doubt.unwrap_or(opened.control));
        })?;
        let Known { data, control, loss, .. } = memory.read(Known::clone);
        let opened = Opened {
            data: data.doubt.unwrap_or(opened.data),
            control: control.doubt.unwrap_or(opened.control),
            ..opened
        };
        let patient_until_ms = now_ms() + time::millis(DOUBT_PATIENCE);
        let doubt = |own: Own, opened| Doubt::new(reach(own, opened, opened), patient_until_ms);
        Ok(Self {
            memory,
            opened: Mutex::new(opened),
            doubts: Mutex::new(Doubts {
                data: asks_data.then(|| doubt(data, opened.data)),
                control: asks_control.then(|| doubt(control, opened.control)),
            }),
            whole: AtomicBool::new(!asks_data && loss.is_none()),
            woken: watch::Sender::new(()),
            refilled: Mutex::default(),
        })
    }

    /// Whether it has what it said it had.
    pub(super) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }
}

fn reach(own: Own, opened: u64, group: u64) -> Reach {
    Reach { journal: own.journal, opened, group }
}

impl Node {
    /// What this node says of itself.
    pub(super) fn standing(&self) -> Option<Standing> {
        let stand = &self.0.cluster.stand;
        // First how far it is: what becomes durable later is said later.
        let (data, control) = (self.0.store.journal().durable_group(), self.0.consensus.durable_group());
        let (own_data, own_control) = stand.memory.read(|known| (known.data, known.control));
        let opened = *lock(&stand.opened);
        let certain_of_control = lock(&stand.doubts).control.is_none() && self.0.consensus.pledge() == Pledge::Kept;
        Some(Standing {
            start: opened.start,
            data: stand.is_whole().then(|| reach(own_data, opened.data, data)),
            control: certain_of_control.then(|| reach(own_control, opened.control, control)),
        })
    }

    /// Another node says how far its journals are durable.
    pub(super) fn hear_standing(&self, from: NodeId, said: Standing) {
        if let Some(refuted) = self.0.cluster.stand.memory.hear(from, said) {
            tracing::warn!(%from, "this node speaks of less than it had before; it is told");
            self.say(from, &Word::YouHad(refuted));
        }
    }

    /// What this node remembers of another.
    pub(super) fn remembered(&self, node: NodeId) -> Tell {
        Tell::Remembered(self.0.cluster.stand.memory.read(|known| known.others.of(node)))
    }

    /// Somebody remembers more than this life began with: it was not to be reached while this node asked.
    pub(super) fn hear_loss(&self, from: NodeId, remembered: Remembered) {
        let stand = &self.0.cluster.stand;
        let opened = *lock(&stand.opened);
        let (data, control) = stand.memory.read(|known| (known.data, known.control));
        let speaks = |said: Option<Said>, own: Own, opened_at| {
            let said = said.filter(|said| said.start < opened.start && said.reach.journal == own.journal)?;
            reach(own, opened_at, opened_at).misses(&said.reach)
        };
        let mut doubts = lock(&stand.doubts);
        if let Some(gap) = speaks(remembered.data, data, opened.data) {
            tracing::error!(%from, gap = gap.in_words(), "the journal is not what it was");
            stand.whole.store(false, Ordering::Release);
            doubts.data = Some(missing(gap, from, reach(data, opened.data, opened.data)));
        }
        if let Some(gap) = speaks(remembered.control, control, opened.control) {
            tracing::error!(%from, gap = gap.in_words(), "the control journal is not what it was");
            self.0.consensus.set_pledge(Pledge::Asking);
            doubts.control = Some(missing(gap, from, reach(control, opened.control, opened.control)));
        }
        drop(doubts);
        stand.woken.send_replace(());
    }

    /// Whether this node has to merge anew what it owns.
    pub(super) fn is_refilling(&self) -> bool {
        let stand = &self.0.cluster.stand;
        !stand.is_whole() && stand.memory.read(|known| known.loss.as_ref().is_some_and(|loss| loss.begun))
    }

    /// What is wrong with what this node holds, if anything is.
    #[must_use]
    pub fn loss(&self) -> Option<LossView> {
        let stand = &self.0.cluster.stand;
        if stand.is_whole() {
            return None;
        }
        let why = stand.memory.read(|known| known.loss.as_ref().map(|loss| loss.why.clone()));
        let (merged, slots) = *lock(&stand.refilled);
        Some(LossView { why, merged, slots })
    }

    /// Finds out how this node stands, makes good what it lost, and notes what it remembers of the others, until it stops.
    pub async fn keep_standing(self) {
        let mut woken = self.0.cluster.stand.woken.subscribe();
        let mut noted = time::mono();
        let mut keeper = Keeper { node: self.clone(), contact_since: time::mono(), lost_said: None, floor_asked: None };
        loop {
            let step = keeper.look().await;
            if let Err(error) = &step {
                tracing::warn!(%error, "how this node stands could not be noted; it is tried again");
            }
            if noted.elapsed() >= MEMORY_EVERY {
                noted = time::mono();
                self.note_memory().await;
            }
            let pause = if keeper.is_at_rest() { MEMORY_EVERY } else { STANDING_TICK };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _sender_lives = woken.changed() => {}
                () = self.drained() => break,
            }
        }
        self.note_memory().await;
    }

    async fn note_memory(&self) {
        let state = self.state();
        if let Err(error) = self.change_memory(move |known| known.others.keep(|node| !state.is_gone(node))).await {
            tracing::warn!(%error, "what is remembered of the others could not be noted");
        }
    }

    async fn change_memory(&self, change: impl FnOnce(&mut Known) + Send + 'static) -> Result<(), DoorError> {
        let node = self.clone();
        worker::block("noting what is remembered", move || {
            let noted = node.0.cluster.stand.memory.change(change);
            noted.map_err(|source| DoorError::Io { doing: "noting what is remembered of the journals", source })
        })
        .await
    }
}

fn missing(gap: Gap, from: NodeId, reach: Reach) -> Doubt {
    let group = match gap {
        Gap::WentBack { from, .. } | Gap::Another { from } => from,
    };
    let mut doubt = Doubt::new(reach, 0);
    doubt.hear(from, Some(&Reach { group, ..reach }));
    doubt
}

struct Keeper {
    node: Node,
    /// The view counts as fresh where there was contact since.
    contact_since: Instant,
    lost_said: Option<Instant>,
    floor_asked: Option<Instant>,
}

impl Keeper {
    fn stand(&self) -> &Stand {
        &self.node.0.cluster.stand
    }

    fn is_at_rest(&self) -> bool {
        let doubts = lock(&self.stand().doubts);
        doubts.data.is_none()
            && doubts.control.is_none()
            && self.stand().is_whole()
            && self.node.0.consensus.pledge() == Pledge::Kept
    }

    async fn look(&mut self) -> Result<(), DoorError> {
        self.ask().await;
        self.judge_data().await?;
        self.judge_control().await?;
        self.keep_pledge().await?;
        self.make_good().await
    }

    /// Asks those who have not said yet what they remember.
    async fn ask(&self) {
        let unheard: Vec<NodeId> = {
            let doubts = lock(&self.stand().doubts);
            let asked = |node: &NodeId| {
                [&doubts.data, &doubts.control].into_iter().flatten().any(|doubt| !doubt.has_heard(*node))
            };
            self.everyone().into_iter().filter(asked).collect()
        };
        let node = &self.node;
        let ask = async |to: NodeId| {
            let left_ms = time::millis(DOUBT_ASK);
            let steady_ms = time::steady_ms().0;
            let stamp = node.stamp();
            let question = Question { epoch: 0, view: 0, steady_ms, left_ms, floor: 0, stamp, ask: Ask::Remember };
            let answer = node.ask(to, Lane::Requests, question.encode(), DOUBT_ASK).await;
            match answer {
                Ok(Answer { tell: Tell::Remembered(remembered), .. }) => Some((to, remembered)),
                Ok(_) | Err(_) => None,
            }
        };
        for (from, remembered) in join_all(unheard.into_iter().map(ask)).await.into_iter().flatten() {
            let mut doubts = lock(&self.stand().doubts);
            if let Some(doubt) = &mut doubts.data {
                doubt.hear(from, remembered.data.map(|said| said.reach).as_ref());
            }
            if let Some(doubt) = &mut doubts.control {
                doubt.hear(from, remembered.control.map(|said| said.reach).as_ref());
            }
        }
    }

    fn everyone(&self) -> BTreeSet<NodeId> {
        let (state, me) = (self.node.state(), self.node.who().node);
        let mut all: BTreeSet<NodeId> =
            state.members.keys().copied().filter(|id| state.member(*id).is_some()).collect();
        all.extend(self.node.0.consensus.voters());
        all.remove(&me);
        all
    }

    async fn judge_data(&self) -> Result<(), DoorError> {
        let view = self.node.view();
        let mut others = view.state.layout.shares_with(self.node.who().node);
        // Who is gone for ever is not asked: somebody ordered to go on without.
        others.retain(|node| view.state.member(*node).is_some());
        let verdict = lock(&self.stand().doubts).data.as_ref().map(|doubt| doubt.verdict(&others, now_ms()));
        match verdict {
            None | Some(Verdict::Wait) => {}
            Some(Verdict::Whole) => {
                self.node.change_memory(|known| known.data.doubt = None).await?;
                let mut doubts = lock(&self.stand().doubts);
                // Somebody may have spoken meanwhile.
                if doubts.data.as_ref().is_some_and(|doubt| doubt.verdict(&others, now_ms()) != Verdict::Whole) {
                    return Ok(());
                }
                doubts.data = None;
                self.stand().whole.store(true, Ordering::Release);
                tracing::info!("the others know of nothing that this node has not");
            }
            Some(Verdict::Misses(gap)) => {
                let why = format!("the journal {}", gap.in_words());
                tracing::error!(
                    why,
                    "this node has lost what it had acked; it gets it back from the others before it serves"
                );
                let loss = Loss { why, begun: false };
                self.node.change_memory(|known| known.loss = Some(loss)).await?;
                lock(&self.stand().doubts).data = None;
            }
        }
        Ok(())
    }

    async fn judge_control(&self) -> Result<(), DoorError> {
        let (me, group) = (self.node.who().node, &self.node.0.consensus);
        let others: BTreeSet<NodeId> = group.voters().into_iter().filter(|node| *node != me).collect();
        let verdict = lock(&self.stand().doubts).control.as_ref().map(|doubt| doubt.verdict(&others, now_ms()));
        match verdict {
            None | Some(Verdict::Wait) => {}
            Some(Verdict::Whole) => {
                self.node.change_memory(|known| known.control.doubt = None).await?;
                let mut doubts = lock(&self.stand().doubts);
                if doubts.control.as_ref().is_some_and(|doubt| doubt.verdict(&others, now_ms()) != Verdict::Whole) {
                    return Ok(());
                }
                doubts.control = None;
                group.set_pledge(Pledge::Kept);
            }
            Some(Verdict::Misses(gap)) => {
                let why = gap.in_words();
                tracing::error!(
                    why,
                    "the control journal is not what it was: no vote before the leader has caught it up"
                );
                self.node.change_memory(|known| known.pledge_broken = true).await?;
                group.set_pledge(Pledge::Broken);
                lock(&self.stand().doubts).control = None;
            }
        }
        Ok(())
    }

    /// A voter that forgot what it promised asks the others for their terms, and is one again once it is caught up.
    async fn keep_pledge(&mut self) -> Result<(), DoorError> {
        if !self.stand().memory.read(|known| known.pledge_broken) {
            return Ok(());
        }
        let group = &self.node.0.consensus;
        match group.pledge() {
            Pledge::Asking => {}
            Pledge::Broken => {
                if is_due(&mut self.floor_asked, DOUBT_ASK)
                    && let Some(floor) = group.floor(DOUBT_ASK).await
                {
                    group.set_pledge(Pledge::CatchingUp { floor });
                }
            }
            Pledge::CatchingUp { .. } => {}
            Pledge::Kept => {
                let control = group.durable_group();
                let own = Own { journal: new_number(), doubt: None };
                self.node
                    .change_memory(move |known| {
                        known.control = own;
                        known.pledge_broken = false;
                    })
                    .await?;
                lock(&self.stand().opened).control = control;
                tracing::info!("the control journal is caught up; this node votes again");
            }
        }
        Ok(())
    }

    /// Gets back what was lost: first the layout has to know of it, then every slot is merged.
    async fn make_good(&mut self) -> Result<(), DoorError> {
        let Some(loss) = self.stand().memory.read(|known| known.loss.clone()) else { return Ok(()) };
        if !loss.begun {
            // What it holds may be older than the floors that it has agreed to.
            let forget = |marks: &mut Marks| {
                marks.synced.clear();
                marks.floors.clear();
            };
            self.node.change_marks(forget).await?;
            self.node.change_memory(|known| known.loss = Some(Loss { begun: true, ..loss })).await?;
        }
        let node = &self.node;
        let contact = node.0.consensus.contact().and_then(|age| time::mono().checked_sub(age));
        if contact.is_none_or(|at| at < self.contact_since) {
            return Ok(());
        }
        let (view, me) = (node.view(), node.who().node);
        if view.state.member(me).is_none() {
            return Ok(());
        }
        if !view.state.layout.is_lost(me) {
            if is_due(&mut self.lost_said, REPORT_AGAIN) {
                self.say_lost().await;
            }
            return Ok(());
        }
        let (merged, slots) = refilled(node, &view);
        *lock(&self.stand().refilled) = (merged, slots);
        if merged == slots { self.is_refilled().await } else { Ok(()) }
    }

    async fn say_lost(&self) {
        let command = Command::Cluster(Change::Lost { node: self.node.who().node });
        if let Err(error) = self.node.0.consensus.propose(command).await {
            tracing::debug!(%error, "that this node has lost what it had could not be said yet");
        }
    }

    async fn is_refilled(&self) -> Result<(), DoorError> {
        let opened = self.node.0.store.journal().durable_group();
        let own = Own { journal: new_number(), doubt: None };
        self.node
            .change_memory(move |known| {
                known.data = own;
                known.loss = None;
            })
            .await?;
        lock(&self.stand().opened).data = opened;
        self.stand().whole.store(true, Ordering::Release);
        tracing::info!("this node has back what it had lost, and serves");
        Ok(())
    }
}

fn new_number() -> u64 {
    rng::nonzero_u64().unwrap_or_else(|_no_entropy| draw())
}

fn is_due(last: &mut Option<Instant>, every: Duration) -> bool {
    let due = last.is_none_or(|at| at.elapsed() >= every);
    if due {
        *last = Some(time::mono());
    }
    due
}

/// What a node that has to merge a slot anew merges; none where it owns nothing of it.
pub(super) fn refill_of(slot: &Slot, view: &View, me: NodeId) -> Option<Sources> {
    let owns = slot.lists().any(|list| list.owners.contains(&me));
    owns.then(|| slot.refill(me, &view.state.numbers()))
}

/// How many slots are merged, and of how many.
fn refilled(node: &Node, view: &View) -> (usize, usize) {
    let me = node.who().node;
    let done = node.0.cluster.marks.read(|marks| marks.synced.clone());
    let wanted: Vec<_> = view
        .state
        .layout
        .slots()
        .filter_map(|(partition, slot)| Some((partition, refill_of(slot, view, me)?.since)))
        .collect();
    let is_done = |(partition, since): &&(_, u64)| done.get(partition).is_some_and(|done| done >= since);
    (wanted.iter().filter(is_done).count(), wanted.len())
}
