//! Contact with the control plane: what only operators and admins may do needs it, so that a token that was removed does
//! not live on in a node that is cut off (HOUSE, two kinds of state). Everything else goes on without.

use std::time::Duration;

use crate::base::limits::CONTROL_CONTACT_MAX;
use crate::base::limits::CONTROL_CONTACT_PATIENCE;
use crate::base::limits::CONTROL_TICK;
use crate::base::time;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::error::DoorError;
use crate::proto::audit::Via;
use crate::proto::scope::Need;

/// Whether a caller is let in without contact: the owner of the machine always is.
fn goes_without(caller: &Caller, need: Need) -> bool {
    caller.via == Via::Local
        || match need {
            Need::Operate | Need::Admin => false,
            Need::Nothing
            | Need::ReadValues
            | Need::WriteValues
            | Need::AnyValues
            | Need::Data
            | Need::Observe
            | Need::Metrics
            | Need::SignedIn
            | Need::Owner => true,
        }
}

impl Node {
    /// How old this node's copy of the control state may be at least, where that is more than it should: what it knows of
    /// tokens and users is as old. None where there is contact.
    #[must_use]
    pub fn control_age(&self) -> Option<Duration> {
        match self.0.consensus.contact() {
            Some(age) if age <= CONTROL_CONTACT_MAX => None,
            Some(age) => Some(age),
            None => Some(self.0.started.elapsed()),
        }
    }

    /// Waits a moment for contact where this needs it, as an election may be under way.
    ///
    /// # Errors
    /// [`DoorError::NoContact`].
    pub async fn check_contact(&self, caller: &Caller, need: Need) -> Result<(), DoorError> {
        let deadline = time::mono() + CONTROL_CONTACT_PATIENCE;
        while !goes_without(caller, need) && self.control_age().is_some() {
            if time::mono() >= deadline {
                return Err(DoorError::NoContact { age: self.0.consensus.contact() });
            }
            tokio::time::sleep(CONTROL_TICK).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::goes_without;
    use crate::node::access::Caller;
    use crate::proto::audit::Via;
    use crate::proto::scope::Need;
    use crate::proto::scope::Scope;

    #[test]
    fn only_what_operators_and_admins_may_needs_contact_and_the_owner_never_does() {
        let by = |via| Caller { via, scopes: [Scope::Admin].into(), ..Caller::anonymous(None) };
        for via in [Via::Token, Via::Session] {
            let without = |need| goes_without(&by(via), need);
            assert!(!without(Need::Operate) && !without(Need::Admin));
            for need in [Need::ReadValues, Need::WriteValues, Need::AnyValues, Need::Data, Need::Observe, Need::Metrics]
            {
                assert!(without(need), "{need:?}");
            }
        }
        for need in [Need::Operate, Need::Admin, Need::Owner] {
            assert!(goes_without(&by(Via::Local), need), "{need:?}");
        }
    }
}
