//! Who gets in to a rescue console: operators with the passwords that they had when the node ran last, with the same waits for
//! those who guess. Sessions live in memory and end with the process.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;

use crate::base::checksum;
use crate::base::codec;
use crate::base::limits::NAME_BYTES_MAX;
use crate::base::limits::PASSWORD_BYTES_MAX;
use crate::base::limits::RESCUE_SESSIONS_MAX;
use crate::base::limits::SESSION_TTL;
use crate::base::redact::Redacted;
use crate::base::time;
use crate::node::access;
use crate::node::access::Caller;
use crate::node::access::hasher::Hasher;
use crate::node::error::DoorError;
use crate::node::rescue::Rescue;
use crate::node::session::Session;
use crate::node::session::SignInError;
use crate::node::session::guard::Guard;
use crate::proto::audit::Via;
use crate::proto::control::SessionKey;
use crate::proto::scope::Scope;
use crate::store::identity::operators;
use crate::store::identity::operators::Operator;

/// What is kept in memory for those who want in.
pub(super) struct People {
    identity: PathBuf,
    hasher: Hasher,
    guard: Mutex<Guard>,
    /// The oldest first.
    sessions: Mutex<VecDeque<Known>>,
    began: Instant,
}

struct Known {
    key: SessionKey,
    user: String,
    scopes: Vec<Scope>,
    until: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl People {
    pub(super) fn new(identity: PathBuf) -> Result<Self, DoorError> {
        Ok(Self {
            identity,
            hasher: Hasher::default(),
            guard: Mutex::new(Guard::new(&access::random()?)),
            sessions: Mutex::default(),
            began: time::mono(),
        })
    }

    fn now_ms(&self) -> u64 {
        time::millis(time::mono().saturating_duration_since(self.began))
    }

    fn begin(&self, user: &str, scopes: Vec<Scope>) -> Result<Session, DoorError> {
        let secret = codec::base64url(&access::random()?);
        let key = checksum::sha256(&[secret.as_bytes()]);
        let expires_ms = time::wall_ms().saturating_add(time::millis(SESSION_TTL));
        let mut sessions = lock(&self.sessions);
        while sessions.len() >= RESCUE_SESSIONS_MAX {
            sessions.pop_front();
        }
        sessions.push_back(Known { key, user: user.to_owned(), scopes, until: time::mono() + SESSION_TTL });
        Ok(Session { secret: Redacted::new(secret), user: user.to_owned(), expires_ms })
    }
}

impl Rescue {
    /// Signs an operator in with a password.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn sign_in(
        &self,
        name: &str,
        password: Redacted<String>,
        from: Option<IpAddr>,
    ) -> Result<Session, SignInError> {
        let people = &self.0.people;
        let attempt = lock(&people.guard).begin(name, from, people.now_ms())?;
        let possible = name.len() <= NAME_BYTES_MAX && password.reveal().len() <= PASSWORD_BYTES_MAX;
        let (name, password) = if possible { (name, password) } else { ("", Redacted::new(String::new())) };
        let operator = match self.operator(name).await {
            Ok(operator) => operator,
            Err(error) => {
                lock(&people.guard).not_carried_out(&attempt);
                return Err(error.into());
            }
        };
        let hash = operator.as_ref().map(|operator| operator.password_hash.clone());
        match people.hasher.verify(password, hash).await {
            Ok(true) => {
                lock(&people.guard).succeeded(&attempt);
                tracing::warn!(operator = name, "somebody signed in to the rescue console");
                Ok(people.begin(name, operator.map(|operator| operator.scopes).unwrap_or_default())?)
            }
            Ok(false) => {
                tracing::warn!(known = operator.is_some(), "somebody failed to sign in to the rescue console");
                Err(SignInError::Wrong)
            }
            Err(error) => {
                lock(&people.guard).not_carried_out(&attempt);
                Err(error.into())
            }
        }
    }

    /// Read at each sign-in: it is rare, and the file may be put right meanwhile.
    async fn operator(&self, name: &str) -> Result<Option<Operator>, DoorError> {
        let (identity, name) = (self.0.people.identity.clone(), name.to_owned());
        self.look("reading who may sign in", move |_place| {
            let failed =
                |error| DoorError::Io { doing: "reading who may sign in", source: std::io::Error::other(error) };
            Ok(operators::read(&identity).map_err(failed)?.and_then(|mut all| all.remove(&name)))
        })
        .await
    }

    /// Who a session belongs to; `None` where it has ended.
    #[must_use]
    pub fn caller_of_session(&self, secret: &str, from: Option<IpAddr>) -> Option<Caller> {
        let key = checksum::sha256(&[secret.as_bytes()]);
        let now = time::mono();
        let sessions = lock(&self.0.people.sessions);
        let known = sessions.iter().find(|known| known.key == key && now < known.until)?;
        Some(Caller {
            name: known.user.as_str().into(),
            scopes: known.scopes.as_slice().into(),
            via: Via::Session,
            from,
            session: Some(key),
        })
    }

    /// Ends the caller's session.
    pub fn sign_out(&self, caller: &Caller) {
        lock(&self.0.people.sessions).retain(|known| Some(known.key) != caller.session);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::RESCUE_SESSIONS_MAX;
    use crate::base::redact::Redacted;
    use crate::node::access::hasher::Hasher;
    use crate::node::rescue::Rescue;
    use crate::node::rescue::RescueOptions;
    use crate::node::session::SignInError;
    use crate::proto::rescue::Told;
    use crate::proto::scope::Need;
    use crate::proto::scope::Scope;
    use crate::store::identity::operators;
    use crate::store::identity::operators::Operator;

    fn rescue(data: &Path) -> Rescue {
        let (name, names, told) = ("n1".to_owned(), Vec::new(), Told::default());
        Rescue::open(RescueOptions { data: data.to_owned(), names, name, reserve: 0, told }).unwrap()
    }

    async fn with_ann(data: &Path) -> Rescue {
        std::fs::create_dir(data.join("identity")).unwrap();
        let password_hash = Hasher::default().hash(Redacted::new("tall ships".to_owned())).await.unwrap();
        let ann = Operator { scopes: vec![Scope::Support], password_hash };
        operators::write(&data.join("identity"), &[("ann".to_owned(), ann)].into()).unwrap();
        rescue(data)
    }

    #[tokio::test]
    async fn the_right_password_lets_in_as_who_it_was_and_a_wrong_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let rescue = with_ann(dir.path()).await;
        let sign_in =
            async |name: &str, password: &str| rescue.sign_in(name, Redacted::new(password.to_owned()), None).await;
        for (name, password) in [("ann", "tall ship"), ("bob", "tall ships"), ("", "")] {
            assert!(matches!(sign_in(name, password).await, Err(SignInError::Wrong)), "{name}");
        }
        let session = sign_in("ann", "tall ships").await.unwrap();
        let caller = rescue.caller_of_session(session.secret.reveal(), None).unwrap();
        assert!(&*caller.name == "ann" && caller.may(Need::Observe) && !caller.may(Need::Operate));
        assert!(rescue.caller_of_session("another", None).is_none());
        rescue.sign_out(&caller);
        assert!(rescue.caller_of_session(session.secret.reveal(), None).is_none());
    }

    #[tokio::test]
    async fn who_guesses_has_to_wait_and_nobody_gets_in_without_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let rescue = rescue(dir.path());
        let mut last = None;
        for _ in 0..10 {
            last = rescue.sign_in("ann", Redacted::new("x".to_owned()), None).await.err();
        }
        assert!(matches!(last, Some(SignInError::TooMany { .. })), "{last:?}");
    }

    #[tokio::test]
    async fn of_too_many_sessions_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let rescue = rescue(dir.path());
        let begin = || rescue.0.people.begin("ann", vec![Scope::Admin]).unwrap();
        let (first, second) = (begin(), begin());
        (0..RESCUE_SESSIONS_MAX - 1).for_each(|_| drop(begin()));
        assert!(rescue.caller_of_session(first.secret.reveal(), None).is_none());
        assert!(rescue.caller_of_session(second.secret.reveal(), None).is_some());
    }
}
