//! Requests that cannot be read. They never come to the gate: hyper refuses them by itself, with a head and nothing else.
//! Here its answer gets what every refusal has.

use axum::http::StatusCode;

use crate::base::limits::HEAD_BYTES_MAX;
use crate::front::problem;
use crate::front::problem::Problem;

/// hyper's own number.
const FIELDS_MAX: usize = 100;

/// Whether an answer begins here that may be a refusal: the one byte that is looked at in every answer.
pub(super) fn may_be_refusal(answer: &[u8]) -> bool {
    answer.get(9) == Some(&b'4') && answer.starts_with(b"HTTP/1.")
}

/// hyper's own refusal, with a problem document; `None` where it is anything else. `is_ambiguous`: as `framing` found it.
pub(super) fn explain(answer: &[u8], is_ambiguous: bool) -> Option<Vec<u8>> {
    let head = std::str::from_utf8(answer).ok()?.strip_suffix("\r\n\r\n")?;
    let (begin, end) = head.split_once("\r\ncontent-length: 0")?;
    let status = StatusCode::from_bytes(head.get(9..12)?.as_bytes()).ok()?;
    let document = of(status, is_ambiguous).document(&problem::request_id()).to_string();
    let fields = format!(
        "content-type: application/problem+json\r\ncontent-length: {}\r\nx-content-type-options: nosniff\r\n\
         cache-control: no-store",
        document.len()
    );
    Some(format!("{begin}{end}\r\n{fields}\r\n\r\n{document}").into_bytes())
}

fn of(status: StatusCode, is_ambiguous: bool) -> Problem {
    let (code, what) = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
            "head_too_large",
            format!("the head of the request has more than {HEAD_BYTES_MAX} bytes or {FIELDS_MAX} header fields"),
        ),
        _ if is_ambiguous => (
            "bad_framing",
            "the request leaves open where it ends: it may have one Content-Length, of digits, or one Transfer-Encoding, \
             `chunked`, and its lines end with CR LF"
                .to_owned(),
        ),
        _ => ("bad_head", "the first line of the request or one of its header fields cannot be read".to_owned()),
    };
    Problem::new(status, code, format!("{what}; nothing was changed, and the connection is closed"))
}

#[cfg(test)]
mod tests {
    use super::explain;
    use super::may_be_refusal;

    const HYPERS: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: today\r\n\r\n";

    #[test]
    fn hypers_refusal_is_explained_and_keeps_its_fields() {
        assert!(may_be_refusal(HYPERS.as_bytes()));
        for (answer, is_ambiguous, code) in [
            (HYPERS.to_owned(), false, "bad_head"),
            (HYPERS.to_owned(), true, "bad_framing"),
            (HYPERS.replace("400", "431"), false, "head_too_large"),
        ] {
            let explained = String::from_utf8(explain(answer.as_bytes(), is_ambiguous).unwrap()).unwrap();
            let (head, body) = explained.split_once("\r\n\r\n").unwrap();
            let document: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(document["code"], code);
            assert_eq!(document["status"].to_string(), answer[9..12]);
            assert_eq!(head.matches("content-length").count(), 1);
            assert!(head.contains(&format!("content-length: {}", body.len())));
            assert!(head.contains("\r\nconnection: close\r\ndate: today\r\n"), "{head}");
        }
    }

    #[test]
    fn nothing_else_is() {
        let ours = "HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\ncontent-length: 2\r\n\r\n";
        for answer in [ours, &format!("{ours}{{}}"), "HTTP/1.1 400 Bad Request\r\n", ""] {
            assert_eq!(explain(answer.as_bytes(), false), None, "{answer}");
        }
        assert!(!may_be_refusal(b"HTTP/1.1 200 OK\r\n\r\n") && !may_be_refusal(b"a value: 4") && !may_be_refusal(b""));
    }
}
