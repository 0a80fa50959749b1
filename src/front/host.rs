//! The host that a request names. Over TLS the certificate proves who a browser talks to. Plain HTTP proves nothing: a
//! page elsewhere may have its own name lead to a loopback address (DNS rebinding), and then its browser takes this node
//! for a part of that page. So there only addresses, `localhost`, this node's name and the configured `names` are
//! believed: an attacker's page has none of them for a name.

use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::http::request::Parts;
use axum::http::uri::Authority;

use crate::base::time;
use crate::front::gate::Peer;
use crate::front::problem::Problem;
use crate::node::Node;
use crate::proto::alarm::rejections::Fault;
use crate::proto::alarm::rejections::Rejection;

/// Letters of a host and its port: the longest name of DNS, and a colon with five digits.
const LETTERS_MAX: usize = 259;

/// What a request says of the host that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named<'r> {
    /// Nothing: no browser, but an old probe.
    Nobody,
    /// This host and port.
    One(&'r str),
    /// Several that differ, or no text.
    Unclear,
}

/// HTTP/2 names it in the URI, HTTP/1 in a field, and a proxy's client in both.
fn named<'r>(headers: &'r HeaderMap, uri: &'r Uri) -> Named<'r> {
    let mut fields = headers.get_all(header::HOST).iter();
    let field = fields.next().map(|value| value.to_str().ok());
    if fields.next().is_some() {
        return Named::Unclear;
    }
    match (uri.authority().map(Authority::as_str), field) {
        (None, None) => Named::Nobody,
        (None, Some(Some(host))) | (Some(host), None) => Named::One(host),
        (Some(host), Some(Some(again))) if host.eq_ignore_ascii_case(again) => Named::One(host),
        (_, Some(_)) => Named::Unclear,
    }
}

/// Refuses a request over plain HTTP that names another host. Allocates nothing where it does not.
///
/// # Errors
/// A 421 that says what to do.
pub(super) fn check(node: &Node, request: &Request) -> Result<(), Problem> {
    check_by(request, |name| node.is_called(name)).inspect_err(|problem| {
        let from = request.extensions().get::<Peer>().and_then(|peer| peer.ip());
        let (code, text) = (problem.code, "it names another host than this node");
        node.note_rejection(Rejection { code, fault: Fault::Theirs, text, from, counted: false });
        if let Some(dropped) = node.refusals().misdirected.admit(time::mono()) {
            tracing::info!(dropped, "a request over plain HTTP named another host");
        }
    })
}

/// The same for whoever is called otherwise.
///
/// # Errors
/// As [`check`].
pub(super) fn check_by(request: &Request, is_called: impl Fn(&str) -> bool) -> Result<(), Problem> {
    if !matches!(request.extensions().get::<Peer>(), Some(Peer::Tcp(_))) {
        return Ok(());
    }
    let said = match named(request.headers(), request.uri()) {
        Named::Nobody => return Ok(()),
        Named::One(host) if is_ours(host, is_called) => return Ok(()),
        Named::One(host) if is_plausible(host) => format!("names `{host}` as its host, which is not this node"),
        Named::One(_) | Named::Unclear => "does not name one host that could be this node".to_owned(),
    };
    let detail = format!(
        "this request {said}; nothing was done; ask by an address or as `localhost`, or add the host's name to `names` \
         in the configuration and reload it"
    );
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail))
}

/// Whether a host, with its port or without, is an address, `localhost`, or one of our own.
fn is_ours(host: &str, is_called: impl Fn(&str) -> bool) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    // With a dot at its end it is the same name.
    let name = name.strip_suffix('.').unwrap_or(name);
    let known = || name.parse::<Ipv4Addr>().is_ok() || name.eq_ignore_ascii_case("localhost") || is_called(name);
    is_port(port) && !name.is_empty() && known()
}

/// Which one does not matter: it may have been forwarded.
fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit())
}

/// The address under which the visitor reaches this node, such as `https://store.example:7480`: by the host that the
/// gate has checked, or that the certificate proved to its browser.
#[must_use]
pub fn origin(node: &Node, parts: &Parts) -> String {
    let peer = parts.extensions.get::<Peer>().filter(|peer| peer.ip().is_some());
    match (peer, named(&parts.headers, &parts.uri)) {
        (Some(peer), Named::One(host)) if is_plausible(host) => {
            format!("{}://{host}", if peer.is_tls() { "https" } else { "http" })
        }
        (_, Named::One(_) | Named::Nobody | Named::Unclear) => {
            node.address_to_open().unwrap_or_else(|| "http://127.0.0.1:7480".to_owned())
        }
    }
}

/// Whether a host could be one: it is said by the client, and goes into pages and programs.
fn is_plausible(host: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    (1..=LETTERS_MAX).contains(&host.len()) && host.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use axum::http::HeaderValue;
    use axum::http::Uri;
    use axum::http::header;

    use super::Named;
    use super::is_ours;
    use super::is_plausible;
    use super::named;

    #[test]
    fn only_addresses_and_names_of_our_own_are_ours() {
        let ours = |host: &str| is_ours(host, |name| name.eq_ignore_ascii_case("n1"));
        for host in ["127.0.0.1", "10.0.0.5:7480", "[::1]", "[::1]:7480", "localhost:", "LOCALHOST.", "N1:80", "n1.:1"]
        {
            assert!(ours(host), "{host}");
        }
        for host in ["", ":", ".", "::1", "[]", "[::1", "[::1]7480", "[::1]:x", "[127.0.0.1]", "n1..", "n1:1:1", "n1:x"]
        {
            assert!(!ours(host), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.nip.io", "localhost.evil.example", "2130706433", "0x7f.1", "127.1"] {
            assert!(!ours(host), "{host}");
        }
    }

    #[test]
    fn a_host_is_named_once_or_twice_the_same() {
        let said = |uri: &'static str, fields: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::HOST, HeaderValue::from_static(field));
            }
            match named(&headers, &Uri::from_static(uri)) {
                Named::One(host) => host.to_owned(),
                other @ (Named::Nobody | Named::Unclear) => format!("{other:?}"),
            }
        };
        assert_eq!(said("/x", &[]), "Nobody");
        assert_eq!(said("/x", &["a:1"]), "a:1");
        assert_eq!(said("http://a:1/x", &[]), "a:1");
        assert_eq!(said("http://a:1/x", &["A:1"]), "a:1");
        assert_eq!(said("http://a:1/x", &["b"]), "Unclear");
        assert_eq!(said("/x", &["a", "a"]), "Unclear");
    }

    #[test]
    fn a_host_that_could_not_be_one_goes_into_no_page_or_program() {
        for host in ["10.0.0.5:7480", "localhost:7481", "store.example", "[::1]:7480", "my_box"] {
            assert!(is_plausible(host), "{host}");
        }
        for host in ["", "a.b/';rm -rf ~;'", "a.b\"", "a.b\n", "me@a.b", &"a.".repeat(200)] {
            assert!(!is_plausible(host), "{host}");
        }
    }
}
