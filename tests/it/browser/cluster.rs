//! The cluster's pages in a real browser with three and with nine machines, one of them down, one draining, something on
//! its way; every button on them; and the way of somebody who has never run a cluster, counted in steps.

use std::path::Path;

use hyper::Method;
use ringfort::node::debug::logs;
use serde_json::Value;
use serde_json::json;

use crate::browser::driver::Browser;
use crate::browser::house::KEEPER;
use crate::browser::house::PASSWORD;
use crate::browser::inspect::Inspector;
use crate::cluster_faces::get;
use crate::cluster_faces::invite;
use crate::cluster_faces::owned_by;
use crate::cluster_faces::start;
use crate::machines::Machines;
use crate::support::Node;
use crate::support::call;
use crate::support::eventually;

/// From an unclaimed machine to a value in a cluster that survives the loss of one: what a person does, at most.
const STEPS_MAX: u32 = 12;

async fn order(node: &Node, path: &str, document: Value) {
    let reply = call(&node.owner(), "POST", path, &[], document.to_string()).await;
    assert!((200..300).contains(&reply.status), "{path}: {reply:?}");
}

async fn member(node: &Node, id: u64) -> Value {
    let members = get(node, "/v1/members").await;
    members["members"].as_array().unwrap().iter().find(|member| member["id"] == id).cloned().unwrap_or_default()
}

/// Lets the browser in as somebody who may do everything.
async fn sign_in(browser: &Browser, node: &Node) {
    let user = json!({ "password": PASSWORD, "scopes": ["admin"] });
    node.owner().tell(Method::PUT, &format!("/v1/users/{KEEPER}"), &user).await.map_err(|f| f.message).unwrap();
    let wish = json!({ "user": KEEPER });
    let link = node.owner().tell(Method::POST, "/v1/sign-in-links", &wish).await.map_err(|f| f.message).unwrap();
    browser.go(&format!("{}{}", node.url().await, link["path"].as_str().unwrap())).await;
    browser.until("inside", "return location.pathname === '/'").await;
}

async fn joined(dir: &Path, first: &Node, name: &str) -> Node {
    let token = invite(first).await;
    start(dir, name, Some(&token)).await
}

/// Everything there is to see of a cluster in trouble, in both themes and at both widths.
async fn look_at_all(inspector: &mut Inspector, browser: &Browser, url: &str, machines: usize, down: usize) {
    let pages = [
        ("members".to_owned(), "/members".to_owned()),
        ("members-trouble".to_owned(), "/members?show=trouble".to_owned()),
        ("member-down".to_owned(), format!("/members/{down}")),
        ("member-draining".to_owned(), "/members/2".to_owned()),
        ("ring".to_owned(), "/ring".to_owned()),
        ("ring-partition".to_owned(), "/ring?p=17".to_owned()),
        ("ring-member".to_owned(), "/ring?node=1".to_owned()),
        ("ring-where".to_owned(), "/ring?bucket=b&key=7".to_owned()),
        ("shared".to_owned(), "/shared".to_owned()),
        ("convergence".to_owned(), "/convergence".to_owned()),
        ("timeline".to_owned(), "/timeline".to_owned()),
        ("runtime-other".to_owned(), "/runtime?node=2".to_owned()),
        ("inside-other".to_owned(), "/members/1/inside".to_owned()),
        ("inside-down".to_owned(), format!("/members/{down}/inside")),
        ("lab".to_owned(), "/lab".to_owned()),
    ];
    for (name, path) in pages {
        inspector.page(browser, &format!("{machines}-{name}"), &format!("{url}{path}")).await;
    }
}

/// Three machines: the first owns everything, what is to come to the others waits, the third is down, the second drains.
async fn three(dir: &Path) -> Vec<Node> {
    let mut nodes = vec![start(dir, "n1", None).await];
    assert_eq!(call(&nodes[0].owner(), "PUT", "/v1/buckets/b", &[], "{}").await.status, 201);
    for number in 0..60 {
        let put = call(&nodes[0].owner(), "PUT", &format!("/v1/kv/b/{number}"), &[], "x".repeat(2000)).await;
        assert_eq!(put.status, 200, "{put:?}");
    }
    nodes.push(joined(dir, &nodes[0], "n2").await);
    order(&nodes[0], "/v1/ring/pause", json!({ "reason": "the line is needed for a backup", "for": "8h" })).await;
    nodes.push(joined(dir, &nodes[0], "n3").await);
    eventually("what is on its way waits", async || {
        (get(&nodes[0], "/v1/ring").await["transfers"].as_array().unwrap().len() == 2).then_some(())
    })
    .await;
    // Its last minutes are to be seen when it is gone.
    eventually("its figures are kept", async || {
        let book = nodes[0].data.join("blackbox/peers/3/figures");
        (logs::reader(book).tail(10).ok()?.len() >= 3).then_some(())
    })
    .await;
    nodes[2].kill();
    order(&nodes[0], "/v1/members/2/drain", json!({ "reason": "a new power supply", "for": "1h" })).await;
    eventually("one is down, one drains", async || {
        (member(&nodes[0], 3).await["state"] == "down" && member(&nodes[0], 2).await["serving"] == "draining")
            .then_some(())
    })
    .await;
    nodes
}

/// Every button, by clicks, and the ring by keys.
async fn press_every_button(inspector: &mut Inspector, browser: &Browser, url: &str) {
    browser.size(1440, 900).await;
    browser.prefers("light").await;
    browser.go(&format!("{url}/ring")).await;
    browser.click("#resume").await;
    browser.shows("What is on its way goes on.").await;
    browser.click("#pause-form summary").await;
    browser.fill("#why", "once more").await;
    browser.click("#pause-transfers").await;
    browser.shows("once more").await;
    browser.click("#resume").await;
    browser.shows("What is on its way goes on.").await;
    browser.click("#stage-plan").await;
    browser.shows("Nothing has moved yet").await;
    inspector.state(browser, "3-ring-plan").await;
    browser.size(1440, 900).await;
    browser.click("#clear-plan").await;
    browser.shows("Nothing is staged any more").await;
    browser.go(&format!("{url}/members")).await;
    browser.click("#machine-2").await;
    browser.click("button:text(Let devices use it again)").await;
    browser.shows("It takes devices again.").await;
    browser.fill("#reason", "from the console").await;
    browser.click("button:text(Drain)").await;
    browser.shows("Drained until").await;
    browser.go(&format!("{url}/members/3")).await;
    browser.click("#replace summary").await;
    browser.click("#replace button:text(Make the line)").await;
    browser.shows("ringfort run --join").await;
    inspector.state(browser, "3-member-invite").await;
    browser.size(1440, 900).await;
    // A keyboard goes around the ring.
    browser.go(&format!("{url}/ring?p=254")).await;
    browser.run("document.getElementById('p254').focus()", &[]).await;
    browser.keys("\u{e014}\u{e014}").await;
    browser.until("the first one", "return document.activeElement.id === 'p0'").await;
    browser
        .until("its owners", "return document.getElementById('pointed').textContent.startsWith('Partition 0: ')")
        .await;
}

/// Six more, of which the last one is down, while what is to come to them waits and when it came; then that one goes.
async fn grow_to_nine(dir: &Path, nodes: &mut Vec<Node>, inspector: &mut Inspector, browser: &Browser, url: &str) {
    nodes[2] = start(dir, "n3", None).await;
    owned_by(&nodes[0], &[1, 2, 3]).await;
    order(&nodes[0], "/v1/ring/pause", json!({ "reason": "the line is needed for a backup", "for": "8h" })).await;
    for number in 4..=9 {
        nodes.push(joined(dir, &nodes[0], &format!("n{number}")).await);
    }
    eventually("nine are to own data", async || {
        (get(&nodes[0], "/v1/ring").await["nodes"].as_array().unwrap().len() == 9).then_some(())
    })
    .await;
    nodes[8].kill();
    eventually("one is down", async || (member(&nodes[0], 9).await["state"] == "down").then_some(())).await;
    look_at_all(inspector, browser, url, 9, 9).await;
    order(&nodes[0], "/v1/ring/resume", json!({})).await;
    eventually("only the one that is down is waited for", async || {
        let transfers = get(&nodes[0], "/v1/ring").await["transfers"].clone();
        let transfers = transfers.as_array().unwrap();
        (transfers.len() == 1 && transfers[0]["to"] == 9 && transfers[0]["up"] == false).then_some(())
    })
    .await;
    inspector.page(browser, "9-ring-moved", &format!("{url}/ring")).await;
    browser.size(1440, 900).await;
    browser.go(&format!("{url}/members/9")).await;
    browser.click("#remove summary").await;
    browser.click("#remove button:text(Remove it)").await;
    browser.shows("The machine is removed").await;
    eventually("eight are left", async || {
        (get(&nodes[3], "/v1/members").await["members"].as_array().unwrap().len() == 8).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_in_trouble_is_legible_with_three_and_with_nine_machines_and_every_button_does_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = three(dir.path()).await;
    let (browser, mut inspector) = (Browser::start().await, Inspector::new());
    let url = nodes[0].url().await;
    sign_in(&browser, &nodes[0]).await;
    look_at_all(&mut inspector, &browser, &url, 3, 3).await;
    press_every_button(&mut inspector, &browser, &url).await;
    grow_to_nine(dir.path(), &mut nodes, &mut inspector, &browser, &url).await;
    // The same from another machine's console.
    let other = Browser::start().await;
    sign_in(&other, &nodes[4]).await;
    other.go(&format!("{}/members/8", nodes[4].url().await)).await;
    other.click("#leave summary").await;
    other.click("#leave button:text(Let it leave)").await;
    other.shows("It gives away what it owns").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    let posts = browser.posts().await;
    for path in ["/ring/resume", "/ring/pause", "/ring/stage", "/ring/clear", "/members/2/undrain", "/members/2/drain"]
    {
        assert!(posts.iter().any(|post| post == path), "{path} in {posts:?}");
    }
    inspector.done("cluster");
}

/// Types a command on a machine that is called n and its number, with a network of its own. Ports and the address for
/// other nodes are what they are where nobody says anything.
async fn type_on(machines: &Machines, number: usize, dir: &Path, words: &[&str]) -> Node {
    const CALLED: &str = "hostname \"$0\" && exec \"$@\"";
    let (space, name) = (machines.space(number), format!("n{number}"));
    let there = ["ip", "netns", "exec", &space, "unshare", "--uts", "sh", "-c", CALLED, &name];
    // Tests turn it off, because on one machine nodes would take it from each other.
    let environment = [("RINGFORT_PEER_LISTEN", "0.0.0.0:7400")];
    let mut node = Node::spawn_saying(&dir.join(&name), &there, &environment, words);
    node.get_ready().await;
    node
}

/// What a person does, counted: clicks, fields and lines that are pasted elsewhere.
struct Stranger<'m> {
    browser: Browser,
    machines: &'m Machines,
    steps: Vec<String>,
}

impl Stranger<'_> {
    fn step(&mut self, what: impl Into<String>) {
        self.steps.push(what.into());
    }

    async fn click(&mut self, css: &str) {
        self.step(format!("click {css}"));
        self.browser.click(css).await;
    }

    /// Filling in a form is one step, with the button below it.
    async fn fill(&mut self, fields: &[(&str, &str)], button: &str) {
        for (field, text) in fields {
            self.browser.fill(field, text).await;
        }
        self.step(format!("fill in {} and press {button}", fields.len()));
        self.browser.click(button).await;
    }

    /// A line on screen, pasted on another machine.
    async fn paste(&mut self, line: u32, dir: &Path, number: usize) -> Node {
        let script = format!("return document.getElementById('line-{line}')?.textContent");
        let line = self.browser.until("a line to paste", &script).await;
        // As it stands there, but for where a machine keeps its data: these have one disk.
        let words = line.as_str().unwrap().strip_prefix("ringfort run ").unwrap();
        self.step(format!("paste the line on n{number}"));
        type_on(self.machines, number, dir, &words.split(' ').collect::<Vec<_>>()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_makes_a_cluster_of_three_machines_and_puts_a_value_by_what_is_on_screen() {
    let dir = tempfile::tempdir().unwrap();
    let machines = Machines::beside_host(3);
    // It is looked at from another machine, so it speaks HTTPS, as the README says; the others are let be as they are.
    let url = format!("https://{}:7480", machines.address(1));
    let first = type_on(&machines, 1, dir.path(), &["--listen", &url]).await;
    // The code is what the first machine prints when it starts.
    let code = eventually("the code in what it says", async || {
        let log = first.log();
        let said = log.split_once("code=")?.1.trim_start_matches('"').get(..19)?;
        (said.matches('-').count() == 3).then(|| said.to_owned())
    })
    .await;
    // Whether its certificate is the right one was decided before: the authority is trusted once, not at every visit.
    let browser = Browser::start_trusting(&first.data.join("identity/server.pem")).await;
    let mut stranger = Stranger { browser, machines: &machines, steps: Vec::new() };
    stranger.browser.size(1440, 900).await;
    stranger.step("open the address");
    assert_eq!(first.url().await, url);
    stranger.browser.go(&url).await;
    let fields = [("#code", code.as_str()), ("#name", "ann"), ("#password", PASSWORD), ("#again", PASSWORD)];
    stranger.fill(&fields, "button:text(Make this user and sign in)").await;
    stranger.browser.shows("All is well").await;

    // It survives nothing; what to do about that stands there, and leads to where it is done.
    stranger.click("main a:text(Invite two more machines)").await;
    stranger.click("button:text(Make the lines)").await;
    let second = stranger.paste(1, dir.path(), 2).await;
    let third = stranger.paste(2, dir.path(), 3).await;
    // Nothing is pressed for it: the badge of the page that is open says so by itself.
    stranger.browser.shows("Survives the loss of any 1 machines").await;

    stranger.click("nav a:text(Data)").await;
    stranger.click("a.primary:text(Make a bucket)").await;
    stranger.fill(&[("#name", "mine")], "button:text(Show what that means)").await;
    stranger.click("button:text(Make this bucket)").await;
    let put = [("#key", "greeting"), ("#value", "from a stranger")];
    stranger.click("a:text(New key)").await;
    stranger.fill(&put, "button:text(Save)").await;
    stranger.browser.shows("from a stranger").await;
    for node in [&second, &third] {
        let read = call(&node.owner(), "GET", "/v1/kv/mine/greeting", &[], "").await;
        assert_eq!((read.status, read.text()), (200, "from a stranger"));
    }
    assert_eq!(stranger.browser.complaints().await, Vec::<String>::new());
    println!("{} steps: {:#?}", stranger.steps.len(), stranger.steps);
    assert!(u32::try_from(stranger.steps.len()).unwrap() <= STEPS_MAX, "{:#?}", stranger.steps);
}
