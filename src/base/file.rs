//! Reads files that somebody else names (certificates, keys, tokens, the configuration): regular files only, never
//! through a symbolic link, never from `/proc` or `/sys`, bounded before the first byte, and a secret only where no
//! stranger could read or replace it.

use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::OFlags;

/// Who may see a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// Everyone; only its owner, root, and a group of one of the two may change it.
    Public,
    /// Its owner, root, and a group that was given it.
    Secret,
}

/// Why a file is not taken. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refuses.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Its word.
        source: io::Error,
    },
    /// Not a regular file.
    #[error("{path} is {what}; name a regular file")]
    NotRegular {
        /// As named.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// Too many bytes.
    #[error("{path} has more than {max} bytes; such a file is not what is meant here")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        max: usize,
    },
    /// Strangers may do too much with it.
    #[error("{path} can be {done} by other users of this machine (mode {mode:04o}); run `chmod {wanted} {path}`")]
    Open {
        /// The file.
        path: PathBuf,
        /// `read` or `changed`.
        done: &'static str,
        /// Its mode.
        mode: u32,
        /// What would do.
        wanted: &'static str,
    },
    /// A secret of somebody else's.
    #[error("{path} belongs to user {owner}, not to root or user {me} who runs this; run `chown {me} {path}`")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// Ours.
        me: u32,
    },
    /// A credential that the service manager did not hand over.
    #[error("`credential:{name}` needs systemd's LoadCredential={name}:… in the unit of this service")]
    NoCredential {
        /// Its name.
        name: String,
    },
}

/// Before the name of a credential that the service manager hands over.
const CREDENTIAL: &str = "credential:";

/// Magic numbers of `/proc` and `/sys` (`linux/magic.h`): their files are questions to the kernel.
const KERNEL_FILE_SYSTEMS: [i64; 2] = [0x9fa0, 0x6265_6572];

/// Where a file is: a path, or `credential:NAME` for one in `$CREDENTIALS_DIRECTORY`.
///
/// # Errors
/// [`FileError::NoCredential`] where there is none.
pub fn locate(text: &str) -> Result<PathBuf, FileError> {
    let Some(name) = text.strip_prefix(CREDENTIAL) else { return Ok(text.into()) };
    let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    let dir = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|_| plain);
    let dir = dir.ok_or_else(|| FileError::NoCredential { name: name.to_owned() })?;
    Ok(Path::new(&dir).join(name))
}

/// Reads a whole file of at most `max` bytes.
///
/// # Errors
/// [`FileError`].
pub fn read(path: &Path, max: usize, privacy: Privacy) -> Result<Vec<u8>, FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    // Looked at before it is opened: to open a device may already do something.
    check_regular(path, &std::fs::symlink_metadata(path).map_err(io)?)?;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(io)?;
    // And again: another may have taken its place in between.
    let metadata = file.metadata().map_err(io)?;
    check_regular(path, &metadata)?;
    let file_system = rustix::fs::fstatfs(&file).map_err(|errno| io(errno.into()))?.f_type;
    if KERNEL_FILE_SYSTEMS.contains(&file_system) {
        return Err(FileError::NotRegular { path: path.to_owned(), what: "a file of the kernel's" });
    }
    check_mode(path, &metadata, privacy)?;
    let mut bytes = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > max {
        return Err(FileError::TooLarge { path: path.to_owned(), max });
    }
    Ok(bytes)
}

fn check_regular(path: &Path, metadata: &std::fs::Metadata) -> Result<(), FileError> {
    let kind = metadata.file_type();
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else {
        "a pipe, socket or device"
    };
    Err(FileError::NotRegular { path: path.to_owned(), what })
}

/// Whose a file is, and its mode.
struct Rights {
    mode: u32,
    owner: u32,
    group: u32,
}

impl Rights {
    /// Whether nobody but the owner and root is in the group: it is root's, or has the owner's number, as `useradd` makes
    /// a user's own. With such groups goes the umask 002, under which they may write every new file.
    fn group_is_private(&self) -> bool {
        self.group == 0 || self.group == self.owner
    }

    /// What others may do that they must not, and the mode that would do. Who changes a configuration or a certificate
    /// decides whom the node believes, so a group of several is as good as strangers.
    fn open_to(&self, privacy: Privacy) -> Option<(&'static str, &'static str)> {
        let (world_writes, group_writes) = (self.mode & 0o002 != 0, self.mode & 0o020 != 0);
        match privacy {
            Privacy::Public if world_writes || (group_writes && !self.group_is_private()) => Some(("changed", "644")),
            Privacy::Secret if self.mode & 0o004 != 0 => Some(("read", "600")),
            Privacy::Secret if world_writes || group_writes => Some(("changed", "600")),
            Privacy::Public | Privacy::Secret => None,
        }
    }
}

fn check_mode(path: &Path, metadata: &std::fs::Metadata, privacy: Privacy) -> Result<(), FileError> {
    let rights = Rights { mode: metadata.mode() & 0o7777, owner: metadata.uid(), group: metadata.gid() };
    if let Some((done, wanted)) = rights.open_to(privacy) {
        return Err(FileError::Open { path: path.to_owned(), done, mode: rights.mode, wanted });
    }
    let (owner, me) = (rights.owner, rustix::process::geteuid().as_raw());
    if privacy == Privacy::Secret && owner != 0 && owner != me {
        return Err(FileError::Foreign { path: path.to_owned(), owner, me });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::Privacy;
    use super::Rights;
    use super::locate;
    use super::read;

    #[test]
    fn only_a_regular_file_within_its_bound_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5, Privacy::Public).unwrap(), b"12345");
        let says = |path: &Path, max| read(path, max, Privacy::Public).unwrap_err().to_string();
        assert!(says(&file, 4).contains("more than 4 bytes"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(says(&link, 5).contains("a symbolic link"));
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(says(&pipe, 5).contains("a pipe, socket or device"));
        assert!(says(Path::new("/dev/zero"), 5).contains("a pipe, socket or device"));
        assert!(says(dir.path(), 5).contains("a directory"));
        assert!(says(Path::new("/proc/self/environ"), 100_000).contains("the kernel's"));
        assert!(says(&dir.path().join("none"), 5).contains("No such file"));
    }

    #[test]
    fn what_strangers_may_read_is_no_secret_and_what_they_may_change_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "1").unwrap();
        let with = |mode, privacy| {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            read(&file, 5, privacy).map_err(|error| error.to_string())
        };
        assert!(with(0o644, Privacy::Public).is_ok() && with(0o646, Privacy::Public).is_err());
        assert!(with(0o600, Privacy::Secret).is_ok() && with(0o640, Privacy::Secret).is_ok());
        let readable = with(0o644, Privacy::Secret).unwrap_err();
        assert!(readable.contains("can be read") && readable.contains("0644") && readable.contains("chmod 600"));
        assert!(with(0o620, Privacy::Secret).unwrap_err().contains("can be changed"));
    }

    #[test]
    fn a_group_changes_a_public_file_only_where_it_is_its_owners_own_or_roots() {
        let refused = |mode, owner, group, privacy| Rights { mode, owner, group }.open_to(privacy).is_some();
        for (owner, group) in [(0, 0), (1000, 1000), (1000, 0)] {
            assert!(!refused(0o664, owner, group, Privacy::Public), "{owner}:{group}");
            assert!(refused(0o666, owner, group, Privacy::Public), "{owner}:{group}");
            assert!(refused(0o660, owner, group, Privacy::Secret), "{owner}:{group}");
            assert!(!refused(0o640, owner, group, Privacy::Secret), "{owner}:{group}");
        }
        for (owner, group) in [(0, 4), (0, 1000), (1000, 100), (998, 1000)] {
            assert!(refused(0o664, owner, group, Privacy::Public), "{owner}:{group}");
            assert!(refused(0o660, owner, group, Privacy::Secret), "{owner}:{group}");
            assert!(!refused(0o644, owner, group, Privacy::Public), "{owner}:{group}");
            assert!(!refused(0o640, owner, group, Privacy::Secret), "{owner}:{group}");
        }
    }

    #[test]
    fn a_credential_needs_the_service_manager() {
        assert_eq!(locate("/a/b").unwrap(), Path::new("/a/b"));
        // No test sets CREDENTIALS_DIRECTORY; tests/it does in a process of its own.
        assert!(locate("credential:tls.key").unwrap_err().to_string().contains("LoadCredential=tls.key"));
        assert!(locate("credential:../x").is_err());
    }
}
