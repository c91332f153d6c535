//! The log in systemd's journal (`--log-outputs=systemd/journal`), by its own protocol: a datagram a line, with its
//! importance.
//!
//! Invariants: a line that the journal does not take goes to the standard error, as etcd's does; nobody waits for the journal
//! for more than a moment. Of a line it knows where its level stands, and no more.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// Longest wait for a journal that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// An output for whole lines.
#[derive(Debug)]
pub struct Journal<W> {
    socket: UnixDatagram,
    /// Where it goes each time anew: the journal may have been started again.
    path: PathBuf,
    /// What tells the lines of this program from others.
    identifier: String,
    otherwise: W,
}

impl<W: Write> Journal<W> {
    /// Reaches the journal at `path`; `otherwise` takes what it does not.
    ///
    /// # Errors
    /// There is none.
    pub fn open(path: &Path, otherwise: W) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        UnixDatagram::unbound()?.connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let program = std::env::args_os().next().unwrap_or_default();
        let identifier = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { socket, path: path.to_owned(), identifier, otherwise })
    }
}

impl<W: Write> Write for Journal<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let message = line.strip_suffix(b"\n").unwrap_or(line);
        let importance = importance(level(message));
        let mut entry = format!("PRIORITY={importance}\nSYSLOG_IDENTIFIER={}\nMESSAGE=", self.identifier).into_bytes();
        entry.extend_from_slice(message);
        entry.push(b'\n');
        match self.socket.send_to(&entry, &self.path) {
            Ok(_) => Ok(line.len()),
            Err(_) => self.otherwise.write_all(line).map(|()| line.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.otherwise.flush()
    }
}

/// The level of a line, in either of its forms: an object that begins with it, or columns whose second it is.
fn level(line: &[u8]) -> &[u8] {
    let (rest, end) = match line.strip_prefix(b"{\"level\":\"") {
        Some(rest) => (rest, b'"'),
        None => (line.splitn(2, |byte| *byte == b'\t').nth(1).unwrap_or_default(), b'\t'),
    };
    rest.split(|byte| *byte == end).next().unwrap_or_default()
}

/// How important that is by syslog's numbers, as in etcd.
fn importance(level: &[u8]) -> u8 {
    match level.to_ascii_lowercase().as_slice() {
        b"debug" => 7,
        b"info" => 6,
        b"warn" => 4,
        b"error" => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_an_entry_with_its_importance() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        assert!(Journal::open(&path, Vec::new()).is_err(), "nobody listens");
        let listening = UnixDatagram::bind(&path).expect("bound");
        let mut journal = Journal::open(&path, Vec::new()).expect("reached");
        let mut heard = vec![0; 1 << 16];
        for (line, importance) in [
            (r#"{"level":"info","msg":"a"}"#, 6),
            (r#"{"level":"debug","msg":"a"}"#, 7),
            (r#"{"level":"error","msg":"a"}"#, 3),
            ("2026-01-02T03:04:05.678Z\tWARN\ta.rs:1\ta", 4),
            ("no line of ours", 2),
        ] {
            journal.write_all(format!("{line}\n").as_bytes()).expect("taken");
            let length = listening.recv(&mut heard).expect("heard");
            let entry = String::from_utf8(heard[..length].to_vec()).expect("text");
            assert!(entry.starts_with(&format!("PRIORITY={importance}\nSYSLOG_IDENTIFIER=quorate")), "{entry}");
            assert!(entry.ends_with(&format!("\nMESSAGE={line}\n")), "{entry}");
        }
        assert!(journal.otherwise.is_empty());
        let long = "x".repeat(8 << 20);
        journal.write_all(long.as_bytes()).expect("taken");
        assert_eq!(journal.otherwise.len(), long.len(), "too long for a datagram");
        drop(listening);
        journal.write_all(b"late\n").expect("taken");
        assert!(journal.otherwise.ends_with(b"late\n"), "the journal is gone");
        std::fs::remove_file(&path).expect("removed");
        let again = UnixDatagram::bind(&path).expect("bound");
        journal.write_all(b"later\n").expect("taken");
        let length = again.recv(&mut heard).expect("heard");
        assert!(heard[..length].ends_with(b"\nMESSAGE=later\n"), "it is there again");
    }
}
