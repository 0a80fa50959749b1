//! What is due from time to time: elections, the word of a leader whose disk is slow, the question how far the leader is,
//! snapshots. And the end of the process where the group has ended by itself.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::base::id::NodeId;
use crate::base::limits::CONTROL_CONTACT_EVERY;
use crate::base::limits::CONTROL_HEARTBEAT;
use crate::base::limits::CONTROL_LEASE;
use crate::base::limits::CONTROL_STALL_MAX;
use crate::base::limits::CONTROL_TICK;
use crate::base::limits::CONTROL_TICK_ALONE;
use crate::base::time;
use crate::control::group::Inner;
use crate::control::group::ended;
use crate::control::group::spawn;
use crate::control::types::Members;
use crate::control::words::Answer;
use crate::control::words::Ask;
use crate::proto::campaign::Step;
use crate::proto::tape::campaign::Told;

/// Keeps a group until it is closed or gone.
pub async fn keep(group: Weak<Inner>) {
    let mut due = Due::default();
    loop {
        let Some(group) = group.upgrade() else { return };
        if group.closing.load(Ordering::Relaxed) {
            return;
        }
        if let Err(fatal) = group.raft.metrics().borrow().running_state.clone() {
            group.poison.fire(&ended(fatal));
            return;
        }
        let pause = due.look(&group);
        drop(group);
        tokio::time::sleep(pause).await;
    }
}

/// When what was done last.
#[derive(Default)]
struct Due {
    leader: Option<u64>,
    asked: Option<Instant>,
    told: Option<Instant>,
}

fn is_due(last: &mut Option<Instant>, every: Duration) -> bool {
    let now = time::mono();
    let due = last.is_none_or(|last| now.saturating_duration_since(last) >= every);
    if due {
        *last = Some(now);
    }
    due
}

impl Due {
    /// Does what is due; how long nothing will be.
    fn look(&mut self, group: &Arc<Inner>) -> Duration {
        group.snapshot_if_due();
        let leader = group.leader();
        if leader != self.leader {
            self.leader = leader;
            tracing::info!(leader, term = group.metrics().current_term, "the control plane has another leader");
        }
        let members = group.members();
        group.look_at_pledge();
        let Some(ballot) = group.leads() else {
            if group.pledge().may_vote() {
                elect(group, &members);
            }
            if let Some(leader) = leader.filter(|_| is_due(&mut self.asked, CONTROL_CONTACT_EVERY)) {
                spawn("control contact", ask_contact(Arc::clone(group), leader));
            }
            return CONTROL_TICK;
        };
        group.tell_campaign(Told::Voted);
        let stalled = group.log.stalled();
        if (CONTROL_HEARTBEAT..CONTROL_STALL_MAX).contains(&stalled) && is_due(&mut self.told, CONTROL_HEARTBEAT) {
            // The library sends no heartbeats while it waits for the disk.
            for to in others(group, &members) {
                tell(group, to, Ask::StillLeads(ballot));
            }
        }
        let alone = members == Members::sole(group.me.0);
        if alone { CONTROL_TICK_ALONE } else { CONTROL_TICK }
    }
}

fn others(group: &Inner, members: &Members) -> Vec<u64> {
    let mut all: Vec<_> = members.voters.iter().flatten().copied().filter(|node| *node != group.me.0).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn elect(group: &Arc<Inner>, members: &Members) {
    let step = group.tell_campaign(Told::Tick(members.nodes()));
    match step {
        None => {}
        Some(Step::Elect) => stand(group),
        Some(Step::Ask { attempt }) => {
            for to in others(group, members) {
                spawn("election", ask_whether_it_hears(Arc::clone(group), to, attempt));
            }
        }
    }
}

fn stand(group: &Arc<Inner>) {
    let group = Arc::clone(group);
    spawn("election", async move {
        tracing::info!("no leader of the control plane is heard; this node stands for election");
        group.raft.trigger().elect().await
    });
}

async fn ask_whether_it_hears(group: Arc<Inner>, to: u64, attempt: u64) {
    let ask = Ask::HearLeader { last: group.last() };
    let answer = group.link.ask(NodeId(to), ask, CONTROL_LEASE / 2).await;
    if matches!(answer, Ok(Answer::HearNone(true))) && group.pledge().may_vote() {
        let voters = group.members().nodes();
        let step = group.tell_campaign(Told::HearsNone(NodeId(to), attempt, voters));
        if step == Some(Step::Elect) {
            stand(&group);
        }
    }
}

/// The leader heard a majority so long before it was asked, at least.
async fn ask_contact(group: Arc<Inner>, leader: u64) {
    let asked = time::mono();
    if let Ok(Answer::Contact { age_ms, next }) =
        group.link.ask(NodeId(leader), Ask::Contact, 2 * CONTROL_CONTACT_EVERY).await
        && let Some(at) = asked.checked_sub(Duration::from_millis(age_ms))
    {
        let mut contact = group.contact.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = group.next();
        if shown >= next {
            contact.at = contact.at.max(Some(at));
        } else if contact.when.is_none_or(|(_, needs)| needs <= shown) {
            contact.at = contact.at.max(contact.when.map(|(at, _)| at));
            contact.when = Some((at, next));
        }
    }
}

fn tell(group: &Arc<Inner>, to: u64, ask: Ask) {
    let link = Arc::clone(&group.link);
    spawn("heartbeat", async move { link.ask(NodeId(to), ask, CONTROL_HEARTBEAT).await });
}
