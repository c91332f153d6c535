//! A line typed on a terminal that is not shown.
//!
//! Invariants: the terminal is as it was when this ends, also where the user gives up: the keys that would end the process end the line
//! here, and who asked ends the process; a signal from elsewhere ends it behind that. The line is edited as any other.

use std::io::{self, BufRead};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::stop::before_end;

/// How the terminal is to be left, while it is otherwise.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// A terminal that shows nothing of what is typed, until this goes.
pub struct Unseen {
    before: Termios,
}

impl Unseen {
    /// From now on.
    ///
    /// # Errors
    /// Standard input is no terminal, or one that does not obey.
    pub fn begin() -> io::Result<Self> {
        static LISTENS: OnceLock<()> = OnceLock::new();
        let terminal = io::stdin();
        let before = tcgetattr(&terminal)?;
        if LISTENS.set(()).is_ok() {
            before_end(restore)?;
        }
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        let codes = &mut unseen.special_codes;
        codes[SpecialCodeIndex::VEOL] = codes[SpecialCodeIndex::VINTR];
        codes[SpecialCodeIndex::VEOL2] = codes[SpecialCodeIndex::VQUIT];
        // Noted first: from the next moment on it may be needed.
        *held() = Some(before.clone());
        tcsetattr(&terminal, OptionalActions::Now, &unseen)?;
        Ok(Self { before })
    }

    /// The next line of `input`, which reads the terminal, without its end; nothing where the user gave up.
    ///
    /// # Errors
    /// It cannot be read, or is no text.
    pub fn line(&self, input: &mut dyn BufRead) -> io::Result<Option<String>> {
        let codes = &self.before.special_codes;
        let gives_up = [codes[SpecialCodeIndex::VINTR], codes[SpecialCodeIndex::VQUIT]];
        let mut line = Vec::new();
        loop {
            let some = input.fill_buf()?;
            let end = some.iter().position(|byte| *byte == b'\n' || *byte != 0 && gives_up.contains(byte));
            line.extend_from_slice(&some[..end.unwrap_or(some.len())]);
            let (last, len) = (end.map(|end| some[end]), some.len());
            input.consume(end.map_or(len, |end| end + 1));
            match last {
                Some(b'\n') => break,
                Some(_) => return Ok(None),
                // The end of all input.
                None if len == 0 => break,
                None => {}
            }
        }
        String::from_utf8(line).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        restore();
    }
}

fn held() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leaves the terminal as it was, if it is otherwise.
fn restore() {
    if let Some(before) = held().take() {
        // A terminal that has gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}
