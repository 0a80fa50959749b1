//! Tests of peers over loopback: nodes with certificates of an authority of the test's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rcgen::BasicConstraints;
use rcgen::Certificate;
use rcgen::CertificateParams;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use crate::base::checksum;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;
use crate::base::redact::Redacted;
use crate::net::peer::Inbox;
use crate::net::peer::LaneState;
use crate::net::peer::Peers;
use crate::net::peer::Settings;
use crate::net::peer::count::Count;
use crate::net::peer::twins::Twin;
use crate::net::tls::PeerIdentity;
use crate::net::wire::Lane;
use crate::proto::certificate;

mod links;
mod strangers;
mod talk;

/// Long enough for a machine under load, never waited out where things work.
const PATIENCE: Duration = Duration::from_secs(30);

/// An authority.
struct Authority {
    cluster: ClusterId,
    key: KeyPair,
    certificate: Certificate,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = Self::params().self_signed(&key).unwrap();
        Self { cluster: ClusterId(0xc1), key, certificate }
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params
    }

    fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The fingerprint that an invite would carry.
    fn sha256(&self) -> [u8; 32] {
        checksum::sha256(&[self.certificate.der()])
    }

    fn node(&self, node: u64) -> PeerIdentity {
        self.node_with(node, |_| ())
    }

    /// A certificate with something other than usual in it.
    fn node_with(&self, node: u64, change: impl FnOnce(&mut CertificateParams)) -> PeerIdentity {
        let node = NodeId(node);
        let mut params = CertificateParams::new(vec![certificate::peer_name(self.cluster, node)]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let issued = params.signed_by(&key, &Issuer::new(Self::params(), &self.key)).unwrap();
        PeerIdentity {
            cluster: self.cluster,
            node,
            authority: self.pem(),
            certificate: issued.pem(),
            key: Redacted::new(key.serialize_pem()),
        }
    }
}

/// What came to a node; answers questions by what they say.
struct Tray {
    messages: Mutex<Vec<(NodeId, Lane, Vec<u8>)>>,
    twins: Mutex<Vec<Twin>>,
    /// Questions that begin with `wait` take one of these.
    let_go: Semaphore,
    waiting: watch::Sender<usize>,
}

impl Inbox for Tray {
    fn message(&self, from: NodeId, lane: Lane, body: Vec<u8>) {
        assert_ne!(body, b"panic");
        self.messages.lock().unwrap().push((from, lane, body));
    }

    fn question(&self, _from: NodeId, _lane: Lane, body: Vec<u8>) -> BoxFuture<'_, Vec<u8>> {
        async move {
            assert_ne!(body, b"panic");
            if body.starts_with(b"wait") {
                self.waiting.send_modify(|waiting| *waiting += 1);
                self.let_go.acquire().await.unwrap().forget();
            }
            if body.starts_with(b"late") {
                tokio::task::yield_now().await;
            }
            body.into_iter().rev().collect()
        }
        .boxed()
    }

    fn guest(&self, _from: SocketAddr, body: Vec<u8>) -> BoxFuture<'_, Vec<u8>> {
        async move {
            if body == b"wait" {
                self.waiting.send_modify(|waiting| *waiting += 1);
                self.let_go.acquire().await.unwrap().forget();
            }
            [b"welcome ".as_slice(), &body].concat()
        }
        .boxed()
    }

    fn may_speak(&self, node: NodeId) -> bool {
        node.0 >= 100
    }

    fn twin(&self, twin: Twin) {
        self.twins.lock().unwrap().push(twin);
    }
}

/// A node on loopback.
struct Node {
    peers: Peers,
    inbox: Arc<Tray>,
    id: NodeId,
}

impl Node {
    fn start(identity: &PeerIdentity) -> Self {
        Self::start_with(identity, Settings::bind("127.0.0.1:0".parse().unwrap()).unwrap())
    }

    fn start_with(identity: &PeerIdentity, settings: Settings) -> Self {
        let inbox = Arc::new(Tray {
            messages: Mutex::default(),
            twins: Mutex::default(),
            let_go: Semaphore::new(0),
            waiting: watch::Sender::new(0),
        });
        let peers = Peers::start(settings, identity, Arc::<Tray>::clone(&inbox)).unwrap();
        Self { peers, inbox, id: identity.node }
    }

    fn place(&self) -> String {
        self.peers.address().to_string()
    }

    fn know(&self, other: &Self) {
        assert!(self.peers.know(other.id, vec![other.place()]));
    }

    async fn ask(&self, other: &Self, lane: Lane, body: &[u8]) -> Vec<u8> {
        self.peers.call(other.id, lane, body, PATIENCE).await.unwrap()
    }

    /// Waits until so many questions wait to be let go.
    async fn asked(&self, times: usize) {
        eventually("the questions are there", || *self.inbox.waiting.borrow() == times).await;
    }

    fn count(&self, count: Count) -> u64 {
        self.peers.counters().get(count)
    }

    /// The state of a lane to another node.
    fn link(&self, other: &Self, lane: Lane) -> Option<LaneState> {
        let links = self.peers.links();
        let link = links.iter().find(|link| link.node == other.id)?;
        link.lanes.iter().find(|view| view.lane == lane).map(|view| view.state)
    }

    async fn all_up(&self, other: &Self) {
        eventually("all lanes are up", || Lane::ALL.iter().all(|lane| self.link(other, *lane) == Some(LaneState::Up)))
            .await;
    }
}

/// Waits for a value.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        let mut often = tokio::time::interval(Duration::from_millis(2));
        while !holds() {
            often.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "not in time: {what}");
}

/// Two nodes that know each other.
async fn pair() -> (Node, Node) {
    let authority = Authority::new();
    let (one, two) = (Node::start(&authority.node(1)), Node::start(&authority.node(2)));
    one.know(&two);
    two.know(&one);
    one.all_up(&two).await;
    two.all_up(&one).await;
    (one, two)
}
