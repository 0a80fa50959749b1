//! From a data directory to an open door: identity, control state, store. A new directory becomes a cluster of one
//! (HOUSE decision 1); a birth that was interrupted goes on.

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::watch;

use crate::base::checksum::HmacKey;
use crate::base::exit::Exit;
use crate::base::flight;
use crate::base::flight::Stage;
use crate::base::flight::WhoNoted;
use crate::base::id::ClusterId;
use crate::base::limits::JOIN_STATE_REMINDER;
use crate::base::limits::LOCK_PATIENCE;
use crate::base::limits::NODE_ADDRESSES_MAX;
use crate::base::limits::NODE_WEIGHT_DEFAULT;
use crate::base::listen::with_port;
use crate::base::redact::Redacted;
use crate::base::rng;
use crate::base::time;
use crate::control::consensus::Consensus;
use crate::control::consensus::ProposeError;
use crate::control::group;
use crate::control::group::Group;
use crate::control::lane::RaftLane;
use crate::net::interfaces;
use crate::net::peer::Inbox;
use crate::net::peer::Peers;
use crate::net::peer::Settings;
use crate::net::tls::PeerIdentity;
use crate::net::wire::hello::Life;
use crate::node::Inner;
use crate::node::Node;
use crate::node::Who;
use crate::node::askers::Counted;
use crate::node::catch_ups::CatchUps;
use crate::node::certificate::Authority;
use crate::node::cluster::Cluster;
use crate::node::debug::gasp::Ends;
use crate::node::debug::inside::Watched;
use crate::node::drill;
use crate::node::error::DoorError;
use crate::node::health::Health;
use crate::node::joining;
use crate::node::joining::Applicant;
use crate::node::joining::JoinError;
use crate::node::peers::Lanes;
use crate::node::peers::Post;
use crate::node::peers::Way;
use crate::node::places::Places;
use crate::node::refusals::Refusals;
use crate::node::said::Said;
use crate::node::session::Doorman;
use crate::node::standing::Opened;
use crate::node::standing::Stand;
use crate::node::telemetry::OPERATIONS;
use crate::node::telemetry::Telemetry;
use crate::node::vnode::OpIds;
use crate::node::wear;
use crate::proto::control;
use crate::proto::control::Command;
use crate::proto::control::members::LayoutCommit;
use crate::proto::control::members::ZONE_DEFAULT;
use crate::proto::invite::JoinToken;
use crate::proto::join::Neighbour;
use crate::proto::standing::Pledge;
use crate::store::data_dir::DataDir;
use crate::store::data_dir::DataDirError;
use crate::store::identity;
use crate::store::identity::Identity;
use crate::store::identity::IdentityError;
use crate::store::identity::peer;
use crate::store::identity::peer::PeerFiles;
use crate::store::index::IndexError;
use crate::store::journal::JournalError;
use crate::store::journal::Report;
use crate::store::journal::recovery;
use crate::store::journal::writer::OnPoison;
use crate::store::marks::MarksError;
use crate::store::marks::MarksFile;
use crate::store::memory::MemoryFile;
use crate::store::partition::open::DiskStore;
use crate::store::partition::open::OpenError;
use crate::store::partition::open::Owner;
use crate::store::partition::open::check_owner;
use crate::store::roots::Roots;

mod life;

/// What the caller decides.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The data directory.
    pub data: PathBuf,
    /// The name for people of a new node.
    pub name: String,
    /// Free bytes below which writes are refused.
    pub disk_reserve: u64,
    /// Where it listens to other nodes; none: to nobody.
    pub peer_listen: Option<SocketAddr>,
    /// Where other nodes reach it, where that is not where it listens.
    pub advertise: Vec<String>,
    /// Where it stands; none: as the cluster knows it.
    pub zone: Option<String>,
    /// Its share; none: as the cluster knows it.
    pub weight: Option<u32>,
    /// Whether plans wait for an operator, in the whole cluster; none: as the cluster knows it.
    pub plans_wait: Option<bool>,
    /// Lets it into a cluster, where it is in none yet.
    pub join: Option<JoinToken>,
}

/// Why a node does not open.
#[derive(Debug, thiserror::Error)]
pub enum BirthError {
    /// The directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Who it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The control journal.
    #[error("control plane: {0}")]
    Control(JournalError),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// It was not let in.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The token is of another cluster.
    #[error(
        "this directory is of cluster {0}, and the join token of another one; nothing was changed; start the machine with \
         an empty --data to have it join, or without --join to go on"
    )]
    OtherCluster(ClusterId),
    /// It is one of several and cannot be spoken with.
    #[error(
        "this node is one of a cluster and must be reached by the others, but {0}; nothing was started; choose another \
         address with --peer-listen"
    )]
    Deaf(String),
    /// It cannot listen to others.
    #[error("{address}: {source}; nothing was started; choose another with --peer-listen")]
    PeerListen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// What it remembers of its part in the ring.
    #[error(transparent)]
    Marks(#[from] MarksError),
    /// The first command.
    #[error("the cluster could not begin: {0}")]
    Begin(ProposeError),
    /// Those who want in cannot be told apart.
    #[error("signing in: {0}")]
    Doorman(DoorError),
    /// The operating system refuses.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Its word.
        source: std::io::Error,
    },
}

/// Between two looks whether the directory is free.
const LOCK_POLL: Duration = Duration::from_millis(10);

impl BirthError {
    /// How the process should end: whether another start may help, and if not, whose turn it is.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            // Waited for already: another process keeps it.
            Self::DataDir(DataDirError::InUse { .. }) => Exit::Unavailable,
            Self::DataDir(DataDirError::NotOurs { .. }) => Exit::Denied,
            Self::DataDir(DataDirError::Io { source, .. })
            | Self::Identity(IdentityError::Io { source, .. })
            | Self::Control(JournalError::Io { source, .. })
            | Self::Store(OpenError::Journal(JournalError::Io { source, .. }))
                if is_denied(source) =>
            {
                Exit::Denied
            }
            Self::Identity(IdentityError::Damaged { .. } | IdentityError::File(_))
            | Self::Marks(MarksError::Damaged { .. })
            | Self::Control(JournalError::Corrupt { .. })
            | Self::Store(
                OpenError::Journal(JournalError::Corrupt { .. })
                | OpenError::Foreign { .. }
                | OpenError::Index(IndexError::Corrupt { .. }),
            ) => Exit::BadData,
            Self::OtherCluster(_) | Self::Deaf(_) => Exit::Config,
            Self::Join(JoinError::Refused(_)) => Exit::Denied,
            Self::Join(_) => Exit::Unavailable,
            Self::DataDir(DataDirError::Io { .. })
            | Self::Identity(_)
            | Self::Control(_)
            | Self::Store(_)
            | Self::Marks(_)
            | Self::Begin(_)
            | Self::PeerListen { .. }
            | Self::Doorman(_)
            | Self::Io { .. } => Exit::TryAgain,
        }
    }
}

fn is_denied(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem)
}

/// An open node and the lock on its directory.
pub struct OpenNode {
    /// The door.
    pub node: Node,
    /// Held as long as the process lives.
    pub dir: DataDir,
    /// The way to others, for [`Node::keep_members`].
    pub way: Way,
    /// What it says of itself, for [`Node::keep_said`].
    pub said: Said,
}

/// Opens or bears a node. Returns when everything acked before is readable.
///
/// # Errors
/// [`BirthError`].
pub async fn open(options: NodeOptions, on_poison: impl Fn() -> OnPoison) -> Result<OpenNode, BirthError> {
    let dir = hold(&options.data).await?;
    let identity_dir = dir.sub("identity");
    // Whoever has the identity of another machine would speak under its name: so before anybody is heard or called, and before
    // the supervisor takes the directory for this node's, which tells nobody of such an end.
    if let Ok(Some(known)) = identity::read(&identity_dir)
        && known.born
    {
        check_owner(&[dir.sub("journal"), dir.sub("control")], known.cluster, known.node)?;
    }
    flight::note_stage(Stage::Holds);
    let arrival = arrive(&options, &dir, &identity_dir).await?;
    let Arrival { identity, neighbours, listener, advertised } = arrival;
    let work = OPERATIONS.iter().map(|(_, name)| (*name).to_owned()).collect();
    flight::note_who(&WhoNoted { node: identity.node.0, name: identity.name.clone(), work });
    let said = said(&options, advertised);
    for path in identity::close_to_others(&identity_dir)? {
        tracing::warn!(path = %path.display(), "other users could read this file; it is closed to them now (mode 0600)");
    }
    let authority = Authority::read(&identity_dir)?;
    let io = |doing| move |source| BirthError::Io { doing, source };
    let tag = rng::nonzero_u64().map_err(io("asking for randomness"))?;
    let birth = recovery::Birth { cluster: identity.cluster, node: identity.node, generation: 0, tag };
    let (memory, marks) = wear::open_notes(&dir, &identity)?;
    let start = life::next_start(&marks);
    if identity.born {
        life::note_start(&marks, start);
    }
    let life = Life { start, draw: rng::nonzero_u64().map_err(io("asking for randomness"))? };
    let way = way(&identity_dir, &identity, listener, life)?;
    let lanes = Arc::new(Lanes { peers: way.peers.clone(), post: Arc::clone(&way.post) });
    let (group, report) = open_group(&dir, &identity, birth, &lanes, on_poison()).await?;
    let opened = Opened { start, data: 0, control: report.last, others_vote: hold_pledge(&group, &identity, &memory) };
    refuse_to_be_deaf(&options, &way, &group.state())?;
    way.post.group_is(group.clone());
    if let Some(peers) = &way.peers {
        know(peers, neighbours, &group.state());
        drill::begin(peers, identity.node);
    }
    drill::kept::begin();
    tell("control", &report);
    let owner = Owner { cluster: identity.cluster, node: identity.node, newborn: !identity.born };
    let (store, report) = wear::open_store(&dir, &identity, owner, &group.state(), &memory, &on_poison)?;
    tell("store", &report);
    // The first time the journal's directory has to be empty up to here.
    begin_life(&marks, start, &store);
    let context_secret = begin(&group, &identity).await?.context_secret();
    confirm(&identity_dir, &identity)?;
    let (index, state) = group.view();
    let first_job = rng::nonzero_u64().map_err(io("asking for randomness"))?;
    let opened = Opened { data: report.last, ..opened };
    let stand = Stand::begin(memory, opened, &identity, &state).map_err(io("noting how this node stands"))?;
    let cluster = Cluster::new(marks, stand, index, state, first_job);
    let node = assemble(options, identity, authority, (store, cluster, group), context_secret)?;
    node.look_at_disk().map_err(io("looking at free space"))?;
    node.joins_by(lanes);
    way.post.node_is(node.clone());
    Ok(OpenNode { node, dir, way, said })
}

/// The node of its parts.
fn assemble(
    options: NodeOptions,
    identity: Identity,
    authority: Authority,
    (store, cluster, consensus): (DiskStore, Cluster, Group),
    context_secret: Redacted<HmacKey>,
) -> Result<Node, BirthError> {
    let ops = OpIds::new().map_err(|source| BirthError::Io { doing: "asking for randomness", source })?;
    Ok(Node(Arc::new(Inner {
        who: Who { cluster: identity.cluster, node: identity.node, name: identity.name.clone() },
        identity,
        authority,
        store,
        cluster,
        consensus,
        context_secret,
        ops,
        places: Places::new(),
        catch_ups: CatchUps::default(),
        telemetry: Telemetry::default(),
        series: Mutex::default(),
        beat: watch::Sender::new(0),
        health: RwLock::new(Health::default()),
        addresses: OnceLock::new(),
        draining: watch::Sender::new(false),
        closed: watch::Sender::new(false),
        cast_out: OnceLock::new(),
        doorman: Doorman::new().map_err(BirthError::Doorman)?,
        insides: Watched::default(),
        refusals: Refusals::default(),
        askers: Counted::default(),
        started: time::mono(),
        roots: Roots::note(&options.data),
        files: Mutex::default(),
        data_dir: options.data,
        disk_reserve: AtomicU64::new(options.disk_reserve),
        settings: RwLock::default(),
        reloads: OnceLock::new(),
        ends: Ends::default(),
        logs: OnceLock::new(),
        boxes: crate::node::debug::blackbox::Boxes::default(),
        lasts: crate::node::debug::last::Watched::default(),
    })))
}

/// Who this node is, and what is known before it is open.
struct Arrival {
    identity: Identity,
    neighbours: Vec<Neighbour>,
    listener: Option<Settings>,
    advertised: Vec<String>,
}

/// Reads who this node is; a new one is born, or let into a cluster.
async fn arrive(options: &NodeOptions, dir: &DataDir, identity_dir: &Path) -> Result<Arrival, BirthError> {
    let known = identity::read(identity_dir)?;
    // Before anything is made or asked for: a port that is taken is the commonest mistake.
    let listener = listen(options, known.as_ref())?;
    let advertised = advertised(options, listener.as_ref());
    let (identity, neighbours) = match (known, &options.join) {
        (Some(identity), Some(token)) if token.authority != Authority::read(identity_dir)?.sha256 => {
            return Err(BirthError::OtherCluster(identity.cluster));
        }
        // It was let in, and ended before the cluster's state came: perhaps nobody reached it where it said that it is.
        (Some(identity), Some(token)) if identity.joined && !identity.born => {
            joining::join(identity_dir, token, &applicant(options, &advertised)).await?
        }
        (Some(identity), join) => {
            if join.is_some() {
                tracing::info!(cluster = %identity.cluster, "this node is in that cluster already; the join token is not used");
            }
            (identity, Vec::new())
        }
        (None, None) => {
            check_unused(dir)?;
            (identity::bear(identity_dir, &options.name)?, Vec::new())
        }
        (None, Some(token)) => {
            check_unused(dir)?;
            joining::join(identity_dir, token, &applicant(options, &advertised)).await?
        }
    };
    Ok(Arrival { identity, neighbours, listener, advertised })
}

fn applicant(options: &NodeOptions, advertised: &[String]) -> Applicant {
    Applicant {
        name: options.name.clone(),
        zone: options.zone.clone().unwrap_or_else(|| ZONE_DEFAULT.to_owned()),
        weight: options.weight.unwrap_or(NODE_WEIGHT_DEFAULT),
        addresses: advertised.to_vec(),
        url: None,
    }
}

/// A node that is alone does without others to listen to: another one on this machine may have taken the port.
fn listen(options: &NodeOptions, known: Option<&Identity>) -> Result<Option<Settings>, BirthError> {
    let Some(address) = options.peer_listen else { return Ok(None) };
    let joins = options.join.is_some() || known.is_some_and(|identity| identity.joined);
    match Settings::bind(address) {
        Ok(settings) => Ok(Some(settings)),
        Err(source) if joins => Err(BirthError::PeerListen { address, source }),
        Err(source) => {
            tracing::warn!(%address, %source, "no other node can be let in: this address is not to be had");
            Ok(None)
        }
    }
}

/// From now on it is no birth any more.
fn confirm(identity_dir: &Path, identity: &Identity) -> Result<(), IdentityError> {
    if identity.born {
        return Ok(());
    }
    identity::confirm(identity_dir, identity)?;
    joining::forget_knock(identity_dir);
    let what = if identity.joined { "this node is one of a cluster now" } else { "a new cluster of one begins" };
    tracing::info!(cluster = %identity.cluster, "{what}");
    Ok(())
}

/// One of several that nobody reaches would take part in nothing, and look well.
fn refuse_to_be_deaf(options: &NodeOptions, way: &Way, state: &control::State) -> Result<(), BirthError> {
    let others = state.members.keys().filter(|node| state.member(**node).is_some()).count() > 1;
    if way.peers.is_some() || !others {
        return Ok(());
    }
    Err(BirthError::Deaf(match options.peer_listen {
        Some(address) => format!("{address} is taken, or not an address of this machine"),
        None => "peer_listen is `none`".to_owned(),
    }))
}

fn said(options: &NodeOptions, addresses: Vec<String>) -> Said {
    let commit = |waits| if waits { LayoutCommit::Manual } else { LayoutCommit::Auto };
    let layout_commit = options.plans_wait.map(commit);
    Said { addresses, zone: options.zone.clone(), weight: options.weight, layout_commit }
}

/// Where others reach this node: as the operator says, or where it listens; on all addresses, at those of this machine.
fn advertised(options: &NodeOptions, listener: Option<&Settings>) -> Vec<String> {
    let Some(at) = listener.and_then(|settings| settings.listener.local_addr().ok()) else { return Vec::new() };
    if !options.advertise.is_empty() {
        return options.advertise.iter().map(|name| with_port(name, at.port())).collect();
    }
    if !at.ip().is_unspecified() {
        return vec![at.to_string()];
    }
    let mine = interfaces::addresses().into_iter().filter(|ip| !ip.is_loopback());
    // A machine of many bridges has more than a cluster keeps; which ones others reach only the operator knows.
    let mine: Vec<String> =
        mine.map(|ip| SocketAddr::new(ip, at.port()).to_string()).take(NODE_ADDRESSES_MAX).collect();
    if mine.is_empty() { vec![format!("127.0.0.1:{}", at.port())] } else { mine }
}

/// Counts the start; and what was purged cannot come back from the first moment on.
fn begin_life(marks: &MarksFile, start: u64, store: &DiskStore) {
    life::note_start(marks, start);
    marks.read(|marks| {
        for (partition, floor) in &marks.floors {
            store.raise_floor(*partition, *floor);
        }
        marks.purged.iter().for_each(|(partition, stamp)| store.raise_purged(*partition, Some(*stamp)));
    });
}

fn way(identity_dir: &Path, identity: &Identity, listener: Option<Settings>, life: Life) -> Result<Way, BirthError> {
    let (post, gossip) = Post::new();
    let post = Arc::new(post);
    let Some(listener) = listener else { return Ok(Way { peers: None, post, gossip }) };
    let PeerFiles { authority, certificate, key } = peer::read(identity_dir, identity)?;
    let proof = PeerIdentity { cluster: identity.cluster, node: identity.node, authority, certificate, key };
    let inbox = Arc::clone(&post) as Arc<dyn Inbox>;
    let started = Peers::start(Settings { life: Some(life), ..listener }, &proof, inbox);
    let peers = started.map_err(|source| BirthError::Io { doing: "listening to other nodes", source })?;
    Ok(Way { peers: Some(peers), post, gossip })
}

async fn open_group(
    dir: &DataDir,
    identity: &Identity,
    birth: recovery::Birth,
    lanes: &Arc<Lanes>,
    on_poison: OnPoison,
) -> Result<(Group, Report), BirthError> {
    let birth = match (identity.born, identity.joined) {
        (true, _) => group::Birth::Known,
        (false, false) => group::Birth::Found(birth),
        (false, true) => group::Birth::Join(birth),
    };
    let lane = Arc::clone(lanes) as Arc<dyn RaftLane>;
    Group::open(&dir.sub("control"), identity.node, birth, lane, on_poison).await.map_err(BirthError::Control)
}

/// As a voter among others it promises nothing before it knows that it keeps what it promised, which `node::standing` finds
/// out. To be called before anybody hears it. Whether there are others.
fn hold_pledge(group: &Group, identity: &Identity, memory: &MemoryFile) -> bool {
    let others_vote = identity.born && group.has_other_voters();
    if others_vote {
        let broken = memory.read(|known| known.pledge_broken);
        group.set_pledge(if broken { Pledge::Broken } else { Pledge::Asking });
    }
    others_vote
}

/// Lets in those whom the porter named, and those whom the state names.
fn know(peers: &Peers, neighbours: Vec<Neighbour>, state: &control::State) {
    for neighbour in neighbours {
        peers.know(neighbour.node, neighbour.addresses);
    }
    for (id, member) in state.members.iter().filter(|(id, _)| state.member(**id).is_some()) {
        peers.know(*id, member.addresses.clone());
    }
}

/// Takes the directory. One whose last process was killed a moment ago may still be held: the kernel lets go when its
/// last disk write has ended.
async fn hold(path: &Path) -> Result<DataDir, DataDirError> {
    let deadline = time::mono() + LOCK_PATIENCE;
    loop {
        match DataDir::open(path) {
            Err(DataDirError::InUse { .. }) if time::mono() < deadline => tokio::time::sleep(LOCK_POLL).await,
            held_or_not => return held_or_not,
        }
    }
}

/// A node is not born over the data of another whose identity is lost: its index would be made anew.
fn check_unused(dir: &DataDir) -> Result<(), IdentityError> {
    let path = dir.sub("identity").join("node.json");
    for name in ["journal", "control", "index"] {
        let files = std::fs::read_dir(dir.sub(name)).map(|mut files| files.next().is_some());
        if files.map_err(|source| IdentityError::Io { path: dir.sub(name), source })? {
            let reason = format!("it is missing, though {name} holds a node's data; nothing was changed");
            return Err(IdentityError::Damaged { path, reason });
        }
    }
    Ok(())
}

/// The cluster's first command, where it was not given yet.
async fn begin(group: &Group, identity: &Identity) -> Result<control::Birth, BirthError> {
    if let Some(birth) = group.state().birth.clone() {
        return Ok(birth);
    }
    if identity.joined {
        return Ok(first_state(group).await);
    }
    let context_secret = rng::array().map_err(|source| BirthError::Io { doing: "asking for randomness", source })?;
    let birth =
        control::Birth { cluster: identity.cluster, node: identity.node, at_ms: time::wall_ms(), context_secret };
    group.propose(Command::Begin(birth.clone())).await.map_err(BirthError::Begin)?;
    Ok(birth)
}

/// What a node that was let in hears from the cluster. It comes as soon as a leader can reach this node.
async fn first_state(group: &Group) -> control::Birth {
    let mut views = group.watch();
    loop {
        let come = views.wait_for(|view| view.state.birth.is_some());
        match tokio::time::timeout(JOIN_STATE_REMINDER, come).await {
            Ok(Ok(view)) => {
                if let Some(birth) = view.state.birth.clone() {
                    return birth;
                }
            }
            Ok(Err(_ended)) => std::future::pending().await,
            Err(_late) => tracing::warn!(
                "the cluster's state did not come yet: a node of it has to reach this machine where it says it listens \
                 (--advertise, if it is behind NAT), and a majority of its voters has to be up"
            ),
        }
    }
}

fn tell(what: &'static str, report: &Report) {
    if let Some(cut) = &report.cut {
        tracing::warn!(
            journal = what,
            group = cut.group,
            bytes = cut.bytes,
            records = cut.records,
            "an unfinished last write was cut off; it was never acked"
        );
    }
    for mended in &report.mended {
        tracing::warn!(journal = what, "{mended}");
    }
    tracing::info!(journal = what, groups = report.groups, records = report.records, "journal replayed");
}
