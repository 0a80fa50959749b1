//! How people get in and out in a browser, and what an admin does for others: users, links, tokens.

use hyper::Method;
use serde_json::Value;

use crate::browser::driver::Browser;
use crate::browser::house::House;
use crate::browser::house::KEEPER;
use crate::browser::house::PASSWORD;
use crate::browser::inspect::Inspector;
use crate::support::call;
use crate::support::client;

async fn quiet(browser: &Browser) {
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

async fn sign_in(browser: &Browser, name: &str, password: &str) {
    browser.fill("#name", name).await;
    browser.fill("#password", password).await;
    browser.click("button:text(Sign in)").await;
}

async fn sign_out(browser: &Browser) {
    browser.click("#menu summary").await;
    browser.click("#menu button:text(Sign out)").await;
    browser.until("outside", "return location.pathname === '/sign-in'").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_run_asks_for_the_claim_code_and_closes_behind_the_first_user() {
    let house = House::empty().await;
    let browser = &house.browser;
    let code = house.node.owner().ask(Method::GET, "/v1/claim-code").await.map_err(|failure| failure.message).unwrap();
    browser.size(1440, 900).await;
    house.go("/").await;
    browser.shows("belongs to nobody yet").await;

    browser.fill("#code", "AAAA-AAAA-AAAA-AAAA").await;
    browser.fill("#name", "ann").await;
    browser.fill("#password", PASSWORD).await;
    browser.fill("#again", PASSWORD).await;
    browser.click("button:text(Make this user and sign in)").await;
    browser.until("a refusal", "return !!document.querySelector('.notice.bad')").await;
    let mut inspector = Inspector::new();
    inspector.shown_refusal(browser, "claim-wrong-code").await;
    inspector.done("claim");

    browser.size(1440, 900).await;
    browser.fill("#code", code["code"].as_str().unwrap()).await;
    browser.fill("#password", PASSWORD).await;
    browser.fill("#again", PASSWORD).await;
    browser.click("button:text(Make this user and sign in)").await;
    browser.until("the overview", "return location.pathname === '/'").await;
    browser.shows("All is well").await;
    let users = house.node.owner().ask(Method::GET, "/v1/users").await.map_err(|failure| failure.message).unwrap();
    assert_eq!((users["users"].as_array().unwrap().len(), &users["users"][0]["name"]), (1, &Value::from("ann")));

    sign_out(browser).await;
    house.go("/claim").await;
    browser.until("no second claim", "return location.pathname === '/sign-in'").await;
    quiet(browser).await;
    let posts = browser.posts().await;
    assert!(posts.iter().any(|post| post == "/claim") && posts.iter().any(|post| post == "/sign-out"), "{posts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_lets_in_to_where_somebody_wanted_to_go_and_a_wrong_one_does_not() {
    let house = House::empty().await;
    house.make_keeper().await;
    house.bucket("things", "lww").await;
    let browser = &house.browser;
    browser.size(1440, 900).await;
    house.go("/data/things?prefix=a").await;
    browser.shows("Sign in to").await;
    sign_in(browser, KEEPER, "not the password").await;
    browser.until("a refusal", "return !!document.querySelector('.notice.bad')").await;
    let mut inspector = Inspector::new();
    inspector.shown_refusal(browser, "sign-in-wrong").await;
    inspector.done("sign-in");
    browser.size(1440, 900).await;
    sign_in(browser, KEEPER, PASSWORD).await;
    browser.until("where it began", "return location.pathname + location.search === '/data/things?prefix=a'").await;
    sign_out(browser).await;
    house.go("/data").await;
    browser.shows("Sign in to").await;
    quiet(browser).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_adds_changes_and_removes_people() {
    let house = House::empty().await;
    house.sign_in().await;
    let browser = &house.browser;
    browser.size(1440, 900).await;
    house.go("/settings").await;
    browser.click("main a:text(Users)").await;
    browser.fill("#name", "bob").await;
    browser.click("label:text(data)").await;
    browser.fill("#password", PASSWORD).await;
    browser.fill("#again", PASSWORD).await;
    browser.click("button:text(Add user)").await;
    browser.until("the user's page", "return location.pathname === '/settings/users/bob'").await;

    browser.click("label:text(support)").await;
    browser.click("button:text(Save)").await;
    browser.until("it is said", "return location.search.includes('done=scopes')").await;
    browser.fill("#password", "another fine morning").await;
    browser.fill("#again", "another fine morning").await;
    browser.click("button:text(Change password)").await;
    browser.until("it is said", "return location.search.includes('done=password')").await;
    browser.click("button:text(Make a link)").await;
    let link = browser.until("the link", "return document.getElementById('link')?.textContent").await;
    sign_out(browser).await;

    // The link lets in once, as that user, who may not see what admins see.
    let link = link.as_str().unwrap();
    browser.go(link).await;
    browser.until("the overview", "return location.pathname === '/'").await;
    assert!(browser.text().await.contains("bob"));
    house.go("/settings/users").await;
    assert!(!browser.has("#password").await, "{}", browser.text().await);
    browser.complaints().await;
    house.go("/").await;
    sign_out(browser).await;
    browser.go(link).await;
    assert!(!browser.text().await.contains("All is well"), "good once");
    browser.complaints().await;

    house.sign_in().await;
    house.go("/settings/users/bob").await;
    browser.click("summary:text(Remove)").await;
    browser.click("button.danger:text(Remove user)").await;
    browser.shows("The user is removed").await;
    let users = house.node.owner().ask(Method::GET, "/v1/users").await.map_err(|failure| failure.message).unwrap();
    assert_eq!(users["users"].as_array().unwrap().len(), 1, "{users}");
    let posts = browser.posts().await;
    for expected in ["", "/bob/scopes", "/bob/password", "/bob/link", "/bob/remove"] {
        let expected = format!("/settings/users{expected}");
        assert!(posts.contains(&expected), "{expected} in {posts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_shown_once_works_and_is_removed() {
    let house = House::empty().await;
    house.sign_in().await;
    let browser = &house.browser;
    browser.size(1440, 900).await;
    house.go("/settings").await;
    browser.click("main a:text(Tokens)").await;
    browser.fill("#name", "meters").await;
    browser.click("label:text(data)").await;
    browser.click("button:text(Make token)").await;
    let secret = browser.until("the secret", "return document.getElementById('secret')?.textContent").await;
    let secret = secret.as_str().unwrap().to_owned();
    let mut inspector = Inspector::new();
    inspector.state(browser, "token-made").await;
    inspector.done("token-made");
    let works = client(&house.url, Some(&secret));
    assert_eq!(call(&works, "GET", "/v1/buckets", &[], "").await.status, 200);
    house.go("/settings/tokens").await;
    let source = browser.run("return document.documentElement.outerHTML", &[]).await;
    assert!(!source.as_str().unwrap().contains(&secret), "shown once");

    browser.size(1440, 900).await;
    browser.click("main a:text(Remove meters)").await;
    browser.click("button.danger:text(Remove token)").await;
    browser.shows("The token is removed").await;
    assert_eq!(call(&works, "GET", "/v1/buckets", &[], "").await.status, 401);
    quiet(browser).await;
    let posts = browser.posts().await;
    assert!(posts.iter().any(|post| post == "/settings/tokens"), "{posts:?}");
    assert!(posts.iter().any(|post| post.starts_with("/settings/tokens/") && post.ends_with("/remove")), "{posts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_changes_their_own_password() {
    let house = House::empty().await;
    let browser = &house.browser;
    let mut inspector = Inspector::new();
    // Whoever may see nothing of the node gets here too, by the menu.
    let document = serde_json::json!({ "password": PASSWORD, "scopes": ["device:read"] });
    let made = house.node.owner().tell(Method::PUT, "/v1/users/kim", &document).await;
    made.map_err(|failure| failure.message).unwrap();
    browser.size(1440, 900).await;
    house.go("/sign-in").await;
    sign_in(browser, "kim", PASSWORD).await;
    browser.shows("This is not open to you").await;
    inspector.shown_refusal(browser, "nothing-open").await;
    browser.size(1440, 900).await;
    browser.click("#menu summary").await;
    browser.click("#menu a:text(Your password)").await;
    browser.shows("The password of kim").await;
    inspector.state(browser, "password-of-a-device").await;

    browser.size(1440, 900).await;
    let fill = async |current: &str| {
        browser.fill("#current", current).await;
        browser.fill("#password", "another fine morning").await;
        browser.fill("#again", "another fine morning").await;
        browser.click("button:text(Change password)").await;
    };
    fill("not it at all").await;
    browser.shows("The current password is not right").await;
    inspector.shown_refusal(browser, "password-wrong").await;
    browser.size(1440, 900).await;
    fill(PASSWORD).await;
    browser.shows("Your password is changed").await;
    inspector.state(browser, "password-changed").await;
    inspector.done("password");
    sign_out(browser).await;
    sign_in(browser, "kim", "another fine morning").await;
    browser.shows("This is not open to you").await;
    let posts = browser.posts().await;
    assert!(posts.iter().any(|post| post == "/settings/password"), "{posts:?}");
}
