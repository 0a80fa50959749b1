//! What a browser's form sends: `application/x-www-form-urlencoded` within limits, each field decoded once.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;

use crate::front::body;
use crate::front::path;
use crate::front::problem::Problem;
use crate::node::Node;

/// The media type of a form without files.
const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// Bytes of a form of a few short fields: names, passwords, scopes, a path back, each escaped.
pub const SMALL_BYTES_MAX: usize = 8 * 1024;

/// Fields of a form: the largest of ours has a dozen. Each costs memory beyond its bytes.
const FIELDS_MAX: usize = 64;

/// The fields of a form, in its order.
#[derive(Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form whose body has at most `bytes_max` bytes (an escaped byte counts as three).
    ///
    /// # Errors
    /// 413, 415, 400 for a bad escape or text that is not UTF-8, and those of [`body::whole`].
    pub async fn read(node: &Node, headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Self, Problem> {
        check_media_type(headers)?;
        let whole = body::whole(node, headers, body, bytes_max).await?;
        Self::of_bytes(&whole.bytes)
    }

    /// The same of a small form where there is no node that counts what is on its way.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_small(headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        check_media_type(headers)?;
        let bytes = body::small(body, SMALL_BYTES_MAX).await?;
        Self::of_bytes(&bytes)
    }

    fn of_bytes(bytes: &[u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_invalid| Problem::bad_request("bad_form", "the form is not UTF-8; nothing was changed"))?;
        Self::parse(text)
    }

    /// Reads `a=1&b=2`.
    ///
    /// # Errors
    /// A 400 for a bad escape or text that is not UTF-8.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if text.split('&').count() > FIELDS_MAX {
            let detail = format!("a form has {FIELDS_MAX} fields at most; nothing was changed");
            return Err(Problem::bad_request("bad_form", detail));
        }
        let fields = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Self(fields.collect::<Result<_, Problem>>()?))
    }

    /// A field's text, empty where it is missing; the first one where it is repeated.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    /// All values of a repeated field, such as check boxes.
    pub fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(MEDIA_TYPE) {
        return Ok(());
    }
    let detail = format!("a form is sent as {MEDIA_TYPE}; nothing was changed");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_form", detail))
}

fn decode(text: &str) -> Result<String, Problem> {
    let bytes = path::decode(&text.replace('+', "%20"))?;
    String::from_utf8(bytes)
        .map_err(|_invalid| Problem::bad_request("bad_form", "a field is not UTF-8; nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::Form;

    #[test]
    fn fields_are_decoded_once() {
        let form = Form::parse("a=1+2%2B3&b=%2525&scope=x&scope=y&c").unwrap();
        assert_eq!((form.text("a"), form.text("b"), form.text("c"), form.text("d")), ("1 2+3", "%25", "", ""));
        assert_eq!(form.all("scope").collect::<Vec<_>>(), ["x", "y"]);
        assert!(Form::parse("a=%f").is_err() && Form::parse("a=%ff").is_err());
    }

    #[test]
    fn a_form_of_thousands_of_fields_is_refused_before_they_are_kept() {
        assert!(Form::parse(&"a&".repeat(60)).is_ok());
        assert!(Form::parse(&"a&".repeat(1_000_000)).is_err());
    }
}
