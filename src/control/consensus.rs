//! The one door to control state: propose a command, read the state.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::Refused;
use crate::proto::control::State;

/// Why a command did not take effect, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The state machine refuses it; nothing changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The disk has no room; nothing changed.
    #[error("the disk is full; nothing was changed")]
    NoSpace,
    /// There is no leader with a majority, too much is under way, or the node is stopping; nothing changed.
    #[error("the control plane takes no changes now: {reason}; nothing was changed; try again")]
    Unavailable {
        /// In words.
        reason: String,
    },
    /// It was given to the group, and no answer came.
    #[error("the change was not confirmed in time; whether it took effect is unknown")]
    Unknown,
}

/// A command on its way.
pub type Proposal<'a> = Pin<Box<dyn Future<Output = Result<Applied, ProposeError>> + Send + 'a>>;

/// Orders commands and holds the state they lead to.
pub trait Consensus: Send + Sync + 'static {
    /// Commits a command. When this returns `Ok`, [`Consensus::state`] shows it and it is durable.
    fn propose(&self, command: Command) -> Proposal<'_>;
    /// This node's copy of the state.
    fn state(&self) -> Arc<State>;
    /// The same with its place in the order of commands: a state that is later has a higher one.
    fn view(&self) -> (u64, Arc<State>);
    /// Writes what waits and closes in order. Blocks.
    fn close(&self);
}
