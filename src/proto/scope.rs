//! What a token may do. Deny by default: a scope opens what it names and nothing else.

use serde::Deserialize;
use serde::Serialize;

/// One right of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Read values (`/v1/kv`, `/v1/batch`, `/v1/nodes`).
    #[serde(rename = "device:read")]
    DeviceRead,
    /// Write values (`/v1/kv`, `/v1/batch`).
    #[serde(rename = "device:write")]
    DeviceWrite,
    /// Read and write values and buckets, import, export.
    #[serde(rename = "data")]
    Data,
    /// See and change how the cluster runs.
    #[serde(rename = "operate")]
    Operate,
    /// See how the cluster runs and take diagnostics.
    #[serde(rename = "support")]
    Support,
    /// Everything, tokens and users included.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// All scopes, in the order of the surface.
    pub const ALL: [Self; 6] =
        [Self::DeviceRead, Self::DeviceWrite, Self::Data, Self::Operate, Self::Support, Self::Admin];

    /// The name users type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DeviceRead => "device:read",
            Self::DeviceWrite => "device:write",
            Self::Data => "data",
            Self::Operate => "operate",
            Self::Support => "support",
            Self::Admin => "admin",
        }
    }

    /// The scope with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// What a request needs. Each route names one; [`Need::met_by`] is the only place that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// No token at all: liveness probes.
    Nothing,
    /// Read values.
    ReadValues,
    /// Write values.
    WriteValues,
    /// Read or write values; each operation inside is checked on its own.
    AnyValues,
    /// Buckets, import, export, lists.
    Data,
    /// Seeing how the cluster runs.
    Observe,
    /// As [`Need::Observe`]; on a loopback address nothing at all.
    Metrics,
    /// Changing how the cluster runs: who is in it, and who owns what.
    Operate,
    /// Tokens and users.
    Admin,
    /// Any caller with a token or a session, whatever they may do.
    SignedIn,
    /// The node's owner, through the control socket only.
    Owner,
}

impl Need {
    /// Whether one of these scopes is enough.
    #[must_use]
    pub fn met_by(self, scopes: &[Scope]) -> bool {
        let any = |wanted: &[Scope]| wanted.iter().any(|scope| scopes.contains(scope));
        (self != Self::Owner && any(&[Scope::Admin]))
            || match self {
                Self::Nothing => true,
                Self::ReadValues => any(&[Scope::DeviceRead, Scope::Data]),
                Self::WriteValues => any(&[Scope::DeviceWrite, Scope::Data]),
                Self::AnyValues => any(&[Scope::DeviceRead, Scope::DeviceWrite, Scope::Data]),
                Self::Data => any(&[Scope::Data]),
                Self::Observe | Self::Metrics => any(&[Scope::Data, Scope::Operate, Scope::Support]),
                Self::Operate => any(&[Scope::Operate]),
                Self::Admin | Self::Owner => false,
                Self::SignedIn => !scopes.is_empty(),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::Need;
    use super::Scope;

    #[test]
    fn a_device_token_opens_values_and_nothing_else() {
        let device = [Scope::DeviceRead, Scope::DeviceWrite];
        assert!(Need::ReadValues.met_by(&device) && Need::WriteValues.met_by(&device));
        for need in [Need::Data, Need::Observe, Need::Metrics, Need::Operate, Need::Admin, Need::Owner] {
            assert!(!need.met_by(&device), "{need:?}");
        }
        for scope in [Scope::Data, Scope::Support] {
            assert!(!Need::Operate.met_by(&[scope]), "{scope:?} sees how the cluster runs and changes nothing of it");
        }
        assert!(!Need::WriteValues.met_by(&[Scope::DeviceRead]));
        assert!(!Need::ReadValues.met_by(&[Scope::Operate, Scope::Support]));
        assert!(Scope::ALL.iter().all(|scope| Scope::parse(scope.name()) == Some(*scope)));
    }

    #[test]
    fn no_scopes_open_nothing_but_probes() {
        assert!(Need::Nothing.met_by(&[]));
        for need in [Need::ReadValues, Need::WriteValues, Need::AnyValues, Need::Data, Need::Observe, Need::Operate] {
            assert!(!need.met_by(&[]), "{need:?}");
        }
    }
}
