//! Free space on the data directory's file system: bytes, and files that can still be made.

use std::io;
use std::path::Path;

use crate::base::limits::FILES_RESERVE;
use crate::base::limits::PROOF_FILES;

/// Space of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What this process may still use.
    pub free: u64,
    /// All of it.
    pub total: u64,
    /// Files; none where the file system has no limit of its own.
    pub files: Option<Files>,
}

/// Files of a file system, in number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Files {
    /// How many this process may still make.
    pub free: u64,
    /// All that there can be.
    pub total: u64,
}

impl Space {
    /// Whether fewer bytes are free than are kept in reserve, or too few files.
    #[must_use]
    pub fn is_short(&self, reserve: u64) -> bool {
        self.free < reserve || self.short_of_files().is_some()
    }

    /// How many files can still be made, where that is too few.
    #[must_use]
    pub fn short_of_files(&self) -> Option<u64> {
        self.files.filter(|files| files.free < FILES_RESERVE.min(files.total / 10)).map(|files| files.free)
    }

    /// Whether there is room for the files of a proof of the index.
    #[must_use]
    pub fn has_files_for_a_proof(&self) -> bool {
        self.files.is_none_or(|files| files.free >= PROOF_FILES)
    }
}

/// Looks at the file system under `path`.
///
/// # Errors
/// Of the operating system.
pub fn look(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    // One that makes room for files as they come, such as btrfs, says 0 of 0.
    let files = (stat.f_files > 0).then_some(Files { free: stat.f_favail, total: stat.f_files });
    Ok(Space { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks), files })
}

#[cfg(test)]
mod tests {
    use super::Files;
    use super::Space;
    use crate::base::limits::FILES_RESERVE;
    use crate::base::limits::PROOF_FILES;

    #[test]
    fn too_few_files_are_as_bad_as_too_few_bytes_and_no_limit_is_none() {
        let space = |free, files: Option<(u64, u64)>| Space {
            free,
            total: 1 << 40,
            files: files.map(|(free, total)| Files { free, total }),
        };
        let many = 1 << 20;
        assert!(!space(9, None).is_short(9) && space(8, None).is_short(9));
        assert!(!space(9, Some((FILES_RESERVE, many))).is_short(9));
        assert_eq!(space(9, Some((FILES_RESERVE - 1, many))).short_of_files(), Some(FILES_RESERVE - 1));
        assert!(!space(9, Some((20, 100))).is_short(9), "a small file system has fewer from the start");
        assert!(space(9, Some((9, 100))).is_short(9));
        assert!(!space(9, Some((PROOF_FILES - 1, many))).has_files_for_a_proof());
        assert!(space(9, Some((PROOF_FILES, many))).has_files_for_a_proof() && space(9, None).has_files_for_a_proof());
    }
}
