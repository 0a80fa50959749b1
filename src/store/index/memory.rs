//! The index's twin in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Instant;

use crate::store::index::Change;
use crate::store::index::Index;
use crate::store::index::IndexError;
use crate::store::index::Visit;

/// A sorted map in memory.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    map: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Index for MemoryIndex {
    fn get(&self, place: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.map.read().unwrap_or_else(PoisonError::into_inner).get(place).cloned())
    }

    fn apply(&self, changes: &[Change<'_>]) -> Result<(), IndexError> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            match change.object {
                Some(object) => map.insert(change.place.to_vec(), object.to_vec()),
                None => map.remove(change.place),
            };
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        for (place, object) in map.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to))) {
            if visit(place, object).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        for (place, object) in map.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to))).rev() {
            if visit(place, object).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn settle(&self, _deadline: Instant) -> Result<(), IndexError> {
        Ok(())
    }

    fn bytes(&self) -> u64 {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.iter().map(|(place, object)| (place.len() + object.len()) as u64).sum()
    }

    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}
