//! The control state as snapshots of format 2 hold it, from before changes of access had a chain of their own.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::proto::audit::Log;
use crate::proto::control::Birth;
use crate::proto::control::Session;
use crate::proto::control::SessionKey;
use crate::proto::control::State;
use crate::proto::control::Token;
use crate::proto::control::User;
use crate::proto::control::third;
use crate::proto::control::third::OldBucket;

/// See [`State`].
#[derive(Debug, Deserialize)]
pub struct SecondState {
    birth: Option<Birth>,
    buckets: BTreeMap<String, OldBucket>,
    next_bucket: u32,
    tokens: BTreeMap<u64, Token>,
    tokens_by_hash: BTreeMap<[u8; 32], u64>,
    next_token: u64,
    users: BTreeMap<String, User>,
    sessions: BTreeMap<SessionKey, Session>,
    audit: Log,
}

impl From<SecondState> for State {
    fn from(second: SecondState) -> Self {
        let SecondState { birth, buckets, next_bucket, tokens, tokens_by_hash, next_token, users, sessions, audit } =
            second;
        // Its entries do not say what they are about: those of access begin with the next one.
        let access_audit = Log::default();
        let mut state = Self {
            birth,
            buckets: third::buckets(buckets),
            next_bucket,
            tokens: tokens.into(),
            tokens_by_hash: tokens_by_hash.into(),
            next_token,
            users: users.into(),
            sessions: sessions.into(),
            audit,
            access_audit,
            ..Self::default()
        };
        state.settle_first();
        state
    }
}
