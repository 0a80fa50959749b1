//! How a node is inside: its process, its threads, its tasks and how busy each was in the last minute, its files, its disk, and
//! the configuration in force; of any node, from any node. Looking costs some reads of `/proc`, so it is done on a thread
//! that may wait, and once a second at most, however many look.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use serde::Deserialize;
use serde::Serialize;

use crate::base::codec::Blob;
use crate::base::id::NodeId;
use crate::base::limits::INSIDE_BYTES_MAX;
use crate::base::limits::INSIDE_FILES_MAX;
use crate::base::limits::INSIDE_FRESH;
use crate::base::open_files;
use crate::base::tasks;
use crate::base::tasks::Looked;
use crate::base::time;
use crate::node::Node;
use crate::node::askers::AskerView;
use crate::node::debug::machine;
use crate::node::worker;
use crate::proto::diagnosis::Found;
use crate::proto::diagnosis::Wish;

/// How a node is inside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inside {
    /// The node.
    pub node: u64,
    /// Its name.
    pub name: String,
    /// What it runs.
    pub release: String,
    /// When it looked.
    pub at: String,
    /// Its process.
    pub process: ProcessView,
    /// Seconds in which tasks and threads were how busy; 0 when it has just begun.
    pub window_s: u64,
    /// The busiest first.
    pub threads: Vec<ThreadView>,
    /// The busiest first.
    pub tasks: Vec<TaskView>,
    /// Who asked most for values in the last minute; nobody where all together asked little.
    #[serde(default)]
    pub askers: Vec<AskerView>,
    /// What it stores.
    pub disk: DiskView,
    /// Every key of the configuration. None of them holds a secret.
    pub config: Vec<ConfigLine>,
}

/// A process. What the kernel does not tell is null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessView {
    /// The one that serves.
    pub pid: u32,
    /// The one that started it, and starts it again.
    pub supervisor_pid: Option<u32>,
    /// Seconds since it began.
    pub uptime_s: u64,
    /// Bytes in memory.
    pub memory: Option<u64>,
    /// The most there ever were.
    pub memory_peak: Option<u64>,
    /// How many it may have.
    pub memory_limit: Option<u64>,
    /// What the machine has left.
    pub machine_free: Option<u64>,
    /// Files that are open, of all kinds.
    pub open_files: u64,
    /// How many may be.
    pub open_files_max: u64,
    /// Of those that are open, sockets.
    pub sockets: u64,
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreadView {
    /// Its name; those of the runtime have one in common.
    pub name: String,
    /// How many have it.
    pub count: u64,
    /// What the kernel says they do: `running`, `sleeping`, `waits for a disk`, `stopped`.
    pub state: String,
    /// Milliseconds of a processor that they have had.
    pub cpu_ms: u64,
}

/// Tasks of one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskView {
    /// The name.
    pub name: String,
    /// `kept`: begun again when it fails; `vital`: the process ends; `once` and `blocking`: over, as it would be anyway.
    pub kind: String,
    /// How many run.
    pub running: u64,
    /// How many were begun.
    pub begun: u64,
    /// How many failed.
    pub failed: u64,
    /// How often one was begun again.
    pub begun_again: u64,
    /// Of what is kept or vital, since when it runs.
    pub since: Option<String>,
    /// When the last one failed,
    pub failed_at: Option<String>,
    /// and how.
    pub failure: Option<String>,
    /// Milliseconds that they kept threads busy.
    pub busy_ms: u64,
    /// Percent of one processor in the window.
    pub busy_percent: f64,
    /// The longest turn in milliseconds: so long nobody else had its thread.
    pub longest_ms: f64,
}

/// What is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskView {
    /// The data directory.
    pub path: String,
    /// Bytes that are free there.
    pub free: Option<u64>,
    /// Bytes that there are.
    pub total: Option<u64>,
    /// Bytes in each part of the directory.
    pub parts: Vec<(String, u64)>,
}

/// One key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigLine {
    /// Its name.
    pub key: String,
    /// In force.
    pub value: String,
    /// Where that came from.
    pub source: String,
    /// What was read since and waits for a restart.
    pub pending: Option<String>,
}

/// Parts of the data directory whose size is told.
const PARTS: [&str; 6] = ["journal", "index", "control", "blackbox", "crashes", "bundles"];

/// What was seen last, for those who watch.
#[derive(Default)]
pub struct Watched(Mutex<BTreeMap<NodeId, Seen>>);

#[derive(Clone)]
struct Seen {
    at: Instant,
    inside: Option<Arc<Inside>>,
    why: Option<&'static str>,
    is_asked: bool,
}

impl Node {
    /// How a node is inside, this one or another.
    ///
    /// # Errors
    /// Why it cannot be said, for people.
    pub async fn inside_of(&self, node: NodeId) -> Result<Arc<Inside>, &'static str> {
        let Found::Inside(Blob(found)) = self.ask_one(node, &Wish::Inside).await? else {
            return Err("it does not say so; it may be of another release");
        };
        if found.len() > INSIDE_BYTES_MAX {
            return Err("it says more than there is to say");
        }
        let inside = serde_json::from_slice(&found).map_err(|_not_ours| "its answer is not understood")?;
        Ok(Arc::new(inside))
    }

    /// What was seen last of a node, at once; it is looked at again where that is old. For pages that somebody watches.
    pub fn inside_lately(&self, node: NodeId) -> (Option<Arc<Inside>>, Option<&'static str>) {
        let mut seen = self.0.insides.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Only of those that are here: who is gone is forgotten.
        let state = self.state();
        seen.retain(|node, _| state.members.contains_key(node));
        if !state.members.contains_key(&node) {
            return (None, Some("there is no such machine"));
        }
        let now = time::mono();
        let known = seen.entry(node).or_insert(Seen { at: now, inside: None, why: None, is_asked: false });
        let is_fresh = known.inside.is_some() && now.duration_since(known.at) < INSIDE_FRESH;
        if !is_fresh && !known.is_asked {
            known.is_asked = true;
            worker::spawn("looking inside", self.clone().look_again(node));
        }
        (known.inside.clone(), known.why)
    }

    async fn look_again(self, node: NodeId) {
        let looked = self.inside_of(node).await;
        self.note_inside(node, &looked);
    }

    /// Keeps what was seen, for those who watch.
    pub fn note_inside(&self, node: NodeId, looked: &Result<Arc<Inside>, &'static str>) {
        let mut seen = self.0.insides.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.remove(&node).and_then(|seen| seen.inside);
        let (inside, why) = match looked {
            Ok(inside) => (Some(Arc::clone(inside)), None),
            // What it was like before it went is worth more than nothing.
            Err(why) => (before, Some(*why)),
        };
        seen.insert(node, Seen { at: time::mono(), inside, why, is_asked: false });
    }

    /// How this node is inside, as it is told to others.
    pub(super) async fn tell_inside(&self) -> Found {
        let node = self.clone();
        let looked = worker::block("looking inside itself", move || Ok(node.look_inside())).await;
        let json = looked.ok().and_then(|inside| serde_json::to_vec(&inside).ok());
        json.map_or(Found::Nothing, |json| Found::Inside(Blob(json.into())))
    }

    fn look_inside(&self) -> Inside {
        let who = self.who();
        let (tasks, window) = tasks();
        let settings = self.settings();
        let config = settings.config.iter().map(|entry| ConfigLine {
            key: entry.key.to_owned(),
            value: entry.value.clone(),
            source: entry.source.clone(),
            pending: entry.pending.clone(),
        });
        Inside {
            node: who.node.0,
            name: who.name.clone(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            at: time::rfc3339(time::wall_ms()),
            process: process(self.0.started),
            window_s: window.as_secs(),
            threads: threads(),
            tasks,
            askers: self.askers(),
            disk: self.disk_inside(),
            config: config.collect(),
        }
    }

    fn disk_inside(&self) -> DiskView {
        let (dir, space) = (&self.0.data_dir, self.space());
        let parts = PARTS.iter().map(|part| ((*part).to_owned(), size_of(&dir.join(part))));
        DiskView {
            path: dir.display().to_string(),
            free: space.map(|space| space.free),
            total: space.map(|space| space.total),
            parts: parts.collect(),
        }
    }
}

fn process(started: Instant) -> ProcessView {
    let pid = std::process::id();
    let group = machine::Group::own();
    let memory = machine::memory(pid, group.as_ref());
    let (open, sockets) = files();
    ProcessView {
        pid,
        supervisor_pid: rustix::process::getppid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok()),
        uptime_s: started.elapsed().as_secs(),
        memory: memory.resident,
        memory_peak: memory.peak,
        memory_limit: memory.limit,
        machine_free: memory.machine_free,
        open_files: open,
        open_files_max: open_files::limit() as u64,
        sockets,
    }
}

/// Open files, and how many of them are sockets; of the first [`INSIDE_FILES_MAX`].
fn files() -> (u64, u64) {
    let Ok(files) = fs::read_dir("/proc/self/fd") else { return (0, 0) };
    let mut count = (0, 0);
    for file in files.flatten().take(INSIDE_FILES_MAX) {
        count.0 += 1;
        let is_socket =
            fs::read_link(file.path()).is_ok_and(|to| to.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        count.1 += u64::from(is_socket);
    }
    count
}

/// Bytes of the files in a directory and those below it; of the first [`INSIDE_FILES_MAX`].
fn size_of(dir: &Path) -> u64 {
    let (mut open, mut bytes, mut seen) = (vec![dir.to_owned()], 0_u64, 0);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            seen += 1;
            if seen > INSIDE_FILES_MAX {
                return bytes;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                Ok(metadata) => bytes += metadata.len(),
                // It went in between.
                Err(_) => {}
            }
        }
    }
    bytes
}

fn tasks() -> (Vec<TaskView>, Duration) {
    let (looked, before, now) = (tasks::look(), tasks::window(), time::mono());
    let window = before.as_ref().map_or(Duration::ZERO, |before| now.saturating_duration_since(before.at));
    let busy_since = |looked: &Looked| {
        let before = before.as_ref().and_then(|before| before.busy.get(looked.name)).copied().unwrap_or_default();
        looked.busy.saturating_sub(before)
    };
    let mut tasks: Vec<TaskView> = looked
        .iter()
        .map(|looked| {
            let percent = busy_since(looked).as_secs_f64() * 100.0 / window.as_secs_f64().max(0.001);
            task(looked, if window.is_zero() { 0.0 } else { percent })
        })
        .collect();
    tasks.sort_by(|one, other| other.busy_percent.total_cmp(&one.busy_percent).then_with(|| one.name.cmp(&other.name)));
    (tasks, window)
}

fn task(looked: &Looked, busy_percent: f64) -> TaskView {
    let failure = looked.failure.as_ref();
    TaskView {
        name: looked.name.to_owned(),
        kind: looked.kind.name().to_owned(),
        running: looked.running as u64,
        begun: looked.begun,
        failed: looked.failed,
        begun_again: looked.begun_again,
        since: (looked.since_ms > 0).then(|| time::rfc3339(looked.since_ms)),
        failed_at: failure.map(|failure| time::rfc3339(failure.at_ms)),
        failure: failure.map(|failure| failure.why.clone()),
        busy_ms: time::millis(looked.busy),
        busy_percent: (busy_percent * 100.0).round() / 100.0,
        longest_ms: (looked.longest.as_secs_f64() * 100_000.0).round() / 100.0,
    }
}

fn threads() -> Vec<ThreadView> {
    let mut threads: BTreeMap<String, ThreadView> = BTreeMap::new();
    for thread in fs::read_dir("/proc/self/task").into_iter().flatten().flatten().take(INSIDE_FILES_MAX) {
        let stat = machine::read(thread.path().join("stat"));
        let Some((name, state, cpu_ms)) = thread_of(&stat) else { continue };
        let fresh = ThreadView { name: name.clone(), count: 0, state: String::new(), cpu_ms: 0 };
        let known = threads.entry(name).or_insert(fresh);
        known.count += 1;
        known.cpu_ms += cpu_ms;
        // Of several the one that does most is told.
        if known.state.is_empty() || state == "running" || (state == "waits for a disk" && known.state == "sleeping") {
            known.state = state.to_owned();
        }
    }
    let mut threads: Vec<_> = threads.into_values().collect();
    threads.sort_by(|one, other| other.cpu_ms.cmp(&one.cpu_ms).then_with(|| one.name.cmp(&other.name)));
    threads
}

/// Name, state and milliseconds of a processor, from a thread's `stat`.
fn thread_of(stat: &str) -> Option<(String, &'static str, u64)> {
    /// The kernel counts in hundredths, whatever it is built with: `USER_HZ` is part of its interface.
    const TICK_MS: u64 = 10;
    let (front, rest) = stat.rsplit_once(')')?;
    let name = front.split_once('(')?.1.to_owned();
    let words: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let state = match *words.first()? {
        "R" => "running",
        "D" => "waits for a disk",
        "T" | "t" => "stopped",
        _ => "sleeping",
    };
    // Fields 14 and 15 of the line; the state is the third.
    Some((name, state, (number(11)? + number(12)?).saturating_mul(TICK_MS)))
}

#[cfg(test)]
mod tests {
    use super::files;
    use super::size_of;
    use super::thread_of;
    use super::threads;

    #[test]
    fn a_thread_is_read_whatever_its_name_is() {
        let stat = "17 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 41 2 0 0 20 0 1 0 100";
        assert_eq!(thread_of(stat), Some(("a (b) c".to_owned(), "sleeping", 430)));
        assert_eq!(thread_of("17 (x) D 1 2 3 4 5 6 7 8 9 10 0 0 0").unwrap().1, "waits for a disk");
        assert!(thread_of("").is_none() && thread_of("17 (x").is_none() && thread_of("17 (x) R 1").is_none());
    }

    #[test]
    fn this_process_is_seen() {
        let (open, sockets) = files();
        let held = std::os::unix::net::UnixStream::pair().unwrap();
        let (more_open, more_sockets) = files();
        drop(held);
        assert!(open >= 3 && more_open >= 2 && more_sockets >= 2, "{open} {sockets} {more_open} {more_sockets}");
        let threads = threads();
        assert!(threads.iter().map(|thread| thread.count).sum::<u64>() >= 2, "{threads:?}");
        assert!(threads.iter().any(|thread| thread.state == "running"), "{threads:?}");
    }

    #[test]
    fn a_directory_is_as_large_as_its_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("below")).unwrap();
        std::fs::write(dir.path().join("a"), [0; 100]).unwrap();
        std::fs::write(dir.path().join("below/b"), [0; 11]).unwrap();
        assert_eq!((size_of(dir.path()), size_of(&dir.path().join("none"))), (111, 0));
    }
}
