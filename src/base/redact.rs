//! Secrets that cannot be printed by accident, and such as stand in what somebody typed.

use std::fmt;

/// A secret: its `Debug` and `Display` say only that it is one. [`Redacted::reveal`] is the greppable way to use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// Wraps a secret.
    pub fn new(secret: T) -> Self {
        Self(secret)
    }

    /// The secret itself, for the one place that needs it.
    pub fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A text without the names and passwords that stand in its addresses: of `user:password@host` the host is left.
#[must_use]
pub fn addresses(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || matches!(c, '`' | '"' | '\'' | '/' | ',' | '(' | '=');
    let mut parts = text.split('@').peekable();
    let mut shown = String::with_capacity(text.len());
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            shown.push_str(part);
            break;
        }
        let begin = part
            .rfind(ends)
            .map_or(0, |at| at + part.get(at..).and_then(|c| c.chars().next()).map_or(1, char::len_utf8));
        let (before, who) = part.split_at(begin);
        shown.push_str(before);
        shown.push_str(if who.contains(':') { "…" } else { who });
        shown.push('@');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::addresses;

    #[test]
    fn of_an_address_with_a_password_the_host_is_left() {
        for (typed, shown) in [
            ("`http://ann:secret@host:1/x` is not", "`http://…@host:1/x` is not"),
            ("ann:se:cret@host:1", "…@host:1"),
            ("a, https://b:c@d, e:f@g", "a, https://…@d, …@g"),
            ("ann@host and 12:30 @ noon", "ann@host and 12:30 @ noon"),
            ("no address, 10:20", "no address, 10:20"),
            ("", ""),
        ] {
            assert_eq!(addresses(typed), shown);
        }
    }
}
