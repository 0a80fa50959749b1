//! The session's cookie: ours alone (HOUSE decision 23). Over TLS its name begins with `__Host-`, which makes browsers
//! keep it to this host, this path and TLS; on plain loopback, where cookies are shared by all ports of a machine, its
//! name carries the cluster.

use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::header;

use crate::base::id::ClusterId;
use crate::base::limits::SESSION_TTL;
use crate::node::session::Session;

const ATTRIBUTES: &str = "Path=/; HttpOnly; SameSite=Strict";

/// `Set-Cookie` for a session that has just begun; `secure` is whether the connection is TLS.
#[must_use]
pub fn set(session: &Session, secure: bool, cluster: ClusterId) -> HeaderValue {
    header_value(&name(secure, cluster), secure, session.secret.reveal(), SESSION_TTL.as_secs())
}

/// `Set-Cookie` that takes it away.
#[must_use]
pub fn clear(secure: bool, cluster: ClusterId) -> HeaderValue {
    header_value(&name(secure, cluster), secure, "", 0)
}

/// The same for a session of a rescue console, which leaves that of the console as it was.
#[must_use]
pub fn set_rescue(session: &Session, secure: bool, cluster: ClusterId) -> HeaderValue {
    header_value(&rescue_name(secure, cluster), secure, session.secret.reveal(), SESSION_TTL.as_secs())
}

/// `Set-Cookie` that takes that away.
#[must_use]
pub fn clear_rescue(secure: bool, cluster: ClusterId) -> HeaderValue {
    header_value(&rescue_name(secure, cluster), secure, "", 0)
}

fn header_value(name: &str, secure: bool, value: &str, max_age_s: u64) -> HeaderValue {
    let end = if secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Max-Age={max_age_s}; {ATTRIBUTES}{end}");
    // Base64url and our own words are always a header's text.
    let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_never| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

fn name(secure: bool, cluster: ClusterId) -> String {
    if secure { "__Host-ringfort".to_owned() } else { format!("ringfort-{cluster}") }
}

fn rescue_name(secure: bool, cluster: ClusterId) -> String {
    format!("{}-rescue", name(secure, cluster))
}

/// The session's secret in a request. None where it is given twice: one of the two is not ours.
pub(super) fn read(headers: &HeaderMap, secure: bool, cluster: ClusterId) -> Option<&str> {
    read_named(headers, &name(secure, cluster))
}

/// The same of a rescue console.
pub(super) fn read_rescue(headers: &HeaderMap, secure: bool, cluster: ClusterId) -> Option<&str> {
    read_named(headers, &rescue_name(secure, cluster))
}

fn read_named<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut mine = pairs.filter(|(given, _)| *given == name).map(|(_, value)| value);
    let secret = mine.next()?;
    mine.next().is_none().then_some(secret)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use axum::http::HeaderValue;
    use axum::http::header;

    use super::clear;
    use super::read;
    use super::set;
    use crate::base::id::ClusterId;
    use crate::base::redact::Redacted;
    use crate::node::session::Session;

    const CLUSTER: ClusterId = ClusterId(7);

    #[test]
    fn a_cookie_is_kept_to_its_host_and_away_from_scripts_and_other_sites() {
        let session = Session { secret: Redacted::new("s-3_x".to_owned()), user: "ann".to_owned(), expires_ms: 1 };
        let secure = set(&session, true, CLUSTER);
        let expected = "__Host-ringfort=s-3_x; Max-Age=43200; Path=/; HttpOnly; SameSite=Strict; Secure";
        assert_eq!(secure.to_str().unwrap(), expected);
        let plain = set(&session, false, CLUSTER);
        let text = plain.to_str().unwrap();
        assert!(
            text.starts_with(&format!("ringfort-{CLUSTER}=s-3_x; ")) && text.ends_with("; SameSite=Strict"),
            "{text}"
        );
        assert!(clear(true, CLUSTER).to_str().unwrap().starts_with("__Host-ringfort=; Max-Age=0; Path=/; "));
        assert!(!format!("{secure:?}").contains("s-3_x"));
    }

    #[test]
    fn only_one_cookie_of_our_name_is_read() {
        let read = |lines: &[&str], secure| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, HeaderValue::from_str(line).unwrap());
            }
            read(&headers, secure, CLUSTER).map(str::to_owned)
        };
        let mine = format!("ringfort-{CLUSTER}=b");
        assert_eq!(read(&["a=1; __Host-ringfort=x=y ; c"], true), Some("x=y".to_owned()));
        assert_eq!(read(&["a=1", &mine], false), Some("b".to_owned()));
        assert_eq!(read(&[&mine], true), None);
        assert_eq!(read(&["__Host-ringfort=x"], false), None, "it would not have come over plain HTTP");
        assert_eq!(read(&["__Host-ringfort=x; __Host-ringfort=y"], true), None);
        assert_eq!(read(&["__Host-ringfort=x", "__Host-ringfort=y"], true), None);
        assert_eq!(read(&[], true), None);
    }
}
