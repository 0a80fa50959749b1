//! Waits for those who guess, and the entries in the audit that tell of them: a few a minute, however many guess.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::Ipv6Addr;

use crate::base::checksum::HmacKey;
use crate::base::limits::AUDIT_FAILURES_APART_MAX;
use crate::base::limits::AUDIT_FAILURES_EVERY;
use crate::base::limits::SIGN_IN_FORGET;
use crate::base::limits::SIGN_IN_FREE_PER_ACCOUNT;
use crate::base::limits::SIGN_IN_FREE_PER_ADDRESS;
use crate::base::limits::SIGN_IN_RECORDS_MAX;
use crate::base::limits::SIGN_IN_WAIT_FIRST;
use crate::base::limits::SIGN_IN_WAIT_PER_ACCOUNT_MAX;
use crate::base::limits::SIGN_IN_WAIT_PER_ADDRESS_MAX;
use crate::base::time;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::session::SignInError;
use crate::node::session::claim;
use crate::node::session::link;
use crate::proto::control::Command;
use crate::proto::throttle::Key;
use crate::proto::throttle::Rule;
use crate::proto::throttle::Throttle;

/// An attempt that was taken.
pub struct Attempt {
    account: Key,
    address: Key,
}

/// Failures told apart in the audit: as whom or with what, and the address.
type Failed = (String, Option<IpAddr>);

/// Who was wrong how often.
pub struct Guard {
    secret: HmacKey,
    throttle: Throttle,
    /// Failures not yet in the audit, by what is told apart; the last who came when there was no more room, together.
    /// They stay until the audit has them.
    untold: BTreeMap<Failed, u64>,
    others: u64,
    told_ms: u64,
}

impl Guard {
    /// Knows nobody; the secret keeps others from aiming at a record.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let throttle = Throttle::new(SIGN_IN_RECORDS_MAX, time::millis(SIGN_IN_FORGET));
        Self { secret: HmacKey::new(secret), throttle, untold: BTreeMap::new(), others: 0, told_ms: 0 }
    }

    /// Takes an attempt, unless this account from this address, or this address, has to wait.
    ///
    /// # Errors
    /// [`SignInError::TooMany`].
    pub fn begin(&mut self, account: &str, from: Option<IpAddr>, now_ms: u64) -> Result<Attempt, SignInError> {
        let address = network(from);
        let attempt = Attempt {
            account: self.secret.mac_16(&[b"account", &address, account.as_bytes()]),
            address: self.secret.mac_16(&[b"address", &address]),
        };
        let first_ms = time::millis(SIGN_IN_WAIT_FIRST);
        let rule = |free, max| Rule { free, first_ms, max_ms: time::millis(max) };
        let keys = [
            (attempt.account, rule(SIGN_IN_FREE_PER_ACCOUNT, SIGN_IN_WAIT_PER_ACCOUNT_MAX)),
            (attempt.address, rule(SIGN_IN_FREE_PER_ADDRESS, SIGN_IN_WAIT_PER_ADDRESS_MAX)),
        ];
        let begun = self.throttle.begin(&keys, now_ms);
        let seconds = |ms: u64| u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX);
        begun.map(|()| attempt).map_err(|wait| SignInError::TooMany { retry_after_s: seconds(wait.ms) })
    }

    /// Whoever it is knows the secret of this account.
    pub fn succeeded(&mut self, attempt: &Attempt) {
        self.throttle.forget(&attempt.account);
        self.throttle.take_back(&attempt.address);
    }

    /// It says nothing about whoever tried.
    pub fn not_carried_out(&mut self, attempt: &Attempt) {
        self.throttle.take_back(&attempt.account);
        self.throttle.take_back(&attempt.address);
    }

    fn count(&mut self, failed: Failed) {
        let room = self.untold.len() < AUDIT_FAILURES_APART_MAX;
        match self.untold.get_mut(&failed) {
            Some(count) => *count += 1,
            None if room => {
                self.untold.insert(failed, 1);
            }
            None => self.others += 1,
        }
    }

    /// What the audit should be told now: at most once in [`AUDIT_FAILURES_EVERY`].
    fn tell(&mut self, now_ms: u64) -> Vec<(Option<Failed>, u64)> {
        let nothing = self.untold.is_empty() && self.others == 0;
        let told_lately = self.told_ms != 0 && now_ms < self.told_ms + time::millis(AUDIT_FAILURES_EVERY);
        if nothing || told_lately {
            return Vec::new();
        }
        self.told_ms = now_ms.max(1);
        let apart = self.untold.iter().map(|(failed, count)| (Some(failed.clone()), *count));
        apart.chain((self.others > 0).then_some((None, self.others))).collect()
    }

    /// The audit has this many of them.
    fn told(&mut self, failed: Option<&Failed>, count: u64) {
        let Some(failed) = failed else {
            self.others = self.others.saturating_sub(count);
            return;
        };
        if let Some(left) = self.untold.get_mut(failed) {
            *left = left.saturating_sub(count);
            if *left == 0 {
                self.untold.remove(failed);
            }
        }
    }
}

/// An entry of the audit, and from where.
fn in_words(failed: Option<&Failed>, count: u64) -> (Option<IpAddr>, String) {
    match failed {
        Some((how, from)) => (*from, format!("{count} failed to sign in {how}")),
        None => (None, format!("{count} failed to sign in as others or from other addresses")),
    }
}

/// Where somebody comes from: a whole /64 is one customer's, so it counts as one address (RFC 6177).
fn network(from: Option<IpAddr>) -> [u8; 17] {
    let (kind, bits) = match from.map(|from| from.to_canonical()) {
        None => (0, 0),
        Some(IpAddr::V4(v4)) => (4, u128::from(v4.to_bits())),
        Some(IpAddr::V6(v6)) => (6, Ipv6Addr::to_bits(v6) >> 64),
    };
    let mut bytes = [kind; 17];
    for (to, from) in bytes.iter_mut().skip(1).zip(bits.to_be_bytes()) {
        *to = from;
    }
    bytes
}

impl Node {
    /// Takes an attempt to get in, unless this account from this address, or this address, has to wait.
    pub(super) fn attempt(&self, account: &str, from: Option<IpAddr>) -> Result<Attempt, SignInError> {
        self.0.doorman.guard().begin(account, from, self.steady_ms())
    }

    /// Counts a failure and tells the audit of it, now or within a minute.
    pub(super) async fn note_failure(&self, account: &str, from: Option<IpAddr>) {
        // What was given as a name may be a password: it is repeated only where it is a name.
        let how = match account {
            claim::THROTTLED_AS => "with a claim code".to_owned(),
            link::THROTTLED_AS => "with a one-time link".to_owned(),
            name if self.state().users.contains_key(name) => format!("as `{name}`"),
            _unknown => "as nobody of this cluster".to_owned(),
        };
        self.0.doorman.guard().count((how, from));
        self.tell_failures().await;
    }

    /// Tells the audit of failures that wait for it. What it does not take, or where nobody waits for it to the end, is
    /// told again in a minute.
    pub(in crate::node) async fn tell_failures(&self) {
        let lines = self.0.doorman.guard().tell(self.steady_ms());
        for (failed, count) in lines {
            let (from, what) = in_words(failed.as_ref(), count);
            match self.order_in_words(&Caller::anonymous(from), what, Command::Note).await {
                Ok(_noted) => self.0.doorman.guard().told(failed.as_ref(), count),
                Err(error) => tracing::warn!(%error, "the audit could not be told of failed sign-ins"),
            }
        }
    }

    /// Milliseconds of the monotonic clock.
    fn steady_ms(&self) -> u64 {
        time::millis(time::mono().saturating_duration_since(self.0.started))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::Guard;
    use super::in_words;
    use super::network;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Has it told, and taken.
    fn told(guard: &mut Guard, now_ms: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for (failed, count) in guard.tell(now_ms) {
            guard.told(failed.as_ref(), count);
            lines.push(in_words(failed.as_ref(), count).1);
        }
        lines
    }

    #[test]
    fn a_network_of_one_customer_counts_as_one_address() {
        assert_eq!(network(ip("2001:db8::1")), network(ip("2001:db8::ffff:1")));
        assert_ne!(network(ip("2001:db8::1")), network(ip("2001:db8:0:1::1")));
        assert_eq!(network(ip("::ffff:10.0.0.1")), network(ip("10.0.0.1")));
        assert_ne!(network(ip("10.0.0.2")), network(ip("10.0.0.1")));
        assert_ne!(network(None), network(ip("0.0.0.0")));
    }

    #[test]
    fn one_address_does_not_hold_up_another_and_one_account_not_the_others() {
        let mut guard = Guard::new(&[7; 32]);
        let taken = (0..1000).filter(|_| guard.begin("admin", ip("10.0.0.1"), 0).is_ok()).count();
        assert_eq!(taken, 6);
        assert!(guard.begin("admin", ip("10.0.0.2"), 0).is_ok());
        let others = (0..1000).filter(|i| guard.begin(&format!("user {i}"), ip("10.0.0.1"), 0).is_ok()).count();
        assert_eq!(others, 21 - 6);
        assert!(guard.begin("someone", ip("10.0.0.1"), 0).is_err());
        assert!(guard.begin("someone", ip("10.0.0.2"), 0).is_ok());
    }

    #[test]
    fn however_many_fail_the_audit_gets_a_few_lines_a_minute_that_count_them_all() {
        let mut guard = Guard::new(&[7; 32]);
        for round in 0..500_u32 {
            guard.count(("as `ann`".to_owned(), ip("10.0.0.1")));
            guard.count(("as nobody".to_owned(), Some(IpAddr::V4(round.into()))));
        }
        let lines = told(&mut guard, 5);
        assert_eq!(lines.len(), 9);
        let counted: u64 = lines.iter().filter_map(|line| line.split(' ').next()?.parse::<u64>().ok()).sum();
        assert_eq!(counted, 1000);
        guard.count(("as `ann`".to_owned(), ip("10.0.0.1")));
        assert!(guard.tell(59_000).is_empty());
        assert_eq!(told(&mut guard, 60_005), ["1 failed to sign in as `ann`"]);
        assert!(guard.tell(600_000).is_empty());
    }

    #[test]
    fn what_the_audit_did_not_take_is_told_again() {
        let mut guard = Guard::new(&[7; 32]);
        let ann = || ("as `ann`".to_owned(), ip("10.0.0.1"));
        for round in 0..20_u32 {
            guard.count(("as nobody".to_owned(), Some(IpAddr::V4(round.into()))));
            guard.count(ann());
        }
        let refused = guard.tell(5);
        assert_eq!(refused.iter().map(|(_, count)| count).sum::<u64>(), 40);
        // Others go on meanwhile, and one of the lines is taken after all.
        guard.count(ann());
        guard.told(Some(&ann()), 20);
        assert!(guard.tell(6).is_empty(), "not before its time");
        let again = guard.tell(60_005);
        assert_eq!(again.iter().map(|(_, count)| count).sum::<u64>(), 21);
        assert!(again.contains(&(Some(ann()), 1)), "{again:?}");
    }
}
