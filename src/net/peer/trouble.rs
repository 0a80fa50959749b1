//! Why a peer was not reached the last time, told apart by what that says of its machine.

use std::fmt;
use std::io;

use crate::net::peer::dial::DialError;
use crate::net::tls;

/// What a failed try says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its machine answers that nothing listens there.
    Refused,
    /// Nobody has that address on the network, or there is no way to it.
    NobodyThere,
    /// Nothing at all came back.
    NoAnswer,
    /// A connection was made, and nothing was said on it.
    Mute,
    /// Somebody else answers there.
    Stranger,
    /// This machine gives no further connections.
    Here,
    /// Its name is not known.
    NoSuchName,
    /// Something else.
    Other,
}

/// A failed try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What it says.
    pub kind: Kind,
    /// For people.
    pub text: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Trouble {
    /// A connection that stood and ended so.
    pub(super) fn ended(why: &impl fmt::Display) -> Self {
        Self { kind: Kind::Other, text: why.to_string() }
    }
}

impl From<&DialError> for Trouble {
    fn from(error: &DialError) -> Self {
        let kind = match error {
            DialError::Connect { source, .. } => of_connect(source),
            DialError::Timeout { nobody: true, .. } => Kind::NobodyThere,
            DialError::Timeout { nobody: false, .. } => Kind::NoAnswer,
            DialError::Mute(_) => Kind::Mute,
            DialError::Resolve(_) => Kind::NoSuchName,
            DialError::NoAddress
            | DialError::Refused(_)
            | DialError::Ended(_)
            | DialError::EarlierLife(_)
            | DialError::Cut => Kind::Other,
        };
        Self { kind, text: error.to_string() }
    }
}

fn of_connect(source: &io::Error) -> Kind {
    let known = [
        (io::ErrorKind::ConnectionRefused, Kind::Refused),
        (io::ErrorKind::HostUnreachable, Kind::NobodyThere),
        (io::ErrorKind::NetworkUnreachable, Kind::NobodyThere),
        (io::ErrorKind::TimedOut, Kind::NoAnswer),
        (io::ErrorKind::AddrNotAvailable, Kind::Here),
    ];
    if tls::is_bad_certificate(source) {
        return Kind::Stranger;
    }
    known.into_iter().find(|(kind, _)| *kind == source.kind()).map_or(Kind::Other, |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::Kind;
    use super::Trouble;
    use crate::net::peer::dial::DialError;

    #[test]
    fn what_a_failed_try_says_of_the_machine_is_told_apart() {
        let address = ([10, 0, 0, 3], 7400).into();
        let connect = |kind: io::ErrorKind| DialError::Connect { address, source: kind.into() };
        let kind = |error: DialError| Trouble::from(&error).kind;
        assert_eq!(kind(connect(io::ErrorKind::ConnectionRefused)), Kind::Refused);
        assert_eq!(kind(connect(io::ErrorKind::HostUnreachable)), Kind::NobodyThere);
        assert_eq!(kind(connect(io::ErrorKind::AddrNotAvailable)), Kind::Here);
        assert_eq!(kind(connect(io::ErrorKind::ConnectionReset)), Kind::Other);
        assert_eq!(kind(DialError::Timeout { address: "a:1".into(), nobody: true, by: None }), Kind::NobodyThere);
        assert_eq!(kind(DialError::Timeout { address: "a:1".into(), nobody: false, by: None }), Kind::NoAnswer);
        assert_eq!(kind(DialError::Mute(address)), Kind::Mute);
        let late = DialError::Timeout { address: "a:1".into(), nobody: false, by: Some("vpn0".into()) };
        assert_eq!(Trouble::from(&late).text, "a:1 does not answer (asked by the interface vpn0)");
        assert_eq!(Trouble::from(&DialError::Mute(address)).text, "10.0.0.3:7400 takes connections and says nothing");
    }
}
