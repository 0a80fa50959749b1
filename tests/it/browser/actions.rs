//! What people do in the console, by clicks and keys, read back by a program beside the browser.

use crate::browser::driver::Browser;
use crate::browser::house::House;
use crate::browser::inspect::SIZES;
use crate::browser::inspect::THEMES;

/// How light the page is, once colours have faded over.
fn lightness(is: &str) -> String {
    format!("return Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0]) {is}")
}

/// Whether a choice of theme has been sent and answered.
const SENT: &str = "return performance.getEntriesByType('resource').some((part) => part.name.endsWith('/theme') && part.responseEnd > 0)";

/// What the verdict stands on.
const GROUND: &str = "return getComputedStyle(document.querySelector('.verdict')).backgroundColor";

/// Pixels between the words on whether figures are live and the button behind them.
const GAP: &str = "return document.getElementById('pause').getBoundingClientRect().left -\
    document.getElementById('live-state').getBoundingClientRect().right";

async fn quiet(browser: &Browser) {
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "{complaints:#?}");
}

async fn house() -> House {
    let house = House::empty().await;
    house.sign_in().await;
    house.browser.size(1440, 900).await;
    house
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_and_its_values_live_and_die_by_clicks() {
    let house = house().await;
    let browser = &house.browser;
    house.go("/data").await;
    browser.shows("There is no bucket yet").await;
    browser.click("a.primary:text(Make a bucket)").await;

    // The wizard says the compromise before it makes anything.
    browser.fill("#name", "meters").await;
    browser.click("label:text(Yes, it comes again)").await;
    browser.click("button:text(Show what that means)").await;
    browser.shows("A bucket meters of kind").await;
    browser.click("button:text(Make this bucket)").await;
    browser.until("the bucket's page", "return location.pathname === '/data/meters'").await;

    // A value goes in, is shown, is changed, and is what a program reads.
    browser.click("a:text(New key)").await;
    browser.fill("#key", "device-1").await;
    browser.fill("#value", "{\"volt\": 230}").await;
    browser.fill("#content-type", "application/json").await;
    browser.click("button:text(Save)").await;
    browser.shows("\"volt\": 230").await;
    assert_eq!(house.value("meters/device-1").await, "{\"volt\": 230}");
    browser.click("a.button:text(Edit)").await;
    browser.fill("#value", "{\"volt\": 231}").await;
    browser.click("button:text(Save)").await;
    browser.shows("\"volt\": 231").await;
    assert_eq!(house.value("meters/device-1").await, "{\"volt\": 231}");

    // It is found by its prefix while somebody types, and deleted.
    house.put("meters/other-1", "text/plain", "x").await;
    house.go("/data/meters").await;
    browser.shows("other-1").await;
    browser.fill("#prefix", "dev").await;
    browser.until("only what begins so", "return !document.body.innerText.includes('other-1')").await;
    browser.click("#keys a:text(device-1)").await;
    browser.click("summary:text(Delete this key)").await;
    browser.click("button.danger:text(Delete it)").await;
    browser.until("the way back", "return !document.body.innerText.includes('volt')").await;
    house.go("/data/meters").await;
    browser.shows("other-1").await;
    assert!(!browser.text().await.contains("device-1"));

    // The bucket goes when its name is typed, not before.
    house.go("/data/meters/about").await;
    browser.fill("#remove-name", "metres").await;
    browser.click("button.danger:text(Remove this bucket)").await;
    browser.shows("This is not the bucket's name").await;
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|line| line.contains("status of 422")), "{complaints:#?}");
    browser.fill("#remove-name", "meters").await;
    browser.click("button.danger:text(Remove this bucket)").await;
    browser.shows("The bucket meters and all its data are removed").await;
    quiet(browser).await;

    let posts = browser.posts().await;
    for expected in ["/data/new", "/data/meters/new", "/data/meters/key", "/data/meters/delete", "/data/meters/remove"]
    {
        assert!(posts.iter().any(|post| post == expected), "{expected} in {posts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_values_are_kept_or_merged_by_clicks() {
    let house = house().await;
    let browser = &house.browser;
    house.bucket("shared", "siblings").await;
    for key in ["kept", "merged"] {
        for writer in ["first", "second"] {
            house.put(&format!("shared/{key}"), "text/plain", format!("by the {writer}")).await;
        }
    }
    house.go("/data/shared/key?k=kept").await;
    browser.shows("2 values, written at the same time").await;
    browser.click("button:text(Keep this)").await;
    browser.until("one value", "return !document.body.innerText.includes('2 values')").await;
    assert!(["by the first", "by the second"].contains(&house.value("shared/kept").await.as_str()));

    house.go("/data/shared/key?k=merged").await;
    browser.click("a:text(Merge by hand from this)").await;
    browser.fill("#value", "by both").await;
    browser.click("button:text(Save, replacing all of them)").await;
    browser.shows("by both").await;
    assert_eq!(house.value("shared/merged").await, "by both");
    quiet(browser).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_imported_by_clicks() {
    let house = house().await;
    let browser = &house.browser;
    house.bucket("things", "lww").await;
    let file = std::env::temp_dir().join(format!("ringfort-import-{}.csv", std::process::id()));
    std::fs::write(&file, "id,name\na,Anna\nb,Bert\n").unwrap();
    house.go("/data/things/about").await;
    browser.upload("#file", &file).await;
    browser.click("#import button:text(Import)").await;
    browser.shows("Imported: 2 rows read, 2 written").await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(house.value("things/b").await, r#"{"id":"b","name":"Bert"}"#);
    quiet(browser).await;
    assert_eq!(browser.posts().await.iter().filter(|post| *post == "/data/things/import").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_go_where_they_are_said_to_go() {
    let house = house().await;
    let browser = &house.browser;
    house.bucket("things", "lww").await;
    house.go("/").await;
    browser.keys("?").await;
    browser.until("the list of keys", "return document.getElementById('shortcuts').open").await;
    browser.shows("Keyboard shortcuts").await;
    browser.keys("\u{e00c}").await;
    browser.until("it closed", "return !document.getElementById('shortcuts').open").await;
    browser.keys("gd").await;
    browser.until("the data page", "return location.pathname === '/data'").await;
    browser.click("a:text(things)").await;
    browser.until("the keys' page", "return location.pathname === '/data/things'").await;
    browser.keys("/").await;
    browser.until("the search has the focus", "return document.activeElement.id === 'prefix'").await;
    // While somebody types, keys are letters.
    browser.keys("gd?").await;
    assert_eq!(browser.run("return document.activeElement.value", &[]).await, "gd?");
    browser.run("document.activeElement.blur()", &[]).await;
    browser.keys("go").await;
    browser.until("the overview", "return location.pathname === '/'").await;
    quiet(browser).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_theme_is_chosen_shown_and_kept() {
    let house = house().await;
    let browser = &house.browser;
    browser.prefers("light").await;
    house.go("/").await;
    browser.until("light", &lightness("> 128")).await;
    browser.click("#menu summary").await;
    browser.click("#theme button:text(Dark)").await;
    browser.until("dark", &lightness("< 128")).await;
    browser.until("the choice was sent", SENT).await;
    // The choice is a cookie of the server's: it holds for the next page, against what the system prefers.
    house.go("/data").await;
    browser.until("dark", &lightness("< 128")).await;
    assert_eq!(browser.run("return document.documentElement.dataset.theme", &[]).await, "dark");
    browser.keys("t").await;
    browser.until("auto", "return document.documentElement.dataset.theme === 'auto'").await;
    browser.until("light, as the system prefers", &lightness("> 128")).await;
    browser.prefers("dark").await;
    browser.until("dark, as the system prefers", &lightness("< 128")).await;
    browser.until("the choice was sent", SENT).await;
    quiet(browser).await;
    assert!(browser.posts().await.iter().any(|post| post == "/theme"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_figures_pause_go_stale_and_come_back() {
    let mut house = house().await;
    house.go("/").await;
    house.browser.prefers("light").await;
    house.browser.until("live", "return document.getElementById('live-state').innerText.startsWith('Live')").await;
    let green = house.browser.run(GROUND, &[]).await;
    house.browser.click("#pause").await;
    house.browser.until("paused", "return document.getElementById('live-state').innerText.startsWith('Paused')").await;
    assert_eq!(
        house.browser.run("return document.getElementById('pause').getAttribute('aria-pressed')", &[]).await,
        "true"
    );
    house.browser.keys("p").await;
    house
        .browser
        .until("live again", "return document.getElementById('live-state').innerText.startsWith('Live')")
        .await;
    quiet(&house.browser).await;
    house.stop();
    house.browser.until("stale", "return document.getElementById('live-state').innerText.startsWith('Stale')").await;
    // The verdict is no longer today's, and says so; and nothing touches the button.
    let says = "return document.querySelector('.verdict').innerText";
    let said = house.browser.run(says, &[]).await;
    assert!(said.as_str().is_some_and(|said| said.starts_with("No news since ")), "{said}");
    for theme in THEMES {
        house.browser.prefers(theme).await;
        for (width, height) in SIZES {
            house.browser.size(width, height).await;
            let gap = house.browser.run(GAP, &[]).await.as_f64().unwrap();
            assert!(gap >= 4.0, "{gap} px before the button at {width} px");
            assert_ne!(house.browser.run(GROUND, &[]).await, green, "{theme} at {width} px");
            house.browser.shot(&format!("overview-stale-{theme}-{width}")).await;
        }
    }
    house.browser.prefers("light").await;
    house.start().await;
    house
        .browser
        .until("live once more", "return document.getElementById('live-state').innerText.startsWith('Live')")
        .await;
    house.browser.until("green again", &format!("{} === '{}'", GROUND, green.as_str().unwrap())).await;
    let said = house.browser.run(says, &[]).await;
    assert!(said.as_str().is_some_and(|said| said.starts_with("All is well")), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_without_script() {
    let house = house().await;
    let browser = &house.browser;
    browser.script(false).await;
    house.go("/").await;
    browser.click("nav a:text(Data)").await;
    browser.click("a.primary:text(Make a bucket)").await;
    browser.fill("#name", "plain").await;
    browser.click("button:text(Show what that means)").await;
    browser.click("button:text(Make this bucket)").await;
    browser.click("a:text(New key)").await;
    browser.fill("#key", "k").await;
    browser.fill("#value", "without script").await;
    browser.click("button:text(Save)").await;
    browser.shows("without script").await;
    assert_eq!(house.value("plain/k").await, "without script");
    house.go("/data/plain").await;
    browser.fill("#prefix", "no").await;
    browser.click("button:text(Find)").await;
    browser.shows("No key begins with").await;
    browser.click("#menu summary").await;
    browser.click("#theme button:text(Dark)").await;
    browser.until("dark", "return document.documentElement.dataset.theme === 'dark'").await;
    // Nothing is offered that only script could do.
    assert!(!browser.has("[data-copies], [data-opens], #live").await);
    browser.shot("without-script").await;
}
