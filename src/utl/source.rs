//! A file that is read.
//!
//! Invariant: nobody writes to it meanwhile who takes it for himself first, as etcd does while it runs.

use std::cell::RefCell;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Seek};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::beside::Stop;
use super::failure::{Exit, Failure};
use crate::base::{Fault, system_words};
use crate::bbolt::Source;

/// Read at once where one read follows the other.
const AHEAD_BYTES: usize = 128 * 1024;

/// How often a file that is in use is asked for, as by etcdutl.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// A file by its path.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    path: String,
    ahead: RefCell<Ahead>,
}

/// What was read ahead: pages of a tree lie one behind the other for the most part, and a call for each costs more than
/// what it brings.
#[derive(Debug, Default)]
struct Ahead {
    bytes: Vec<u8>,
    at: u64,
    /// Where the last read ended.
    end: u64,
}

/// Whether it is a pipe: to open one that nobody writes to would take for ever.
fn is_pipe(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// A whole file, which is no pipe or device: nobody knows when one ends.
pub fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    if found.is_file() || found.is_dir() { fs::read(path) } else { Err(io::Error::other("not a regular file")) }
}

/// What etcdutl says of a path that is not there.
pub fn check_there(path: &Path) -> Result<(), Failure> {
    let told =
        |error: io::Error| Failure::new(Exit::Error, format!("stat {}: {}", path.display(), system_words(&error)));
    std::fs::metadata(path).map(drop).map_err(told)
}

impl FileSource {
    /// Opens it to read. Where it is in use it is waited for: until `patience` is over, 0 is for ever, or the user asks to stop.
    pub fn open(path: &Path, patience: Duration, stop: &Stop) -> Result<Self, Failure> {
        check_there(path)?;
        let name = path.display().to_string();
        let fault = |source| Fault::new("open", name.clone(), source);
        // Pages are read where they are, and a pipe has no places.
        let unsought = || Failure::new(Exit::Error, format!("seek {name}: illegal seek"));
        if is_pipe(path) {
            return Err(unsought());
        }
        let file = File::open(path).map_err(fault)?;
        if file.metadata().map_err(fault)?.is_dir() {
            return Err(Failure::new(Exit::Error, format!("{name} is a directory, and a file is wanted")));
        }
        if (&file).stream_position().is_err() {
            return Err(unsought());
        }
        let source = Self { file, path: name, ahead: RefCell::default() };
        source.lock(patience, stop)?;
        Ok(source)
    }

    /// The same file, whatever stands under its name by now.
    pub fn again(&self) -> Result<Self, Failure> {
        let file = self.file.try_clone().map_err(|source| Fault::new("open", self.path.clone(), source))?;
        Ok(Self { file, path: self.path.clone(), ahead: RefCell::default() })
    }

    /// Shares it with whoever reads: in use by etcd, it changes while it is read.
    fn lock(&self, patience: Duration, stop: &Stop) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            match self.file.try_lock_shared() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if !patience.is_zero() && began.elapsed() >= patience => {
                    let text = format!("{}: it is in use: stop etcd first", self.path);
                    return Err(Failure::new(Exit::Error, text));
                }
                Err(TryLockError::WouldBlock) => {}
                // A file system that knows no locks: nobody can have it for himself there.
                Err(TryLockError::Error(_)) => return Ok(()),
            }
            stop.check()?;
            thread::sleep(ASK_AGAIN);
        }
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.path
    }
}

impl Source for FileSource {
    fn bytes(&self) -> Result<u64, Fault> {
        let metadata = self.file.metadata().map_err(|source| Fault::new("look at", self.path.clone(), source))?;
        Ok(metadata.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, Fault> {
        let mut ahead = self.ahead.borrow_mut();
        let goes_on = ahead.end == offset;
        ahead.end = offset.saturating_add(bytes.len() as u64);
        if !ahead.has(offset, bytes.len()) {
            if !goes_on || bytes.len() >= AHEAD_BYTES {
                return self.read_from_file(offset, bytes);
            }
            let mut window = std::mem::take(&mut ahead.bytes);
            window.resize(AHEAD_BYTES, 0);
            let got = self.read_from_file(offset, &mut window)?;
            window.truncate(got);
            (ahead.at, ahead.bytes) = (offset, window);
        }
        let from = usize::try_from(offset - ahead.at).expect("it is within the window");
        let got = bytes.len().min(ahead.bytes.len() - from);
        bytes[..got].copy_from_slice(&ahead.bytes[from..from + got]);
        Ok(got)
    }
}

impl Ahead {
    fn has(&self, offset: u64, len: usize) -> bool {
        let end = self.at.saturating_add(self.bytes.len() as u64);
        offset >= self.at && offset.saturating_add(len as u64) <= end
    }
}

impl FileSource {
    fn read_from_file(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, Fault> {
        let mut got = 0;
        while got < bytes.len() {
            match self.file.read_at(&mut bytes[got..], offset.saturating_add(got as u64)) {
                Ok(0) => break,
                Ok(more) => got += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::new("read", self.path.clone(), error)),
            }
        }
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn whatever_is_read_ahead_what_is_read_is_what_the_file_has() {
        let bytes: Vec<u8> = (0..400_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&bytes).expect("written");
        let Ok(source) = FileSource::open(file.path(), Duration::ZERO, &Stop::default()) else { panic!("it is there") };
        let mut state = 7_u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let mut offset = 0;
        for _ in 0..3000 {
            // Most reads follow the one before.
            if draw(5) == 0 {
                offset = draw(420_000);
            }
            let len = if draw(50) == 0 { 200_000 } else { draw(9_000) } as usize;
            let mut read = vec![0; len];
            let Ok(got) = source.read_at(offset, &mut read) else { panic!("it can be read") };
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            assert_eq!(read[..got], rest[..len.min(rest.len())], "{len} from {offset}");
            offset += len as u64;
        }
    }

    /// Nobody writes to it, and nobody waits for that.
    #[test]
    fn a_pipe_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("there is such a program").success());
        let Err(refused) = FileSource::open(&pipe, Duration::ZERO, &Stop::default()) else { panic!("it is a pipe") };
        assert_eq!(refused.text(), format!("seek {}: illegal seek", pipe.display()));
        assert!(read_whole(&pipe).is_err(), "as a part of a log");
        assert!(read_whole(Path::new("/dev/zero")).is_err(), "which has no end");
    }

    /// While etcd runs it has its database for itself.
    #[test]
    fn a_file_in_use_is_waited_for() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let (soon, open) =
            (Duration::from_millis(1), |patience, stop: &Stop| FileSource::open(file.path(), patience, stop));
        let held = File::open(file.path()).expect("opened");
        held.lock().expect("locked");
        let refused = open(soon, &Stop::default()).expect_err("it is in use");
        assert!(refused.text().ends_with("it is in use: stop etcd first"), "{}", refused.text());
        let stop = Stop::default();
        stop.give_up();
        assert!(open(Duration::ZERO, &stop).expect_err("nobody waits").text().starts_with("interrupted"));
        for patience in [Duration::ZERO, Duration::from_secs(60)] {
            thread::scope(|scope| {
                let waits = scope.spawn(|| open(patience, &Stop::default()).is_ok());
                thread::sleep(2 * ASK_AGAIN);
                assert!(!waits.is_finished(), "it is in use");
                held.unlock().expect("unlocked");
                assert!(waits.join().expect("no bug"));
            });
            held.lock().expect("nobody reads any more");
        }
        held.unlock().expect("unlocked");
        let readers = [open(soon, &Stop::default()), open(soon, &Stop::default())];
        assert!(readers.iter().all(Result::is_ok), "readers share it");
    }
}
