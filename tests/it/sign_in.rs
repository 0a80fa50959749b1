//! How people get in and out: passwords, the first run, one-time links, sessions and their ends, and the audit of it.
//! The node runs in this process, so that a test can come from any address.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use ringfort::base::redact::Redacted;
use ringfort::node::Node;
use ringfort::node::access::Caller;
use ringfort::node::birth;
use ringfort::node::birth::NodeOptions;
use ringfort::node::birth::OpenNode;
use ringfort::node::session::Session;
use ringfort::node::session::SignInError;
use ringfort::proto::audit::Via;
use ringfort::proto::scope::Need;
use ringfort::proto::scope::Scope;

use crate::support;
use crate::support::call;
use crate::support::command;
use crate::support::ended;
use crate::support::eventually;

const PASSWORD: &str = "tall ships at dawn";

const CHANGED: &str = "changes their own password, which ends their other sessions";

pub async fn open(dir: &Path) -> OpenNode {
    let options = NodeOptions {
        data: dir.join("data"),
        name: "n1".to_owned(),
        disk_reserve: 0,
        peer_listen: None,
        advertise: Vec::new(),
        zone: None,
        weight: None,
        plans_wait: None,
        join: None,
    };
    birth::open(options, || Box::new(|error| panic!("{error}"))).await.unwrap()
}

async fn close(open: OpenNode) {
    let node = open.node.clone();
    tokio::task::spawn_blocking(move || node.close()).await.unwrap();
}

fn secret(text: &str) -> Redacted<String> {
    Redacted::new(text.to_owned())
}

fn from(address: &str) -> Option<IpAddr> {
    Some(address.parse().unwrap())
}

async fn add_admin(node: &Node, name: &str) {
    node.put_user(&Caller::local(), name, secret(PASSWORD), vec![Scope::Admin]).await.unwrap();
}

async fn sign_in(node: &Node, name: &str) -> Session {
    node.sign_in(name, secret(PASSWORD), from("10.1.1.1")).await.unwrap()
}

fn is_in(node: &Node, session: &Session) -> bool {
    node.caller_of_session(session.secret.reveal(), None).is_ok()
}

#[tokio::test]
async fn a_session_is_new_at_every_sign_in_and_ends_when_it_should() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    let node = &opened.node;
    add_admin(node, "ann").await;
    add_admin(node, "bob").await;
    let (a, b) = (sign_in(node, "ann").await, sign_in(node, "ann").await);
    assert_ne!(a.secret, b.secret);
    assert!(a.secret.reveal().len() == 43 && !format!("{a:?}").contains(a.secret.reveal()));
    let caller = node.caller_of_session(a.secret.reveal(), from("10.1.1.9")).unwrap();
    assert_eq!((&*caller.name, caller.via, caller.may(Need::Admin)), ("ann", Via::Session, true));
    assert!(!caller.may(Need::Owner));

    node.sign_out(&caller).await.unwrap();
    assert!(!is_in(node, &a) && is_in(node, &b));
    node.sign_out(&caller).await.unwrap();

    // What a user may do is looked up at each request.
    node.set_scopes(&Caller::local(), "ann", vec![Scope::Data]).await.unwrap();
    let caller = node.caller_of_session(b.secret.reveal(), None).unwrap();
    assert!(!caller.may(Need::Admin) && caller.may(Need::Data));

    let other = sign_in(node, "bob").await;
    node.put_user(&Caller::local(), "ann", secret("another fine morning"), vec![Scope::Admin]).await.unwrap();
    assert!(!is_in(node, &b), "its password is another one now");
    assert!(is_in(node, &other));
    assert!(matches!(node.sign_in("ann", secret(PASSWORD), from("10.1.1.2")).await, Err(SignInError::Wrong)));
    let again = node.sign_in("ann", secret("another fine morning"), from("10.1.1.2")).await.unwrap();
    close(opened).await;

    let opened = open(dir.path()).await;
    let node = &opened.node;
    assert!(is_in(node, &again) && is_in(node, &other) && !is_in(node, &a) && !is_in(node, &b), "also after a restart");
    node.remove_user(&Caller::local(), "bob").await.unwrap();
    assert!(!is_in(node, &other));
    let stored = std::fs::read_dir(dir.path().join("data/control")).unwrap();
    for file in stored.map(|file| std::fs::read(file.unwrap().path()).unwrap()) {
        let holds = |text: &str| file.windows(text.len()).any(|piece| piece == text.as_bytes());
        assert!(!holds(again.secret.reveal()) && !holds(PASSWORD), "a secret is on the disk");
    }
    close(opened).await;
}

#[tokio::test]
async fn who_is_signed_in_changes_the_password_by_knowing_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    let node = &opened.node;
    add_admin(node, "ann").await;
    let (here, elsewhere) = (sign_in(node, "ann").await, sign_in(node, "ann").await);
    let caller = node.caller_of_session(here.secret.reveal(), from("10.1.1.1")).unwrap();
    let change =
        async |caller: &Caller, old: &str, new: &str| node.change_own_password(caller, secret(old), secret(new)).await;
    let wrong = change(&caller, "not it at all", "another fine morning").await;
    assert!(matches!(wrong, Err(SignInError::WrongCurrent)), "{wrong:?}");
    assert!(matches!(change(&caller, PASSWORD, "password1").await, Err(SignInError::Door(_))));
    assert!(matches!(change(&Caller::local(), PASSWORD, "another fine morning").await, Err(SignInError::Door(_))));
    assert!(is_in(node, &here) && is_in(node, &elsewhere), "nothing was changed");
    let made = node.users()[0].made.clone();
    let now = change(&caller, PASSWORD, "another fine morning").await.unwrap();
    assert!(is_in(node, &now) && !is_in(node, &here) && !is_in(node, &elsewhere));
    assert_eq!((&node.users()[0].made, node.users()[0].sessions), (&made, 1));
    let state = node.state();
    let told = state.audit.entries().next_back().unwrap();
    assert_eq!((told.what.as_str(), told.by.name.as_str(), told.by.via), (CHANGED, "ann", Via::Session));
    node.sign_in("ann", secret("another fine morning"), from("10.1.1.1")).await.unwrap();

    // Whoever has only links has nothing to change.
    node.set_scopes(&Caller::local(), "kiosk", vec![Scope::DeviceRead]).await.unwrap();
    let link = node.make_link(&Caller::local(), "kiosk", Duration::from_secs(60)).await.unwrap();
    let kiosk = node.use_link(link.code.reveal(), None).await.unwrap();
    let kiosk = node.caller_of_session(kiosk.secret.reveal(), None).unwrap();
    let refused = change(&kiosk, "!", "another fine morning").await.unwrap_err().to_string();
    assert!(refused.contains("have no password") && refused.ends_with("nothing was changed"), "{refused}");
    close(opened).await;
}

#[tokio::test]
async fn guessing_the_current_password_costs_the_waits_of_a_sign_in() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    let node = &opened.node;
    add_admin(node, "ann").await;
    let stolen = sign_in(node, "ann").await;
    let thief = node.caller_of_session(stolen.secret.reveal(), from("10.6.6.6")).unwrap();
    let mut outcomes = Vec::new();
    for guess in 0..50 {
        let guess = secret(&format!("guess {guess}"));
        outcomes.push(node.change_own_password(&thief, guess, secret("another fine morning")).await.unwrap_err());
    }
    let wrong = outcomes.iter().filter(|error| matches!(error, SignInError::WrongCurrent)).count();
    assert!((6..=7).contains(&wrong), "{wrong}");
    // The same count as that of the sign-in, and nobody else's.
    let there = node.sign_in("ann", secret(PASSWORD), from("10.6.6.6")).await;
    assert!(matches!(there, Err(SignInError::TooMany { .. })));
    assert!(node.sign_in("ann", secret(PASSWORD), from("10.1.1.1")).await.is_ok());
    let state = node.state();
    assert!(state.audit.entries().any(|entry| entry.what.contains("failed to sign in as `ann`")));
    close(opened).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_claim_at_once_one_becomes_the_first_user() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    let node = &opened.node;
    assert!(node.is_unclaimed());
    let code = node.claim_code().unwrap().unwrap().reveal().clone();
    assert_eq!(node.claim_code().unwrap().unwrap().reveal(), &code, "the same until it is used");
    let wrong = node.claim("AAAA-AAAA-AAAA-AAAA", "eve", secret(PASSWORD), from("10.6.6.6")).await;
    assert!(matches!(wrong, Err(SignInError::WrongCode)));
    let weak = node.claim(&code, "ann", secret("password1"), from("10.1.1.1")).await;
    assert!(matches!(weak, Err(SignInError::Door(_))) && node.is_unclaimed());

    let mut visitors = Vec::new();
    for visitor in 0..8 {
        let (node, code) = (node.clone(), code.clone());
        let from = from(&format!("10.1.1.{visitor}"));
        visitors.push(tokio::spawn(async move {
            node.claim(&code.to_lowercase(), &format!("user{visitor}"), secret(PASSWORD), from).await
        }));
    }
    let mut winners = Vec::new();
    for visitor in visitors {
        winners.extend(visitor.await.unwrap().ok());
    }
    assert_eq!((winners.len(), node.users().len()), (1, 1));
    assert!(is_in(node, &winners[0]) && node.users()[0].name == winners[0].user);
    let caller = node.caller_of_session(winners[0].secret.reveal(), None).unwrap();
    assert!(caller.may(Need::Admin) && !node.is_unclaimed());
    assert!(node.claim_code().unwrap().is_none());
    // Also not when the first user is gone again.
    node.remove_user(&Caller::local(), &winners[0].user).await.unwrap();
    let late = node.claim(&code, "eve", secret(PASSWORD), from("10.1.2.1")).await;
    assert!(matches!(late, Err(SignInError::WrongCode)));
    assert_ne!(node.claim_code().unwrap().unwrap().reveal(), &code);
    close(opened).await;
}

#[tokio::test]
async fn guessing_the_claim_code_costs_waits() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    let node = &opened.node;
    let code = node.claim_code().unwrap().unwrap().reveal().clone();
    let mut outcomes = Vec::new();
    for _ in 0..50 {
        outcomes.push(node.claim("AAAA-AAAA-AAAA-AAAA", "eve", secret(PASSWORD), from("10.6.6.6")).await.unwrap_err());
    }
    let wrong = outcomes.iter().filter(|error| matches!(error, SignInError::WrongCode)).count();
    assert!((6..=7).contains(&wrong), "{wrong}");
    assert!(node.claim(&code, "eve", secret(PASSWORD), from("10.6.6.6")).await.is_err());
    node.claim(&code, "ann", secret(PASSWORD), from("10.1.1.1")).await.unwrap();
    close(opened).await;
}

#[tokio::test]
async fn a_link_signs_in_once_as_its_user_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    let node = &opened.node;
    let owner = Caller::local();
    let (long, at_once) = (Duration::from_secs(60), Duration::ZERO);
    assert!(node.make_link(&owner, "nobody", long).await.is_err());
    assert!(node.set_scopes(&owner, "dev", vec![Scope::Admin]).await.unwrap(), "a user without a password");
    for password in ["", "!", PASSWORD] {
        assert!(matches!(node.sign_in("dev", secret(password), from("10.1.1.1")).await, Err(SignInError::Wrong)));
    }
    let link = node.make_link(&owner, "dev", long).await.unwrap();
    let session = node.use_link(link.code.reveal(), from("10.1.1.2")).await.unwrap();
    assert!(is_in(node, &session) && session.user == "dev");
    let again = node.use_link(link.code.reveal(), from("10.1.1.2")).await;
    assert!(matches!(again, Err(SignInError::WrongCode)));
    let ended = node.make_link(&owner, "dev", at_once).await.unwrap();
    assert!(matches!(node.use_link(ended.code.reveal(), from("10.1.1.2")).await, Err(SignInError::WrongCode)));
    let orphan = node.make_link(&owner, "dev", long).await.unwrap();
    node.remove_user(&owner, "dev").await.unwrap();
    assert!(node.use_link(orphan.code.reveal(), from("10.1.1.3")).await.is_err());
    close(opened).await;
}

/// C19. Half of them name a user who is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_wrong_passwords_learn_nothing_and_keep_no_admin_out() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    let node = &opened.node;
    add_admin(node, "ann").await;

    // All at once from one address: a few are looked at, the rest waits.
    let mut guesses = Vec::new();
    for guess in 0..1000 {
        let node = node.clone();
        let name = if guess % 2 == 0 { "ann".to_owned() } else { format!("user{guess}") };
        guesses.push(tokio::spawn(async move {
            node.sign_in(&name, secret(&format!("wrong {guess}")), from("10.6.6.6")).await.unwrap_err()
        }));
    }
    let (mut wrong, mut too_many) = (0, 0);
    for guess in guesses {
        match guess.await.unwrap() {
            SignInError::Wrong => wrong += 1,
            SignInError::TooMany { retry_after_s } => {
                assert!((1..=60).contains(&retry_after_s), "{retry_after_s}");
                too_many += 1;
            }
            other @ (SignInError::WrongCurrent | SignInError::WrongCode | SignInError::Door(_)) => panic!("{other}"),
        }
    }
    assert!((20..=30).contains(&wrong) && wrong + too_many == 1000, "{wrong} looked at, {too_many} not");
    // The right password has to wait there too, here in the second after a guess that was looked at.
    eventually("a further guess is looked at", async || {
        let guess = node.sign_in("nobody", secret("wrong"), from("10.6.6.6")).await;
        matches!(guess, Err(SignInError::Wrong)).then_some(())
    })
    .await;
    let there = node.sign_in("ann", secret(PASSWORD), from("10.6.6.6")).await;
    assert!(matches!(there, Err(SignInError::TooMany { .. })));
    // It gets in from anywhere else.
    assert!(is_in(node, &node.sign_in("ann", secret(PASSWORD), from("10.1.1.1")).await.unwrap()));

    // One after another from ever new addresses, which no wait slows down: text and time tell nothing.
    let mut took = [Vec::new(), Vec::new()];
    for guess in 0..128_u32 {
        // Not in turns: two threads that work in turns are not equally quick.
        let (known, name) = if guess.count_ones() % 2 == 0 { (0, "ann") } else { (1, "nobody") };
        let address = format!("10.2.{guess}.1");
        let begun = Instant::now();
        let refused = node.sign_in(name, secret("wrong again"), from(&address)).await.unwrap_err();
        took[known].push(begun.elapsed());
        assert_eq!(refused.to_string(), "the name or the password is not right; you are not signed in");
    }
    // Of the middle half: a busy machine has outliers.
    let mean_ms = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        let middle = &times[times.len() / 4..times.len() * 3 / 4];
        middle.iter().sum::<Duration>().as_secs_f64() * 1000.0 / middle.len() as f64
    };
    let [known, unknown] = &mut took;
    let (known, unknown) = (mean_ms(known), mean_ms(unknown));
    eprintln!("a wrong password takes {known:.1} ms for a known name, {unknown:.1} ms for an unknown one");
    assert!((0.67..1.5).contains(&(known / unknown)), "{known:.1} ms and {unknown:.1} ms");

    let state = node.state();
    let told: Vec<&str> = state.audit.entries().map(|entry| entry.what.as_str()).collect();
    assert!(told.iter().any(|what| what.starts_with("1 failed to sign in as ")), "{told:?}");
    assert!(told.contains(&"signs in with a password"));
    assert!(told.len() < 20 && !told.iter().any(|what| what.contains("user1") || what.contains("wrong")), "{told:?}");
    assert_eq!(state.audit.verify(), Ok(()));
    close(opened).await;
}

#[tokio::test]
async fn the_first_run_is_on_the_terminal_and_the_owner_helps_people_in() {
    let dir = tempfile::tempdir().unwrap();
    let server = support::Node::start(&dir.path().join("data")).await;
    let owner = |words: &[&str]| {
        let mut command = command(dir.path(), words);
        command.env("RINGFORT_DATA", dir.path().join("data"));
        command
    };
    let code = ended(owner(&["claim-code"]));
    let log = server.log();
    let told = log.lines().find(|line| line.contains("open the page and enter the code")).unwrap();
    assert!(code.code == 0 && told.contains(code.out.trim()) && told.contains(&server.url().await), "{code:?} {told}");
    // Only its owner: a token that may do everything does not open it.
    let admin = server.client("ops", &["admin"]).await;
    assert_eq!(call(&admin, "GET", "/v1/claim-code", &[], "").await.problem(), (403, "forbidden".to_owned()));

    let mut add = owner(&["user", "add", "ann"]);
    let mut add = add.stdin(Stdio::piped()).spawn().unwrap();
    add.stdin.take().unwrap().write_all(b"tall ships at dawn\n").unwrap();
    assert!(add.wait().unwrap().success());
    let closed = ended(owner(&["claim-code"]));
    assert!(closed.code == 66 && closed.err.contains("has a user already"), "{closed:?}");
    assert_eq!(ended(owner(&["claim-code", "--json"])).json()["code"], serde_json::Value::Null);

    let link = ended(owner(&["user", "link", "ann", "--ttl", "1h"]));
    let path = link.out.trim().strip_prefix(&server.url().await).unwrap();
    assert!(path.starts_with("/sign-in/link/") && link.err.contains("once"), "{link:?}");
    assert_eq!(ended(owner(&["user", "link", "nobody"])).code, 66);
    assert_eq!(ended(owner(&["user", "link", "ann", "--ttl", "25h"])).code, 65);
    assert_eq!(ended(owner(&["user", "add", "kiosk", "--no-password", "--scope", "data"])).code, 0);
    let users = ended(owner(&["user", "ls", "--json"])).json();
    assert_eq!((&users["users"][0]["password"], &users["users"][1]["password"]), (&true.into(), &false.into()));
    assert!(!server.log().contains("tall ships"));
}

#[tokio::test]
async fn a_link_ends_with_its_user_and_with_a_new_password() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(dir.path()).await;
    let (node, owner) = (open.node.clone(), Caller::local());
    let add = async |scope| node.set_scopes(&owner, "bob", vec![scope]).await.unwrap();
    let link = async || node.make_link(&owner, "bob", Duration::from_secs(60)).await.unwrap().code;
    add(Scope::Data).await;
    let of_another_bob = link().await;
    node.remove_user(&owner, "bob").await.unwrap();
    add(Scope::Admin).await;
    assert!(matches!(node.use_link(of_another_bob.reveal(), None).await, Err(SignInError::WrongCode)));
    let before = link().await;
    node.set_password(&owner, "bob", secret("tall ships at dawn")).await.unwrap();
    assert!(matches!(node.use_link(before.reveal(), None).await, Err(SignInError::WrongCode)));
    assert!(node.use_link(link().await.reveal(), None).await.is_ok());
    assert!(node.set_password(&owner, "carl", secret("tall ships at dawn")).await.is_err());
    close(open).await;
}
