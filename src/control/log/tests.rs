//! openraft's own tests of a storage, on this one.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::StoreBuilder;
use openraft::testing::Suite;
use tempfile::TempDir;

use super::Log;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::control::machine::Machine;
use crate::control::matched::Matched;
use crate::control::snapshot;
use crate::control::snapshot::Writer;
use crate::control::types::Types;
use crate::store::journal::recovery::Birth;

struct Stores;

impl StoreBuilder<Types, Log, Machine, TempDir> for Stores {
    async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError<u64>> {
        let dir = tempfile::tempdir().unwrap();
        let birth = Birth { cluster: ClusterId(5), node: NodeId(1), generation: 0, tag: 9 };
        let matched = Arc::new(Matched::new(0));
        let on_poison = Box::new(|error: &_| panic!("{error}"));
        let (log, _) = Log::open(dir.path(), Some(birth), None, Arc::clone(&matched), on_poison).unwrap();
        let writer = Arc::new(Writer::new(dir.path()));
        let machine = Machine::new(snapshot::Snapshot::default(), writer, matched);
        Ok((dir, log, machine))
    }
}

#[test]
fn the_storage_is_what_the_library_asks_for() {
    Suite::test_all(Stores).unwrap();
}
