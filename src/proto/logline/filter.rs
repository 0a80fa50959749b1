//! Which lines are looked for. An expression is bounded when it is compiled and never takes longer than the text is long.

use regex_automata::MatchKind;
use regex_automata::Span;
use regex_automata::meta;
use regex_automata::util::prefilter::Prefilter;
use regex_automata::util::syntax;
use serde::Deserialize;
use serde::Serialize;

use crate::base::limits::LOG_REGEX_BYTES_MAX;
use crate::base::limits::LOG_REGEX_DEPTH_MAX;
use crate::base::limits::LOG_SEARCH_BYTES_MAX;
use crate::proto::logline::Key;
use crate::proto::logline::Level;
use crate::proto::logline::Record;
use crate::proto::logline::head;
use crate::proto::logline::path_mark;

/// What is looked for, as it travels. Everything that is not given fits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Search {
    /// This level and more important ones.
    pub level: Option<Level>,
    /// This target and all under it.
    pub target: Option<String>,
    /// In the message, a field or a span.
    pub text: Option<String>,
    /// An expression, in the same places.
    pub regex: Option<String>,
    /// From this instant on, milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Up to and with this one.
    pub until_ms: Option<u64>,
}

/// Why something cannot be looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// Too long.
    #[error("`{what}` has more than {LOG_SEARCH_BYTES_MAX} bytes; look for less")]
    TooLong {
        /// Which part.
        what: &'static str,
    },
    /// No expression, or too large a one.
    #[error("`regex` is not an expression that can be used: {reason}")]
    Regex {
        /// In one line.
        reason: String,
    },
}

/// A search, ready to be made.
#[derive(Debug)]
pub struct Filter {
    search: Search,
    regex: Option<meta::Regex>,
    /// What is in every line as it is written that fits.
    written: Option<Prefilter>,
    /// Only lines behind this one.
    pub after: Option<Key>,
    /// Only lines before this one.
    pub before: Option<Key>,
}

impl Filter {
    /// Compiles a search.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn new(search: Search, after: Option<Key>, before: Option<Key>) -> Result<Self, SearchError> {
        for (what, given) in [("text", &search.text), ("regex", &search.regex), ("target", &search.target)] {
            if given.as_ref().is_some_and(|given| given.len() > LOG_SEARCH_BYTES_MAX) {
                return Err(SearchError::TooLong { what });
            }
        }
        let regex = search.regex.as_deref().map(compile).transpose()?;
        let written = match (&search.text, &search.regex) {
            (Some(text), _) => written_text(text),
            (None, Some(regex)) => written_regex(regex),
            (None, None) => None,
        };
        Ok(Self { search, regex, written, after, before })
    }

    /// This level and more important ones, as numbers.
    #[must_use]
    pub fn level_max(&self) -> u8 {
        self.search.level.map_or(u8::MAX, Level::number)
    }

    /// Bits that each line has.
    #[must_use]
    pub fn marks(&self) -> u128 {
        self.search.target.as_deref().map_or(0, path_mark)
    }

    /// The first stamp.
    #[must_use]
    pub fn since(&self) -> u64 {
        let since = self.search.since_ms.map_or(0, |ms| super::stamp::Stamp::of_ms(ms).0);
        since.max(self.after.map_or(0, |after| after.stamp.0))
    }

    /// The last one.
    #[must_use]
    pub fn until(&self) -> u64 {
        let until = self.search.until_ms.map_or(u64::MAX, |ms| super::stamp::Stamp::end_of_ms(ms).0);
        until.min(self.before.map_or(u64::MAX, |before| before.stamp.0))
    }

    /// Whether a line that fits may be in these bytes, which are many lines as they are written.
    #[must_use]
    pub fn may_be_in(&self, bytes: &[u8]) -> bool {
        let span = Span { start: 0, end: bytes.len() };
        self.written.as_ref().is_none_or(|written| written.find(bytes, span).is_some())
    }

    /// Whether this line, as it is written, fits.
    #[must_use]
    pub fn fits(&self, line: &[u8]) -> bool {
        let Some(head) = head(line).filter(|head| self.fits_key(head.key)) else { return false };
        if head.level.number() > self.level_max() || !self.may_be_in(line) {
            return false;
        }
        if self.search.target.is_none() && self.search.text.is_none() && self.regex.is_none() {
            return true;
        }
        Record::parse(line).is_some_and(|record| self.fits_record(&record))
    }

    fn fits_key(&self, key: Key) -> bool {
        (self.since()..=self.until()).contains(&key.stamp.0)
            && self.after.is_none_or(|after| key > after)
            && self.before.is_none_or(|before| key < before)
    }

    /// The same for a record.
    #[must_use]
    pub fn fits_record(&self, record: &Record) -> bool {
        let under = |path: &String| {
            let rest = record.target.strip_prefix(path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let says = |fits: &dyn Fn(&str) -> bool| {
            fits(&record.message)
                || record.fields.values().any(|value| fits(value))
                || record.spans.iter().any(|span| fits(span))
        };
        self.fits_key(record.key())
            && record.level.number() <= self.level_max()
            && self.search.target.as_ref().is_none_or(under)
            && self.search.text.as_ref().is_none_or(|text| says(&|said| said.contains(text.as_str())))
            && self.regex.as_ref().is_none_or(|regex| says(&|said| regex.is_match(said)))
    }
}

/// Compiles an expression within bounds of what it may take.
///
/// # Errors
/// [`SearchError::Regex`].
pub fn compile(regex: &str) -> Result<meta::Regex, SearchError> {
    let config = meta::Config::new()
        .nfa_size_limit(Some(LOG_REGEX_BYTES_MAX))
        .onepass_size_limit(Some(LOG_REGEX_BYTES_MAX))
        .dfa_size_limit(Some(LOG_REGEX_BYTES_MAX))
        .hybrid_cache_capacity(LOG_REGEX_BYTES_MAX);
    let syntax = syntax::Config::new().nest_limit(LOG_REGEX_DEPTH_MAX);
    let built = meta::Builder::new().configure(config).syntax(syntax).build(regex);
    built.map_err(|error| {
        let reason = error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string);
        // What the parser says is drawn over several lines; the last one is the reason.
        let last = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        SearchError::Regex { reason: last.to_owned() }
    })
}

/// A text as it stands in a line.
fn written_text(text: &str) -> Option<Prefilter> {
    let written = serde_json::to_string(text).ok()?;
    let inner = written.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.is_empty()).then(|| Prefilter::new(MatchKind::LeftmostFirst, &[inner.as_bytes()])).flatten()
}

/// What begins each match of an expression, where it is certain to stand in a line as it is.
fn written_regex(regex: &str) -> Option<Prefilter> {
    let mut after_backslash = false;
    for c in regex.chars() {
        let plain = match (after_backslash, c) {
            (true, c) => "dDsSwWbB.-/:()+*?|".contains(c),
            (false, '"' | '[' | '<' | '>' | '&') => false,
            (false, c) => !c.is_control(),
        };
        if !plain {
            return None;
        }
        after_backslash = !after_backslash && c == '\\';
    }
    let hir = syntax::parse_with(regex, &syntax::Config::new().nest_limit(LOG_REGEX_DEPTH_MAX)).ok()?;
    Prefilter::from_hir_prefix(MatchKind::LeftmostFirst, &hir)
}
