//! What this node has a bounded number of: places inside the door, room for bodies, turns for lists and long jobs. Each
//! is given back when dropped; whoever does the work holds it, so that a client that went away frees nothing too early.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::base::limits::BODY_BYTES_IN_FLIGHT_MAX;
use crate::base::limits::EVENT_STREAMS_MAX;
use crate::base::limits::LISTS_MAX;
use crate::base::limits::LIVE_STREAMS_MAX;
use crate::base::limits::LOG_SEARCHES_MAX;
use crate::base::limits::LONG_JOBS_MAX;
use crate::base::limits::OPERATION_BUDGET;
use crate::base::limits::OWNER_STREAMS_MAX;
use crate::base::limits::REQUESTS_MAX;
use crate::base::limits::ROWS_ANSWERED_MAX;
use crate::base::limits::ROWS_BUDGET;
use crate::base::limits::SMALL_BODY_BYTES_IN_FLIGHT_MAX;
use crate::base::limits::SMALL_BYTES;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::error::DoorError;
use crate::proto::audit::Via;

/// A place, room or turn.
pub type Place = OwnedSemaphorePermit;

/// All of them.
pub struct Places {
    requests: Arc<Semaphore>,
    small_bodies: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    lists: Arc<Semaphore>,
    rows: Arc<Semaphore>,
    long_jobs: Arc<Semaphore>,
    live: Arc<Semaphore>,
    events: Arc<Semaphore>,
    owner_streams: Arc<Semaphore>,
    log_searches: Arc<Semaphore>,
}

impl Places {
    /// All free.
    #[must_use]
    pub fn new() -> Self {
        let free = |places| Arc::new(Semaphore::new(places));
        Self {
            requests: free(REQUESTS_MAX),
            small_bodies: free(SMALL_BODY_BYTES_IN_FLIGHT_MAX),
            bodies: free(BODY_BYTES_IN_FLIGHT_MAX),
            lists: free(LISTS_MAX),
            rows: free(ROWS_ANSWERED_MAX),
            long_jobs: free(LONG_JOBS_MAX),
            live: free(LIVE_STREAMS_MAX),
            events: free(EVENT_STREAMS_MAX),
            owner_streams: free(OWNER_STREAMS_MAX),
            log_searches: free(LOG_SEARCHES_MAX),
        }
    }
}

impl Default for Places {
    fn default() -> Self {
        Self::new()
    }
}

fn take(places: &Arc<Semaphore>, many: usize) -> Result<Place, DoorError> {
    let many = u32::try_from(many).unwrap_or(u32::MAX);
    Arc::clone(places).try_acquire_many_owned(many).map_err(|_full| DoorError::Busy)
}

impl Node {
    /// A place for one live stream of the console.
    ///
    /// # Errors
    /// [`DoorError::Busy`] where all are taken.
    pub fn enter_live(&self, caller: &Caller) -> Result<Place, DoorError> {
        take(self.streams_of(caller, &self.0.places.live), 1)
    }

    /// A turn to look through a book.
    ///
    /// # Errors
    /// [`DoorError::Busy`] where all are taken.
    pub(super) fn enter_log_search(&self) -> Result<Place, DoorError> {
        take(&self.0.places.log_searches, 1)
    }

    /// A place for one stream of events.
    ///
    /// # Errors
    /// [`DoorError::Busy`] where all are taken.
    pub fn enter_events(&self, caller: &Caller) -> Result<Place, DoorError> {
        take(self.streams_of(caller, &self.0.places.events), 1)
    }

    /// The owner's streams are apart: nobody takes the owner's, and the owner's leave room on the control socket.
    fn streams_of<'a>(&'a self, caller: &Caller, others: &'a Arc<Semaphore>) -> &'a Arc<Semaphore> {
        if caller.via == Via::Local { &self.0.places.owner_streams } else { others }
    }

    /// Requests inside the door.
    pub(super) fn inside_now(&self) -> usize {
        REQUESTS_MAX.saturating_sub(self.0.places.requests.available_permits())
    }

    /// A place inside the door for one request.
    ///
    /// # Errors
    /// [`DoorError::Busy`] where all are taken.
    pub fn enter(&self) -> Result<Place, DoorError> {
        take(&self.0.places.requests, 1)
    }

    /// Whether [`Node::enter`] would fail now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.places.requests.available_permits() == 0
    }

    /// Room for so many more bytes of a request's body, of which there are `before` in memory.
    ///
    /// # Errors
    /// [`DoorError::Busy`] where all of it is taken.
    pub fn reserve_body(&self, before: usize, more: usize) -> Result<Place, DoorError> {
        let places = &self.0.places;
        take(if before + more <= SMALL_BYTES { &places.small_bodies } else { &places.bodies }, more)
    }

    /// A turn to list keys, waited for.
    ///
    /// # Errors
    /// [`DoorError::Busy`] where it does not come in time.
    pub(super) async fn list_turn(&self) -> Result<Place, DoorError> {
        let turn = timeout(OPERATION_BUDGET, Arc::clone(&self.0.places.lists).acquire_owned());
        turn.await.ok().and_then(Result::ok).ok_or(DoorError::Busy)
    }

    /// A turn to tell another node rows, waited for.
    ///
    /// # Errors
    /// [`DoorError::Busy`] where it does not come before the other node gives up.
    pub(super) async fn rows_turn(&self) -> Result<Place, DoorError> {
        let turn = timeout(ROWS_BUDGET, Arc::clone(&self.0.places.rows).acquire_owned());
        turn.await.ok().and_then(Result::ok).ok_or(DoorError::Busy)
    }

    /// A place for an export, an import or an examination.
    ///
    /// # Errors
    /// [`DoorError::Busy`] where all are taken.
    pub(super) fn long_job(&self) -> Result<Place, DoorError> {
        take(&self.0.places.long_jobs, 1)
    }
}
