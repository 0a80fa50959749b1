//! Standard error, which may be a pipe that nobody reads: a log must not stop a node, so what does not go in at once is left out
//! there and counted. It is in the book all the same.

use std::fmt::Write as _;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::fs::FileType;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::base::limits::SHOWN_PATIENCE_MS;

/// Who shows lines.
#[derive(Debug)]
pub(super) struct Shown {
    way: Way,
    /// Lines that were left out since the last one that was shown.
    left_out: u64,
    /// The last line was shown in part only.
    torn: bool,
}

#[derive(Debug)]
enum Way {
    /// A file: it takes what it is given, or fails.
    Plain,
    /// A socket, as that of the journal.
    Socket,
    /// A pipe or a terminal, opened once more for this process alone: others that have it too may want to wait.
    Own(File),
}

impl Shown {
    pub(super) fn new() -> Self {
        Self::on(io::stderr().as_fd(), "/proc/self/fd/2")
    }

    /// `path` leads to the same as `fd`.
    fn on(fd: BorrowedFd<'_>, path: &str) -> Self {
        let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
        let open = || OpenOptions::new().write(true).custom_flags(flags).open(path);
        let way = match kind {
            Ok(FileType::Socket) => Way::Socket,
            Ok(FileType::Fifo | FileType::CharacterDevice) => open().map_or(Way::Plain, Way::Own),
            Ok(_) | Err(_) => Way::Plain,
        };
        Self { way, left_out: 0, torn: false }
    }

    /// Shows a line with its end, waiting a moment for who reads slowly, and not at all for who does not. False where it was left
    /// out; the next one that is shown says how many were.
    pub(super) fn show(&mut self, line: &str) -> bool {
        let mut text = if self.torn { "\n".to_owned() } else { String::new() };
        if self.left_out > 0 {
            let _never_fails = writeln!(text, "({} lines were left out here: nobody read them)", self.left_out);
        }
        text.push_str(line);
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match self.write(rest) {
                Ok(written) if written > 0 => {
                    self.torn = written < rest.len();
                    rest = rest.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.left_out == 0 && self.is_read() => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.left_out += 1;
                    return false;
                }
                // Nobody can be told where standard error is gone.
                Ok(_) | Err(_) => break,
            }
        }
        self.left_out = 0;
        true
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.way {
            Way::Plain => io::stderr().lock().write(bytes),
            Way::Own(file) => file.write(bytes),
            Way::Socket => {
                let sent = rustix::net::send(io::stderr(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
                sent.map_err(|errno: Errno| errno.into())
            }
        }
    }

    /// Whether it takes something within a moment.
    fn is_read(&self) -> bool {
        let stderr = io::stderr();
        let fd = match &self.way {
            Way::Own(file) => file.as_fd(),
            Way::Plain | Way::Socket => stderr.as_fd(),
        };
        let patience = Timespec { tv_sec: 0, tv_nsec: SHOWN_PATIENCE_MS * 1_000_000 };
        rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], Some(&patience))
            .is_ok_and(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsFd as _;
    use std::os::fd::AsRawFd as _;

    use super::Shown;

    #[test]
    fn a_pipe_that_nobody_reads_takes_what_fits_and_stops_nobody_and_goes_on_when_it_is_read() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut shown = Shown::on(writer.as_fd(), &format!("/proc/self/fd/{}", writer.as_raw_fd()));
        let line = format!("{}\n", "x".repeat(999));
        let left_out = (0..100).filter(|_| !shown.show(&line)).count();
        assert!((30..=40).contains(&left_out), "64 KiB fit: {left_out}");
        let mut some = vec![0; 32 * 1024];
        reader.read_exact(&mut some).unwrap();
        assert!(shown.show("later\n") && shown.show("last\n"));
        drop((shown, writer));
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let end = format!("x\n({left_out} lines were left out here: nobody read them)\nlater\nlast\n");
        assert!(rest.ends_with(&end), "lines of their own: {:?}", &rest[rest.len() - 100..]);
    }
}
