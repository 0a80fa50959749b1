//! What is left of a node that fails at every start: a process that opens no store, no peers and no control plane, and tells
//! operators what happened, what the machine says and how to go on. It reads the data directory and writes nothing in it but
//! lines of its own log. Started by the supervisor in place of a worker ([`crate::node::debug::supervisor`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::sync::Notify;
use tokio::sync::Semaphore;

use crate::base::exit::Exit;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::limits::RESCUE_DISK_PATIENCE;
use crate::base::limits::RESCUE_LOOKS_MAX;
use crate::base::limits::RESCUE_ROOM_EVERY;
use crate::node::debug::book::LogPage;
use crate::node::debug::book::LogQuery;
use crate::node::debug::crashes::view::CrashQuery;
use crate::node::debug::crashes::view::CrashesView;
use crate::node::debug::logs::Logs;
use crate::node::error::DoorError;
use crate::node::worker;
use crate::proto::crash::CrashId;
use crate::proto::crash::Report;
use crate::proto::rescue::Told;
use crate::store::crashes::Crashes;
use crate::store::data_dir;
use crate::store::data_dir::DataDirError;
use crate::store::identity;

pub mod examine;
pub mod look;
pub mod people;

use examine::Examining;
use examine::ExaminingView;
use look::LOCK;
use look::Overview;
use look::Place;
use people::People;

/// Tells a process that it is the rescue console, and of what.
pub const RESCUE: &str = "RINGFORT_RESCUE";

/// How a rescue console ends that wants a worker to be tried.
pub const AGAIN: Exit = Exit::TryAgain;

/// What a rescue console is of.
#[derive(Debug, Clone)]
pub struct RescueOptions {
    /// The data directory.
    pub data: PathBuf,
    /// Names of the node besides its own.
    pub names: Vec<String>,
    /// Its name where the directory does not say it.
    pub name: String,
    /// Bytes of the disk that are kept free.
    pub reserve: u64,
    /// What the supervisor says.
    pub told: Told,
}

/// The door of a rescue console. Cheap to clone.
#[derive(Clone)]
pub struct Rescue(Arc<Inner>);

struct Inner {
    place: Place,
    told: Told,
    names: Vec<String>,
    name: String,
    node: Option<NodeId>,
    cluster: ClusterId,
    people: People,
    examining: Mutex<Examining>,
    looks: Arc<Semaphore>,
    again: Notify,
}

impl Rescue {
    /// Reads who this is. Without that there is nobody to sign in as, and it says so.
    ///
    /// # Errors
    /// Where the kernel has no entropy yet.
    pub fn open(options: RescueOptions) -> Result<Self, DoorError> {
        let RescueOptions { data, names, name, reserve, told } = options;
        let who = identity::read(&data.join("identity")).inspect_err(|error| tracing::error!(%error, "who is this?"));
        let who = who.ok().flatten();
        Ok(Self(Arc::new(Inner {
            told,
            names,
            name: who.as_ref().map_or(name, |who| who.name.clone()),
            node: who.as_ref().map(|who| who.node),
            cluster: who.as_ref().map_or(ClusterId(0), |who| who.cluster),
            people: People::new(data.join("identity"))?,
            place: Place { data, reserve },
            examining: Mutex::default(),
            looks: Arc::new(Semaphore::new(RESCUE_LOOKS_MAX)),
            again: Notify::new(),
        })))
    }

    /// Keeps what is logged where the node keeps its log; where there is no room for it, on standard error only.
    pub fn keep_log(&self, logs: &Logs) {
        let dir = self.0.place.log_dir();
        let node = self.0.node.unwrap_or(NodeId(0));
        // A directory that is missing is not made.
        if dir.is_dir()
            && let Err(error) = logs.keep(&dir, node)
        {
            tracing::error!(%error, "the log cannot be kept on disk; it goes to standard error only");
        }
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its number, where that is known.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.0.node
    }

    /// Its cluster; 0 where it is not known.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.0.cluster
    }

    /// Whether this is the node's own name or one of the configured ones.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.0.names.iter().chain([&self.0.name]).any(|known| known.eq_ignore_ascii_case(name))
    }

    /// What the supervisor said.
    #[must_use]
    pub fn told(&self) -> &Told {
        &self.0.told
    }

    /// Everything in one view.
    ///
    /// # Errors
    /// [`DoorError`] where the disk does not answer.
    pub async fn overview(&self) -> Result<Overview, DoorError> {
        let told = self.0.told.clone();
        let own = self.examined().is_some_and(|view| view.running);
        let mut seen = self.look("looking at the node", move |place| Ok(place.overview(Some(&told)))).await?;
        // Who reads everything stored holds the directory meanwhile.
        seen.checks.retain(|check| !own || check.name != LOCK);
        Ok(seen)
    }

    /// All crash reports that this machine keeps, the newest first.
    ///
    /// # Errors
    /// [`DoorError`] where they cannot be read.
    pub async fn crashes(&self, query: CrashQuery) -> Result<CrashesView, DoorError> {
        self.look("listing crash reports", move |place| place.crashes(&query)).await
    }

    /// One of them.
    ///
    /// # Errors
    /// [`DoorError::NotFound`] and others.
    pub async fn crash(&self, id: &str) -> Result<Report, DoorError> {
        let missing = || DoorError::NotFound { what: "crash report", name: id.to_owned() };
        let id = CrashId::parse(id).ok_or_else(missing)?;
        let read = self.look("reading a crash report", move |place| {
            let read = Crashes::of(&place.data).read(&id);
            read.map_err(|source| DoorError::Io { doing: "reading a crash report", source })
        });
        read.await?.ok_or_else(missing)
    }

    /// Lines of this node's log.
    ///
    /// # Errors
    /// [`DoorError::Io`] where it cannot be read, or is asked for what cannot be looked for.
    pub async fn log_page(&self, query: LogQuery) -> Result<LogPage, DoorError> {
        let name = self.0.name.clone();
        self.look("looking through the log", move |place| place.log(&query, &name)).await
    }

    /// Begins to read everything stored, where nobody does already.
    pub fn begin_examining(&self) {
        self.examining().begin(&self.0.place.data);
    }

    /// How far that is.
    #[must_use]
    pub fn examined(&self) -> Option<ExaminingView> {
        self.examining().view()
    }

    /// Ends this process, so that the supervisor tries a worker.
    ///
    /// # Errors
    /// [`DoorError::Unsuitable`] where another process has the directory: no worker could take it.
    pub async fn start_again(&self) -> Result<(), DoorError> {
        let own = self.examining().stop();
        let busy = self.look("looking who has the directory", move |place| {
            Ok(!own && matches!(data_dir::lock(&place.data), Err(DataDirError::InUse { .. })))
        });
        // What cannot be looked at does not keep anybody from trying.
        if busy.await.unwrap_or(false) {
            let reason = "another process has the data directory, such as `ringfort doctor`; nothing was changed; try again \
                          when it is done";
            return Err(DoorError::Unsuitable(reason.to_owned()));
        }
        tracing::warn!("a worker is tried again because an operator asks for it");
        self.0.again.notify_one();
        Ok(())
    }

    /// Returns when a worker is to be tried: somebody asks for it, or there is room on the disk where there was none.
    pub async fn asked_again(&self) {
        tokio::select! {
            () = self.0.again.notified() => {}
            () = self.room_came() => tracing::warn!("there is room on the disk again: a worker is tried"),
        }
    }

    async fn room_came(&self) {
        let waited_for = self.look("looking for room", |place| Ok(place.room_waited_for())).await;
        let Ok(Some(bytes)) = waited_for else { return std::future::pending().await };
        let mut every = tokio::time::interval(RESCUE_ROOM_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if self.look("looking for room", move |place| Ok(place.has_room(bytes))).await.unwrap_or(false) {
                return;
            }
        }
    }

    /// Nothing goes on here any more.
    pub fn close(&self) {
        self.examining().stop();
    }

    fn examining(&self) -> MutexGuard<'_, Examining> {
        self.0.examining.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the disk, on a thread of its own and not for long: it may be what hangs.
    async fn look<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Place) -> Result<T, DoorError> + Send + 'static,
    ) -> Result<T, DoorError> {
        let turn = Arc::clone(&self.0.looks).try_acquire_owned().map_err(|_full| DoorError::Busy)?;
        let place = self.0.place.clone();
        let work = worker::block(doing, move || {
            let _turn = turn;
            work(&place)
        });
        let late = |_late| {
            let text = format!("the disk did not answer within {} s", RESCUE_DISK_PATIENCE.as_secs());
            Err(DoorError::Io { doing, source: std::io::Error::new(std::io::ErrorKind::TimedOut, text) })
        };
        tokio::time::timeout(RESCUE_DISK_PATIENCE, work).await.unwrap_or_else(late)
    }
}
