//! The doctor of a running node: reads everything stored and checks it, names what is damaged. The doctor of a node
//! that does not run is [`offline`].

use std::ops::ControlFlow;

use serde::Serialize;

use crate::base::id::BucketId;
use crate::base::id::PartitionId;
use crate::node::Node;
use crate::node::error::DoorError;
use crate::node::worker;
use crate::proto::alarm::code::Code;
use crate::proto::control::State;
use crate::proto::key::IndexKey;
use crate::proto::object::Object;

pub mod offline;

/// Damaged keys listed by name; further ones are only counted.
const NAMED_MAX: usize = 100;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, but someone should look.
    Warn,
    /// Does not work.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was found, and what to do.
    pub detail: String,
}

impl Check {
    pub(in crate::node) fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, detail: detail.into() }
    }

    pub(in crate::node) fn warn(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, detail: detail.into() }
    }

    pub(in crate::node) fn fail(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, detail: detail.into() }
    }
}

/// A key whose stored bytes are damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamagedKey {
    /// The bucket's name, or its number where the name is not known.
    pub bucket: String,
    /// The key, with unprintable bytes escaped.
    pub key: String,
    /// What does not fit.
    pub reason: String,
}

/// All checks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Examination {
    /// In the order they were made.
    pub checks: Vec<Check>,
    /// Keys that answer `corrupt`, by name.
    pub damaged: Vec<DamagedKey>,
}

impl Examination {
    /// The worst verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let has = |verdict| self.checks.iter().any(|check| check.verdict == verdict);
        if has(Verdict::Fail) {
            Verdict::Fail
        } else if has(Verdict::Warn) {
            Verdict::Warn
        } else {
            Verdict::Ok
        }
    }
}

/// Counts and names what is damaged while all objects pass by.
struct Tally {
    objects: u64,
    damaged: u64,
    named: Vec<DamagedKey>,
    unreadable: Vec<String>,
}

impl Tally {
    fn new() -> Self {
        Self { objects: 0, damaged: 0, named: Vec::new(), unreadable: Vec::new() }
    }

    fn object(&mut self, state: &State, place: &[u8], bytes: &[u8]) {
        self.objects += 1;
        let read = match IndexKey::parse(place) {
            None => Err("it is filed under a partition that is not its own".to_owned()),
            Some(place) => Object::decode(&place, bytes).map(|_| ()).map_err(|error| error.to_string()),
        };
        if let Err(reason) = read {
            self.damaged += 1;
            if self.named.len() < NAMED_MAX {
                self.named.push(DamagedKey { bucket: bucket_name(state, place), key: user_key(place), reason });
            }
        }
    }

    fn check(self) -> (Check, Vec<DamagedKey>) {
        let Self { objects, damaged, named, unreadable } = self;
        let check = if !unreadable.is_empty() {
            Check::fail(
                "objects",
                format!(
                    "{objects} objects read, {damaged} damaged; these parts cannot be read: {}. Their keys answer \
                     `corrupt`. In a cluster they are refilled; alone, `ringfort doctor --accept-loss` gives them up.",
                    unreadable.join("; ")
                ),
            )
        } else if damaged > 0 {
            Check::fail(
                "objects",
                format!(
                    "{damaged} of {objects} objects are damaged and answer `corrupt`. Write them anew, or give them up \
                     with `ringfort doctor --accept-loss` while the node is stopped."
                ),
            )
        } else {
            Check::ok("objects", format!("{objects} objects read, all whole"))
        };
        (check, named)
    }
}

fn bucket_name(state: &State, place: &[u8]) -> String {
    let number = place.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes).unwrap_or_default();
    let named = state.buckets.iter().find(|(_, bucket)| bucket.id == BucketId(number));
    named.map_or_else(|| format!("#{number}"), |(name, _)| name.clone())
}

fn user_key(place: &[u8]) -> String {
    place.get(5..).unwrap_or_default().escape_ascii().to_string()
}

impl Node {
    /// Reads everything stored and checks it.
    ///
    /// # Errors
    /// [`DoorError::Io`] where the check itself failed.
    pub async fn examine(&self) -> Result<Examination, DoorError> {
        let place = self.long_job()?;
        let node = self.clone();
        worker::block("examining the store", move || {
            let _place = place;
            let state = node.state();
            let mut tally = Tally::new();
            tally.unreadable.extend(node.0.store.unreadable().in_words());
            for partition in PartitionId::all() {
                let read = node.0.store.scan_raw(partition, &mut |place, bytes| {
                    tally.object(&state, place, bytes);
                    ControlFlow::Continue(())
                });
                if let Err(error) = read {
                    tally.unreadable.push(format!("partition {partition} from some key on ({error})"));
                }
            }
            let (objects, damaged) = tally.check();
            let alarms = node.alarms_seen();
            let space = match alarms.iter().find(|alarm| alarm.code == Code::DiskFull) {
                Some(alarm) => Check::fail("disk", alarm.text.clone()),
                None => Check::ok("disk", format!("{} MiB free", node.space().map_or(0, |space| space.free) >> 20)),
            };
            let others = alarms.iter().filter(|alarm| alarm.code != Code::DiskFull);
            let mut checks = vec![Check::ok("journal", "open and taking writes"), space, objects];
            checks.extend(others.map(|alarm| Check::warn("alarm", alarm.text.clone())));
            Ok(Examination { checks, damaged })
        })
        .await
    }
}
