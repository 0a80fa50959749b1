//! Floor 4: the drivers, with both tokio and policy. Faces see [`Node`], the door, and the plain values it returns.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::limits::BODY_BYTES_IN_FLIGHT_MAX;
use crate::base::limits::REQUESTS_MAX;
use crate::base::redact::Redacted;
use crate::control::consensus::Consensus;
use crate::proto::control::Bucket;
use crate::proto::control::State;
use crate::store::partition::open::DiskStore;

pub mod access;
pub mod audit;
pub mod birth;
pub mod buckets;
pub mod debug;
pub mod doctor;
pub mod error;
pub mod export;
pub mod health;
pub mod import;
pub mod list;
pub mod refusals;
pub mod session;
pub mod status;
pub mod telemetry;
pub mod vnode;
pub mod worker;

use error::DoorError;
use telemetry::Telemetry;

/// Who this node is.
#[derive(Debug, Clone)]
pub struct Who {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its number.
    pub node: NodeId,
    /// Its name for people.
    pub name: String,
}

/// The door: everything a face can ask of this node.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    who: Who,
    store: DiskStore,
    consensus: Box<dyn Consensus>,
    context_secret: Redacted<[u8; 32]>,
    ops: vnode::OpIds,
    requests: Arc<Semaphore>,
    body_bytes: Arc<Semaphore>,
    telemetry: Telemetry,
    health: RwLock<health::Health>,
    addresses: OnceLock<Vec<String>>,
    draining: AtomicBool,
    doorman: session::Doorman,
    refusals: refusals::Refusals,
    started: Instant,
    data_dir: std::path::PathBuf,
    disk_reserve: u64,
}

impl Node {
    /// Who this node is.
    #[must_use]
    pub fn who(&self) -> &Who {
        &self.0.who
    }

    /// Counters for metrics.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    /// A place inside the door for one request, given back when dropped.
    ///
    /// # Errors
    /// [`DoorError::Busy`] where all are taken.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, DoorError> {
        Arc::clone(&self.0.requests).try_acquire_owned().map_err(|_full| DoorError::Busy)
    }

    /// Room for a request body of at most `bytes`, given back when dropped.
    ///
    /// # Errors
    /// [`DoorError::Busy`] where all of it is taken.
    pub fn reserve_body(&self, bytes: usize) -> Result<OwnedSemaphorePermit, DoorError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.0.body_bytes).try_acquire_many_owned(bytes).map_err(|_full| DoorError::Busy)
    }

    /// This node's copy of the control state.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.0.consensus.state()
    }

    fn bucket(&self, name: &str) -> Result<Bucket, DoorError> {
        self.state().buckets.get(name).cloned().ok_or_else(|| DoorError::NoSuchBucket { name: name.to_owned() })
    }

    /// Notes where this node is reached; the first word counts.
    pub fn listens_at(&self, addresses: Vec<String>) {
        let _already_known = self.0.addresses.set(addresses);
    }

    fn addresses(&self) -> Vec<String> {
        self.0.addresses.get().cloned().unwrap_or_default()
    }

    /// No new work, please: `readyz` says 503 from now on.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the node is stopping.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// Writes what waits, proves the index and closes in order. Blocks; call when no request is left.
    pub fn close(&self) {
        self.0.store.close();
        self.0.consensus.close();
    }
}

fn new_semaphores() -> (Arc<Semaphore>, Arc<Semaphore>) {
    (Arc::new(Semaphore::new(REQUESTS_MAX)), Arc::new(Semaphore::new(BODY_BYTES_IN_FLIGHT_MAX)))
}
