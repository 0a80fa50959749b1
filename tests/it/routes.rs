//! The route matrix: every row of every face against everything that must not get in, each with the exact status that
//! the row's need says, and nothing changed by any of it. New rows are picked up by themselves; the rules are written
//! here a second time, not taken from the gate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::routing::get;
use ringfort::app;
use ringfort::base::listen::Listen;
use ringfort::base::redact::Redacted;
use ringfort::console;
use ringfort::front::route;
use ringfort::front::route::Face;
use ringfort::front::route::Route;
use ringfort::front::server;
use ringfort::http;
use ringfort::node::Node;
use ringfort::node::access::Caller;
use ringfort::node::session::Session;
use ringfort::proto::scope::Need;
use ringfort::proto::scope::Scope;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::sign_in;
use crate::support::eventually;

/// A row and whether its face is for browsers, which are shown the way to the sign-in instead of a 401.
#[derive(Clone, Copy)]
struct Row {
    route: Route,
    for_browsers: bool,
}

impl Row {
    fn is_change(&self) -> bool {
        self.route.method != "GET"
    }

    /// A request to it names nothing that is there.
    fn path(&self) -> String {
        let parts = self.route.path.split('/').map(|part| if part.starts_with('{') { "none" } else { part });
        parts.collect::<Vec<_>>().join("/")
    }

    /// Whether a raw path is this row's: segments one by one, `{*rest}` takes what is left.
    fn matches(&self, path: &str) -> bool {
        let (mut pattern, mut given) = (self.route.path.split('/'), path.split('/'));
        loop {
            match (pattern.next(), given.next()) {
                (None, None) => return true,
                (Some(rest), Some(first)) if rest.starts_with("{*") => {
                    return !first.is_empty() || given.next().is_some();
                }
                (Some(one), Some(segment)) if one.starts_with('{') && !segment.is_empty() => {}
                (Some(one), Some(segment)) if one == segment => {}
                _ => return false,
            }
        }
    }

    /// Whether it is answered to anybody, over loopback.
    fn is_open(&self) -> bool {
        matches!(self.route.need, Need::Nothing | Need::Metrics)
    }
}

/// What opens a row, once more.
fn opens(need: Need) -> Vec<Scope> {
    use Scope::{Admin, Data, DeviceRead, DeviceWrite, Operate, Support};
    match need {
        Need::Nothing | Need::Metrics | Need::SignedIn => Scope::ALL.to_vec(),
        Need::ReadValues => vec![DeviceRead, Data, Admin],
        Need::WriteValues => vec![DeviceWrite, Data, Admin],
        Need::AnyValues => vec![DeviceRead, DeviceWrite, Data, Admin],
        Need::Data => vec![Data, Admin],
        Need::Observe => vec![Data, Operate, Support, Admin],
        Need::Operate => vec![Operate, Admin],
        Need::Admin => vec![Admin],
        Need::Owner => vec![],
    }
}

/// An answer's head, and its body where it is a refusal.
struct Got {
    version: String,
    status: u16,
    text: String,
}

/// Tokens and sessions of every kind, as header lines.
struct Keys {
    expired: String,
    signed_out: String,
    admin_session: String,
    admin_token: String,
    tokens: Vec<(Scope, String)>,
    sessions: Vec<(Scope, String)>,
}

impl Keys {
    async fn make(node: &Node) -> Self {
        let expired = token(node, "expired", Scope::Admin, Some(1)).await;
        let (mut tokens, mut sessions) = (Vec::new(), Vec::new());
        for scope in Scope::ALL {
            let name = scope.name().replace(':', "-");
            tokens.push((scope, bearer(&token(node, &name, scope, None).await)));
            sessions.push((scope, cookie(node, &user(node, &name, scope).await)));
        }
        let left = user(node, "left", Scope::Admin).await;
        let leaving = node.caller_of_session(left.secret.reveal(), None).unwrap();
        node.sign_out(&leaving).await.unwrap();
        eventually("the token expires", async || node.caller_of(&expired, None).is_err().then_some(())).await;
        Self {
            expired: bearer(&expired),
            signed_out: cookie(node, &left),
            admin_session: of(&sessions, Scope::Admin),
            admin_token: of(&tokens, Scope::Admin),
            tokens,
            sessions,
        }
    }
}

fn of(all: &[(Scope, String)], scope: Scope) -> String {
    all.iter().find(|(known, _)| *known == scope).unwrap().1.clone()
}

fn same_origin() -> String {
    line("sec-fetch-site", "same-origin")
}

/// A server in this process, and what is needed to knock at it.
struct House {
    keys: Keys,
    address: SocketAddr,
    rows: Vec<Row>,
    tried: BTreeMap<&'static str, usize>,
}

impl House {
    /// One request over a connection of its own, sent byte by byte as written here.
    async fn ask(&self, method: &str, path: &str, headers: &[String], body: &str) -> Got {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        if !headers.iter().any(|line| line.starts_with("connection:")) {
            head += "connection: close\r\n";
        }
        headers.iter().for_each(|line| head += &format!("{line}\r\n"));
        head += &format!("content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        // An event stream has no end: of a success the head is enough.
        let done = |answer: &[u8]| answer.starts_with(b"HTTP/1.1 2") && answer.windows(4).any(|end| end == b"\r\n\r\n");
        while !done(&answer) {
            let read = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut piece)).await;
            match read.unwrap_or_else(|_| panic!("{method} {path}: no answer")).unwrap() {
                0 => break,
                len => answer.extend_from_slice(&piece[..len]),
            }
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        let mut first = text.lines().next().unwrap_or_default().split(' ');
        let version = first.next().unwrap_or_default().to_owned();
        let status =
            first.next().and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{method} {path}: {text}"));
        Got { version, status, text: text.to_lowercase() }
    }

    /// The row that a raw path and method belong to, or whether the path is at least known.
    fn row_of(&self, method: &str, path: &str) -> Result<Row, bool> {
        let on_path: Vec<&Row> = self.rows.iter().filter(|row| row.matches(path)).collect();
        let row = on_path.iter().find(|row| row.route.method == method).map(|row| **row);
        row.ok_or(!on_path.is_empty())
    }

    fn check(&mut self, case: &'static str, row: Row, got: &Got, expected: u16) {
        *self.tried.entry(case).or_default() += 1;
        let named = format!("{} {} with {case}", row.route.method, row.route.path);
        let to_sign_in = row.for_browsers && got.status == 303 && got.text.contains("\r\nlocation: /sign-in");
        assert!(got.status == expected || (expected == 401 && to_sign_in), "{named}: {}, not {expected}", got.status);
        assert!(got.text.contains("\r\nx-content-type-options: nosniff"), "{named}: {}", got.text);
        assert!(got.status < 400 || got.text.contains("\r\ncache-control: no-store"), "{named}: {}", got.text);
        if expected == 401 && !row.for_browsers {
            assert!(got.text.contains("\r\nwww-authenticate: bearer"), "{named}: {}", got.text);
        }
    }

    /// What a stranger gets at a raw path: 404 or 405, the row's 401, or for what is open a refusal of the change.
    async fn stranger(&mut self, case: &'static str, row: Row, method: &str, path: &str, headers: &[String]) {
        let expected = match self.row_of(method, path) {
            Err(true) => 405,
            Err(false) => 404,
            Ok(found) if !found.is_open() => 401,
            Ok(found) if found.is_change() => 403,
            // Open to all: what it answers is its own affair.
            Ok(_) => return,
        };
        let got = self.ask(method, path, headers, "").await;
        assert_eq!(got.version, "HTTP/1.1", "{method} {path}");
        self.check(case, row, &got, expected);
    }

    /// Nobody, and whoever is nobody here or no longer.
    async fn strangers(&mut self, row: Row) {
        let (path, method) = (row.path(), row.route.method);
        self.stranger("no credentials", row, method, &path, &[]).await;
        let unknown = bearer("rf_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        let nobodies = [
            ("an unknown token", unknown.clone()),
            ("an expired token", self.keys.expired.clone()),
            ("a password for a token", line("authorization", "Basic YW5uOnRhbGwgc2hpcHMgYXQgZGF3bg==")),
            ("a signed-out session", self.keys.signed_out.clone()),
        ];
        for (case, header) in &nobodies {
            self.stranger(case, row, method, &path, std::slice::from_ref(header)).await;
        }
        if !row.is_open() {
            // A bad token is not made good by a session beside it.
            let both = [unknown, self.keys.admin_session.clone(), same_origin()];
            self.stranger("a bad token beside a session", row, method, &path, &both).await;
        }
        let h2c = [
            line("connection", "Upgrade, HTTP2-Settings, close"),
            line("upgrade", "h2c"),
            line("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
        ];
        self.stranger("an h2c upgrade", row, method, &path, &h2c).await;
    }

    /// Somebody, who may not do this.
    async fn others(&mut self, row: Row) {
        let (path, method) = (row.path(), row.route.method);
        for scope in Scope::ALL.into_iter().filter(|scope| !opens(row.route.need).contains(scope)) {
            let got = self.ask(method, &path, &[of(&self.keys.tokens, scope)], "").await;
            self.check("a token of another scope", row, &got, 403);
            let got = self.ask(method, &path, &[of(&self.keys.sessions, scope), same_origin()], "").await;
            self.check("another user's session", row, &got, 403);
        }
    }

    /// An admin's browser, which another page makes send this.
    async fn forged(&mut self, row: Row) {
        let origin = |origin: &str| vec![line("origin", origin)];
        let site = |site: &str| vec![line("sec-fetch-site", site)];
        let other_scheme = format!("https://{}", self.address);
        let text = vec![line("content-type", "text/plain"), same_origin()];
        let forgeries = [
            ("a cookie from nowhere", vec![], ""),
            ("a cookie from a foreign origin", origin("https://evil.example"), ""),
            ("a cookie from no origin at all", origin("null"), ""),
            ("a cookie over another scheme", origin(&other_scheme), ""),
            ("a cookie from another site", site("cross-site"), ""),
            ("a cookie from another port", site("same-site"), ""),
            ("a cookie with plain text", text, "name=x"),
            ("a cookie with an untyped body", vec![same_origin()], "name=x"),
        ];
        for (case, more, body) in forgeries {
            let headers = [vec![self.keys.admin_session.clone()], more].concat();
            let got = self.ask(row.route.method, &row.path(), &headers, body).await;
            self.check(case, row, &got, 403);
        }
    }

    /// An admin by another method: only that is wrong.
    async fn disguised(&mut self, row: Row) {
        let (path, method, admin) = (row.path(), row.route.method, self.keys.admin_token.clone());
        for header in ["x-http-method-override", "x-http-method", "x-method-override"] {
            let got = self.ask("PATCH", &path, &[admin.clone(), line(header, method)], "").await;
            self.check("a method override in a header", row, &got, 405);
        }
        let admin = std::slice::from_ref(&admin);
        let got = self.ask("PATCH", &format!("{path}?_method={method}"), admin, "").await;
        self.check("a method override in the query", row, &got, 405);
        for unknown in ["BREW", "TRACE", "OPTIONS", "get"] {
            let got = self.ask(unknown, &path, admin, "").await;
            self.check("an unknown method", row, &got, 405);
        }
    }

    /// Nobody and an admin on a path that only resembles the row's.
    async fn crooked(&mut self, row: Row) {
        let (path, method) = (row.path(), row.route.method);
        let (root, rest) = path.split_at(1);
        let admin = [self.keys.admin_token.clone()];
        let crooked = [
            ("a trailing slash", format!("{path}/")),
            ("two slashes", format!("{root}/{rest}")),
            ("an escaped slash", format!("{root}{}", rest.replacen('/', "%2f", 1))),
            ("an escaped slash in front", format!("{root}%2f{rest}")),
            ("an escaped letter", format!("{root}%76{}", rest.get(1..).unwrap_or_default())),
            ("upper case", path.to_uppercase()),
            ("dots", format!("{root}x/..{path}")),
        ];
        for (case, crooked) in crooked.into_iter().filter(|(_, crooked)| *crooked != path) {
            self.stranger(case, row, method, &crooked, &[]).await;
            if matches!(self.row_of(method, &crooked), Err(false)) {
                let got = self.ask(method, &crooked, &admin, "").await;
                self.check(case, row, &got, 404);
            }
        }
    }

    /// Whoever may gets in.
    async fn welcome(&mut self, row: Row) {
        for scope in opens(row.route.need) {
            let got = self.ask(row.route.method, &row.path(), &[of(&self.keys.tokens, scope)], "").await;
            let named = format!("{} {} with {}: {}", row.route.method, row.path(), scope.name(), got.text);
            assert!(!got.text.contains("no_such_path") && got.status != 405, "{named}");
            // What is open to all is not opened by a token, but asks a change for its origin.
            assert!((row.is_open() && row.is_change()) || ![401, 403].contains(&got.status), "{named}");
            *self.tried.entry("enough").or_default() += 1;
        }
    }
}

fn line(name: &str, value: &str) -> String {
    format!("{name}: {value}")
}

fn bearer(token: &str) -> String {
    line("authorization", &format!("Bearer {token}"))
}

fn cookie(node: &Node, session: &Session) -> String {
    line("cookie", &format!("ringfort-{}={}", node.who().cluster, session.secret.reveal()))
}

async fn token(node: &Node, name: &str, scope: Scope, ttl_ms: Option<u64>) -> String {
    let made = node.add_token(&Caller::local(), name, vec![scope], ttl_ms).await.unwrap();
    made.1.reveal().clone()
}

async fn user(node: &Node, name: &str, scope: Scope) -> Session {
    let password = || Redacted::new("tall ships at dawn".to_owned());
    node.put_user(&Caller::local(), name, password(), vec![scope]).await.unwrap();
    node.sign_in(name, password(), None).await.unwrap()
}

/// Serves these faces in this process until the sender says stop.
async fn serve(node: &Node, faces: Vec<Face>) -> (SocketAddr, watch::Sender<bool>, JoinHandle<()>) {
    let loopback = Listen { address: "127.0.0.1:0".parse().unwrap(), tls: false };
    let listeners = server::bind(&[loopback], None, None).await.unwrap();
    let address = listeners.addresses()[0].address;
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(listeners.serve(route::assemble(node.clone(), faces), Some(node.clone()), stopped));
    (address, stop, serving)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_gets_through_any_route_that_must_not() {
    let dir = tempfile::tempdir().unwrap();
    let opened = sign_in::open(dir.path()).await;
    let node = opened.node.clone();
    let faces = app::faces();
    let of_face = |face: &Face| {
        let for_browsers = face.under != "/v1/";
        face.rows.iter().map(move |route| Row { route: *route, for_browsers }).collect::<Vec<_>>()
    };
    let rows: Vec<Row> = faces.iter().flat_map(of_face).collect();
    let (address, stop, serving) = serve(&node, faces).await;
    let keys = Keys::make(&node).await;
    let mut house = House { keys, address, rows: rows.clone(), tried: BTreeMap::new() };
    let before = node.state();
    for row in &rows {
        house.strangers(*row).await;
        house.others(*row).await;
        if row.is_change() {
            house.forged(*row).await;
        }
        house.disguised(*row).await;
        house.crooked(*row).await;
    }
    assert_eq!(node.state(), before, "something was changed");
    // Last, as this may change something.
    for row in &rows {
        house.welcome(*row).await;
    }
    let all: usize = house.tried.values().sum();
    eprintln!("{} rows, {all} requests answered as the table says: {:?}", rows.len(), house.tried);
    assert!(all > rows.len() * 20);
    stop.send(true).unwrap();
    serving.await.unwrap();
    tokio::task::spawn_blocking(move || opened.node.close()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_in_the_table_is_not_served() {
    const ROWS: &[Route] = &[Route::page("GET", "/listed", Need::Nothing, "Listed")];
    let dir = tempfile::tempdir().unwrap();
    let opened = sign_in::open(dir.path()).await;
    let forgotten =
        |_: &Node| axum::Router::new().route("/listed", get("in").post("in")).route("/forgotten", get("in"));
    let face = Face { rows: ROWS, router: forgotten, refuse: route::refuse_as_document, under: "/" };
    let (address, stop, serving) = serve(&opened.node, vec![face]).await;
    let keys = Keys::make(&opened.node).await;
    let admin = [keys.admin_token.clone()];
    let house = House { keys, address, rows: vec![], tried: BTreeMap::new() };
    assert_eq!(house.ask("GET", "/listed", &[], "").await.status, 200);
    for (method, path) in [("POST", "/listed"), ("GET", "/forgotten")] {
        assert_eq!(house.ask(method, path, &admin, "").await.status, 405, "{method} {path}");
    }
    stop.send(true).unwrap();
    serving.await.unwrap();
    tokio::task::spawn_blocking(move || opened.node.close()).await.unwrap();
}

/// What a button does, and the row by which a token does the same.
const PAIRS: &[(&str, &str, &str)] = &[
    ("/members/invite", "POST", "/v1/invites"),
    ("/members/{id}/drain", "POST", "/v1/members/{id}/drain"),
    ("/members/{id}/undrain", "POST", "/v1/members/{id}/undrain"),
    ("/members/{id}/leave", "POST", "/v1/members/{id}/leave"),
    ("/members/{id}/remove", "POST", "/v1/members/{id}/remove"),
    ("/members/{id}/replace", "POST", "/v1/members/{id}/replace"),
    ("/members/{id}/invite", "POST", "/v1/invites"),
    ("/ring/stage", "POST", "/v1/plan"),
    ("/ring/commit", "POST", "/v1/plan/commit"),
    ("/ring/clear", "DELETE", "/v1/plan"),
    ("/ring/pause", "POST", "/v1/ring/pause"),
    ("/ring/resume", "POST", "/v1/ring/resume"),
    ("/data/new", "PUT", "/v1/buckets/{name}"),
    ("/data/{bucket}/import", "POST", "/v1/buckets/{name}/import"),
    ("/data/{bucket}/remove", "DELETE", "/v1/buckets/{name}"),
    ("/data/{bucket}/new", "PUT", "/v1/kv/{bucket}/{*key}"),
    ("/data/{bucket}/key", "PUT", "/v1/kv/{bucket}/{*key}"),
    ("/data/{bucket}/keep", "PUT", "/v1/kv/{bucket}/{*key}"),
    ("/data/{bucket}/delete", "DELETE", "/v1/kv/{bucket}/{*key}"),
    ("/settings/users", "PUT", "/v1/users/{name}"),
    ("/settings/users/{name}/password", "PUT", "/v1/users/{name}"),
    ("/settings/users/{name}/scopes", "PUT", "/v1/users/{name}"),
    ("/settings/users/{name}/link", "POST", "/v1/sign-in-links"),
    ("/settings/users/{name}/remove", "DELETE", "/v1/users/{name}"),
    ("/settings/tokens", "POST", "/v1/tokens"),
    ("/settings/tokens/{id}/remove", "DELETE", "/v1/tokens/{id}"),
    ("/settings/configuration/reload", "POST", "/v1/config/reload"),
];

/// What is about one person's browser and nothing else, so that a token has no use for it: who sits in front of it, the
/// password that whoever sits there knows, and how the page looks. The first user of all is made with the code that the
/// owner reads; whoever has the control socket needs none and makes users by `PUT /v1/users/{name}`.
const OF_A_BROWSER: &[&str] =
    &["/sign-in", "/sign-in/link/{code}", "/sign-out", "/claim", "/settings/password", "/theme"];

#[test]
fn whatever_a_button_changes_a_token_can_change_too() {
    let (pages, api) = (console::face().rows, http::routes::ROUTES);
    let buttons: Vec<&Route> = pages.iter().filter(|row| row.method != "GET").collect();
    for button in &buttons {
        if OF_A_BROWSER.contains(&button.path) {
            // Nothing that somebody had to be let in for hides here.
            assert!(matches!(button.need, Need::Nothing | Need::SignedIn), "{} needs a pair", button.path);
            continue;
        }
        let pair = PAIRS.iter().find(|(page, ..)| *page == button.path);
        let (_, method, path) = pair.unwrap_or_else(|| panic!("no row of the API is named for {}", button.path));
        let row = api.iter().find(|row| row.method == *method && row.path == *path);
        let row = row.unwrap_or_else(|| panic!("{}: there is no {method} {path}", button.path));
        for scope in opens(button.need) {
            assert!(opens(row.need).contains(&scope), "{} opens {}, not {method} {path}", scope.name(), button.path);
        }
    }
    // Neither list keeps what is gone.
    let named = PAIRS.iter().map(|(page, ..)| page).chain(OF_A_BROWSER);
    for named in named {
        assert!(buttons.iter().any(|button| button.path == *named), "{named} is no button");
    }
    assert_eq!(buttons.len(), PAIRS.len() + OF_A_BROWSER.len(), "a button is named twice");
}
