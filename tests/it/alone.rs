//! The binary needs nothing but a kernel: it is static, and runs in an empty root without a network.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use crate::support::BINARY;
use crate::support::spawn_logged;
use crate::wire;

/// A little-endian number in an ELF file.
fn number(bytes: &[u8], at: usize, len: usize) -> usize {
    bytes[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// Types of an ELF file's program headers, and types and sizes of its sections.
fn elf(bytes: &[u8]) -> (Vec<usize>, Vec<(usize, usize)>) {
    assert_eq!(&bytes[..6], b"\x7fELF\x02\x01", "64 bits, little-endian");
    let table = |offset, size, count| {
        let (offset, size, count) = (number(bytes, offset, 8), number(bytes, size, 2), number(bytes, count, 2));
        (0..count).map(move |n| offset + n * size)
    };
    let segments = table(0x20, 0x36, 0x38).map(|at| number(bytes, at, 4)).collect();
    let sections = table(0x28, 0x3A, 0x3C).map(|at| (number(bytes, at + 4, 4), number(bytes, at + 0x20, 8))).collect();
    (segments, sections)
}

#[test]
fn the_binary_is_static_and_knows_its_functions_names() {
    const PT_DYNAMIC: usize = 2;
    const PT_INTERP: usize = 3;
    const SHT_SYMTAB: usize = 2;
    let (segments, sections) = elf(&std::fs::read(BINARY).unwrap());
    assert!(!segments.is_empty() && !segments.contains(&PT_DYNAMIC) && !segments.contains(&PT_INTERP), "{segments:?}");
    let symbols = sections.iter().find(|(kind, _)| *kind == SHT_SYMTAB);
    assert!(symbols.is_some_and(|(_, size)| *size > 100_000), "without symbols a backtrace has no names: {sections:?}");
}

/// A node alone in an empty root and a network namespace with nothing but loopback.
struct Jail {
    root: PathBuf,
    node: Child,
}

impl Jail {
    fn start(root: &Path) -> Self {
        std::fs::create_dir_all(root.join("data")).unwrap();
        std::fs::copy(BINARY, root.join("ringfort")).unwrap();
        let mut node = Command::new("unshare");
        node.args(["-n", "sh", "-c", "ip link set lo up && exec chroot \"$0\" /ringfort run --data /data"])
            .arg(root)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap());
        Self { root: root.to_owned(), node: spawn_logged(node, &root.with_extension("log")) }
    }

    /// The command line in the same jail.
    fn command(&self, words: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-n", "-t", &self.node.id().to_string(), "chroot"])
            .arg(&self.root)
            .arg("/ringfort")
            .args(words)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("RINGFORT_DATA", "/data")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn is_up(&self) -> bool {
        self.command(&["status"], &[]).output().unwrap().status.success()
    }

    fn answer(&self, words: &[&str], environment: &[(&str, &str)]) -> String {
        let output = self.command(words, environment).output().unwrap();
        let log = std::fs::read_to_string(self.root.with_extension("log")).unwrap_or_default();
        assert!(output.status.success(), "{words:?}: {}\n{log}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_raw(i32::try_from(self.node.id()).unwrap()).unwrap();
        let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _reaped = self.node.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_an_empty_root_without_a_network_it_starts_stores_reads_and_hashes_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let mut jail = Jail::start(&root);
    wire::until("the node in the jail answers", async || jail.is_up()).await;
    let entries: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries.len(), 2, "only the binary and its data: {entries:?}");
    jail.answer(&["bucket", "create", "k"], &[]);
    jail.answer(&["kv", "put", "k", "a", "stored alone"], &[]);
    assert_eq!(jail.answer(&["kv", "get", "k", "a"], &[]), "stored alone");
    let mut add = jail.command(&["user", "add", "alice"], &[]).stdin(Stdio::piped()).spawn().unwrap();
    add.stdin.take().unwrap().write_all(b"correct horse battery\n").unwrap();
    let added = add.wait_with_output().unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    assert!(jail.answer(&["user", "ls"], &[]).contains("alice"));
    let made: serde_json::Value =
        serde_json::from_str(&jail.answer(&["--json", "token", "create", "t", "--scope", "data"], &[])).unwrap();
    let token = made["token"].as_str().unwrap();
    // Over TCP on loopback, by name and by number.
    for url in ["http://127.0.0.1:7480", "http://localhost:7480"] {
        let environment = [("RINGFORT_URL", url), ("RINGFORT_TOKEN", token)];
        assert_eq!(jail.answer(&["kv", "get", "k", "a"], &environment), "stored alone", "{url}");
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(jail.node.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(jail.node.wait().unwrap().success());
    jail = Jail::start(&root);
    wire::until("the node answers again", async || jail.is_up()).await;
    assert_eq!(jail.answer(&["kv", "get", "k", "a"], &[]), "stored alone");
}
