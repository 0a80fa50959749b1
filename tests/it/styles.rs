//! How the log looks on standard error: friendly and coloured on a terminal, with priorities and without a time of its own
//! under systemd, plain everywhere else. What would steer a terminal, or begin a line of somebody else's, is text in each.

use std::path::Path;

use ringfort::node::drill::CUT_FILE;
use ringfort::proto::logline::text::is_harmless;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::json;

use crate::support::Node;
use crate::support::call;
use crate::support::eventually;

/// Its path is logged, as an error.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n<0>2026-01-01T00:00:00.000Z ERROR forged\u{9b}31m\u{202e}";

/// Gives what it starts a terminal of its own, and passes on what is written there.
const TERMINAL: &str = "import pty, sys; pty.spawn(sys.argv[1:])";

/// The supervisor of a node that has left its process group. Gone when dropped.
struct Elsewhere(Option<Pid>);

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if let Some(supervisor) = self.0 {
            // Its worker goes with it.
            let _gone = kill_process(supervisor, Signal::KILL);
        }
    }
}

/// What a node writes that starts with a bad word in its environment and is asked for more than it has.
async fn written(dir: &Path, in_front: &[&str], journal: Option<&str>) -> String {
    let drill = dir.join(EVIL);
    let mut environment = vec![(CUT_FILE, drill.to_str().unwrap()), ("RINGFORT_PEER_LISTEN", "127.0.0.1:0")];
    environment.extend(journal.map(|journal| ("JOURNAL_STREAM", journal)));
    let node = Node::start_with(&dir.join("data"), in_front, &environment).await;
    let inside = call(&node.owner(), "GET", "/v1/members/1/inside", &[], "").await.json();
    let supervisor =
        inside["process"]["supervisor_pid"].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let _elsewhere = Elsewhere(supervisor.filter(|_| !in_front.is_empty()));
    let wish = json!({ "target": EVIL, "level": "info", "for": "1m" }).to_string();
    assert_eq!(call(&node.owner(), "POST", "/v1/log-level", &[], wish).await.status, 422);
    let made = call(&node.owner(), "PUT", "/v1/buckets/b", &[], json!({ "kind": "lww" }).to_string()).await;
    assert_eq!(made.status, 201);
    eventually("all of it is written", async || {
        let log = node.log();
        (log.contains("bucket made") && log.contains("a level is to be changed") && log.contains("forged"))
            .then_some(log)
    })
    .await
}

/// Whether each line is harmless, and what is foreign stands in it as text.
fn is_text(log: &str) {
    for line in log.lines() {
        assert!(line.chars().all(|c| is_harmless(c) || c == '\t'), "{line:?}");
    }
    assert!(log.contains("\\u{1b}[2J\\u{1b}]0;owned\\u{7}") && log.contains("\\u{9b}31m\\u{202e}"), "{log}");
}

/// An instant as lines begin with it.
fn begins_with_a_time(line: &str) -> bool {
    line.len() > 24 && line.is_char_boundary(24) && ringfort::base::time::parse_rfc3339(&line[..24]).is_some()
}

#[tokio::test]
async fn a_file_or_pipe_gets_plain_lines_each_with_its_time_and_level() {
    let dir = tempfile::tempdir().unwrap();
    let log = written(dir.path(), &[], None).await;
    is_text(&log);
    let levels = ["ERROR", " WARN", " INFO", "DEBUG", "TRACE"];
    for line in log.lines() {
        // What goes on behind a line break is behind four blanks.
        let whole = begins_with_a_time(line) && levels.contains(&&line[25..30]);
        assert!(whole || line.starts_with("    "), "{line}");
    }
    assert!(!log.contains('\u{1b}'));
}

#[tokio::test]
async fn systemd_gets_a_priority_with_each_line_and_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = written(dir.path(), &[], Some("8:12345")).await;
    is_text(&log);
    for line in log.lines() {
        let (priority, rest) = line.strip_prefix('<').and_then(|line| line.split_once('>')).unwrap_or_default();
        assert!(["3", "4", "6", "7"].contains(&priority), "{line}");
        assert!(!begins_with_a_time(rest) && !rest.starts_with('<'), "{line}");
    }
    let priority = |said: &str| log.lines().find(|line| line.contains(said)).and_then(|line| line.get(..3));
    assert_eq!(priority("lanes to other nodes are cut"), Some("<3>"), "{log}");
    assert_eq!(priority("bucket made"), Some("<6>"), "{log}");
}

#[tokio::test]
async fn a_terminal_gets_colours_and_nothing_else_that_steers_it() {
    let dir = tempfile::tempdir().unwrap();
    // It wins over systemd's variable, which everything that is started from there inherits.
    let log = written(dir.path(), &["python3", "-c", TERMINAL], Some("8:12345")).await;
    for (colour, level) in [("31", "ERROR"), ("32", " INFO")] {
        assert!(log.contains(&format!("\u{1b}[{colour}m{level}\u{1b}[0m ")), "{level}: {log:?}");
    }
    let line = log.lines().find(|line| line.contains("bucket made")).unwrap();
    assert!(line.starts_with("\u{1b}[2m2") && line.contains("Z\u{1b}[0m "), "the time is dim: {line:?}");
    let mut rest = log.replace("\r\n", "\n");
    for ours in ["\u{1b}[2m", "\u{1b}[0m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[34m", "\u{1b}[35m"] {
        rest = rest.replace(ours, "");
    }
    is_text(&rest);
}
