//! Operators as the rescue console knows them: what the control state says of those who have a password and may see how the
//! node runs is kept in `identity/operators`, at the start and whenever it changes.

use crate::base::limits::OPERATORS_EVERY;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::node::worker;
use crate::proto::control::NO_PASSWORD;
use crate::proto::control::State;
use crate::proto::control::User;
use crate::proto::scope::Need;
use crate::store::identity::operators;
use crate::store::identity::operators::Operator;
use crate::store::identity::operators::Operators;

impl Node {
    /// Keeps the file as the control state is, until the node stops.
    pub async fn keep_operators(self) {
        let mut moved = self.moved();
        let mut again = tokio::time::interval(OPERATORS_EVERY);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut written = None;
        loop {
            self.note_operators(&mut written).await;
            tokio::select! {
                () = self.drained() => return,
                Ok(()) = moved.changed() => {}
                _at = again.tick() => {}
            }
        }
    }

    async fn note_operators(&self, written: &mut Option<Operators>) {
        let wanted = operators_of(&self.state());
        if written.as_ref() == Some(&wanted) {
            return;
        }
        let (dir, noted) = (self.0.data_dir.join("identity"), wanted.clone());
        let done = worker::block("noting operators", move || {
            // An unchanged file costs no disk at every start.
            if operators::read(&dir).ok().flatten().as_ref() == Some(&noted) {
                return Ok(());
            }
            let failed = |error| DoorError::Io { doing: "noting operators", source: std::io::Error::other(error) };
            operators::write(&dir, &noted).map_err(failed)
        });
        match done.await {
            Ok(()) => *written = Some(wanted),
            Err(error) => tracing::warn!(%error, "who may sign in to the rescue console could not be written down"),
        }
    }
}

fn operators_of(state: &State) -> Operators {
    let sees = |user: &&User| user.password_hash != NO_PASSWORD && Need::Observe.met_by(&user.scopes);
    let noted = |user: &User| Operator { scopes: user.scopes.clone(), password_hash: user.password_hash.clone() };
    let people = state.users.iter().filter(|(_, user)| sees(user));
    people.map(|(name, user)| (name.clone(), noted(user))).collect()
}

#[cfg(test)]
mod tests {
    use super::operators_of;
    use crate::proto::control::NO_PASSWORD;
    use crate::proto::control::State;
    use crate::proto::control::User;
    use crate::proto::scope::Scope;

    #[test]
    fn only_who_has_a_password_and_may_see_the_node_is_noted() {
        let user = |hash: &str, scope| User { password_hash: hash.to_owned(), scopes: vec![scope], made_ms: 1 };
        let mut state = State::default();
        for (name, hash, scope) in [
            ("ann", "h", Scope::Operate),
            ("bob", NO_PASSWORD, Scope::Admin),
            ("cat", "h", Scope::DeviceRead),
            ("dan", "h", Scope::Admin),
        ] {
            state.users.insert(name.to_owned(), user(hash, scope));
        }
        assert_eq!(operators_of(&state).into_keys().collect::<Vec<_>>(), ["ann", "dan"]);
    }
}
