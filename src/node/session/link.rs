//! One-time sign-in links: an admin asks for one in a user's name, and whoever opens it first is signed in as that user.
//! Kept in memory only, as hashes; a restart ends them all.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::base::checksum;
use crate::base::codec;
use crate::base::limits::SIGN_IN_LINKS_MAX;
use crate::base::redact::Redacted;
use crate::base::time;
use crate::node::Node;
use crate::node::access;
use crate::node::access::Caller;
use crate::node::error::DoorError;
use crate::proto::control::Command;
use crate::proto::control::Refused;

/// What wrong codes count under, which can be no user's name.
pub(super) const THROTTLED_AS: &str = "<link>";

struct Link {
    user: String,
    until: Instant,
}

/// Links that wait to be used, by the hash of their code.
#[derive(Default)]
pub struct Links(BTreeMap<[u8; 32], Link>);

/// A link that has just been made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInLink {
    /// Its secret part; kept nowhere.
    pub code: Redacted<String>,
    /// Wall milliseconds after which it is refused.
    pub expires_ms: u64,
}

impl Node {
    /// Makes a one-time link that signs in as a user.
    ///
    /// # Errors
    /// [`DoorError::NotFound`], or [`Refused::Full`] where too many wait to be used.
    pub async fn make_link(&self, caller: &Caller, user: &str, ttl: Duration) -> Result<SignInLink, DoorError> {
        if !self.state().users.contains_key(user) {
            return Err(DoorError::NotFound { what: "user", name: user.to_owned() });
        }
        let code = codec::base64url(&access::random()?);
        let now = time::mono();
        {
            let mut links = self.0.doorman.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.0.retain(|_, link| link.until > now);
            if links.0.len() >= SIGN_IN_LINKS_MAX {
                let full = Refused::Full { what: "sign-in links waiting to be used", max: SIGN_IN_LINKS_MAX };
                return Err(DoorError::Control(full));
            }
            let link = Link { user: user.to_owned(), until: now + ttl };
            links.0.insert(checksum::sha256(&[code.as_bytes()]), link);
        }
        let what = format!("makes a one-time sign-in link for user `{user}`");
        self.order_in_words(caller, what, Command::NoteAccess).await?;
        let expires_ms = time::wall_ms().saturating_add(time::millis(ttl));
        Ok(SignInLink { code: Redacted::new(code), expires_ms })
    }

    /// Ends a user's links: whoever has one must not come back as somebody else of that name, or past a new password.
    pub(in crate::node) fn drop_links(&self, user: &str) {
        let mut links = self.0.doorman.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.0.retain(|_, link| link.user != user);
    }

    /// The user of a link, which is used up.
    pub(super) fn take_link(&self, code: &str) -> Option<String> {
        let mut links = self.0.doorman.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.0.remove(&checksum::sha256(&[code.as_bytes()]))?;
        (link.until > time::mono()).then_some(link.user)
    }
}
