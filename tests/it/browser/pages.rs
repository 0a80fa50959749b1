//! Every page the console has, with something of everything in it, is what a page must be.

use ringfort::console;

use crate::browser::house::House;
use crate::browser::inspect::Inspector;

/// Rows that are not asked for by the list of pages, and why.
const NO_PAGES: [(&str, &str); 6] = [
    ("/static/{version}/{*file}", "style, script and icons"),
    ("/live", "a stream of events"),
    ("/claim", "looked at below, while a node belongs to nobody"),
    ("/sign-in/link/{code}", "leads to the overview; looked at below where it does not"),
    ("/data/{bucket}/raw", "the bytes of a value"),
    ("/logs/{file}", "lines as a file"),
];

/// Pages that are there: a name for the pictures, and where.
const PAGES: &[(&str, &str)] = &[
    ("overview", "/"),
    ("overview-day", "/?range=24h"),
    ("members", "/members"),
    ("members-none", "/members?find=nobody-is-called-so"),
    ("member", "/members/1"),
    ("ring", "/ring"),
    ("ring-partition", "/ring?p=17"),
    ("ring-where", "/ring?bucket=airports&key=EDDF"),
    ("ring-where-wrong", "/ring?bucket=no-such-bucket&key=EDDF"),
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
    ("shared", "/shared"),
    ("convergence", "/convergence"),
    ("timeline", "/timeline"),
    ("crash", "/crashes/0000000000001-1-00000001"),
    ("runtime", "/runtime"),
    ("inside", "/members/1/inside"),
    ("logs", "/logs"),
    ("logs-filtered", "/logs?level=info&text=bucket"),
    ("logs-wrong", "/logs?regex=("),
    ("logs-none-found", "/logs?text=nothing-says-so"),
    ("lab", "/lab"),
    ("crashes", "/crashes"),
    ("lab-weigh", "/lab?what=weigh&node=1&weight=50&n=9&r=5&w=5&p=0.01"),
    ("settings", "/settings"),
    ("users", "/settings/users"),
    ("user", "/settings/users/keeper"),
    ("tokens", "/settings/tokens"),
    ("token", "/settings/tokens/1"),
    ("certificates", "/settings/certificates"),
    ("configuration", "/settings/configuration"),
    ("audit", "/settings/audit"),
    ("audit-access", "/settings/audit?chain=access"),
    ("password", "/settings/password"),
];

/// Pages for who is not signed in.
const OUTSIDE: &[(&str, &str)] = &[("sign-in", "/sign-in"), ("sign-in-next", "/sign-in?next=/data")];

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
    let face = console::face();
    let rows: Vec<&str> = face.rows.iter().filter(|row| row.method == "GET").map(|row| row.path).collect();
    // What is served under a fixed path is not the page of a bucket of that name.
    let row_of = |path: &str| {
        let exact = rows.iter().find(|row| path.split('?').next() == Some(row));
        exact.or_else(|| rows.iter().find(|row| serves(row, path))).copied()
    };
    let looked_at: Vec<&str> = PAGES.iter().chain(OUTSIDE).filter_map(|(_, path)| row_of(path)).collect();
    for row in rows.iter().filter(|row| NO_PAGES.iter().all(|(path, _)| path != *row)) {
        assert!(looked_at.contains(row), "{row} is a page that no browser test looks at");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_quiet_closed_narrow_light_and_accessible() {
    let house = House::empty().await;
    let mut inspector = Inspector::new();
    inspector.page(&house.browser, "claim", &house.at("/claim")).await;
    house.make_keeper().await;
    for (name, path) in OUTSIDE {
        inspector.page(&house.browser, name, &house.at(path)).await;
    }
    inspector.refusal(&house.browser, "link-used-up", &house.at("/sign-in/link/AAAA-AAAA"), 404).await;
    house.furnish().await;
    house.sign_in().await;
    for (name, path) in PAGES {
        inspector.page(&house.browser, name, &house.at(path)).await;
    }
    for (name, path, status) in REFUSALS {
        inspector.refusal(&house.browser, name, &house.at(path), *status).await;
    }
    inspector.done("pages");
}
