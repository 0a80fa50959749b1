//! Names to addresses, never through libc: in a static binary that would load the host's name service modules (HOUSE
//! decision 21). Addresses and `localhost` need no resolver, so they work without `/etc/resolv.conf`.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;

use hickory_resolver::TokioResolver;

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
#[error("the name {name} cannot be resolved: {reason}")]
pub struct ResolveError {
    /// As given.
    pub name: String,
    /// What the resolver said.
    pub reason: String,
}

/// The addresses of a host and port, best first, at least one.
///
/// # Errors
/// [`ResolveError`].
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if bare.eq_ignore_ascii_case("localhost") {
        return Ok(vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)]);
    }
    let failed = |reason: String| ResolveError { name: host.to_owned(), reason };
    let builder = TokioResolver::builder_tokio().map_err(|error| failed(error.to_string()))?;
    let resolver = builder.build().map_err(|error| failed(error.to_string()))?;
    let found = resolver.lookup_ip(bare).await.map_err(|error| failed(error.to_string()))?;
    let addresses: Vec<_> = found.iter().map(|address| SocketAddr::new(address, port)).collect();
    if addresses.is_empty() { Err(failed("it has no address".to_owned())) } else { Ok(addresses) }
}
