//! Lists: the keys of a bucket in byte order or against it, over all partitions, page by page. A page is complete or an
//! error; it may be short, and says where to go on. [`here`] walks what this node holds, [`walk`] merges what enough
//! owners hold.

use std::sync::Arc;

use crate::base::limits::LIST_PAGE_MAX;
use crate::base::limits::OPERATION_BUDGET;
use crate::base::time;
use crate::node::Node;
use crate::node::cluster::now_ms;
use crate::node::error::DoorError;
use crate::node::list::walk::Ready;
use crate::node::list::walk::Walk;
use crate::proto::rows::Depth;
use crate::proto::rows::Way;

pub(super) mod here;
pub(super) mod walk;

/// A key in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The key.
    pub key: Vec<u8>,
    /// Bytes of its value, of all siblings together.
    pub size: u64,
    /// Wall milliseconds of the last write.
    pub at_ms: u64,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In the order of the way.
    pub keys: Vec<Listed>,
    /// Where to go on, if more may follow: the last key, or a dead one behind it.
    pub next: Option<Vec<u8>>,
}

/// Which keys.
#[derive(Debug, Clone)]
pub struct Range {
    /// Only keys that begin so.
    pub prefix: Vec<u8>,
    /// Only keys beyond this one on the way: greater ones forward, smaller ones back.
    pub after: Vec<u8>,
    /// In which order.
    pub way: Way,
}

impl Node {
    /// A page of a bucket's keys.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn list(&self, bucket: &str, range: Range, limit: usize) -> Result<Page, DoorError> {
        let bucket = self.view_with(bucket).await?.named(bucket)?.id;
        let limit = limit.clamp(1, LIST_PAGE_MAX);
        let turn = Arc::new(self.list_turn().await?);
        let until_ms = now_ms() + time::millis(OPERATION_BUDGET);
        // One more than are shown says whether there are more.
        let mut walk = Walk::new(self, bucket, range, Depth::Brief, limit + 1, turn);
        let (mut keys, wall_ms) = (Vec::with_capacity(limit), time::wall_ms());
        loop {
            match walk.ready() {
                Ready::Entry(entry) => {
                    let Some((size, at_ms)) = entry.live(wall_ms) else { continue };
                    if keys.len() == limit {
                        let next = keys.last().map(|last: &Listed| last.key.clone());
                        return Ok(Page { keys, next });
                    }
                    keys.push(Listed { key: entry.key().to_vec(), size, at_ms });
                }
                Ready::Wanting => match walk.fill(until_ms).await {
                    Ok(()) => {}
                    // So far it is complete.
                    Err(DoorError::TooSlow { .. }) if !keys.is_empty() => {
                        return Ok(Page { keys, next: Some(walk.behind().to_vec()) });
                    }
                    Err(error) => return Err(error),
                },
                Ready::End => return Ok(Page { keys, next: None }),
            }
        }
    }
}
