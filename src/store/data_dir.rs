//! The data directory: its layout, its permissions, and the lock that keeps a second process out.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Access;
use rustix::fs::FlockOperation;

/// Why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("{path} is in use by another ringfort process; nothing was changed; stop that one first")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Someone else's directory.
    #[error("{path} belongs to user {owner}, not to user {me} who runs this; nothing was changed; run as its owner")]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// Ours.
        me: u32,
    },
    /// The operating system refuses.
    #[error("{path}: {source}; nothing was changed")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's word.
        source: io::Error,
    },
}

/// A data directory held by this process.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: fs::File,
}

const SUBDIRS: [&str; 8] = ["identity", "journal", "control", "index", "blackbox", "crashes", "bundles", "slots"];

impl DataDir {
    /// Makes what is missing, closes it to others, and takes the lock.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io { path, source }
        };
        make(path).map_err(io(path))?;
        let metadata = fs::metadata(path).map_err(io(path))?;
        let me = rustix::process::geteuid().as_raw();
        if metadata.uid() != me {
            return Err(DataDirError::NotOurs { path: path.to_owned(), owner: metadata.uid(), me });
        }
        if metadata.mode() & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "other users could enter this directory; it is closed to them now");
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(io(path))?;
        let lock = lock(path)?;
        for name in SUBDIRS {
            let sub = path.join(name);
            make(&sub).map_err(io(&sub))?;
        }
        fs::File::open(path).and_then(|dir| dir.sync_all()).map_err(io(path))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One of the directories in it.
    #[must_use]
    pub fn sub(&self, name: &str) -> PathBuf {
        debug_assert!(SUBDIRS.contains(&name));
        self.path.join(name)
    }
}

/// Keeps other processes out of a directory for as long as the file is open.
///
/// # Errors
/// [`DataDirError`].
pub fn lock(dir: &Path) -> Result<fs::File, DataDirError> {
    let path = dir.join("LOCK");
    let failed = |source| DataDirError::Io { path: path.clone(), source };
    let lock = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirError::InUse { path: dir.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// What keeps this process from reading and writing a data directory, in words. Only looks.
#[must_use]
pub fn troubles(dir: &Path) -> Vec<String> {
    let me = rustix::process::geteuid().as_raw();
    let mut troubles = Vec::new();
    for path in [dir.to_owned()].into_iter().chain(SUBDIRS.iter().map(|name| dir.join(name))) {
        let shown = path.display();
        match fs::metadata(&path) {
            Err(error) => troubles.push(format!("{shown}: {error}")),
            Ok(metadata) if !metadata.is_dir() => troubles.push(format!("{shown} is no directory")),
            Ok(metadata) if metadata.uid() != me => {
                let owner = metadata.uid();
                troubles.push(format!("{shown} belongs to user {owner}, not to user {me}; run `chown {me} {shown}`"));
            }
            Ok(_) => {
                let asked = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
                if let Err(error) = rustix::fs::access(&path, asked) {
                    troubles.push(format!("{shown} cannot be written to: {}", io::Error::from(error)));
                }
            }
        }
    }
    troubles
}

/// Makes a directory, closed to others, and those above it that are missing.
///
/// # Errors
/// Of the operating system.
pub fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Keeps a file or directory under a name beside it that is not taken. Returns that name.
///
/// # Errors
/// Of the operating system; it is where it was.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = |n: u32| path.with_extension(format!("lost-{n}"));
    let aside = (1..).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(0));
    fs::rename(path, &aside)?;
    fs::File::open(dir)?.sync_all()?;
    Ok(aside)
}

/// Writes a file whole: new name, synced, renamed, directory synced. Readable by its owner only.
///
/// # Errors
/// Of the operating system; the old content is still there then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut begun = path.as_os_str().to_owned();
    begun.push(".new");
    let begun = PathBuf::from(begun);
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&begun)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&begun, path)?;
    fs::File::open(dir)?.sync_all()
}
