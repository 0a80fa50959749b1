//! The control state as snapshots of format 1 hold it, from before there were sessions and an audit.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::proto::control::Birth;
use crate::proto::control::State;
use crate::proto::control::Token;
use crate::proto::control::User;
use crate::proto::control::third;
use crate::proto::control::third::OldBucket;

/// See [`State`].
#[derive(Debug, Deserialize)]
pub struct FirstState {
    birth: Option<Birth>,
    buckets: BTreeMap<String, OldBucket>,
    next_bucket: u32,
    tokens: BTreeMap<u64, Token>,
    tokens_by_hash: BTreeMap<[u8; 32], u64>,
    next_token: u64,
    users: BTreeMap<String, User>,
}

impl From<FirstState> for State {
    fn from(first: FirstState) -> Self {
        let FirstState { birth, buckets, next_bucket, tokens, tokens_by_hash, next_token, users } = first;
        let mut state = Self {
            birth,
            buckets: third::buckets(buckets),
            next_bucket,
            tokens: tokens.into(),
            tokens_by_hash: tokens_by_hash.into(),
            next_token,
            users: users.into(),
            ..Self::default()
        };
        state.settle_first();
        state
    }
}
