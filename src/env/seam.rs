//! The traits of the seam.

use std::future::Future;
use std::time::Duration;

use crate::base::{Dice, Fault};

/// A moment on a clock that never goes back; nanoseconds since an arbitrary start of the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// This moment plus `duration`.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Time. Only the monotonic clock takes part in decisions; the wall clock is for ids and people.
pub trait Clock: Clone + Send + Sync + 'static {
    /// The monotonic clock.
    fn now(&self) -> Instant;

    /// Milliseconds since 1970 by the wall clock, which may step either way.
    fn wall_ms(&self) -> u64;

    /// Completes at `deadline`, at once if it has passed.
    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send;
}

/// Concurrency.
pub trait Tasks: Clone + Send + Sync + 'static {
    /// Runs `future` by itself. `name` is for people. In production each long-lived task that waits for the
    /// disk has a thread of its own; in the simulator all are tasks of one node and die with it.
    fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static);

    /// As [`Tasks::spawn`], for work that is long and that nobody waits for: where the system can, it gives way to all others.
    fn spawn_quiet(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name, future);
    }

    /// Runs `future` beside others of its kind: for tasks that wait for nothing but the network and the clock and
    /// never for the disk, of which there may be many. In production they share a runtime that drives sockets, and
    /// [`Net`] may be used in them alone.
    fn spawn_light(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static);
}

/// Byte streams between members. An address is `host:port`, or the name of a socket in the file system behind [`IN_FILE`].
///
/// What a stream promises is what TCP does: bytes arrive in order and without a gap, or the stream ends; a peer that
/// dies or is cut off may never be noticed. Faults of the network are ordinary: no caller may treat one as fatal.
pub trait Net: Clone + Send + Sync + 'static {
    /// A connection.
    type Stream: NetStream;
    /// Where connections come in.
    type Listener: NetListener<Stream = Self::Stream>;

    /// Opens an address for others to connect to. With [`SEALED`] before it connections are encrypted, where
    /// the network can; else it is a fault.
    fn listen(&self, address: &str) -> impl Future<Output = Result<Self::Listener, Fault>> + Send;

    /// Connects to an address as [`Net::listen`] takes it. May wait for long, as for a host that does not answer: the caller bounds it by a clock.
    fn dial(&self, address: &str) -> impl Future<Output = Result<Self::Stream, Fault>> + Send;
}

/// What stands before an address whose connections are encrypted.
pub const SEALED: &str = "tls://";

/// What stands before the name of a socket in the file system, which reaches who is on the same machine. Nothing is encrypted there.
pub const IN_FILE: &str = "unix:";

/// Where connections come in. Dropping it closes the address.
pub trait NetListener: Send + 'static {
    /// A connection.
    type Stream: NetStream;

    /// The next connection, with the address of its other end as people read it.
    fn accept(&mut self) -> impl Future<Output = Result<(Self::Stream, String), Fault>> + Send;

    /// The address listened at, with the port that was given where 0 was asked for.
    fn address(&self) -> String;
}

/// A connection. Dropping both halves closes it.
pub trait NetStream: Send + 'static {
    /// The half that is read from.
    type Reader: NetReader;
    /// The half that is written to.
    type Writer: NetWriter;

    /// The two halves, for two tasks.
    fn split(self) -> (Self::Reader, Self::Writer);
}

/// The half of a connection that is read from.
pub trait NetReader: Send + 'static {
    /// Waits for bytes; 0 when the other end has finished. A read given up before it is ready has taken nothing.
    fn read(&mut self, buf: &mut [u8]) -> impl Future<Output = Result<usize, Fault>> + Send;
}

/// The half of a connection that is written to.
pub trait NetWriter: Send + 'static {
    /// Writes all of `data`; waits while the other end does not read. Given up before it is ready it may have
    /// written a part, and the connection is of no use any more.
    fn write(&mut self, data: &[u8]) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Says that nothing more will be written.
    fn finish(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// It exists; for reading only.
    Read,
    /// It exists; for reading and writing.
    Write,
    /// It must not exist and is made, empty; for reading and writing.
    Create,
}

/// A directory tree that outlives the process. All names are relative to its root.
///
/// Reads and writes answer at once (the page cache of the system); *durability* is what is waited for, and
/// only [`DiskFile::sync`] and [`Disk::sync_dir`] promise it. Until then a crash may lose, tear or reorder
/// whatever was written, created, renamed or removed.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Opens or makes a file.
    fn open(&self, name: &str, mode: OpenMode) -> Result<Self::File, Fault>;

    /// Names (without the directory) of files in `dir`, sorted; a missing directory is a fault.
    fn list(&self, dir: &str) -> Result<Vec<String>, Fault>;

    /// Makes `dir` and its parents where missing.
    fn create_dir(&self, dir: &str) -> Result<(), Fault>;

    /// Gives a file another name, replacing what had it, atomically.
    fn rename(&self, from: &str, to: &str) -> Result<(), Fault>;

    /// Removes a file; a missing one is a fault.
    fn remove(&self, name: &str) -> Result<(), Fault>;

    /// Whether a file of that name exists.
    fn exists(&self, name: &str) -> Result<bool, Fault>;

    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &str) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// An open file of a [`Disk`]. Clones of a handle are not needed: wrap it in an `Arc`.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads up to `buf.len()` bytes from `offset`; fewer (0 at the end) is allowed at any time.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Fault>;

    /// Writes all of `data` at `offset`, growing the file where needed (a gap reads as zeroes).
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), Fault>;

    /// The file's length in bytes.
    fn len(&self) -> Result<u64, Fault>;

    /// Whether the file holds nothing.
    fn is_empty(&self) -> Result<bool, Fault> {
        Ok(self.len()? == 0)
    }

    /// Cuts or grows (with zeroes) the file.
    fn set_len(&self, len: u64) -> Result<(), Fault>;

    /// Makes every byte written before, and the length, durable. After a failure nothing is known of what
    /// is on the disk: the process must stop, never retry.
    fn sync(&self) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Reads exactly `buf.len()` bytes, or tells how many there were before the end.
    fn read_full_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        let mut done = 0;
        while done < buf.len() {
            match self.read_at(offset + done as u64, &mut buf[done..])? {
                0 => break,
                n => done += n,
            }
        }
        Ok(done)
    }
}

/// The world as one value.
pub trait Env: Clone + Send + Sync + 'static {
    /// Its clock.
    type Clock: Clock;
    /// Its disk: the data directory.
    type Disk: Disk;
    /// Its network.
    type Net: Net;
    /// Its tasks.
    type Tasks: Tasks;

    /// The clock.
    fn clock(&self) -> &Self::Clock;
    /// The disk.
    fn disk(&self) -> &Self::Disk;
    /// The network.
    fn net(&self) -> &Self::Net;
    /// The tasks.
    fn tasks(&self) -> &Self::Tasks;
    /// Fresh dice, different at every call, from the env's own seed.
    fn dice(&self) -> Box<dyn Dice>;
}
