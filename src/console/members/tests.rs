//! The pages of very many machines.

use std::path::Path;
use std::time::Duration;

use askama::Template;

use super::Choice;
use super::Members;
use super::Row;
use super::row;
use super::view_of;
use crate::base::id::NodeId;
use crate::base::limits::DRAIN_REASON_BYTES_MAX;
use crate::base::limits::MEMBERS_ROWS_MAX;
use crate::base::limits::NAME_BYTES_MAX;
use crate::base::time;
use crate::console::page::Page;
use crate::console::page::Section;
use crate::console::page::Theme;
use crate::front::query::Query;
use crate::node::members::DrainView;
use crate::node::members::FiguresView;
use crate::node::members::MemberView;
use crate::node::survival::Survives;
use crate::proto::control::members::MemberState;

/// What a page with all it loads may weigh on its way to a browser.
const PAGE_BYTES_MAX: usize = 150 * 1024;
/// What every page loads, the largest of them packed.
const LOADED: [&str; 6] =
    ["console.css", "console.js", "icon.svg", "icons.svg", "vendor/htmx-sse.min.js", "vendor/htmx.min.js.gz"];

/// A machine of which everything is said at its longest; every hundredth drains.
fn member(id: u64) -> MemberView {
    let drains = id.is_multiple_of(100);
    MemberView {
        id: NodeId(id),
        name: format!("machine-{id:0>width$}", width = NAME_BYTES_MAX - "machine-".len()),
        zone: "z".repeat(NAME_BYTES_MAX),
        weight: 100,
        state: "up",
        part: MemberState::Member,
        serving: if drains { "draining" } else { "yes" },
        link: "good",
        release: "0.1.0".to_owned(),
        since: "2026-01-02T03:04:05.678Z".to_owned(),
        reason: "answers".to_owned(),
        addresses: vec!["192.0.2.1:7400".to_owned()],
        url: None,
        voter: id < 4,
        drain: drains.then(|| DrainView {
            reason: "r".repeat(DRAIN_REASON_BYTES_MAX),
            until: Some("2026-01-02T04:04:05.678Z".to_owned()),
        }),
        figures: Some(FiguresView {
            load: 17,
            requests_per_s: 123_456,
            disk_free: 123_456_789_012,
            disk_total: 234_567_890_123,
            stored: 12_345_678_901,
        }),
    }
}

fn weight(html: &str) -> usize {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("static");
    let loaded = LOADED.iter().map(|file| dir.join(file).metadata().unwrap().len());
    html.len() + usize::try_from(loaded.sum::<u64>()).unwrap()
}

fn rows(count: u64) -> Vec<Row> {
    (1..=count).map(|id| row(NodeId(1), member(id))).collect()
}

fn choice(address: &str) -> Choice {
    Choice::of(&Query::parse(&address.parse().unwrap(), &["show", "find", "after"]).ok().unwrap()).ok().unwrap()
}

fn page(rows: Vec<Row>, choice: Choice) -> String {
    let survives =
        Survives { machines: 1, reason: "because".to_owned(), next: "do".to_owned(), page: "/members".to_owned() };
    let page = Page {
        title: "Members".to_owned(),
        section: Section::Members,
        node: "n1".to_owned(),
        user: "ann".to_owned(),
        observes: true,
        theme: Theme::Auto,
        here: "/members".to_owned(),
        live: choice.live(),
        survives,
        alarms: Vec::new(),
    };
    let view = view_of(rows, &choice);
    let (invite, lifetime, wrong) = (None, String::new(), String::new());
    Members { page, view, choice, may_invite: true, invite, lifetime, count: 1, wrong, done: "" }.render().unwrap()
}

/// The addresses that a page links to as another one of the list.
fn link<'h>(html: &'h str, which: &str) -> Option<&'h str> {
    html.split_once(&format!("rel=\"{which}\" href=\""))?.1.split('"').next()
}

fn address(link: &str) -> String {
    link.replace("&amp;", "&").replace("&#38;", "&")
}

/// The ids that a page shows, in its order.
fn shown(html: &str) -> Vec<u64> {
    html.split("id=\"machine-").skip(1).map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn ten_thousand_machines_are_shown_page_by_page_and_each_page_is_light() {
    let begun = time::mono();
    let html = page(rows(10_000), choice("/members"));
    let took = time::mono() - begun;
    assert!(took < Duration::from_secs(2), "one page took {took:?}");
    assert!(weight(&html) <= PAGE_BYTES_MAX, "{} bytes", weight(&html));
    assert_eq!(shown(&html), (1..=50).collect::<Vec<_>>());
    assert!(html.contains("100 of 10000 machines need a look.") && html.contains("1 to 50 of 10000"), "{html}");
    assert_eq!(link(&html, "prev"), None);
    // The one in the middle, and the last one.
    let html = page(rows(10_000), choice("/members?after=5000"));
    assert_eq!(shown(&html), (5001..=5050).collect::<Vec<_>>());
    let html = page(rows(10_000), choice(&address(link(&html, "prev").unwrap())));
    assert_eq!(shown(&html), (4951..=5000).collect::<Vec<_>>());
    let html = page(rows(10_000), choice("/members?after=9950"));
    assert_eq!((shown(&html).len(), link(&html, "next")), (MEMBERS_ROWS_MAX, None));
    assert!(weight(&html) <= PAGE_BYTES_MAX && html.contains("9951 to 10000 of 10000"), "{} bytes", weight(&html));
}

#[test]
fn whoever_follows_the_links_sees_each_machine_once_and_comes_back_the_same_way() {
    // All of them need a look, so this is the heaviest page there is, too.
    let troubled = || rows(15_000).into_iter().filter(|row| row.needs_a_look).collect::<Vec<_>>();
    let (mut at, mut seen, mut pages) = ("/members?show=trouble&find=MACHINE".to_owned(), Vec::new(), Vec::new());
    loop {
        let html = page(troubled(), choice(&at));
        assert!(weight(&html) <= PAGE_BYTES_MAX, "{} bytes", weight(&html));
        seen.extend(shown(&html));
        pages.push(shown(&html));
        let Some(next) = link(&html, "next") else { break };
        at = address(next);
        assert!(at.contains("show=trouble&find=machine&after="), "{at}");
    }
    assert_eq!((pages.len(), seen), (3, (1..=150).map(|id| id * 100).collect()));
    for expected in pages.iter().rev().skip(1) {
        let html = page(troubled(), choice(&at));
        at = address(link(&html, "prev").unwrap());
        assert_eq!(&shown(&page(troubled(), choice(&at))), expected);
    }
    assert_eq!(link(&page(troubled(), choice(&at)), "prev"), None);
    // Behind the end there is nothing but the way back.
    let html = page(rows(60), choice("/members?after=60"));
    assert!(shown(&html).is_empty() && link(&html, "next").is_none());
    assert_eq!(address(link(&html, "prev").unwrap()), "/members?show=all&find=&after=10");
    assert_eq!(link(&page(rows(50), choice("/members")), "next"), None);
}
