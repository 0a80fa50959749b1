//! Which crash reports are asked for, as a query of a URL says it: the same for programs and for the page.

use crate::base::time;
use crate::front::logs;
use crate::front::problem::Problem;
use crate::front::query::Query;
use crate::node::debug::crashes::view::CrashQuery;
use crate::proto::crash::Kind;
use crate::proto::crash::filter::Filter;
use crate::proto::crash::filter::Search;

/// Names of the parameters.
pub const PARAMETERS: [&str; 6] = ["kind", "node", "since", "until", "text", "regex"];

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Reads them; an empty one is none.
///
/// # Errors
/// One that is no such thing, by name.
pub fn read(query: &Query) -> Result<CrashQuery, Problem> {
    let bad = |detail: String| Problem::bad_request("bad_parameter", detail);
    let given = |name: &'static str| Ok::<_, Problem>(query.text(name)?.map(str::trim).filter(|text| !text.is_empty()));
    let kind = given("kind")?.map(|kind| {
        let known = Kind::ALL.map(Kind::name).join(", ");
        Kind::parse(kind).ok_or_else(|| bad(format!("`kind` is none of {known}")))
    });
    let instant = |name: &'static str, of_day_ms: u64| {
        let read = given(name)?.map(|text| at_ms(text, of_day_ms).ok_or(name));
        read.transpose().map_err(|name| {
            bad(format!("`{name}` is a day such as 2026-11-29, an instant, or how long ago such as 10m"))
        })
    };
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let search = Search { text: owned(given("text")?), regex: owned(given("regex")?) };
    Filter::new(&search).map_err(|error| bad(error.to_string()))?;
    Ok(CrashQuery {
        kind: kind.transpose()?,
        node: owned(given("node")?),
        since_ms: instant("since", 0)?,
        // With the whole of the day that is named.
        until_ms: instant("until", DAY_MS - 1)?,
        search,
    })
}

fn at_ms(text: &str, of_day_ms: u64) -> Option<u64> {
    let day = time::parse_rfc3339(&format!("{text}T00:00:00.000Z"));
    day.map(|day| day + of_day_ms).or_else(|| logs::at_ms(text))
}

#[cfg(test)]
mod tests {
    use super::DAY_MS;
    use super::at_ms;
    use super::read;
    use crate::front::query::Query;
    use crate::proto::crash::Kind;

    #[test]
    fn a_day_is_meant_whole_and_an_instant_as_it_is() {
        let day = at_ms("2026-11-29", 0).unwrap();
        assert_eq!(at_ms("2026-11-29", DAY_MS - 1), Some(day + DAY_MS - 1));
        assert_eq!(at_ms("2026-11-29T01:00Z", DAY_MS - 1), Some(day + 3_600_000));
        assert_eq!(at_ms("yesterday", 0), None);
    }

    #[test]
    fn what_is_given_is_read_and_what_is_no_such_thing_is_named() {
        let asked = |query: &str| {
            let uri = format!("/crashes?{query}").parse().unwrap();
            read(&Query::parse(&uri, &super::PARAMETERS).map_err(|_unknown| ()).unwrap())
        };
        let all = asked("kind=panic&node=n2&since=2026-11-29&until=2026-11-29&text=%20slow%20&regex=a.b").unwrap();
        assert_eq!(
            (all.kind, all.node.as_deref(), all.search.text.as_deref()),
            (Some(Kind::Panic), Some("n2"), Some("slow"))
        );
        assert_eq!(all.until_ms.unwrap() - all.since_ms.unwrap(), DAY_MS - 1);
        assert!(asked("kind=&text=&regex=").unwrap().search.text.is_none());
        for (bad, says) in
            [("kind=x", "`kind`"), ("since=x", "`since`"), ("regex=(", "`regex`"), ("until=x", "`until`")]
        {
            assert!(asked(bad).unwrap_err().detail.contains(says), "{bad}");
        }
    }
}
