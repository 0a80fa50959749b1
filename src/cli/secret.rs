//! Secrets on their way in: from a file, a credential of the service manager or standard input, never from an argument,
//! which every process of the machine can read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::base::exit::Exit;
use crate::base::file;
use crate::base::limits::SECRET_FILE_BYTES_MAX;
use crate::base::redact::Redacted;
use crate::cli::output;
use crate::cli::output::Failure;

/// The first line of a file; `-` is standard input, `credential:NAME` one of the service manager's.
///
/// # Errors
/// Where it cannot be read, is too large, is not text, or holds nothing.
pub fn read(path: &Path) -> Result<Redacted<String>, Failure> {
    let bad = |reason| Failure::new(Exit::BadData, format!("{} {reason}; nothing was sent", path.display()));
    let bytes = read_whole(path, SECRET_FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_binary| bad("is not text"))?;
    match text.lines().next().unwrap_or_default() {
        "" => Err(bad("has nothing in its first line")),
        line => Ok(Redacted::new(line.to_owned())),
    }
}

/// A whole file of at most `max` bytes. It may be a pipe, as of `<(…)` in a shell: it is the caller's own choice.
///
/// # Errors
/// Where it cannot be read or is larger.
pub fn read_whole(path: &Path, max: usize) -> Result<Vec<u8>, Failure> {
    let io = |error: std::io::Error| Failure::io(path.display(), &error);
    let mut bytes = Vec::new();
    let limit = max as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(io)?;
    } else {
        let located = path.to_str().map_or(Ok(path.to_owned()), file::locate);
        let located = located.map_err(|error| Failure::new(Exit::NoInput, error.to_string()))?;
        File::open(located).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(io)?;
    }
    if bytes.len() > max {
        return Err(Failure::new(
            Exit::BadData,
            format!("{} has more than {max} bytes; nothing was sent", path.display()),
        ));
    }
    Ok(bytes)
}

/// Says so where a file with a secret is open to everyone.
pub fn warn_if_open(path: &Path) {
    let open = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o004 != 0);
    if open {
        output::note(format_args!(
            "{0} can be read by every user of this machine; run `chmod 600 {0}`",
            path.display()
        ));
    }
}
