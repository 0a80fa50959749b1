//! Asking for a secret: on a terminal without showing it, elsewhere as the first line of standard input.

use std::io;
use std::io::BufRead;
use std::io::IsTerminal;
use std::io::Read;

use rustix::termios;
use rustix::termios::LocalModes;
use rustix::termios::OptionalActions;
use rustix::termios::Termios;

use crate::base::exit::Exit;
use crate::cli::output;
use crate::cli::output::Failure;

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const CTRL_U: u8 = 21;
const BACKSPACE: [u8; 2] = [8, 127];

/// Asks for a new password, on a terminal twice.
///
/// # Errors
/// Where the two differ, it was broken off, or nothing can be read.
pub fn new_password() -> Result<String, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let mut line = String::new();
        stdin.lock().read_line(&mut line).map_err(|error| Failure::io("standard input", &error))?;
        return Ok(line.trim_end_matches(['\n', '\r']).to_owned());
    }
    let first = hidden("password (it is not shown): ")?;
    if hidden("the same again: ")? == first {
        return Ok(first);
    }
    Err(Failure::new(Exit::BadData, "the two differ; nothing was changed"))
}

/// A line typed on the terminal, without an echo.
fn hidden(question: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::io("the terminal", &error);
    output::question(question);
    let quiet = Quiet::new().map_err(failed)?;
    let typed = read_keys(&mut io::stdin().lock());
    drop(quiet);
    output::note("");
    let typed = typed.map_err(failed)?;
    let typed = typed.ok_or_else(|| Failure::new(Exit::Usage, "broken off; nothing was changed"))?;
    String::from_utf8(typed).map_err(|_binary| Failure::new(Exit::BadData, "this is not UTF-8; nothing was changed"))
}

/// Keys up to the end of the line; `None` where it was broken off.
fn read_keys(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut typed: Vec<u8> = Vec::new();
    let mut key = [0];
    loop {
        if from.read(&mut key)? == 0 {
            return Ok(None);
        }
        let [byte] = key;
        match byte {
            b'\n' | b'\r' => return Ok(Some(typed)),
            CTRL_C | CTRL_D => return Ok(None),
            CTRL_U => typed.clear(),
            byte if BACKSPACE.contains(&byte) => {
                // A whole character: its later bytes first.
                while typed.pop().is_some_and(|last| last & 0b1100_0000 == 0b1000_0000) {}
            }
            byte => typed.push(byte),
        }
    }
}

/// The terminal shows nothing and passes every key on, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn new() -> io::Result<Self> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        // Without ISIG: a Ctrl-C comes as a key, so that the terminal is never left without an echo.
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        termios::tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing any more.
        let _gone = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::read_keys;

    #[test]
    fn keys_are_taken_back_by_the_character() {
        let typed = |keys: &[u8]| read_keys(&mut &keys[..]).unwrap().map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(typed(b"tall ships\nrest"), Some("tall ships".to_owned()));
        assert_eq!(typed("aż€\u{7f}\u{8}b\n".as_bytes()), Some("ab".to_owned()));
        assert_eq!(typed(b"wrong\x15right\r"), Some("right".to_owned()));
        assert_eq!(typed(b"\x7f\x7fa\n"), Some("a".to_owned()));
        for broken_off in [&b"abc\x03\n"[..], b"\x04", b"abc"] {
            assert_eq!(typed(broken_off), None);
        }
    }
}
