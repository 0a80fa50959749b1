//! Every page the console has, with something of everything in it, is what a page must be.

use ringfort::console;

use crate::browser::house::House;
use crate::browser::inspect::Inspector;

/// Rows that answer a browser with something that is no page.
const NO_PAGES: [(&str, &str); 3] = [
    ("/static/{version}/{*file}", "style, script and icons"),
    ("/live", "a stream of events"),
    ("/data/{bucket}/raw", "the bytes of a value"),
];

/// Pages that are there: a name for the pictures, and where.
const PAGES: &[(&str, &str)] = &[
    ("overview", "/"),
    ("overview-day", "/?range=24h"),
    ("data", "/data"),
    ("bucket-new", "/data/new"),
    ("bucket-new-judged", "/data/new?name=meters&loss=yes&stale=yes&writers=nobody&ttl=30d"),
    ("bucket-new-wrong", "/data/new?name=Not+A+Name&loss=no&stale=no&writers=others&ttl=soon"),
    ("keys", "/data/airports"),
    ("keys-prefix", "/data/airports?prefix=EDD"),
    ("keys-none-found", "/data/airports?prefix=nothing-begins-so"),
    ("keys-empty", "/data/void"),
    ("keys-hard", "/data/types"),
    ("bucket-about", "/data/airports/about"),
    ("bucket-about-siblings", "/data/shared/about"),
    ("key-new", "/data/shared/new"),
    ("key-json", "/data/types/key?k=json"),
    ("key-text", "/data/types/key?k=text"),
    ("key-wide", "/data/types/key?k=wide"),
    ("key-bytes", "/data/types/key?k=bytes"),
    ("key-html", "/data/types/key?k=html"),
    ("key-nothing", "/data/types/key?k=nothing"),
    ("key-picture", "/data/types/key?k=picture"),
    ("key-binary-name", "/data/types/key?k=%FF%FE"),
    ("key-siblings", "/data/shared/key?k=argued"),
    ("key-single", "/data/shared/key?k=single"),
    ("key-edit", "/data/shared/key?k=single&edit=0"),
    ("key-merge", "/data/shared/key?k=argued&edit=1"),
    ("key-absent", "/data/shared/key?k=never-written"),
];

/// Pages that are refusals.
const REFUSALS: &[(&str, &str, u16)] =
    &[("no-such-page", "/no-such-page", 404), ("no-such-bucket", "/data/no-such-bucket", 404)];

/// Whether a path is one that a row serves, `{name}` being one segment.
fn serves(row: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap();
    let (row, path): (Vec<&str>, Vec<&str>) = (row.split('/').collect(), path.split('/').collect());
    row.len() == path.len() && row.iter().zip(&path).all(|(row, path)| row.starts_with('{') || row == path)
}

#[test]
fn no_page_is_forgotten() {
    for row in console::face().rows.iter().filter(|row| row.method == "GET") {
        let is_no_page = NO_PAGES.iter().any(|(path, _)| *path == row.path);
        // What is served under a fixed path is not the page of a bucket of that name.
        let own = |path: &str| serves(row.path, path) && (row.path.contains('{') == !FIXED.contains(&path));
        let looked_at = PAGES.iter().any(|(_, path)| own(path));
        assert!(is_no_page || looked_at, "{} is a page that no browser test looks at", row.path);
    }
}

/// Pages under `/data` that are no bucket.
const FIXED: [&str; 5] = ["/", "/?range=24h", "/data", "/data/new", "/no-such-page"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_quiet_closed_narrow_light_and_accessible() {
    let house = House::empty().await;
    house.furnish().await;
    house.sign_in().await;
    let mut inspector = Inspector::new();
    for (name, path) in PAGES {
        inspector.page(&house.browser, name, &house.at(path)).await;
    }
    for (name, path, status) in REFUSALS {
        inspector.refusal(&house.browser, name, &house.at(path), *status).await;
    }
    inspector.done("pages");
}
