//! How a machine comes into a cluster: an invite on one side, a knock on the other. A node that is let in is given its
//! number, its certificate, and the cluster's authority, so that it can let others in itself.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::base::checksum;
use crate::base::codec;
use crate::base::limits::JOIN_PATIENCE;
use crate::base::limits::NODE_ADDRESSES_MAX;
use crate::base::redact::Redacted;
use crate::base::rng;
use crate::base::time;
use crate::control::consensus::Consensus as _;
use crate::node::Node;
use crate::node::access::Caller;
use crate::node::error::DoorError;
use crate::proto::audit::By;
use crate::proto::audit::Via;
use crate::proto::control::Applied;
use crate::proto::control::Command;
use crate::proto::control::Refused;
use crate::proto::control::members::Admission;
use crate::proto::control::members::Change;
use crate::proto::invite;
use crate::proto::invite::JoinToken;
use crate::proto::join::Admitted;
use crate::proto::join::Knock;
use crate::proto::join::Neighbour;
use crate::proto::join::Welcome;
use crate::store::data_dir;
use crate::store::identity;
use crate::store::identity::Identity;
use crate::store::identity::IdentityError;

/// How long one seed may take to answer.
const KNOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two rounds of knocking.
const KNOCK_REST: Duration = Duration::from_millis(500);
/// How long a node that has just begun is given to say where it is.
const SEEDS_PATIENCE: Duration = Duration::from_secs(3);
/// Kept until the node is in: after a lost answer it is known again by it.
const NONCE_FILE: &str = "knock";

/// Why a machine does not come in.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It says no.
    #[error("{0}")]
    Refused(String),
    /// Nobody answered.
    #[error(
        "no node of the cluster could be asked ({0}); nothing was changed; check that TCP {1} can be reached from here \
         and start again with the same token"
    )]
    Unreachable(String, String),
    /// What was answered is no answer.
    #[error("the answer of {0} is not understood; nothing was changed; is it of another release?")]
    NotUnderstood(String),
    /// What was given could not be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What a machine says of itself when it wants in.
#[derive(Debug, Clone)]
pub struct Applicant {
    /// Its name for people.
    pub name: String,
    /// Where it stands.
    pub zone: String,
    /// Its share.
    pub weight: u32,
    /// Where other nodes reach it.
    pub addresses: Vec<String>,
    /// Where devices reach it.
    pub url: Option<String>,
}

/// Knocks at the seeds until one answers, and keeps what it gives.
///
/// # Errors
/// [`JoinError`].
pub async fn join(
    dir: &Path,
    token: &JoinToken,
    applicant: &Applicant,
) -> Result<(Identity, Vec<Neighbour>), JoinError> {
    let Applicant { name, zone, weight, addresses, url } = applicant.clone();
    let knock = Knock {
        secret: *token.secret.reveal(),
        nonce: nonce(dir)?,
        name: name.clone(),
        zone,
        weight,
        addresses,
        url,
        release: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let admitted = knock_everywhere(token, &knock.encode()).await?;
    let Admitted { cluster, node, authority, authority_key, certificate, key, neighbours } = admitted;
    let given = identity::Given {
        authority,
        authority_key: Redacted::new(authority_key),
        certificate,
        key: Redacted::new(key),
    };
    let identity = identity::join(dir, cluster, node, &name, &given)?;
    tracing::info!(%cluster, %node, "this machine was let into the cluster");
    Ok((identity, neighbours))
}

fn nonce(dir: &Path) -> Result<[u8; 32], IdentityError> {
    let path = dir.join(NONCE_FILE);
    let io = |source| IdentityError::Io { path: path.clone(), source };
    if let Some(nonce) = std::fs::read_to_string(&path).ok().and_then(|text| codec::from_hex(text.trim())) {
        return Ok(nonce);
    }
    let nonce = rng::array::<32>().map_err(io)?;
    data_dir::write_whole(&path, codec::hex(&nonce).as_bytes()).map_err(io)?;
    Ok(nonce)
}

/// It opens nothing more: whoever gets a copy of this directory is not taken for this node by it.
pub fn forget_knock(dir: &Path) {
    if let Err(error) = std::fs::remove_file(dir.join(NONCE_FILE))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "what this machine knocked with could not be removed");
    }
}

async fn knock_everywhere(token: &JoinToken, knock: &[u8]) -> Result<Admitted, JoinError> {
    let deadline = time::mono() + JOIN_PATIENCE;
    loop {
        let mut last = JoinError::Unreachable("it names none".to_owned(), String::new());
        for seed in &token.seeds {
            match knock_at(seed, token, knock).await {
                Err(error @ JoinError::Unreachable(..)) => last = error,
                other => return other,
            }
        }
        if time::mono() >= deadline {
            return Err(last);
        }
        tracing::info!(reason = %last, "nobody lets this machine in yet; it knocks again");
        tokio::time::sleep(KNOCK_REST).await;
    }
}

async fn knock_at(seed: &str, token: &JoinToken, knock: &[u8]) -> Result<Admitted, JoinError> {
    use crate::net::peer::guest;
    let answer = guest::ask(seed, token.authority, knock, KNOCK_TIMEOUT).await;
    let bytes = answer.map_err(|error| match error {
        guest::AskError::Refused { .. } => JoinError::Refused(error.to_string()),
        guest::AskError::Unreachable { .. } | guest::AskError::Busy { .. } | guest::AskError::Failed { .. } => {
            JoinError::Unreachable(error.to_string(), seed.to_owned())
        }
    })?;
    match Welcome::decode(&bytes) {
        Ok(Welcome::Admitted(admitted)) => Ok(*admitted),
        Ok(Welcome::Refused(reason)) => Err(JoinError::Refused(reason)),
        Ok(Welcome::Later(reason)) => Err(JoinError::Unreachable(reason, seed.to_owned())),
        Err(_unreadable) => Err(JoinError::NotUnderstood(seed.to_owned())),
    }
}

/// Answered while this node is still opening.
#[must_use]
pub fn not_yet() -> Vec<u8> {
    Welcome::Later("the node is still starting".to_owned()).encode()
}

/// Answers a knock.
pub async fn let_in(node: &Node, from: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let welcome = match Knock::decode(bytes) {
        Ok(knock) => admit(node, from, knock).await,
        Err(_unreadable) => Welcome::Refused("this is no request to join that this release knows".to_owned()),
    };
    welcome.encode()
}

async fn admit(node: &Node, from: SocketAddr, knock: Knock) -> Welcome {
    let Knock { secret, nonce, name, zone, weight, addresses, url, release } = knock;
    let admission = Admission {
        secret_hash: invite::secret_hash(&Redacted::new(secret)),
        key: checksum::sha256(&[&nonce]),
        name: name.clone(),
        zone,
        weight,
        addresses,
        url,
        release,
        at_ms: time::wall_ms(),
    };
    let by = By { name: "an invite".to_owned(), via: Via::Anonymous, from: Some(from.ip()), at_ms: time::wall_ms() };
    let command = Command::Cluster(Change::Admit(Box::new(admission)));
    let what = command.in_words();
    let applied = node.0.consensus.propose(Command::Ordered { by, what, command: Box::new(command) }).await;
    let id = match applied.map_err(DoorError::from) {
        Ok(Applied::Admitted(id) | Applied::AdmittedBefore(id)) => id,
        Err(error @ DoorError::Control(Refused::Taken { .. })) => {
            return Welcome::Refused(format!("{error}; start this machine with another --name"));
        }
        Err(error @ (DoorError::Control(_) | DoorError::NotFound { .. })) => {
            return Welcome::Refused(error.to_string());
        }
        Ok(_) | Err(_) => return Welcome::Later("the cluster cannot take a decision now".to_owned()),
    };
    let dir = node.0.data_dir.join("identity");
    let given = match identity::give(&dir, node.who().cluster, id) {
        Ok(given) => given,
        Err(error) => {
            tracing::error!(%error, "a certificate for a node that is to join could not be made");
            return Welcome::Later("the node cannot make a certificate now".to_owned());
        }
    };
    tracing::info!(node = %id, name, "a node was let in");
    tracing::debug!(node = %id, %from, "where it came from");
    Welcome::Admitted(Box::new(Admitted {
        cluster: node.who().cluster,
        node: id,
        authority: given.authority,
        authority_key: given.authority_key.reveal().clone(),
        certificate: given.certificate,
        key: given.key.reveal().clone(),
        neighbours: node.neighbours(),
    }))
}

/// As many addresses as a token holds: of each node its first, then of each its second.
fn spread(neighbours: &[Neighbour]) -> Vec<String> {
    let nth = |at: usize| neighbours.iter().filter_map(move |neighbour| neighbour.addresses.get(at).cloned());
    (0..NODE_ADDRESSES_MAX).flat_map(nth).take(NODE_ADDRESSES_MAX).collect()
}

/// An invite as it is shown, once.
pub struct Invitation {
    /// The token to copy.
    pub token: String,
    /// Wall milliseconds after which it opens nothing.
    pub expires_ms: u64,
    /// Where a machine will knock.
    pub seeds: Vec<String>,
}

impl Node {
    /// Who is in the cluster, and where.
    #[must_use]
    pub fn neighbours(&self) -> Vec<Neighbour> {
        let state = self.state();
        let there = state.members.iter().filter(|(id, _)| state.member(**id).is_some());
        there.map(|(id, member)| Neighbour { node: *id, addresses: member.addresses.clone() }).collect()
    }

    /// Where nodes of this cluster are reached. One that has just begun says so in a moment.
    async fn seeds(&self) -> Vec<String> {
        let deadline = time::mono() + SEEDS_PATIENCE;
        let mut moved = self.moved();
        loop {
            let seeds = spread(&self.neighbours());
            let left = deadline.saturating_duration_since(time::mono());
            if !seeds.is_empty() || left.is_zero() {
                return seeds;
            }
            let _late = tokio::time::timeout(left, moved.changed()).await;
        }
    }

    /// Makes an invite for one machine, perhaps one that takes the places of another.
    ///
    /// # Errors
    /// [`DoorError`]; also where the control group could not do without the other.
    pub async fn invite(
        &self,
        caller: &Caller,
        ttl: Duration,
        replaces: Option<&str>,
    ) -> Result<Invitation, DoorError> {
        let replaces = replaces.map(|which| self.node_named(which)).transpose()?;
        replaces.map_or(Ok(()), |old| self.check_voters(old))?;
        let seeds = self.seeds().await;
        if seeds.is_empty() {
            let reason = "no node of this cluster listens to others; start it with --peer-listen ADDRESS:PORT";
            return Err(DoorError::Unsuitable(format!("{reason}; nothing was changed")));
        }
        let no_entropy = |source| DoorError::Io { doing: "asking for randomness", source };
        let secret = Redacted::new(rng::array::<32>().map_err(no_entropy)?);
        let made_ms = time::wall_ms();
        let expires_ms = made_ms.saturating_add(time::millis(ttl));
        let change = Change::Invite { hash: invite::secret_hash(&secret), made_ms, expires_ms, replaces };
        self.order(caller, Command::Cluster(change)).await?;
        let authority = self.authority().sha256;
        let token = JoinToken { seeds: seeds.clone(), authority, secret, expires_ms };
        Ok(Invitation { token: token.reveal(), expires_ms, seeds })
    }
}

#[cfg(test)]
mod tests {
    use super::spread;
    use crate::base::id::NodeId;
    use crate::base::limits::NODE_ADDRESSES_MAX;
    use crate::proto::join::Neighbour;

    #[test]
    fn a_token_names_some_address_of_each_node_before_it_names_more_of_one() {
        let of = |node: u64, count: u64| Neighbour {
            node: NodeId(node),
            addresses: (0..count).map(|at| format!("n{node}-{at}:7400")).collect(),
        };
        let seeds = spread(&[of(1, 5), of(2, 0), of(3, 5), of(4, 1)]);
        assert_eq!(seeds.len(), NODE_ADDRESSES_MAX);
        assert_eq!(seeds[..5], ["n1-0:7400", "n3-0:7400", "n4-0:7400", "n1-1:7400", "n3-1:7400"]);
        assert_eq!(spread(&[of(1, 2)]), ["n1-0:7400", "n1-1:7400"]);
    }
}
