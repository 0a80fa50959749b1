//! The console's house on a real node, as a browser without script meets it: pages, forms, cookies, headers, the stream
//! of events. What script adds is seen by the browser tests.

use std::collections::BTreeSet;

use hyper::Method;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use ringfort::base::limits::LIVE_STREAMS_MAX;
use ringfort::cli::client::Answer;
use ringfort::cli::client::Client;
use ringfort::console;
use serde_json::json;

use crate::support;
use crate::support::Node;
use crate::support::Reply;
use crate::support::call;
use crate::support::send;

const PASSWORD: &str = "tall ships at dawn";

/// What any page with all it loads may weigh (issue: 150 KiB).
const PAGE_BYTES_MAX: usize = 150 * 1024;

const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

/// A browser without script: it keeps its session's cookie and sends what browsers send.
pub struct Browser {
    client: Client,
    pub cookie: String,
}

impl Browser {
    pub async fn new(node: &Node) -> Self {
        Self { client: support::client(&node.url().await, None), cookie: String::new() }
    }

    /// Signed in by a one-time link as a new user of these scopes.
    pub async fn signed_in(node: &Node, name: &str, scopes: &[&str]) -> Self {
        let user = json!({ "scopes": scopes, "password": PASSWORD });
        let path = format!("/v1/users/{name}");
        node.owner().tell(Method::PUT, &path, &user).await.map_err(|f| f.message).unwrap();
        let wish = json!({ "user": name });
        let link = node.owner().tell(Method::POST, "/v1/sign-in-links", &wish).await.map_err(|f| f.message).unwrap();
        let mut browser = Self::new(node).await;
        let reply = browser.get(link["path"].as_str().unwrap()).await;
        assert_eq!((reply.status, reply.header("location")), (303, Some("/")));
        browser.keep_cookie(&reply);
        browser
    }

    fn keep_cookie(&mut self, reply: &Reply) {
        let cookie = reply.header("set-cookie").unwrap_or_else(|| panic!("no cookie in {reply:?}"));
        self.cookie = cookie.split(';').next().unwrap().to_owned();
    }

    pub async fn get(&self, path: &str) -> Reply {
        call(&self.client, "GET", path, &[HTML, ("cookie", &self.cookie)], "").await
    }

    /// A page that is there.
    pub async fn page(&self, path: &str) -> String {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.text().to_owned()
    }

    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let fields: Vec<String> =
            fields.iter().map(|(k, v)| format!("{k}={}", utf8_percent_encode(v, NON_ALPHANUMERIC))).collect();
        let headers = [HTML, FORM, SAME_ORIGIN, ("cookie", &self.cookie)];
        call(&self.client, "POST", path, &headers, fields.join("&")).await
    }

    pub async fn stream(&self, path: &str) -> Answer {
        let headers = [("accept", "text/event-stream"), ("cookie", &self.cookie)];
        send(&self.client, Method::GET, path, &headers, "").await
    }
}

async fn start(dir: &tempfile::TempDir) -> Node {
    Node::start(&dir.path().join("data")).await
}

/// Every page without a parameter in its path, by the table of rows, and some with one.
fn pages() -> Vec<&'static str> {
    let rows = console::face().rows.iter();
    let plain = rows.filter(|row| row.method == "GET" && !row.path.contains('{') && row.path != "/live");
    let mut pages: Vec<&str> = plain.map(|row| row.path).collect();
    pages.extend([
        "/?range=24h",
        "/members/1",
        "/settings/users/ann",
        "/settings/tokens/1",
        "/nothing/is/here",
        "/data/none",
    ]);
    pages
}

/// Addresses in attributes that make a browser load something.
fn loaded(html: &str) -> BTreeSet<String> {
    let tags = html.split('<').filter(|tag| ["link ", "script ", "img ", "use "].iter().any(|t| tag.starts_with(t)));
    let addresses = tags.filter_map(|tag| {
        let (_, rest) = tag.split_once("src=\"").or_else(|| tag.split_once("href=\""))?;
        // `#x` is a piece of the page itself.
        rest.split(['"', '#']).next().filter(|address| !address.is_empty()).map(str::to_owned)
    });
    addresses.collect()
}

/// What the policy forbids anyway must not be there to begin with.
fn assert_nothing_inline(path: &str, html: &str) {
    for tag in html.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()) {
        let lower = tag.to_lowercase();
        assert!(!lower.contains("=\"javascript:"), "{path}: <{tag}>");
        // Names of attributes stand outside of quotes, and every value of ours inside.
        let outside: String = lower.split('"').step_by(2).collect();
        let mut words = outside.split_whitespace();
        let name = words.next().unwrap_or_default();
        assert!(!["style", "iframe", "object", "embed", "base"].contains(&name), "{path}: <{tag}>");
        assert!(name != "script" || tag.contains(" src=\"/static/"), "{path}: <{tag}>");
        for word in words {
            let is_bad = word.starts_with("on") || word.starts_with("style") || word.starts_with("hx-on");
            assert!(!(is_bad && word.contains('=')), "{path}: <{tag}>");
        }
    }
}

#[test]
fn an_inline_handler_would_be_noticed() {
    for planted in
        ["<p onclick=\"x()\">", "<p class=\"a\" style=\"color:red\">", "<script>x()</script>", "<img src=x onerror=y>"]
    {
        assert!(std::panic::catch_unwind(|| assert_nothing_inline("/", planted)).is_err(), "{planted}");
    }
    assert_nothing_inline(
        "/",
        "<input value=\"&#34; onerror=alert(1)\" required><script defer src=\"/static/x\"></script>",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_locked_down_and_light() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    node.token("fleet", &["device:read"]).await;
    let ann = Browser::signed_in(&node, "ann", &["admin"]).await;
    for path in pages() {
        let reply = ann.get(path).await;
        if reply.status == 303 {
            assert_eq!((path, reply.header("location")), ("/claim", Some("/sign-in")));
            continue;
        }
        let policy = reply.header("content-security-policy").unwrap_or_else(|| panic!("{path}: {reply:?}"));
        for word in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'"] {
            assert!(policy.contains(word), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'; base-uri 'none'"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{path}: {name}");
        }
        assert!(reply.header("permissions-policy").is_some());
        let html = reply.text();
        assert_nothing_inline(path, html);
        let is_signed_out = path == "/sign-in" || path == "/nothing/is/here"; // the gate knows nobody there
        assert!(is_signed_out || html.contains("Survives the loss of any 0 machines"), "{path}");
        let mut bytes = html.len();
        for address in loaded(html) {
            assert!(address.starts_with("/static/"), "{path} loads {address}");
            let asset = ann.get(&address).await;
            assert_eq!(asset.status, 200, "{address}");
            bytes += asset.body.len();
        }
        assert!(bytes > 60_000 && bytes <= PAGE_BYTES_MAX, "{path} weighs {bytes} bytes");
    }
}

#[tokio::test]
async fn assets_are_kept_for_ever_under_an_address_that_names_their_content() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let browser = Browser::new(&node).await;
    let html = browser.get("/sign-in").await;
    let html = if html.status == 303 { browser.page("/claim").await } else { html.text().to_owned() };
    let style = loaded(&html).into_iter().find(|address| address.ends_with("console.css")).unwrap();
    let reply = browser.get(&style).await;
    assert_eq!(reply.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(reply.header("content-type"), Some("text/css; charset=utf-8"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    let etag = reply.header("etag").unwrap();
    let again = call(&browser.client, "GET", &style, &[("if-none-match", etag)], "").await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    // A page of another release: ours, and not to be kept.
    let address = "/static/x/vendor/htmx.min.js";
    let (plain, packed) = (
        browser.get(address).await,
        call(&browser.client, "GET", address, &[("accept-encoding", "br, gzip")], "").await,
    );
    assert_eq!((plain.header("content-encoding"), packed.header("content-encoding")), (None, Some("gzip")));
    assert_eq!((plain.header("vary"), packed.header("vary")), (Some("accept-encoding"), Some("accept-encoding")));
    assert_ne!(plain.header("etag"), packed.header("etag"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &packed.body).unwrap();
    let unpacked = std::process::Command::new("gzip").arg("-dc").stdin(file.reopen().unwrap()).output().unwrap();
    assert!(unpacked.status.success() && unpacked.stdout == plain.body, "the packed file is that of another release");
    assert_eq!(browser.get("/static/x/vendor/htmx.min.js.gz").await.status, 404);
    let other = browser.get("/static/0123456789ab/console.css").await;
    assert_eq!((other.status, other.header("cache-control")), (200, Some("no-cache")));
    for absent in
        ["/static/x/README.md", "/static/x/vendor/LICENSE", "/static/x/common-passwords.txt", "/static/x/no.js"]
    {
        assert_eq!(browser.get(absent).await.status, 404, "{absent}");
    }
    assert_eq!(browser.get("/static/x/../../Cargo.toml").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_run_the_sign_in_and_the_way_out_need_no_script() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let mut browser = Browser::new(&node).await;
    let reply = browser.get("/data?x=1").await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/sign-in?next=%2Fdata%3Fx%3D1")));
    assert_eq!(browser.get("/sign-in?next=%2Fdata").await.header("location"), Some("/claim"));
    assert!(browser.page("/claim").await.contains("Claim code"));
    let code = node.owner().ask(Method::GET, "/v1/claim-code").await.map_err(|f| f.message).unwrap();
    let code = code["code"].as_str().unwrap();
    let first = [("code", "AAAA-AAAA-AAAA-AAAA"), ("name", "ann"), ("password", PASSWORD), ("again", PASSWORD)];
    let wrong = browser.post("/claim", &first).await;
    assert_eq!(wrong.status, 403);
    assert!(wrong.text().contains("This code is not right") && wrong.text().contains("value=\"ann\""));
    let differ = browser.post("/claim", &[("code", code), ("name", "ann"), ("password", PASSWORD)]).await;
    assert!(differ.status == 422 && differ.text().contains("are not the same") && !differ.text().contains(PASSWORD));
    let claim = [("code", code), ("name", "ann"), ("password", PASSWORD), ("again", PASSWORD)];
    let claimed = browser.post("/claim", &claim).await;
    assert_eq!((claimed.status, claimed.header("location")), (303, Some("/")));
    let cookie = claimed.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    browser.keep_cookie(&claimed);
    assert!(browser.page("/").await.contains("ann"));
    assert_eq!(browser.get("/claim").await.header("location"), Some("/sign-in"));

    let out = browser.post("/sign-out", &[]).await;
    assert_eq!((out.status, out.header("location")), (303, Some("/sign-in")));
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(browser.get("/").await.status, 303, "the old cookie opens nothing");
    let wrong = browser.post("/sign-in", &[("name", "ann"), ("password", "no"), ("next", "/data")]).await;
    assert_eq!(wrong.status, 403);
    assert!(wrong.text().contains("value=\"ann\"") && wrong.text().contains("value=\"/data\""));
    for (next, to) in [("/data?prefix=a", "/data?prefix=a"), ("//evil.example", "/"), ("https://evil.example", "/")] {
        let reply = browser.post("/sign-in", &[("name", "ann"), ("password", PASSWORD), ("next", next)]).await;
        assert_eq!((reply.status, reply.header("location")), (303, Some(to)));
    }
    let foreign = [FORM, ("sec-fetch-site", "cross-site"), HTML];
    let body = format!("name=ann&password={}", PASSWORD.replace(' ', "+"));
    let reply = call(&browser.client, "POST", "/sign-in", &foreign, body).await;
    assert_eq!((reply.status, reply.header("set-cookie")), (403, None));
    assert!(reply.text().contains("This is not open to you"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_added_changed_and_removed_by_forms() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let ann = Browser::signed_in(&node, "ann", &["admin"]).await;
    let bob = [("name", "bob b"), ("scope", "data"), ("scope", "operate"), ("password", PASSWORD), ("again", PASSWORD)];
    let added = ann.post("/settings/users", &bob).await;
    assert_eq!(added.header("location"), Some("/settings/users/bob%20b?done=added"), "{}", added.text());
    let page = ann.page("/settings/users/bob%20b?done=added").await;
    assert!(page.contains("The user is added.") && page.contains("value=\"operate\" checked"), "{page}");
    for (fields, says) in [
        (&bob[..], "There is a user `bob b` already"),
        (&[("name", "eve")], "Choose what it may do"),
        (&[("name", "eve"), ("scope", "data"), ("password", "short"), ("again", "short")], "characters at least"),
        (&[("name", "eve\n"), ("scope", "data")], "othing was changed"),
    ] {
        let refused = ann.post("/settings/users", fields).await;
        assert!(refused.status == 422 && refused.text().contains("role=\"alert\""), "{}", refused.text());
        let page = refused.text();
        assert!(page.to_lowercase().contains(&says.to_lowercase()), "{says} not in {page}");
    }
    let user = Browser::signed_in(&node, "carl", &["data"]).await;
    assert_eq!(user.get("/").await.status, 200);
    let refused = user.get("/settings/users").await;
    let text = refused.text();
    assert!(refused.status == 403 && text.contains("This is not open to you") && text.contains("Sign out"), "{text}");
    let scopes = ann.post("/settings/users/carl/scopes", &[("scope", "admin")]).await;
    assert_eq!(scopes.status, 303);
    assert_eq!(user.get("/settings/users").await.status, 200, "it holds from the next click on");
    let made = ann.post("/settings/users/carl/link", &[]).await;
    let link = made.text().split("id=\"link\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let path = link.strip_prefix(&format!("{}/", node.url().await)).unwrap_or_else(|| panic!("{link}"));
    let mut other = Browser::new(&node).await;
    let by_link = other.get(&format!("/{path}")).await;
    other.keep_cookie(&by_link);
    assert_eq!(other.get("/").await.status, 200);
    assert_eq!(other.get(&format!("/{path}")).await.status, 404, "a link is good once");
    let fresh = [("password", "quiet rivers at noon"), ("again", "quiet rivers at noon")];
    assert_eq!(ann.post("/settings/users/carl/password", &fresh).await.status, 303);
    assert_eq!((user.get("/").await.status, other.get("/").await.status), (303, 303), "signed out everywhere");
    assert_eq!(ann.post("/settings/users/carl/remove", &[]).await.status, 303);
    assert_eq!(ann.get("/settings/users/carl").await.status, 404);
    let audit = ann.page("/settings/audit").await;
    assert!(audit.contains("The chain holds") && audit.contains("carl") && audit.contains("127.0.0.1"), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_who_is_signed_in_changes_their_own_password() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let fresh = "quiet rivers at noon";
    for (name, scope) in [("ann", "admin"), ("bob", "support"), ("kim", "device:read")] {
        let mut here = Browser::signed_in(&node, name, &[scope]).await;
        let mut elsewhere = Browser::new(&node).await;
        let signed_in = elsewhere.post("/sign-in", &[("name", name), ("password", PASSWORD)]).await;
        elsewhere.keep_cookie(&signed_in);
        let page = here.page("/settings/password").await;
        assert!(page.contains("Current password") && page.contains("Sign out"), "{page}");
        // Who may not see how the node runs does not learn it here either.
        assert_eq!(page.contains("Survives the loss of"), scope != "device:read", "{page}");
        assert_eq!(page.contains("sse-connect"), scope != "device:read", "{page}");
        let fields = |current, new, again| [("current", current), ("password", new), ("again", again)];
        for (fields, status, says) in [
            (fields("not it at all", fresh, fresh), 403, "The current password is not right; nothing was changed"),
            (fields(PASSWORD, fresh, PASSWORD), 422, "The two are not the same"),
            (fields(PASSWORD, "short", "short"), 422, "characters at least"),
        ] {
            let refused = here.post("/settings/password", &fields).await;
            let text = refused.text();
            assert!(refused.status == status && text.contains("role=\"alert\""), "{status}: {refused:?}");
            assert!(text.to_lowercase().contains(&says.to_lowercase()), "{says} not in {text}");
            assert!(!text.contains(fresh) && !text.contains(PASSWORD) && refused.header("set-cookie").is_none());
        }
        let changed = here.post("/settings/password", &fields(PASSWORD, fresh, fresh)).await;
        assert_eq!((changed.status, changed.header("location")), (303, Some("/settings/password?done=changed")));
        assert_eq!(here.get("/settings/password").await.status, 303, "the session of before has ended too");
        here.keep_cookie(&changed);
        assert!(here.page("/settings/password?done=changed").await.contains("Your password is changed."));
        assert_eq!(elsewhere.get("/settings/password").await.status, 303, "signed out elsewhere");
        let again = elsewhere.post("/sign-in", &[("name", name), ("password", PASSWORD)]).await;
        assert_eq!(again.status, 403);
        assert_eq!(elsewhere.post("/sign-in", &[("name", name), ("password", fresh)]).await.status, 303);
    }
    let admin = node.client("ops", &["admin"]).await;
    let page = call(&admin, "GET", "/settings/password", &[HTML], "").await;
    assert!(page.status == 200 && page.text().contains("a token, which has no password"), "{page:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_with_a_session_changes_its_password_by_a_document() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let mut ann = Browser::signed_in(&node, "ann", &["device:write"]).await;
    let path = "/v1/users/me/password";
    let ask = async |browser: &Browser, document: serde_json::Value| {
        let headers = [("content-type", "application/json"), SAME_ORIGIN, ("cookie", &*browser.cookie)];
        call(&browser.client, "POST", path, &headers, document.to_string()).await
    };
    let wrong = ask(&ann, json!({ "current": "no", "new": "quiet rivers at noon" })).await;
    assert_eq!(wrong.problem(), (403, "wrong_password".to_owned()));
    let bad = ask(&ann, json!({ "current": PASSWORD, "new": "short" })).await;
    assert_eq!(bad.problem(), (422, "out_of_range".to_owned()));
    assert_eq!(ask(&ann, json!({ "old": PASSWORD, "new": "quiet rivers at noon" })).await.status, 422);
    let changed = ask(&ann, json!({ "current": PASSWORD, "new": "quiet rivers at noon" })).await;
    assert_eq!((changed.status, changed.body.len()), (204, 0), "{changed:?}");
    assert_eq!(ann.get("/settings/password").await.status, 303);
    ann.keep_cookie(&changed);
    assert_eq!(ann.get("/settings/password").await.status, 200);
    // A token has no password, and the user of that name is another matter.
    let admin = node.client("ops", &["admin"]).await;
    let document = json!({ "current": PASSWORD, "new": "quiet rivers at noon" }).to_string();
    assert_eq!(call(&admin, "POST", path, &[], document).await.problem(), (422, "unsuitable".to_owned()));
    let me = call(&admin, "PUT", "/v1/users/me", &[], json!({ "scopes": ["data"] }).to_string()).await;
    assert_eq!(me.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_shows_its_secret_once_and_works_until_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let ann = Browser::signed_in(&node, "ann", &["admin"]).await;
    let fields = [("name", "fleet"), ("scope", "data"), ("lifetime", "7d")];
    let made = ann.post("/settings/tokens", &fields).await;
    let secret = made.text().split("id=\"secret\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let device = support::client(&node.url().await, Some(&secret));
    assert_eq!(call(&device, "GET", "/v1/buckets", &[], "").await.status, 200);
    let list = ann.page("/settings/tokens").await;
    assert!(list.contains("fleet") && !list.contains(&secret));
    let twice = ann.post("/settings/tokens", &fields).await;
    assert!(twice.status == 409 && twice.text().contains("value=\"fleet\""), "{}", twice.text());
    let page = list.split("href=\"/settings/tokens/").nth(1).unwrap().split('"').next().unwrap();
    assert!(ann.page(&format!("/settings/tokens/{page}")).await.contains("Remove the token"));
    let removed = ann.post(&format!("/settings/tokens/{page}/remove"), &[]).await;
    assert_eq!(removed.header("location"), Some("/settings/tokens?done=removed"));
    assert_eq!(call(&device, "GET", "/v1/buckets", &[], "").await.status, 401);
}

/// C12, C18: what people and devices send is text on a page, never markup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_text_stays_text() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let ann = Browser::signed_in(&node, "ann", &["admin"]).await;
    for hostile in ["\"><img src=x onerror=alert(1)>", "<script>alert(1)</script>", "' onfocus=alert(1) '"] {
        let sent = [("name", hostile), ("scope", "data"), ("password", PASSWORD), ("again", PASSWORD)];
        let token = [("name", hostile), ("scope", "data")];
        let signing = [("name", hostile), ("password", "x"), ("next", hostile)];
        let claim = [("name", hostile), ("code", hostile)];
        for (path, fields) in
            [("/settings/users", &sent[..]), ("/settings/tokens", &token), ("/sign-in", &signing), ("/claim", &claim)]
        {
            let reply = ann.post(path, fields).await;
            let html = reply.text();
            assert!(!html.contains("<img") && !html.contains("<script>"), "{path}: {html}");
            assert_nothing_inline(path, html);
        }
        let reply = ann.get(&format!("/settings/users/{}", utf8_percent_encode(hostile, NON_ALPHANUMERIC))).await;
        assert_nothing_inline("a user", reply.text());
    }
    // A failed sign-in's name is in the audit.
    let audit = ann.page("/settings/audit").await;
    assert!(!audit.contains("<img") && !audit.contains("<script>alert"), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ring_lab_answers_what_an_address_asks_and_refuses_what_is_no_question() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let ann = Browser::signed_in(&node, "ann", &["support"]).await;
    let lab = ann.page("/lab?key=mail-23412&n=9&r=5&w=5&p=0.01&what=join&zone=b&weight=100").await;
    for says in [
        "s3, its copy on s1",
        "s1, its copy on s2",
        "1 in 82,065,634", // More than four of nine.
        "1.22e-8",
        "1.00e-18",
        "1 before, 2 after",
        "the loss of no machine",
    ] {
        assert!(lab.contains(says), "{says}: {lab}");
    }
    assert!(ann.page("/lab?what=lose&node=1").await.contains("Nobody would own any data then"));
    for wrong in [
        "p=2",
        "p=x",
        "p=NaN",
        "n=0",
        "n=10",
        "r=4",
        "w=0",
        "weight=-1",
        "weight=4000000000",
        "node=x",
        "what=fly",
        "colour=red",
    ] {
        assert_eq!(ann.get(&format!("/lab?{wrong}")).await.status, 400, "{wrong}");
    }
    let hostile = ann.page("/lab?key=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&bucket=%3Cimg&zone=%22%3E").await;
    assert!(!hostile.contains("<script>alert") && !hostile.contains("<img"), "{hostile}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_theme_is_kept_by_a_form_and_drawn_by_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let mut browser = Browser::signed_in(&node, "ann", &["data"]).await;
    assert!(browser.page("/").await.contains("<html lang=\"en\" data-theme=\"auto\">"));
    let kept = browser.post("/theme", &[("theme", "dark"), ("next", "/settings")]).await;
    assert_eq!((kept.status, kept.header("location")), (303, Some("/settings")));
    let cookie = kept.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    browser.cookie = format!("{}; {cookie}", browser.cookie);
    assert!(browser.page("/").await.contains("<html lang=\"en\" data-theme=\"dark\">"));
    assert_eq!(browser.post("/theme", &[("theme", "pink")]).await.status, 422);
}

/// Reads a stream until some text came; the rest is kept for the next call.
pub async fn until_it_says(stream: &mut Answer, text: &mut String, wanted: &str) {
    while !text.contains(wanted) {
        let piece = stream.piece().await.map_err(|f| f.message).unwrap();
        let piece = piece.unwrap_or_else(|| panic!("the stream ended before {wanted}: {text}"));
        // A piece may end within a letter.
        text.push_str(&String::from_utf8_lossy(&piece));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_page_lives_beats_and_ends_with_its_session() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let ann = Browser::signed_in(&node, "ann", &["operate"]).await;
    let mut stream = ann.stream("/live?view=overview&range=15m").await;
    assert_eq!(stream.head.headers["content-type"], "text/event-stream");
    let mut text = String::new();
    until_it_says(&mut stream, &mut text, "event: beat").await;
    assert!(text.starts_with("retry: ") && text.contains("\nid: "), "{text}");
    assert!(text.contains("event: frame") && text.contains("Survives the loss of any 0 machines"), "{text}");
    assert!(text.contains("event: overview") && text.contains("Requests per second"), "{text}");
    // The next heartbeat comes by itself.
    let begun = std::time::Instant::now();
    text.clear();
    until_it_says(&mut stream, &mut text, "event: beat").await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    ann.post("/sign-out", &[]).await;
    text.clear();
    until_it_says(&mut stream, &mut text, "event: end").await;
    while stream.piece().await.map_err(|f| f.message).unwrap().is_some() {}
    assert_eq!(ann.stream("/live").await.head.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_bounded_and_end_when_the_node_stops() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = start(&dir).await;
    let ann = Browser::signed_in(&node, "ann", &["operate"]).await;
    let mut streams = Vec::new();
    for _ in 0..LIVE_STREAMS_MAX {
        let mut stream = ann.stream("/live").await;
        assert_eq!(stream.head.status, 200);
        until_it_says(&mut stream, &mut String::new(), "event: beat").await;
        streams.push(stream);
    }
    let refused = Reply::read(ann.stream("/live").await).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    drop(streams.pop());
    let freed = crate::support::eventually("a place is free again", async || {
        let stream = ann.stream("/live").await;
        (stream.head.status == 200).then_some(stream)
    });
    streams.push(freed.await);
    assert_eq!(ann.get("/live?view=nothing").await.status, 400);
    let begun = std::time::Instant::now();
    assert!(node.stop().success());
    assert!(begun.elapsed() < std::time::Duration::from_secs(8), "open pages do not hold up a stop");
}

#[tokio::test]
async fn a_link_that_was_not_opened_by_hand_asks_first() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&dir).await;
    let mut ann = Browser::signed_in(&node, "ann", &["admin"]).await;
    let wish = json!({ "user": "ann" });
    let link = node.owner().tell(Method::POST, "/v1/sign-in-links", &wish).await.map_err(|f| f.message).unwrap();
    let path = link["path"].as_str().unwrap();
    for (method, site) in [("GET", "cross-site"), ("HEAD", "none"), ("HEAD", "cross-site")] {
        let asked = call(&ann.client, method, path, &[("sec-fetch-site", site), ("accept", "text/html")], "").await;
        assert_eq!((asked.status, asked.header("set-cookie")), (200, None), "{method} {site}");
    }
    let by_button = ann.post(path, &[]).await;
    assert_eq!(by_button.status, 303, "{by_button:?}");
    ann.keep_cookie(&by_button);
    assert_eq!(ann.get("/").await.status, 200);
    assert_eq!(ann.post(path, &[]).await.status, 404, "it is good once");
}
