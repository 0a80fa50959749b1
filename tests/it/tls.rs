//! HTTPS as its users meet it: the first contact by a fingerprint, versions, names, who is refused, a new certificate
//! without a restart.

use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use http_body_util::BodyExt;
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::IsCa;
use rcgen::KeyPair;
use rustls::ClientConfig;
use rustls::ProtocolVersion;
use rustls::RootCertStore;
use rustls::SupportedProtocolVersion;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::version::TLS12;
use rustls::version::TLS13;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::BINARY;
use crate::support::Ended;
use crate::support::Node;
use crate::support::command;
use crate::support::ended;
use crate::support::eventually;
use crate::support::ringfort_in;
use crate::wire;

/// A network of its own with one address more, and then the program behind it.
const IN_A_NETWORK: [&str; 5] =
    ["unshare", "-n", "sh", "-c", "ip link set lo up && ip address add 10.9.8.7/32 dev lo && exec \"$0\" \"$@\""];
const URL: &str = "https://10.9.8.7:7480";

/// A program in the network of that node.
fn beside(node: &Node, dir: &Path, program: &str, words: &[&str]) -> Ended {
    let mut nsenter = Command::new("nsenter");
    for name in std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("RINGFORT_")) {
        nsenter.env_remove(name);
    }
    nsenter.args(["-n", "-t", &node.pid().to_string(), program]).args(words).current_dir(dir).stdin(Stdio::null());
    ended(nsenter)
}

fn good(ended: Ended) -> Ended {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended
}

fn fails(ended: &Ended, code: i32, says: &str) {
    assert!(ended.code == code && ended.err.contains(says), "{code}, {says}: {ended:?}");
}

#[tokio::test]
async fn a_stranger_pins_the_authority_by_its_fingerprint_and_then_puts_and_gets() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let node = Node::start_saying(&here.join("data"), &IN_A_NETWORK, &["--listen", "https://0.0.0.0:7480"]).await;
    assert_eq!(node.url().await, "https://0.0.0.0:7480");
    std::fs::write(here.join("token"), node.token("t", &["data"]).await).unwrap();
    let cli = |words: &[&str]| beside(&node, here, BINARY, words);

    // Said in the log and by the owner's command on the node's machine.
    let data = node.data.to_str().unwrap().to_owned();
    let mut local = command(here, &["ca", "--fingerprint"]);
    local.env("RINGFORT_DATA", &data);
    let fingerprint = good(ended(local)).out.trim().to_owned();
    assert!(fingerprint.starts_with("sha256:") && node.log().contains(&fingerprint), "{fingerprint}\n{}", node.log());

    // Without it, or with another one, nobody is trusted, and nothing is written.
    fails(&cli(&["kv", "ls", "b", "--url", URL, "--token-file", "token"]), 64, "ringfort ca fetch");
    let last = if fingerprint.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{last}", &fingerprint[..fingerprint.len() - 1]);
    let refused = cli(&["ca", "fetch", "--url", URL, "--fingerprint", &wrong, "-o", "ca.pem"]);
    fails(&refused, 77, "does not come from the authority with that fingerprint");
    assert!(!here.join("ca.pem").exists());
    fails(&cli(&["ca", "--url", URL, "fetch", "--fingerprint", "12"]), 64, "is not a fingerprint");
    fails(&cli(&["ca", "fetch", "--fingerprint", &fingerprint]), 64, "--url");

    good(cli(&["ca", "fetch", "--url", URL, "--fingerprint", &fingerprint, "-o", "ca.pem"]));
    let pem = std::fs::read_to_string(here.join("ca.pem")).unwrap();
    assert_eq!(pem, std::fs::read_to_string(node.data.join("identity/ca.pem")).unwrap());
    let pinned = ["--url", URL, "--token-file", "token", "--ca", "ca.pem"];
    good(cli(&[&["bucket", "create", "b"][..], &pinned].concat()));
    good(cli(&[&["kv", "put", "b", "k", "over TLS"][..], &pinned].concat()));
    assert_eq!(good(cli(&[&["kv", "get", "b", "k"][..], &pinned].concat())).out, "over TLS");
    assert_eq!(good(cli(&[&["ca", "show"][..], &pinned].concat())).out.trim(), pem.trim());

    // Another authority, another name, and no TLS at all.
    std::fs::write(here.join("other.pem"), Authority::new("Other").pem()).unwrap();
    let other = ["--url", URL, "--token-file", "token", "--ca", "other.pem", "kv", "get", "b", "k"];
    fails(&cli(&other), 77, "does not come from the authority in other.pem");
    let named = ["--url", "https://127.0.0.3:7480", "--token-file", "token", "--ca", "ca.pem", "kv", "get", "b", "k"];
    let refused = cli(&named);
    fails(&refused, 77, "is not made out for `127.0.0.3`");
    assert!(refused.err.contains("10.9.8.7") && refused.err.contains("`names`"), "{refused:?}");
    let plain = ["--url", "http://10.9.8.7:7480", "--token-file", "token", "kv", "get", "b", "k"];
    fails(&cli(&plain), 64, "write https:// in front");

    let curl = |words: &[&str]| beside(&node, here, "curl", &[&["-sS"], words].concat());
    let get = format!("{URL}/v1/kv/b/by-curl");
    let token = format!("Authorization: Bearer {}", std::fs::read_to_string(here.join("token")).unwrap());
    let put = ["--cacert", "ca.pem", "-H", &token, "-X", "PUT", "-d", "by curl", &get];
    assert!(good(curl(&put)).out.contains("\"synced\":true"));
    let secure = good(curl(&["--cacert", "ca.pem", "-H", &token, "-i", &get]));
    assert!(secure.out.contains("by curl") && secure.out.contains("strict-transport-security: max-age="), "{secure:?}");
    let version = "%{http_version}";
    assert_eq!(good(curl(&["--cacert", "ca.pem", "-H", &token, "-o", "/dev/null", "-w", version, &get])).out, "2");
    assert_eq!(curl(&["--cacert", "other.pem", "-H", &token, &get]).code, 60);
    assert_eq!(curl(&["--cacert", "ca.pem", "--tls-max", "1.1", &get]).code, 35);
    let plain = good(curl(&["-i", "http://10.9.8.7:7480/healthz"]));
    assert!(plain.out.starts_with("HTTP/1.1 400") && plain.out.contains("speaks HTTPS"), "{plain:?}");

    // An address that comes later is in the certificate soon, without a restart.
    good(beside(&node, here, "ip", &["address", "add", "10.9.8.6/32", "dev", "lo"]));
    wire::until("the new address is in the certificate", async || {
        curl(&["--cacert", "ca.pem", "https://10.9.8.6:7480/healthz"]).code == 0
    })
    .await;
}

/// An authority of a customer's.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for 127.0.0.1 and its key, as PEM text.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    roots
}

/// A handshake with 127.0.0.1 at this address.
async fn shake(
    url: &str,
    roots: RootCertStore,
    version: &'static SupportedProtocolVersion,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(url.strip_prefix("https://").unwrap()).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await
}

/// The certificate that is shown there.
async fn shown(url: &str, authority: &str) -> CertificateDer<'static> {
    let stream = shake(url, roots(authority), &TLS13, &["http/1.1"]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_the_right_authority_beside_a_certificate_of_another_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (right, other) = (Authority::new("Right"), Authority::new("Right"));
    let good_pair = right.issue();
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let fingerprint = ringfort::node::certificate::fingerprint(&der(&right.pem()));
    for (pair, code, says) in [
        (&other.issue(), 77, "does not come from the authority with that fingerprint"),
        // The same server with a certificate of its authority's is trusted, and then has no /v1/ca.
        (&good_pair, 69, "broke the connection"),
    ] {
        let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(pair.1.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der(&pair.0), der(&right.pem())], key)
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let shaken = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await.is_ok()
        });
        let (here, words) = (dir.path().to_owned(), [url, fingerprint.clone()]);
        let refused = tokio::task::spawn_blocking(move || {
            ringfort_in(&here, &["ca", "fetch", "--url", &words[0], "--fingerprint", &words[1], "-o", "ca.pem"])
        });
        fails(&refused.await.unwrap(), code, says);
        assert_eq!(shaken.await.unwrap(), code == 69);
        assert!(!dir.path().join("ca.pem").exists());
    }
}

/// A kept connection.
struct Kept(http1::SendRequest<Empty<Bytes>>);

impl Kept {
    async fn open(url: &str, authority: &str) -> Self {
        let stream = shake(url, roots(authority), &TLS13, &["http/1.1"]).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn answers(&mut self) -> bool {
        // Here the certificate says who we are, not the host's name.
        let request = Request::get("/healthz").header("host", "proxy.example").body(Empty::new()).unwrap();
        if self.0.ready().await.is_err() {
            return false;
        }
        let Ok(answer) = self.0.send_request(request).await else { return false };
        answer.status() == 200 && answer.into_body().collect().await.is_ok_and(|body| body.to_bytes() == "ok\n")
    }
}

#[tokio::test]
async fn both_versions_and_both_protocols_are_spoken_and_nothing_older() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_saying(&dir.path().join("data"), &[], &["--listen", "https://127.0.0.1:0"]).await;
    let url = node.url().await;
    let ca = std::fs::read_to_string(node.data.join("identity/ca.pem")).unwrap();
    for (version, says) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        for alpn in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
            let stream = shake(&url, roots(&ca), version, alpn).await.unwrap();
            let connection = stream.get_ref().1;
            assert_eq!(connection.protocol_version(), Some(says));
            assert_eq!(connection.alpn_protocol(), alpn.first().map(|name| name.as_bytes()));
        }
        assert!(shake(&url, roots(&ca), version, &["spdy/1"]).await.is_err());
    }
    assert!(shake(&url, roots(&Authority::new("Other").pem()), &TLS13, &[]).await.is_err());
    // A later start shows the same certificate: who has accepted it in a browser is not asked again.
    let before = shown(&url, &ca).await;
    let data = node.data.clone();
    let mut node = node;
    // Nor does who is in the middle of a handshake hold up a stop.
    let mut silent = TcpStream::connect(url.strip_prefix("https://").unwrap()).await.unwrap();
    let asked = std::time::Instant::now();
    assert!(node.stop().success());
    assert!(asked.elapsed().as_secs() < 8, "{:?}", asked.elapsed());
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
    drop(node);
    let node = Node::start_saying(&data, &[], &["--listen", "https://127.0.0.1:0"]).await;
    assert_eq!(shown(&node.url().await, &ca).await, before);
}

#[tokio::test]
async fn who_does_not_shake_hands_is_closed_in_time_and_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_saying(&dir.path().join("data"), &[], &["--listen", "https://127.0.0.1:0"]).await;
    let url = node.url().await;
    let ca = std::fs::read_to_string(node.data.join("identity/ca.pem")).unwrap();
    let address = url.strip_prefix("https://").unwrap();
    let mut silent = Vec::new();
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"].repeat(20) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        silent.push(stream);
    }
    let started = std::time::Instant::now();
    assert!(Kept::open(&url, &ca).await.answers().await);
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    // What is no TLS at all is told so, or closed, at once.
    for (sent, told) in
        [(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], true), (b"\x16\x03\x01\xff\xff garbage", false), (b"\0\0", true)]
    {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _closed = stream.read_to_end(&mut answer).await;
        assert_eq!(String::from_utf8_lossy(&answer).contains("speaks HTTPS"), told, "{answer:?}");
    }
    for mut stream in silent {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(crate::support::PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "a connection without a handshake stays open");
    }
}

/// A running node with a customer's certificate, by a configuration file.
struct Customer {
    node: Node,
    authority: Authority,
    dir: tempfile::TempDir,
    url: String,
}

impl Customer {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new("Customer");
        std::fs::write(dir.path().join("r.toml"), Self::config(dir.path(), "")).unwrap();
        write_pair(dir.path(), &authority.issue());
        let config = dir.path().join("r.toml");
        let words = ["--listen", "https://127.0.0.1:0", "--config", config.to_str().unwrap()];
        let node = Node::start_saying(&dir.path().join("data"), &[], &words).await;
        let url = node.url().await;
        Self { node, authority, dir, url }
    }

    fn config(dir: &Path, more: &str) -> String {
        let dir = dir.display();
        format!("tls_cert = \"{dir}/cert.pem\"\ntls_key = \"{dir}/key.pem\"\n{more}")
    }

    fn reload(&self) -> Ended {
        let mut reload = command(self.dir.path(), &["config", "reload"]);
        reload.env("RINGFORT_DATA", &self.node.data);
        ended(reload)
    }

    async fn shown(&self) -> CertificateDer<'static> {
        shown(&self.url, &self.authority.pem()).await
    }
}

fn write_pair(dir: &Path, (certificate, key): &(String, String)) {
    use std::os::unix::fs::PermissionsExt;
    for name in ["cert.pem", "key.pem"] {
        let _gone = std::fs::remove_file(dir.join(name));
    }
    std::fs::write(dir.join("cert.pem"), certificate).unwrap();
    std::fs::write(dir.join("key.pem"), key).unwrap();
    std::fs::set_permissions(dir.join("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn der(pair: &(String, String)) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap()
}

#[tokio::test]
async fn a_new_certificate_is_shown_at_once_and_no_request_fails() {
    let customer = Customer::start().await;
    let mut kept = Kept::open(&customer.url, &customer.authority.pem()).await;
    assert!(kept.answers().await);
    // Others come and go all the time.
    let (stop, failed, done) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let guests: Vec<_> = (0..4)
        .map(|_| {
            let (stop, failed, done) = (Arc::clone(&stop), Arc::clone(&failed), Arc::clone(&done));
            let (url, pem) = (customer.url.clone(), customer.authority.pem());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answers = Kept::open(&url, &pem).await.answers().await;
                    failed.fetch_add(usize::from(!answers), Ordering::Relaxed);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut last = customer.shown().await;
    for round in 0..5 {
        let next = customer.authority.issue();
        write_pair(customer.dir.path(), &next);
        assert_eq!(customer.shown().await, last, "files alone change nothing");
        let told = good(customer.reload());
        assert!(told.err.contains("new certificate"), "{told:?}");
        assert_eq!(customer.shown().await, der(&next), "round {round}");
        assert!(kept.answers().await, "a connection from before lives on");
        last = der(&next);
    }
    // By a signal to the supervisor too.
    let next = customer.authority.issue();
    write_pair(customer.dir.path(), &next);
    let supervisor = rustix::process::Pid::from_raw(customer.node.pid()).unwrap();
    rustix::process::kill_process(supervisor, rustix::process::Signal::HUP).unwrap();
    wire::until("the new certificate is shown", async || customer.shown().await == der(&next)).await;
    assert!(kept.answers().await);
    let worker = customer.node.status().await["worker_pid"].as_i64().unwrap();
    stop.store(true, Ordering::Relaxed);
    for guest in guests {
        guest.await.unwrap();
    }
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    assert!(done.load(Ordering::Relaxed) > 20, "{done:?}");
    assert!(wire::is_alive(worker as i32));

    // Nothing new is nothing changed.
    let told = good(customer.reload());
    assert!(told.err.contains("no value changed") && !told.err.contains("certificate"), "{told:?}");
}

#[tokio::test]
async fn a_reload_changes_what_can_change_and_says_what_needs_a_restart() {
    let customer = Customer::start().await;
    let path = customer.dir.path().join("r.toml");
    let more = "disk_reserve = \"300MiB\"\nlog = \"ringfort=trace\"\nname = \"other\"\nnames = \"a.example\"\n";
    std::fs::write(&path, Customer::config(customer.dir.path(), more)).unwrap();
    let told = good(customer.reload());
    assert!(told.err.contains("changed: names, disk_reserve, log"), "{told:?}");
    assert!(told.err.contains("needs a restart: name"), "{told:?}");
    assert_eq!(customer.node.status().await["disk"]["reserve"], 300 * 1024 * 1024);
    wire::until("the log says more", async || {
        Kept::open(&customer.url, &customer.authority.pem()).await.answers().await;
        customer.node.log().contains(" TRACE ringfort::node::worker")
    })
    .await;
    let view = customer.node.owner().ask(hyper::Method::GET, "/v1/config").await.map_err(|f| f.message).unwrap();
    let row = |key: &str| view["config"].as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
    assert_eq!(row("disk_reserve")["value"], "300MiB");
    assert_eq!(row("disk_reserve")["source"], format!("{}:3", path.display()));
    assert_eq!((&row("name")["value"], &row("name")["pending"]), (&json!(""), &json!("other")));
    assert_eq!((&row("listen")["source"], &row("listen")["live"]), (&json!("--listen"), &json!(false)));
    assert_eq!(
        (&view["certificate"]["origin"], &view["certificate"]["names"]),
        (&json!("file"), &json!(["127.0.0.1"]))
    );

    // Back to the node's own certificate, with the further name in it.
    std::fs::write(&path, "names = \"a.example\"\n").unwrap();
    good(customer.reload());
    let ca = std::fs::read_to_string(customer.node.data.join("identity/ca.pem")).unwrap();
    assert!(Kept::open(&customer.url, &ca).await.answers().await);
    let view = customer.node.owner().ask(hyper::Method::GET, "/v1/config").await.map_err(|f| f.message).unwrap();
    assert_eq!(view["certificate"]["origin"], "own");
    assert!(view["certificate"]["names"].as_array().unwrap().contains(&json!("a.example")), "{view}");
    assert!(view["authority"]["fingerprint"].as_str().unwrap().starts_with("sha256:"));
}

#[tokio::test]
async fn a_bad_configuration_or_certificate_is_refused_and_what_ran_runs_on() {
    let customer = Customer::start().await;
    let here = customer.dir.path();
    let before = customer.shown().await;
    let still = async || {
        assert_eq!(customer.shown().await, before);
        assert!(Kept::open(&customer.url, &customer.authority.pem()).await.answers().await);
    };
    std::fs::write(here.join("r.toml"), Customer::config(here, "disk_reserv = \"1GiB\"\n")).unwrap();
    let refused = customer.reload();
    fails(&refused, 65, "r.toml:3:1: `disk_reserv` is not a key; did you mean `disk_reserve`?");
    assert!(refused.err.contains("runs on"), "{refused:?}");
    still().await;
    // By a signal it is said in the log.
    let supervisor = rustix::process::Pid::from_raw(customer.node.pid()).unwrap();
    rustix::process::kill_process(supervisor, rustix::process::Signal::HUP).unwrap();
    wire::until("the log says why", async || customer.node.log().matches("r.toml:3:1").count() == 2).await;
    std::fs::write(here.join("r.toml"), Customer::config(here, "")).unwrap();
    // Swapped for those of another pair, one by one.
    let (certificate, key) = customer.authority.issue();
    std::fs::write(here.join("cert.pem"), certificate).unwrap();
    fails(&customer.reload(), 65, "key.pem is not the key of that certificate");
    still().await;
    std::fs::write(here.join("cert.pem"), "no certificate").unwrap();
    fails(&customer.reload(), 65, "cert.pem holds no certificate in PEM form");
    std::fs::remove_file(here.join("cert.pem")).unwrap();
    fails(&customer.reload(), 65, "cert.pem");
    still().await;
    assert_eq!(ringfort_in(here, &["config", "check", "--config", "r.toml"]).code, 78);
    // With its key it is taken.
    let next = customer.authority.issue();
    write_pair(here, &next);
    good(customer.reload());
    assert_eq!(customer.shown().await, der(&next));
    assert_eq!(ringfort_in(here, &["config", "check", "--config", "r.toml"]).code, 0);
    drop(key);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_cannot_be_read_for_a_while_is_an_alarm_for_that_while() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_saying(&dir.path().join("data"), &[], &["--listen", "https://127.0.0.1:0"]).await;
    let alarm = async || {
        let status = node.owner().ask(hyper::Method::GET, "/v1/status").await.ok()?;
        Some(status["alarms"].as_array()?.iter().find(|alarm| alarm["code"] == "config_refused").cloned())
    };
    assert_eq!(alarm().await, Some(None));
    let pem = node.data.join("identity/server.pem");
    let mode = |mode| std::fs::set_permissions(&pem, std::fs::Permissions::from_mode(mode)).unwrap();
    // Others could read the key: it is not used.
    mode(0o644);
    let told = eventually("it is told", async || alarm().await?).await;
    let cause = told["cause"].as_str().unwrap();
    assert!(cause.contains("the server certificate is not renewed") && cause.contains("server.pem"), "{told:#}");
    mode(0o600);
    eventually("it is over, though nothing else is shown than before", async || alarm().await?.is_none().then_some(()))
        .await;
}
