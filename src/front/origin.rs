//! Whether a request comes from a page of our own. A browser sends the session's cookie along with whatever another page
//! makes it send; who wrote that page is what it says in `Sec-Fetch-Site` or `Origin`, which no page can change.

use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::Uri;
use axum::http::header;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Media types of forms and documents that our pages send. `text/plain` is what a foreign form can send unasked.
const FORMS: [&str; 3] = ["application/x-www-form-urlencoded", "multipart/form-data", "application/json"];

/// Whether the browser says that a page of this very host, port and scheme sent it. Where it says nothing: no.
pub(super) fn is_same(headers: &HeaderMap, uri: &Uri, secure: bool) -> bool {
    let mut said = headers.get_all(SEC_FETCH_SITE).iter();
    if let Some(site) = said.next() {
        return site == "same-origin" && said.next().is_none();
    }
    let Some(origin) = single(headers, &header::ORIGIN) else { return false };
    let host = single(headers, &header::HOST).or_else(|| uri.authority().map(axum::http::uri::Authority::as_str));
    let scheme = if secure { "https" } else { "http" };
    let there = origin.split_once("://");
    matches!((there, host), (Some((said, at)), Some(host)) if said == scheme && at.eq_ignore_ascii_case(host))
}

/// Whether its body is one of ours, or there is none.
pub(super) fn is_form(headers: &HeaderMap, has_body: bool) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return !has_body };
    let one = headers.get_all(header::CONTENT_TYPE).iter().count() == 1;
    let essence = value.to_str().ok().and_then(|text| text.split(';').next()).unwrap_or_default().trim();
    one && FORMS.iter().any(|form| essence.eq_ignore_ascii_case(form))
}

fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use axum::http::HeaderName;
    use axum::http::HeaderValue;
    use axum::http::Uri;

    use super::is_form;
    use super::is_same;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_a_page_of_our_own_is_of_the_same_origin() {
        let same = |lines: &[(&str, &str)], secure| is_same(&headers(lines), &Uri::from_static("/x"), secure);
        let host = ("host", "node.example:7480");
        for (lines, secure) in [
            (vec![host, ("sec-fetch-site", "same-origin")], true),
            (vec![host, ("origin", "https://node.example:7480")], true),
            (vec![host, ("origin", "http://NODE.example:7480")], false),
            (vec![("host", "node.example"), ("origin", "https://node.example")], true),
        ] {
            assert!(same(&lines, secure), "{lines:?}");
        }
        for lines in [
            vec![host],
            vec![host, ("sec-fetch-site", "same-site")],
            vec![host, ("sec-fetch-site", "cross-site")],
            vec![host, ("sec-fetch-site", "none")],
            vec![host, ("sec-fetch-site", "")],
            vec![host, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
            vec![host, ("sec-fetch-site", "cross-site"), ("origin", "https://node.example:7480")],
            vec![host, ("origin", "http://node.example:7480")],
            vec![host, ("origin", "https://node.example")],
            vec![host, ("origin", "https://node.example:7481")],
            vec![host, ("origin", "https://evil.example")],
            vec![host, ("origin", "null")],
            vec![host, ("origin", "")],
            vec![host, ("origin", "https://node.example:7480"), ("origin", "https://evil.example")],
            vec![("origin", "https://node.example:7480")],
        ] {
            assert!(!same(&lines, true), "{lines:?}");
        }
        // HTTP/2 names the host in the URI.
        let uri = Uri::from_static("https://node.example:7480/x");
        assert!(is_same(&headers(&[("origin", "https://node.example:7480")]), &uri, true));
    }

    #[test]
    fn a_body_is_a_form_or_a_document_or_absent() {
        let form = |content_type, has_body| is_form(&headers(&[("content-type", content_type)]), has_body);
        assert!(form("application/json", true) && form("multipart/form-data; boundary=x", true));
        assert!(form("Application/X-WWW-Form-URLencoded;charset=utf-8", true) && is_form(&headers(&[]), false));
        assert!(!form("text/plain", true) && !form("text/plain", false) && !form("", true));
        assert!(!is_form(&headers(&[]), true) && !form("text/plain; application/json", true));
        assert!(!is_form(&headers(&[("content-type", "application/json"), ("content-type", "text/plain")]), true));
    }
}
