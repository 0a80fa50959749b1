//! Control groups of a test's own, by which the system limits a service or a container. Gone when dropped.

use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;

/// Where they are; those of before have a directory for each controller.
const GROUPS: &str = "/sys/fs/cgroup";
/// Within this the processes in one that is dropped are gone.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// One that limits what a controller counts.
pub struct Group(PathBuf);

impl Group {
    pub fn of(controller: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("ringfort-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let old = Path::new(GROUPS).join(controller);
        let is_old = old.join("cgroup.procs").exists();
        if !is_old {
            std::fs::write(Path::new(GROUPS).join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
        }
        let group = if is_old { old.join(name) } else { Path::new(GROUPS).join(name) };
        std::fs::create_dir(&group).unwrap();
        Self(group)
    }

    /// Writes what is allowed under the first of these names that is there: kernels differ in them.
    pub fn allow(&self, names: &[&str], what: &str) {
        let path = names.iter().map(|name| self.0.join(name)).find(|path| path.exists());
        std::fs::write(path.unwrap(), what).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// A process with all of its threads.
    pub fn take(&self, process: Pid) {
        std::fs::write(self.0.join("cgroup.procs"), process.as_raw_nonzero().to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Those who were in it are gone, or will be in a moment.
        let deadline = Instant::now() + GONE_WITHIN;
        while std::fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}
