//! Which crash reports are looked for by what they say. As with lines of the log, an expression is bounded when it is
//! compiled and never takes longer than the text is long.

use regex_automata::meta;
use serde::Deserialize;
use serde::Serialize;

use crate::base::limits::LOG_SEARCH_BYTES_MAX;
use crate::proto::crash::Report;
use crate::proto::logline::filter;
use crate::proto::logline::filter::SearchError;

/// What is looked for, as it travels. Everything that is not given fits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Search {
    /// In any text of a report, whatever the case of its letters.
    pub text: Option<String>,
    /// An expression that one of its texts fits.
    pub regex: Option<String>,
}

/// A search, ready to be made.
#[derive(Debug)]
pub struct Filter {
    text: Option<String>,
    regex: Option<meta::Regex>,
}

impl Filter {
    /// Compiles a search.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn new(search: &Search) -> Result<Self, SearchError> {
        for (what, given) in [("text", &search.text), ("regex", &search.regex)] {
            if given.as_ref().is_some_and(|given| given.len() > LOG_SEARCH_BYTES_MAX) {
                return Err(SearchError::TooLong { what });
            }
        }
        let regex = search.regex.as_deref().map(filter::compile).transpose()?;
        Ok(Self { text: search.text.as_deref().map(str::to_lowercase), regex })
    }

    /// Whether every report fits.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.text.is_none() && self.regex.is_none()
    }

    /// Whether a report fits: its kind, its reason, its backtrace, the lines of its log, or another of its texts.
    #[must_use]
    pub fn fits(&self, report: &Report) -> bool {
        self.says(report, &|said| self.text.as_ref().is_none_or(|text| said.to_lowercase().contains(text)))
            && self.says(report, &|said| self.regex.as_ref().is_none_or(|regex| regex.is_match(said)))
    }

    fn says(&self, report: &Report, fits: &dyn Fn(&str) -> bool) -> bool {
        let words = [&report.reason, &report.fingerprint, &report.name, &report.release];
        let maybe = [&report.thread, &report.task];
        let lines = [&report.backtrace, &report.log, &report.events, &report.members, &report.threads, &report.kernel];
        self.takes_all()
            || fits(report.kind.name())
            || fits(report.id.as_str())
            || words.into_iter().any(|said| fits(said))
            || maybe.into_iter().flatten().any(|said| fits(said))
            || lines.into_iter().flatten().any(|said| fits(said))
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;
    use super::Search;
    use crate::base::id::NodeId;
    use crate::proto::crash::CrashId;
    use crate::proto::crash::Kind;
    use crate::proto::crash::Report;

    fn report() -> Report {
        let id = CrashId::new(5, NodeId(3), 9);
        let mut report = Report::new(id, "then".to_owned(), 5, Kind::Watchdog, "the runtime did not turn".to_owned());
        report.name = "n3".to_owned();
        report.task = Some("repair".to_owned());
        report.backtrace = vec!["ringfort::store::journal::sync".to_owned(), "main".to_owned()];
        report.log = vec!["2026 INFO started".to_owned(), "2026 WARN The Disk is slow, 1234 ms".to_owned()];
        report.finish()
    }

    fn fits(text: &str, regex: &str) -> bool {
        let given = |said: &str| (!said.is_empty()).then(|| said.to_owned());
        let search = Search { text: given(text), regex: given(regex) };
        Filter::new(&search).unwrap().fits(&report())
    }

    #[test]
    fn a_report_is_found_by_any_of_its_texts() {
        for text in ["watchdog", "did not turn", "JOURNAL::sync", "the disk is", "repair", "N3", ""] {
            assert!(fits(text, ""), "{text}");
        }
        for regex in ["^watchdog$", "did (not|never)", "::sync$", r"\d{4} ms$", "(?i)the DISK", "^repair$", "^n3$"] {
            assert!(fits("", regex), "{regex}");
        }
        for (text, regex) in [("panic", ""), ("", "^turn"), ("slow", "panic"), ("panic", "slow")] {
            assert!(!fits(text, regex), "{text} {regex}");
        }
        assert!(fits("slow", "watchdog"), "each may be in another text");
    }

    #[test]
    fn what_costs_too_much_is_refused_and_nothing_takes_for_ever() {
        for bad in ["(", "a{99999}{99999}", r"(?:\w{500}){500}", &"(".repeat(200), &"x".repeat(300)] {
            let search = Search { text: None, regex: Some(bad.to_owned()) };
            let says = Filter::new(&search).unwrap_err().to_string();
            assert!(!says.contains('\n') && says.contains('`'), "{says}");
        }
        let long = Search { text: Some("x".repeat(300)), regex: None };
        assert!(Filter::new(&long).unwrap_err().to_string().contains("`text`"));
        let mut report = report();
        report.log = vec!["a".repeat(2000); 50];
        let costly = Search { text: None, regex: Some("(a*)*(a*)*b$".to_owned()) };
        assert!(!Filter::new(&costly).unwrap().fits(&report));
    }
}
