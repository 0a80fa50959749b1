//! What the kernel says of a process and of the control group that it lives in, as far as this one may read it. Nothing
//! here is needed: what cannot be read is left out of a report.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::OFlags;

use crate::base::limits::CRASH_ROWS;
use crate::proto::crash::Memory;

/// Bytes of one of these files.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Records of the kernel's log that are looked through: all of a full one.
const KERNEL_RECORDS_MAX: usize = 100_000;
/// Where control groups are, and where those of before are.
const GROUPS: &str = "/sys/fs/cgroup";

/// A text file of the kernel's; empty where it cannot be read.
#[must_use]
pub fn read(path: impl AsRef<Path>) -> String {
    let mut text = Vec::new();
    let file = fs::File::open(path);
    let _unreadable = file.and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}

/// Which start of the machine this is; empty where the kernel does not say.
#[must_use]
pub fn boot() -> String {
    read("/proc/sys/kernel/random/boot_id").trim().to_owned()
}

/// The number in a line of `name number`.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', '\t', ':']));
    line?.trim_start_matches([' ', '\t', ':']).split_whitespace().next()?.parse().ok()
}

/// The control group for memory that a process is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group(PathBuf);

impl Group {
    /// That of this process.
    #[must_use]
    pub fn own() -> Option<Self> {
        group_for("memory").map(Self)
    }

    /// How often the kernel ended a process of it for memory, so far.
    #[must_use]
    pub fn killed(&self) -> u64 {
        let told = ["memory.events.local", "memory.events", "memory.oom_control"];
        told.iter().find_map(|name| number(&read(self.0.join(name)), "oom_kill")).unwrap_or(0)
    }

    /// Bytes that it may have; `None` where there is no limit.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        let told = ["memory.max", "memory.limit_in_bytes"];
        let limit: u64 = told.iter().find_map(|name| read(self.0.join(name)).trim().parse().ok())?;
        // The old kind says "no limit" by a number as large as memory can be.
        (limit < 1 << 60).then_some(limit)
    }

    /// For people.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Where the control group of this process for something is.
fn group_for(what: &str) -> Option<PathBuf> {
    let lines = read("/proc/self/cgroup");
    let old = lines.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let is_it = controllers.split(',').any(|controller| controller == what);
        is_it.then(|| Path::new(GROUPS).join(what).join(relative(path)))
    });
    let new =
        || lines.lines().find_map(|line| line.strip_prefix("0::")).map(|path| Path::new(GROUPS).join(relative(path)));
    old.or_else(new).filter(|path| path.is_dir())
}

/// What a service or container may use of the processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessorLimit {
    /// Hundredths of one processor.
    pub percent: u64,
    /// For how long it wanted more so far, in whole periods of the limit.
    pub held_back_ms: u64,
}

/// That of this process, where there is one: of its control group, or of one around that.
#[must_use]
pub fn processor_limit() -> Option<ProcessorLimit> {
    let group = group_for("cpu")?;
    group.ancestors().take_while(|group| group.starts_with(GROUPS)).find_map(|group| {
        let (old, new) = (read(group.join("cpu.cfs_quota_us")), read(group.join("cpu.max")));
        let told = if new.is_empty() { old + " " + &read(group.join("cpu.cfs_period_us")) } else { new };
        let (quota_us, period_us) = quota(&told)?;
        let times = number(&read(group.join("cpu.stat")), "nr_throttled").unwrap_or(0);
        let percent = quota_us.checked_mul(100)?.checked_div(period_us)?;
        Some(ProcessorLimit { percent, held_back_ms: times.saturating_mul(period_us) / 1000 })
    })
}

/// Of `quota period`, in microseconds; `None` is no limit, which is said by a word or by a number below zero.
fn quota(told: &str) -> Option<(u64, u64)> {
    let mut words = told.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// How many threads and processes a service or container may have, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadLimit {
    /// So many.
    pub limit: u64,
    /// How often the kernel refused one more, so far.
    pub refused: u64,
}

/// The one of this process that has the least room left, where there is one: of its control group, or of one around that.
#[must_use]
pub fn thread_limit() -> Option<ThreadLimit> {
    let group = group_for("pids")?;
    let groups = || group.ancestors().take_while(|group| group.starts_with(GROUPS));
    let count = |group: &Path, name: &str| read(group.join(name)).trim().parse::<u64>().ok();
    let limits = groups().filter_map(|group| Some((count(group, "pids.max")?, count(group, "pids.current")?)));
    let (limit, _) = limits.min_by_key(|(limit, now)| limit.saturating_sub(*now))?;
    // Older kernels count in the group of whoever is refused, newer ones in that of the limit; and in all around it, for others too.
    let count_of = |group: &Path, name: &str| number(&read(group.join(name)), "max");
    let above: u64 = groups().skip(1).filter_map(|group| count_of(group, "pids.events.local")).sum();
    let refused = count_of(&group, "pids.events").unwrap_or(0).saturating_add(above);
    Some(ThreadLimit { limit, refused })
}

fn relative(path: &str) -> &str {
    path.trim().trim_start_matches('/')
}

/// Memory of a process as the kernel sees it.
#[must_use]
pub fn memory(pid: u32, group: Option<&Group>) -> Memory {
    let status = read(format!("/proc/{pid}/status"));
    let bytes = |text: &str, name: &str| number(text, name).map(|kib| kib.saturating_mul(1024));
    Memory {
        resident: bytes(&status, "VmRSS"),
        peak: bytes(&status, "VmHWM"),
        limit: group.and_then(Group::limit),
        machine_free: bytes(&read("/proc/meminfo"), "MemAvailable"),
    }
}

/// Bytes of addresses that a process may have; `None` where there is no limit.
#[must_use]
pub fn address_limit(pid: u32) -> Option<u64> {
    soft_limit(&read(format!("/proc/{pid}/limits")), "Max address space")
}

/// The number behind a name in a table of limits; `None` is no limit.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Memory of this process that is on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paging {
    /// How often it waited for a page to come from a disk, so far.
    pub faults: u64,
    /// Bytes in swap.
    pub swapped: u64,
}

/// That of this process.
#[must_use]
pub fn paging() -> Option<Paging> {
    let stat = read("/proc/self/stat");
    // Field 12 of the line; the state behind the name is the third.
    let faults = stat.rsplit_once(')')?.1.split_whitespace().nth(9)?.parse().ok()?;
    let swapped = number(&read("/proc/self/status"), "VmSwap").unwrap_or(0).saturating_mul(1024);
    Some(Paging { faults, swapped })
}

/// How many files a process has open.
#[must_use]
pub fn open_files(pid: u32) -> Option<u64> {
    fs::read_dir(format!("/proc/{pid}/fd")).ok().map(|files| files.count() as u64)
}

/// Whether a process is stopped (SIGSTOP, or by a debugger).
#[must_use]
pub fn is_stopped(pid: u32) -> bool {
    let stat = read(format!("/proc/{pid}/stat"));
    // The name in parentheses may have blanks and parentheses in it.
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some('T' | 't'))
}

/// The threads of a process: name, state, and what each waits for in the kernel.
#[must_use]
pub fn threads(pid: u32) -> Vec<String> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut threads: Vec<String> = tasks
        .flatten()
        .take(CRASH_ROWS)
        .map(|task| {
            let path = task.path();
            let status = read(path.join("status"));
            let word = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.map(|line| line.trim_start_matches([':', '\t', ' ']).to_owned()).unwrap_or_default()
            };
            let waits = read(path.join("wchan"));
            let waits = if waits.trim().is_empty() || waits.trim() == "0" {
                String::new()
            } else {
                format!(", in {}", waits.trim())
            };
            format!("{} {}: {}{waits}", task.file_name().to_string_lossy(), word("Name"), word("State"))
        })
        .collect();
    threads.sort_unstable();
    threads
}

/// What the kernel's log says about the end of this process for memory; empty where that may not be read.
#[must_use]
pub fn kernel_on_memory(pid: u32) -> Vec<String> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let Ok(mut log) = fs::OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg") else {
        return Vec::new();
    };
    // One record for each read; those are shorter.
    let mut record = vec![0; 8192];
    let (mut lines, ours) = (Vec::new(), format!("Killed process {pid} ("));
    for _ in 0..KERNEL_RECORDS_MAX {
        let read = match log.read(&mut record) {
            Ok(read @ 1..) => read,
            // Overwritten while it was read: the next one is there.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => continue,
            Ok(_) | Err(_) => break,
        };
        let text = String::from_utf8_lossy(record.get(..read).unwrap_or_default());
        if text.contains(&ours) {
            let text = text.split_once(';').map_or(&*text, |(_, text)| text);
            lines.extend(text.lines().next().map(ToOwned::to_owned));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::is_stopped;
    use super::memory;
    use super::number;
    use super::open_files;
    use super::quota;
    use super::soft_limit;
    use super::threads;

    #[test]
    fn numbers_are_read_behind_their_whole_name() {
        let text = "low 0\noom 3\noom_kill 7\nVmRSS:\t  12 kB\n";
        assert_eq!(
            (number(text, "oom_kill"), number(text, "oom"), number(text, "VmRSS")),
            (Some(7), Some(3), Some(12))
        );
        assert_eq!(number(text, "oom_kil"), None);
    }

    #[test]
    fn a_limit_of_the_processor_is_read_in_both_forms() {
        assert_eq!(
            ["5000 100000", "max 100000", "-1\n 100000\n", ""].map(quota),
            [Some((5_000, 100_000)), None, None, None]
        );
    }

    #[test]
    fn a_limit_of_a_process_is_read_from_its_table() {
        let table = "Limit                     Soft Limit           Hard Limit           Units     \n\
                     Max data size             unlimited            unlimited            bytes     \n\
                     Max address space         734003200            unlimited            bytes     \n";
        assert_eq!(
            ["Max address space", "Max data size", "Max"].map(|name| soft_limit(table, name)),
            [Some(734_003_200), None, None]
        );
    }

    #[test]
    fn the_kernel_tells_of_this_process() {
        let me = std::process::id();
        assert!(memory(me, None).resident.is_some_and(|bytes| bytes > 1024 * 1024));
        assert!(open_files(me).is_some_and(|count| count >= 3) && !is_stopped(me));
        assert!(super::paging().is_some_and(|paging| paging.faults < 1 << 40 && paging.swapped < 1 << 40));
        assert!(threads(me).iter().any(|thread| thread.contains("(running)")), "{:?}", threads(me));
    }
}
