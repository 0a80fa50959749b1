//! Files that TLS and the configuration are made of, as careless or hostile hands leave them: each is refused or mended,
//! with a sentence.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::KeyPair;

use crate::support::Ended;
use crate::support::Node;
use crate::support::command;
use crate::support::ended;
use crate::support::ringfort_in;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A certificate and key that are good from `from` days on until `until`.
pub fn write_pair(dir: &Path, from: i64, until: i64) {
    let day = |days: i64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now.as_secs().saturating_add_signed(days * 86_400))
    };
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (day(from), day(until));
    for name in ["cert.pem", "key.pem"] {
        let _gone = std::fs::remove_file(dir.join(name)).or_else(|_| std::fs::remove_dir(dir.join(name)));
    }
    std::fs::write(dir.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    chmod(&dir.join("key.pem"), 0o600);
}

#[test]
fn a_certificate_or_key_that_is_not_what_it_should_be_is_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    std::fs::write(
        here.join("r.toml"),
        "listen = \"https://127.0.0.1:7480\"\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n",
    )
    .unwrap();
    let check = || ringfort_in(here, &["config", "check", "--config", "r.toml"]);
    let (cert, key) = (here.join("cert.pem"), here.join("key.pem"));
    write_pair(here, -1, 300);
    assert_eq!(check().code, 0, "{:?}", check());

    let refused = |says: &str| {
        let ended = check();
        assert!(ended.code == 78 && ended.err.contains(says), "{says}: {ended:?}");
        ended
    };
    for (what, spoil) in [
        ("can be read by other users", &(|| chmod(&key, 0o644)) as &dyn Fn()),
        ("can be changed by other users", &|| chmod(&key, 0o620)),
        ("can be changed by other users", &|| chmod(&cert, 0o666)),
        ("is a symbolic link", &|| {
            std::fs::rename(&key, here.join("real.pem")).unwrap();
            std::os::unix::fs::symlink("real.pem", &key).unwrap();
        }),
        ("is a pipe, socket or device", &|| {
            std::fs::remove_file(&cert).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, &cert, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }),
        ("is a directory", &|| {
            std::fs::remove_file(&cert).unwrap();
            std::fs::create_dir(&cert).unwrap();
        }),
        ("No such file", &|| std::fs::remove_file(&cert).unwrap()),
        ("has more than", &|| std::fs::write(&cert, vec![b'-'; 1_000_000]).unwrap()),
        ("holds no certificate", &|| std::fs::write(&cert, "").unwrap()),
        ("holds no private key", &|| {
            std::fs::write(&key, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n")
                .unwrap()
        }),
        ("is not PEM text", &|| {
            std::fs::write(&cert, "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n").unwrap()
        }),
        ("cannot be read", &|| {
            std::fs::write(&cert, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap()
        }),
        ("is not the key of that certificate", &|| {
            std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap()
        }),
        ("is out of date since", &|| write_pair(here, -30, -1)),
        ("is valid from", &|| write_pair(here, 2, 30)),
    ] {
        write_pair(here, -1, 300);
        spoil();
        refused(what);
    }
    // Kernel files and devices, wherever they are named; a node that is told to run does not start.
    for (path, says) in [("/dev/zero", "is a pipe, socket or device"), ("/proc/self/environ", "a file of the kernel's")]
    {
        write_pair(here, -1, 300);
        let config = format!("listen = \"https://127.0.0.1:7480\"\ntls_cert = \"{path}\"\ntls_key = \"key.pem\"\n");
        std::fs::write(here.join("r.toml"), config).unwrap();
        refused(says);
        let run = ringfort_in(here, &["run", "--config", "r.toml", "--data", "d"]);
        assert!(run.code == 78 && run.err.contains(says) && run.err.contains("nothing was started"), "{run:?}");
    }
    // Good, but not for long.
    write_pair(here, -1, 20);
    std::fs::write(here.join("r.toml"), "tls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n").unwrap();
    let soon = check();
    assert!(soon.code == 4 && soon.err.contains("is valid until"), "{soon:?}");
}

#[test]
fn a_key_may_come_as_a_credential_of_the_service_manager() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    write_pair(here, -1, 300);
    std::fs::create_dir(here.join("credentials")).unwrap();
    std::fs::rename(here.join("key.pem"), here.join("credentials/tls.key")).unwrap();
    std::fs::write(here.join("r.toml"), "tls_cert = \"cert.pem\"\ntls_key = \"credential:tls.key\"\n").unwrap();
    let check = |directory: Option<&str>| {
        let mut command = command(here, &["config", "check", "--config", "r.toml"]);
        command.env_remove("CREDENTIALS_DIRECTORY");
        if let Some(directory) = directory {
            command.env("CREDENTIALS_DIRECTORY", here.join(directory));
        }
        ended(command)
    };
    assert_eq!(check(Some("credentials")).code, 0);
    let none = check(None);
    assert!(
        none.code == 78 && none.err.contains("r.toml:2") && none.err.contains("LoadCredential=tls.key"),
        "{none:?}"
    );
    assert_eq!(check(Some("elsewhere")).code, 78);
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place_and_what_would_do() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let refused = |text: &[u8], place: &str, says: &str| {
        std::fs::write(here.join("r.toml"), text).unwrap();
        for words in [&["config", "check", "--config", "r.toml"][..], &["run", "--config", "r.toml", "--data", "never"]]
        {
            let ended = ringfort_in(here, words);
            assert!(ended.code == 78 && ended.err.contains(says), "{says}: {ended:?}");
            assert!(ended.err.contains(&format!("r.toml:{place}")), "{place}: {ended:?}");
            assert!(!here.join("never").exists());
        }
    };
    let cases: [(&[u8], &str, &str); 22] = [
        (b"# one\n\n  lsiten = \"x\"\n", "3:3: ", "did you mean `listen`?"),
        (b"\tlsiten = \"x\"\n", "1:2: ", "did you mean `listen`?"),
        (b"log = \"info\"\nlog = \"warn\"\n", "2:1: ", "duplicate key"),
        (b"tls: off\n", "1:6: ", "expected `=`"),
        (b"tls = \"off\"\n", "1:1: ", "`tls` is not a key"),
        (b"[tls]\ncert = \"x\"\n", "1:2: ", "`tls` is not a key"),
        (b"listen = \"http://127.0.0.1:0\"\n", "1:1: ", "port 0"),
        (b"listen = \"http://127.0.0.1:65536\"\n", "1:1: ", "is not an address"),
        (b"listen = \"http://0.0.0.0:7480\"\n", "1:1: ", "write https://0.0.0.0:7480"),
        (b"listen = \"127.0.0.1:7480\"\n", "1:1: ", "does not say how it is spoken to"),
        (b"listen = 7480\n", "1:1: ", "must be text in quotes"),
        (b"listen = \"\"\n", "1:1: ", "at least one address"),
        (b"listen = [\"http://127.0.0.1:1\", 5]\n", "1:1: ", "must be text in quotes"),
        (b"disk_reserve = \"256\"\n", "1:1: ", "is not a size"),
        (b"disk_reserve = \"-1GiB\"\n", "1:1: ", "is not a size"),
        (b"disk_reserve = \"99999999999999999GiB\"\n", "1:1: ", "is not a size"),
        (b"log = \"verbose\"\n", "1:1: ", "`verbose` is not a level"),
        (b"names = \"a.example, b c\"\n", "1:1: ", "no host name and no address"),
        (b"log = \"info\"\ntls_cert = \"/a.pem\"\n", "2: ", "`tls_cert` needs `tls_key` beside it"),
        (b"tls_key = \"/a.pem\"\n", "1: ", "`tls_key` needs `tls_cert` beside it"),
        (b"log = \"info\"\nname = \"\xff\"\n", "2:9: ", "is not UTF-8 text"),
        (b"name = \"a\n", "1:", ""),
    ];
    for (text, place, says) in cases {
        refused(text, place, says);
    }
    let large = [b"# ".to_vec(), vec![b'x'; 1_000_000]].concat();
    std::fs::write(here.join("r.toml"), large).unwrap();
    let ended = ringfort_in(here, &["config", "check", "--config", "r.toml"]);
    assert!(ended.code == 78 && ended.err.contains("has more than"), "{ended:?}");
    for path in [".", "none.toml", "/dev/zero", "/proc/self/status"] {
        let ended = ringfort_in(here, &["config", "check", "--config", path]);
        assert!(ended.code == 78 && ended.err.contains("cannot be read"), "{path}: {ended:?}");
    }
    // Others could have it say anything.
    std::fs::write(here.join("r.toml"), "log = \"info\"\n").unwrap();
    chmod(&here.join("r.toml"), 0o666);
    let open = ringfort_in(here, &["config", "check", "--config", "r.toml"]);
    assert!(open.code == 78 && open.err.contains("can be changed by other users"), "{open:?}");
    // It may be linked, and others may read it: no secret is in it.
    chmod(&here.join("r.toml"), 0o644);
    std::os::unix::fs::symlink("r.toml", here.join("link.toml")).unwrap();
    assert_eq!(ringfort_in(here, &["config", "check", "--config", "link.toml"]).code, 0);
}

#[test]
fn variables_that_are_no_text_are_an_error_where_they_are_ours_and_nothing_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let with = |name: &str, words: &[&str]| -> Ended {
        let mut command = command(dir.path(), words);
        command.env(name, OsStr::from_bytes(b"\xff"));
        ended(command)
    };
    let show = ["config", "show"];
    assert_eq!(with("SOMEBODY_ELSES", &show).code, 0, "{:?}", with("SOMEBODY_ELSES", &show));
    let ours = with("RINGFORT_NAME", &show);
    assert!(ours.code == 78 && ours.err.contains("RINGFORT_NAME: is not UTF-8 text"), "{ours:?}");
    let url = with("RINGFORT_URL", &["status"]);
    assert!(url.code == 64 && url.err.contains("RINGFORT_URL is not UTF-8 text"), "{url:?}");
    // One nobody knows is worth a word.
    let odd = with("RINGFORT_LISTN", &["config", "check"]);
    assert!(odd.code == 4 && odd.err.contains("did you mean `listen`?"), "{odd:?}");
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let secret = "s3cret";
    let with_user = format!("http://ann:{secret}@127.0.0.1:7480");
    let with_query = format!("http://127.0.0.1:7480/?token={secret}");
    for words in [
        &["status", "--token", secret][..],
        &["--token", secret, "kv", "ls", "b"],
        &["user", "add", "ann", "--password", secret],
        &["status", "--url", &with_user],
        &["status", "--url", &with_query],
        &["import", "b", "-", "--url", &with_user],
        &["ca", "fetch", "--fingerprint", &"ab".repeat(32), "--url", &with_user],
    ] {
        let ended = ringfort_in(dir.path(), words);
        assert_eq!(ended.code, 64, "{words:?}: {ended:?}");
        assert!(!ended.err.contains(secret) && !ended.out.contains(secret), "{words:?}: {ended:?}");
        assert!(ended.err.contains("nothing was sent"), "{words:?}: {ended:?}");
    }
    let mut by_variable = command(dir.path(), &["status"]);
    by_variable.env("RINGFORT_URL", &with_user);
    let by_variable = ended(by_variable);
    assert!(by_variable.code == 64 && !by_variable.err.contains(secret), "{by_variable:?}");
}

#[tokio::test]
async fn a_token_comes_from_a_file_a_credential_or_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let node = Node::start(&here.join("data")).await;
    let url = node.url().await;
    std::fs::write(here.join("token"), node.token("t", &["admin"]).await + "\n").unwrap();
    chmod(&here.join("token"), 0o600);
    let list = |file: &str| {
        let mut command = command(here, &["token", "ls", "--url", &url, "--token-file", file]);
        command.env("CREDENTIALS_DIRECTORY", here).stdin(std::fs::File::open(here.join("token")).unwrap());
        ended(command)
    };
    for good in ["token", "-", "credential:token"] {
        let listed = list(good);
        assert!(listed.code == 0 && listed.err.is_empty(), "{good}: {listed:?}");
    }
    std::fs::write(here.join("empty"), "\n").unwrap();
    std::fs::write(here.join("binary"), b"\xff\xfe").unwrap();
    for (bad, code) in
        [("empty", 65), ("binary", 65), ("/dev/zero", 65), ("credential:none", 66), ("credential:../token", 66)]
    {
        assert_eq!(list(bad).code, code, "{bad}: {:?}", list(bad));
    }
    let password = |file| {
        ringfort_in(here, &["user", "add", "a", "--password-file", file, "--url", &url, "--token-file", "token"])
    };
    assert_eq!((password("empty").code, password("/dev/zero").code, password("none").code), (65, 65, 66));
    chmod(&here.join("token"), 0o644);
    let open = list("token");
    assert!(open.code == 0 && open.err.contains("chmod 600 token"), "{open:?}");
}

#[tokio::test]
async fn an_identity_that_others_can_read_is_closed_and_one_of_another_user_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let listen = ["--listen", "https://127.0.0.1:0"];
    let node = Node::start_saying(&data, &[], &listen).await;
    for file in ["ca.key", "node.key", "server.pem", "node.json"] {
        assert_eq!(mode(&data.join("identity").join(file)), 0o600, "{file}");
    }
    drop(node);
    // The authority is known on this machine also while the node is down.
    let mut ca = command(dir.path(), &["ca"]);
    ca.env("RINGFORT_DATA", &data);
    let (shown, kept) = (ended(ca), std::fs::read_to_string(data.join("identity/ca.pem")).unwrap());
    assert!(shown.code == 0 && shown.out.trim() == kept.trim(), "{shown:?}");
    assert_eq!(ringfort_in(dir.path(), &["ca"]).code, 69);
    let key = data.join("identity/ca.key");
    chmod(&key, 0o644);
    chmod(&data, 0o755);
    let node = Node::start_saying(&data, &[], &listen).await;
    assert_eq!((mode(&key), mode(&data)), (0o600, 0o700));
    let log = node.log();
    assert!(log.contains("ca.key") && log.contains("closed to them now"), "{log}");
    drop(node);
    rustix::fs::chown(&data, Some(rustix::process::Uid::from_raw(12_345)), None).unwrap();
    let run = ringfort_in(dir.path(), &["run", "--data", "data", "--listen", "http://127.0.0.1:0"]);
    assert!(run.code == 77 && run.err.contains("belongs to user 12345"), "{run:?}");
    assert!(run.err.contains("nothing was changed"), "{run:?}");
}

#[tokio::test]
async fn the_nodes_own_certificate_is_renewed_when_it_ends_soon_and_made_anew_when_it_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (listen, server) = (["--listen", "https://127.0.0.1:0"], data.join("identity/server.pem"));
    let fingerprint = async |node: &Node| {
        let view = node.owner().ask(hyper::Method::GET, "/v1/config").await.map_err(|f| f.message).unwrap();
        view["certificate"].clone()
    };
    let node = Node::start_saying(&data, &[], &listen).await;
    let first = fingerprint(&node).await;
    let cluster = node.status().await["cluster"].as_str().unwrap().to_owned();
    drop(node);

    // The same names by the same authority, but only for ten more days.
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.distinguished_name.push(DnType::CommonName, format!("Ringfort cluster {cluster}"));
    let ca_key = KeyPair::from_pem(&std::fs::read_to_string(data.join("identity/ca.key")).unwrap()).unwrap();
    let names: Vec<String> = serde_json::from_value(first["names"].clone()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    let write = |mut params: CertificateParams, days: u64| {
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + Duration::from_secs(days * 86_400);
        let certificate = params.signed_by(&key, &rcgen::Issuer::from_params(&ca, &ca_key)).unwrap();
        let ca_pem = std::fs::read_to_string(data.join("identity/ca.pem")).unwrap();
        std::fs::write(&server, key.serialize_pem() + &certificate.pem() + &ca_pem).unwrap();
    };
    // The test's own work is good: one that lasts is kept.
    write(params.clone(), 300);
    let node = Node::start_saying(&data, &[], &listen).await;
    let kept = fingerprint(&node).await;
    assert_eq!(kept["not_before_ms"], 1_577_836_800_000_u64);
    drop(node);
    write(params, 10);
    let node = Node::start_saying(&data, &[], &listen).await;
    let renewed = fingerprint(&node).await;
    let days = (renewed["not_after_ms"].as_u64().unwrap() - u64::try_from(now.as_millis()).unwrap()) / 86_400_000;
    assert!((395..=397).contains(&days) && renewed["names"] == first["names"], "{renewed}");
    drop(node);

    for damaged in ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&server, damaged).unwrap();
        let node = Node::start_saying(&data, &[], &listen).await;
        assert_eq!(fingerprint(&node).await["names"], first["names"]);
    }
    // While it runs, too.
    let node = Node::start_saying(&data, &[], &listen).await;
    let before = fingerprint(&node).await;
    std::fs::remove_file(&server).unwrap();
    crate::wire::until("another certificate is shown", async || {
        fingerprint(&node).await["fingerprint"] != before["fingerprint"]
    })
    .await;
}

#[tokio::test]
async fn a_node_that_cannot_issue_a_certificate_shows_the_one_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let config = dir.path().join("r.toml");
    std::fs::write(&config, "").unwrap();
    let words = ["--listen", "https://127.0.0.1:0", "--config", config.to_str().unwrap()];
    let certificate = async |node: &Node| {
        let view = node.owner().ask(hyper::Method::GET, "/v1/config").await.map_err(|f| f.message).unwrap();
        view["certificate"].clone()
    };
    let node = Node::start_saying(&data, &[], &words).await;
    let before = certificate(&node).await;
    drop(node);
    std::fs::remove_file(data.join("identity/ca.key")).unwrap();
    std::fs::write(&config, "names = \"b.example\"\n").unwrap();
    let node = Node::start_saying(&data, &[], &words).await;
    assert_eq!(certificate(&node).await, before);
    assert!(node.log().contains("ca.key") && node.log().contains("the one of before is shown"), "{}", node.log());
    drop(node);
    std::fs::remove_file(data.join("identity/server.pem")).unwrap();
    let run = ringfort_in(dir.path(), &["run", "--data", "data", "--listen", "https://127.0.0.1:0"]);
    assert!(run.code == 78 && run.err.contains("ca.key") && run.err.contains("nothing was started"), "{run:?}");
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_an_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let config = here.join("r.toml");
    let text = format!("tls_cert = \"{0}/cert.pem\"\ntls_key = \"{0}/key.pem\"\n", here.display());
    std::fs::write(&config, text).unwrap();
    let words = ["--listen", "https://127.0.0.1:0", "--config", config.to_str().unwrap()];
    for (days, alarms) in [(20, 1), (40, 0)] {
        write_pair(here, -1, days);
        let node = Node::start_saying(&here.join("data"), &[], &words).await;
        let status = node.status().await;
        let raised = status["alarms"].as_array().unwrap();
        assert_eq!(raised.iter().filter(|alarm| alarm["code"] == "certificate_ends").count(), alarms, "{status}");
        assert_eq!(node.log().contains("is valid until"), alarms == 1);
        std::fs::remove_file(here.join("data.log")).unwrap();
    }
}
