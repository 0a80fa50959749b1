//! Query parameters: known names only, so that a typing mistake is an answer and not a silent default.

use axum::http::Uri;

use crate::base::limits::TTL_MS_MAX;
use crate::base::time;
use crate::front::path;
use crate::front::problem::Problem;

/// The parameters of a request.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, Vec<u8>)>);

impl Query {
    /// Reads the query of a URI.
    ///
    /// # Errors
    /// A 400 for a name that is not in `known`, twice the same name, or a bad escape.
    pub fn parse(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters: Vec<(String, Vec<u8>)> = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&name) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let detail = format!("`{}` is not a parameter here; known: {known}", name.escape_default());
                return Err(Problem::bad_request("unknown_parameter", detail));
            }
            if parameters.iter().any(|(given, _)| given == name) {
                return Err(Problem::bad_request("repeated_parameter", format!("`{name}` is given twice")));
            }
            // In a query `+` is a space to most clients.
            parameters.push((name.to_owned(), path::decode(&value.replace('+', "%20"))?));
        }
        Ok(Self(parameters))
    }

    /// A parameter's bytes.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_slice())
    }

    /// A parameter's text.
    ///
    /// # Errors
    /// A 400 where it is not UTF-8.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        self.bytes(name)
            .map(std::str::from_utf8)
            .transpose()
            .map_err(|_invalid| Problem::bad_request("bad_parameter", format!("`{name}` is not UTF-8")))
    }

    /// A parameter's number.
    ///
    /// # Errors
    /// A 400 where it is not one within the type's range.
    pub fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, Problem> {
        let parse = |text: &str| {
            let bad = || {
                Problem::bad_request(
                    "bad_parameter",
                    format!("`{name}` is `{}`, not a number in range", text.escape_default()),
                )
            };
            text.parse().map_err(|_invalid| bad())
        };
        self.text(name)?.map(parse).transpose()
    }

    /// A parameter's duration in milliseconds.
    ///
    /// # Errors
    /// A 422 where it is none, or longer than ten years.
    pub fn ttl_ms(&self, name: &'static str) -> Result<Option<u64>, Problem> {
        let parse = |text: &str| ttl_ms(name, text);
        self.text(name)?.map(parse).transpose()
    }
}

/// A time to live in milliseconds.
///
/// # Errors
/// A 422 where it is none, zero, or longer than ten years.
pub fn ttl_ms(name: &'static str, text: &str) -> Result<u64, Problem> {
    let out_of_range =
        |reason: String| Problem::unprocessable("out_of_range", format!("{name}: {reason}; nothing was changed"));
    match time::parse_duration_ms(text) {
        Ok(ms) if (1..=TTL_MS_MAX).contains(&ms) => Ok(ms),
        Ok(_) => Err(out_of_range(format!("`{text}` is not between 1ms and 3660d"))),
        Err(reason) => Err(out_of_range(reason)),
    }
}
