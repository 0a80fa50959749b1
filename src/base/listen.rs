//! Where a node listens: `https://ADDRESS:PORT` anywhere, `http://ADDRESS:PORT` on loopback only, because a token would
//! be readable on any other wire. The scheme is always written: whether a token travels in the clear is not guessed.

use std::fmt;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

/// One address for devices and programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Whether it speaks HTTPS.
    pub tls: bool,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.address)
    }
}

impl Listen {
    /// Reads a URL of scheme, address and port.
    ///
    /// # Errors
    /// A sentence that says what would do.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (tls, address) = match url.split_once("://") {
            Some(("https", address)) => (true, address),
            Some(("http", address)) => (false, address),
            Some(_) | None => return Err(no_scheme(url)),
        };
        let address: SocketAddr = address.trim_end_matches('/').parse().map_err(|error| {
            format!(
                "`{url}` is not an address with a port ({error}); write https://0.0.0.0:7480 or http://127.0.0.1:7480"
            )
        })?;
        if !tls && !address.ip().is_loopback() {
            let reason = "is not a loopback address, and plain HTTP is served on loopback only";
            return Err(format!("`{url}` {reason}; write https://{address}"));
        }
        Ok(Self { address, tls })
    }
}

fn no_scheme(url: &str) -> String {
    match url.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => {
            format!("`{url}` does not say how it is spoken to; write http://{address} or https://{address}")
        }
        Ok(address) => format!("`{url}` does not say how it is spoken to; write https://{address}"),
        Err(_) => format!("`{url}` is not of the form https://0.0.0.0:7480 or http://127.0.0.1:7480"),
    }
}

/// `host:port` of what an operator wrote, which may be the host alone; an IPv6 address gets its brackets.
#[must_use]
pub fn with_port(word: &str, port: u16) -> String {
    if word.parse::<Ipv6Addr>().is_ok() {
        return format!("[{word}]:{port}");
    }
    if word.contains(':') { word.to_owned() } else { format!("{word}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::Listen;

    #[test]
    fn https_is_spoken_anywhere_and_http_on_loopback_only() {
        for good in [
            "https://0.0.0.0:7480",
            "https://[::]:7480",
            "https://127.0.0.1:0",
            "http://127.0.0.2:1",
            "http://[::1]:7480",
        ] {
            assert_eq!(Listen::parse(good).map(|listen| listen.to_string()), Ok(good.to_owned()));
        }
        for (bad, says) in [
            ("http://0.0.0.0:7480", "write https://0.0.0.0:7480"),
            ("http://[::]:7480", "write https://[::]:7480"),
            ("10.0.0.5:7480", "write https://10.0.0.5:7480"),
            ("127.0.0.1:7480", "write http://127.0.0.1:7480 or https://127.0.0.1:7480"),
            ("https://localhost:7480", "is not an address"),
            ("https://0.0.0.0", "is not an address"),
            ("https://0.0.0.0:65536", "is not an address"),
            ("https://user:secret@0.0.0.0:7480", "is not an address"),
            ("ftp://0.0.0.0:7480", "not of the form"),
            ("off", "not of the form"),
            ("", "not of the form"),
        ] {
            let error = Listen::parse(bad).unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
