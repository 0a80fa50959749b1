//! The rescue console in a browser: every page of it is what a page must be, and its button brings the node back.

use ringfort::console::rescue;

use crate::browser::driver::Browser;
use crate::browser::inspect::Inspector;
use crate::rescue::PASSWORD;
use crate::rescue::Patient;

/// Rows that are no pages.
const NO_PAGES: [&str; 2] = ["/static/{version}/{*file}", "/logs/{file}"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rescue_console_is_quiet_closed_narrow_light_and_accessible_and_its_button_brings_the_node_back() {
    let mut patient = Patient::start().await;
    patient.user("ann", "admin").await;
    patient.loops().await;
    let (browser, mut inspector) = (Browser::start().await, Inspector::new());
    let at = |path: &str| format!("{}{path}", patient.url);
    inspector.page(&browser, "rescue-sign-in", &at("/sign-in")).await;
    browser.size(1440, 900).await;
    browser.go(&at("/crashes")).await;
    browser.fill("#name", "ann").await;
    browser.fill("#password", "not it at all").await;
    browser.click("button:text(Sign in)").await;
    browser.shows("is not right").await;
    inspector.shown_refusal(&browser, "rescue-sign-in-wrong").await;
    browser.size(1440, 900).await;
    browser.fill("#password", PASSWORD).await;
    browser.click("button:text(Sign in)").await;
    browser.until("where it began", "return location.pathname === '/crashes'").await;

    let report = browser.run("return document.querySelector('main th a').getAttribute('href')", &[]).await;
    let report = report.as_str().unwrap();
    let pages = [
        ("rescue", "/"),
        ("rescue-crashes", "/crashes"),
        ("rescue-crash", report),
        ("rescue-logs", "/logs"),
        ("rescue-logs-none-found", "/logs?text=nothing-says-so"),
        ("rescue-logs-wrong", "/logs?since=yesterday"),
        ("rescue-disk", "/disk"),
    ];
    let rows = rescue::face().rows.iter().filter(|row| row.method == "GET" && !NO_PAGES.contains(&row.path));
    for row in rows.map(|row| row.path.replace("{id}", "")) {
        let looked_at = pages.iter().any(|(_, path)| path.starts_with(&*row)) || row == "/sign-in";
        assert!(looked_at, "{row} is a page that nobody looks at");
    }
    for (name, path) in pages {
        inspector.page(&browser, name, &at(path)).await;
    }
    inspector.refusal(&browser, "rescue-elsewhere", &at("/members"), 503).await;

    browser.size(1440, 900).await;
    browser.go(&at("/disk")).await;
    browser.click("button:text(Read and check everything)").await;
    while !browser.text().await.contains("were read in") {
        browser.go(&at("/disk")).await;
    }
    inspector.state(&browser, "rescue-disk-read").await;
    browser.size(1440, 900).await;
    browser.click("#menu summary").await;
    browser.click("#theme button:text(Dark)").await;
    browser.until("the theme", "return document.documentElement.dataset.theme === 'dark'").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());

    patient.heals();
    // Without script, as it works anywhere.
    browser.script(false).await;
    browser.go(&at("/")).await;
    browser.click("button:text(Start again now)").await;
    patient.node.get_ready().await;
    browser.script(true).await;
    browser.go(&at("/")).await;
    browser.shows("Sign in to").await;
    assert!(!browser.text().await.contains("RESCUE"), "the console of a node that runs");
    inspector.done("rescue");
}
