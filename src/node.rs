//! Floor 4: the drivers, with both tokio and policy. Faces see [`Node`], the door, and the plain values it returns.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::base::checksum::HmacKey;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::redact::Redacted;
use crate::control::consensus::Consensus;
use crate::control::group::Group;
use crate::net::interfaces;
use crate::proto::control::State;
use crate::store::identity::Identity;
use crate::store::partition::open::DiskStore;
use crate::store::roots::Files;
use crate::store::roots::Roots;

pub mod access;
pub mod alarms;
pub mod askers;
pub mod audit;
pub mod birth;
pub mod buckets;
mod catch_ups;
pub mod certificate;
pub mod cluster;
mod contact;
mod coordinator;
pub mod debug;
pub mod doctor;
pub mod drill;
pub mod elsewhere;
pub mod error;
pub mod events;
pub mod export;
pub mod figures;
pub mod handoff;
pub mod health;
pub mod hints;
pub mod import;
pub mod joining;
pub mod lab;
pub mod list;
pub mod members;
pub mod peers;
pub mod places;
pub mod plan;
mod reach;
pub mod recover;
pub mod refusals;
pub mod repair;
mod replica;
pub mod rescue;
pub mod ring;
pub mod said;
pub mod series;
pub mod session;
pub mod settings;
pub mod shared;
pub mod standing;
pub mod status;
pub mod survival;
pub mod telemetry;
pub mod timeline;
pub mod vnode;
mod wear;
pub mod whereabouts;
pub mod worker;

use catch_ups::CatchUps;
use certificate::Authority;
use cluster::View;
use error::DoorError;
use places::Places;
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
    identity: Identity,
    authority: Authority,
    store: DiskStore,
    consensus: Group,
    cluster: cluster::Cluster,
    context_secret: Redacted<HmacKey>,
    ops: vnode::OpIds,
    places: Places,
    catch_ups: CatchUps,
    telemetry: Telemetry,
    series: Mutex<series::Series>,
    beat: watch::Sender<u64>,
    health: RwLock<health::Health>,
    addresses: OnceLock<Vec<String>>,
    draining: watch::Sender<bool>,
    closed: watch::Sender<bool>,
    /// Set where another node says that this one was removed from the cluster.
    cast_out: OnceLock<String>,
    doorman: session::Doorman,
    insides: debug::inside::Watched,
    refusals: refusals::Refusals,
    askers: askers::Counted,
    started: Instant,
    data_dir: std::path::PathBuf,
    /// Which directories it and those in it are.
    roots: Roots,
    /// Which single ones the next start needs.
    files: Mutex<Files>,
    disk_reserve: AtomicU64,
    settings: RwLock<Arc<settings::Settings>>,
    reloads: OnceLock<mpsc::Sender<settings::ReloadWish>>,
    ends: debug::gasp::Ends,
    logs: OnceLock<debug::logs::Logs>,
    boxes: debug::blackbox::Boxes,
    lasts: debug::last::Watched,
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

    /// This node's copy of the control state.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.0.consensus.state()
    }

    /// The control state as this node knows it, with this bucket in it. One that is not there may have been made on another
    /// node a moment ago: before it is said to be missing, this node comes as far as who leads, where it can.
    async fn view_with(&self, bucket: &str) -> Result<Arc<View>, DoorError> {
        let view = self.view();
        if view.named(bucket).is_ok() {
            return Ok(view);
        }
        let ask = async {
            if let Err(error) = self.0.consensus.catch_up().await {
                tracing::debug!(%error, "a bucket that is not known here is taken for missing");
            }
        };
        self.0.catch_ups.after_now(ask).await;
        let view = self.view();
        view.named(bucket)?;
        Ok(view)
    }

    /// Notes where this node is reached; the first word counts.
    pub fn listens_at(&self, addresses: Vec<String>) {
        let _already_known = self.0.addresses.set(addresses);
    }

    /// Where this node is reached, as URLs; the one to show first.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.0.addresses.get().cloned().unwrap_or_default()
    }

    /// The one to type into a browser: an address of this machine, where the node listens on all of them.
    #[must_use]
    pub fn address_to_open(&self) -> Option<String> {
        self.addresses().first().map(|listen| to_open(listen))
    }

    /// No new work, please: `readyz` says 503 from now on.
    pub fn drain(&self) {
        self.0.draining.send_replace(true);
    }

    /// Whether the node is stopping.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.0.draining.borrow()
    }

    /// Returns when the node is stopping: what would go on for ever ends then.
    pub async fn drained(&self) {
        let mut draining = self.0.draining.subscribe();
        let _nobody_left = draining.wait_for(|draining| *draining).await;
    }

    /// Requests are served no more: what is said to others may end.
    pub fn end_talk(&self) {
        self.0.closed.send_replace(true);
    }

    /// Returns when that is so.
    pub async fn closed(&self) {
        let mut closed = self.0.closed.subscribe();
        let _nobody_left = closed.wait_for(|closed| *closed).await;
    }

    /// Writes what waits, proves the index and closes in order. Blocks; call when no request is left.
    pub fn close(&self) {
        self.0.store.close();
        self.0.consensus.close();
    }
}

/// An address of this machine in place of all of them.
fn to_open(listen: &str) -> String {
    let mine = interfaces::addresses();
    let four = mine.iter().find(|ip| ip.is_ipv4()).map(|ip| listen.replace("//0.0.0.0:", &format!("//{ip}:")));
    let listen = four.unwrap_or_else(|| listen.to_owned());
    let six = mine.iter().find(|ip| ip.is_ipv6()).map(|ip| listen.replace("//[::]:", &format!("//[{ip}]:")));
    six.unwrap_or(listen)
}
