//! The control state as snapshots of format 3 hold it, from before there were several nodes.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::base::id::BucketId;
use crate::base::shared::Shared;
use crate::proto::audit::Log;
use crate::proto::bucket::Definition;
use crate::proto::control::Birth;
use crate::proto::control::Bucket;
use crate::proto::control::Session;
use crate::proto::control::SessionKey;
use crate::proto::control::State;
use crate::proto::control::Token;
use crate::proto::control::User;
use crate::proto::ring::numbers::Numbers;

/// See [`State`].
#[derive(Debug, Deserialize)]
pub struct ThirdState {
    birth: Option<Birth>,
    buckets: BTreeMap<String, OldBucket>,
    next_bucket: u32,
    tokens: BTreeMap<u64, Token>,
    tokens_by_hash: BTreeMap<[u8; 32], u64>,
    next_token: u64,
    users: BTreeMap<String, User>,
    sessions: BTreeMap<SessionKey, Session>,
    audit: Log,
    access_audit: Log,
}

/// See [`Bucket`]; a lone node needs no numbers beside the definition.
#[derive(Debug, Deserialize)]
pub(super) struct OldBucket {
    id: BucketId,
    definition: Definition,
    columns: Vec<String>,
}

/// Buckets as they are today.
pub(super) fn buckets(old: BTreeMap<String, OldBucket>) -> Shared<BTreeMap<String, Bucket>> {
    let today = |(name, OldBucket { id, definition, columns })| {
        let numbers = Numbers::from(&definition).into();
        (name, Bucket { id, definition, numbers, columns })
    };
    old.into_iter().map(today).collect::<BTreeMap<_, _>>().into()
}

impl From<ThirdState> for State {
    fn from(third: ThirdState) -> Self {
        let mut state = Self {
            birth: third.birth,
            buckets: buckets(third.buckets),
            next_bucket: third.next_bucket,
            tokens: third.tokens.into(),
            tokens_by_hash: third.tokens_by_hash.into(),
            next_token: third.next_token,
            users: third.users.into(),
            sessions: third.sessions.into(),
            audit: third.audit,
            access_audit: third.access_audit,
            ..Self::default()
        };
        state.settle_first();
        state
    }
}
