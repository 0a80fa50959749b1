//! Buckets, as the control state's commands change them.

use crate::base::id::BucketId;
use crate::base::limits::BUCKETS_MAX;
use crate::proto::bucket::Definition;
use crate::proto::control::Applied;
use crate::proto::control::Bucket;
use crate::proto::control::Refused;
use crate::proto::control::State;
use crate::proto::key;
use crate::proto::ring::numbers::Numbers;

impl State {
    pub(super) fn put_bucket(&mut self, name: String, definition: Definition) -> Result<Applied, Refused> {
        key::check_bucket_name(&name).map_err(|error| Refused::BadName(error.to_string()))?;
        definition.check()?;
        if let Some(bucket) = self.buckets.get_mut(&name) {
            if bucket.definition == definition {
                return Ok(Applied::Unchanged);
            }
            if bucket.definition.kind != definition.kind {
                return Err(Refused::KindFixed(name));
            }
            let to = Numbers::from(&definition);
            if bucket.numbers.now != to {
                // Written by the rules of both until every list is past the change.
                bucket.numbers = self.layout.change_numbers(bucket.numbers, to)?;
            }
            bucket.definition = definition;
            self.settle();
            return Ok(Applied::Changed);
        }
        if self.buckets.len() >= BUCKETS_MAX {
            return Err(Refused::Full { what: "buckets", max: BUCKETS_MAX });
        }
        let id = BucketId(self.next_bucket);
        self.next_bucket = self.next_bucket.saturating_add(1);
        let numbers = Numbers::from(&definition).into();
        self.buckets.insert(name, Bucket { id, definition, numbers, columns: Vec::new() });
        Ok(Applied::Made)
    }

    pub(super) fn set_columns(&mut self, bucket: String, columns: Vec<String>) -> Result<Applied, Refused> {
        match self.buckets.get_mut(&bucket) {
            Some(known) if known.columns == columns => Ok(Applied::Unchanged),
            Some(known) => {
                known.columns = columns;
                Ok(Applied::Changed)
            }
            None => Err(Refused::NotFound { what: "bucket", name: bucket }),
        }
    }

    pub(super) fn remove_bucket(&mut self, name: String) -> Result<Applied, Refused> {
        match self.buckets.remove(&name) {
            Some(_) => {
                // It may have been the one that a transition waited for.
                let numbers = self.numbers();
                self.layout.advance(&numbers);
                self.settle();
                Ok(Applied::Removed)
            }
            None => Err(Refused::NotFound { what: "bucket", name }),
        }
    }
}
