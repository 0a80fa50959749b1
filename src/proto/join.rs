//! What a machine that wants into a cluster says, and what it is told. Both travel inside TLS to a node that proved the
//! authority of the join token; before that nothing is said.

use serde::Deserialize;
use serde::Serialize;

use crate::base::codec;
use crate::base::codec::DecodeError;
use crate::base::id::ClusterId;
use crate::base::id::NodeId;

/// The format of both.
const VERSION: u8 = 1;
/// Told apart from other sealed bytes.
const KNOCK: &[u8] = b"knock";
/// See [`KNOCK`].
const WELCOME: &[u8] = b"welcome";

/// May I come in?
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knock {
    /// The invite's secret.
    pub secret: [u8; 32],
    /// Made by the machine once: who asks again after a lost answer is told by it.
    pub nonce: [u8; 32],
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
    /// Of its software.
    pub release: String,
}

/// A node that is there already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its number.
    pub node: NodeId,
    /// Where it is reached.
    pub addresses: Vec<String>,
}

/// Come in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// The cluster.
    pub cluster: ClusterId,
    /// The number that the machine is given.
    pub node: NodeId,
    /// The authority's certificate, as PEM.
    pub authority: String,
    /// Its key.
    pub authority_key: String,
    /// The node's certificate among nodes.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// Who is there.
    pub neighbours: Vec<Neighbour>,
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// Yes.
    Admitted(Box<Admitted>),
    /// No, for ever: in words.
    Refused(String),
    /// Not now: in words.
    Later(String),
}

impl Knock {
    /// Bytes for the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::seal(VERSION, KNOCK, self)
    }

    /// Reverses [`Knock::encode`].
    ///
    /// # Errors
    /// The bytes are no knock.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::unseal(VERSION, KNOCK, bytes)
    }
}

impl Welcome {
    /// Bytes for the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::seal(VERSION, WELCOME, self)
    }

    /// Reverses [`Welcome::encode`].
    ///
    /// # Errors
    /// The bytes are no answer to a knock.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::unseal(VERSION, WELCOME, bytes)
    }
}
