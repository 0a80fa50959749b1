//! What is asked of the log, as a query of a URL says it: the same for programs and for the page.

use crate::base::id::NodeId;
use crate::base::limits::BOOK_PAGE_LINES_MAX;
use crate::base::limits::LOG_PAGE_LINES;
use crate::base::time;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::Node;
use crate::node::debug::book::LogQuery;
use crate::proto::logline::Key;
use crate::proto::logline::Level;
use crate::proto::logline::filter::Search;
use crate::proto::logline::stamp::Stamp;

/// Names of the parameters.
pub const PARAMETERS: [&str; 9] = ["node", "level", "target", "text", "regex", "since", "until", "after", "before"];

/// Reads them; an empty one is none.
///
/// # Errors
/// One that is no such thing, by name.
pub fn read(node: &Node, query: &Query) -> Result<LogQuery, Problem> {
    read_by(query, |given| named(node, given))
}

/// The same for whoever knows nodes otherwise.
///
/// # Errors
/// As [`read`].
pub fn read_by(
    query: &Query,
    named: impl FnOnce(Option<&str>) -> Result<Option<NodeId>, Problem>,
) -> Result<LogQuery, Problem> {
    let given = |name: &'static str| Ok::<_, Problem>(query.text(name)?.filter(|text| !text.is_empty()));
    let bad = |name: &str, form: &str| Problem::bad_request("bad_parameter", format!("`{name}` is {form}"));
    let level = given("level")?
        .map(|level| Level::parse(level).ok_or_else(|| bad("level", "one of error, warn, info, debug and trace")));
    let instant = |name: &'static str| {
        let instant = given(name)?.map(|text| at_ms(text).ok_or_else(|| bad(name, INSTANT)));
        instant.transpose()
    };
    let cursor = |name: &'static str| {
        let cursor = given(name)?.map(|text| Key::parse(text).ok_or_else(|| bad(name, "the `next` of a page before")));
        cursor.transpose()
    };
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let search = Search {
        level: level.transpose()?,
        target: owned(given("target")?),
        text: owned(given("text")?),
        regex: owned(given("regex")?),
        since_ms: instant("since")?,
        until_ms: instant("until")?,
    };
    let (after, before) = (cursor("after")?, cursor("before")?);
    if after.is_some() && before.is_some() {
        return Err(Problem::bad_request("bad_parameter", "`after` and `before` are for one direction each; give one"));
    }
    let lines_max = query.number::<usize>("limit")?.unwrap_or(LOG_PAGE_LINES);
    if !(1..=BOOK_PAGE_LINES_MAX).contains(&lines_max) {
        return Err(bad("limit", &format!("1 to {BOOK_PAGE_LINES_MAX}")));
    }
    Ok(LogQuery { node: named(given("node")?)?, search, after, before, lines_max })
}

/// A node by number or name; none for `all`. A removed one too: its last lines may be what is looked for.
///
/// # Errors
/// There is none.
pub fn named(node: &Node, named: Option<&str>) -> Result<Option<NodeId>, Problem> {
    let Some(named) = named.filter(|named| *named != "all") else { return Ok(None) };
    let state = node.state();
    let by_name = state.members.iter().find(|(id, member)| id.to_string() == named || member.name == named);
    let me = node.who();
    let is_me = me.node.to_string() == named || me.name == named;
    let found = by_name.map(|(id, _)| *id).or(is_me.then_some(me.node));
    let unknown = || Problem::bad_request("bad_parameter", "`node` is a node's number or name, or all");
    found.map(Some).ok_or_else(unknown)
}

/// Of what an instant is written as.
const INSTANT: &str = "an instant such as 2026-11-20T15:36:30Z, or how long ago such as 10m";

/// Milliseconds since 1970.
#[must_use]
pub fn at_ms(text: &str) -> Option<u64> {
    if let Ok(ago_ms) = time::parse_duration_ms(text) {
        return Some(time::wall_ms().saturating_sub(ago_ms));
    }
    let whole = |rest: &str| time::parse_rfc3339(&format!("{rest}Z"));
    let text = text.strip_suffix('Z').unwrap_or(text);
    // A form of a browser leaves out seconds.
    [text.to_owned(), format!("{text}.000"), format!("{text}:00.000")].iter().find_map(|text| whole(text))
}

/// Before all lines of now: where who follows begins.
#[must_use]
pub fn now() -> Key {
    Key::at(Stamp::of_ms(time::wall_ms()))
}

#[cfg(test)]
mod tests {
    use super::at_ms;
    use crate::base::time;

    #[test]
    fn an_instant_is_written_as_people_do() {
        for same in ["2026-11-20T15:36:00.000Z", "2026-11-20T15:36:00Z", "2026-11-20T15:36Z", "2026-11-20T15:36"] {
            assert_eq!(at_ms(same), Some(1_795_188_960_000), "{same}");
        }
        assert!(at_ms("10m").unwrap().abs_diff(time::wall_ms() - 600_000) < 10_000);
        for bad in ["", "yesterday", "10", "2026-11-20"] {
            assert_eq!(at_ms(bad), None, "{bad}");
        }
    }
}
