//! `snapshot save`: a member's whole state as a file.
//!
//! Invariants: the file is written beside its place and put there whole and synced, or not at all; whatever ends the
//! command takes the unfinished one away; nobody else may read it, because it holds everything.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use futures_util::StreamExt as _;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::client::{self, Client};

use crate::ctl::command::{Command, Deed, Section, no_shared_flags, words};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::progress::{Progress, Unit};
use crate::ctl::session::Session;
use crate::ctl::stop::{Stop, outlive_size_limit};

const EXAMPLE: &str = "
# Save snapshot to a given file
quoratectl snapshot save /backup/etcd-snapshot.db

# Get snapshot from given address and save it to file
quoratectl snapshot save --endpoints=127.0.0.1:3000 /backup/etcd-snapshot.db

# Get snapshot from given address with certificates
quoratectl --endpoints=https://127.0.0.1:2379 --cacert=/etc/etcd/ca.crt --cert=/etc/etcd/etcd.crt --key=/etc/etcd/etcd.key snapshot save /backup/etcd-snapshot.db

# Get snapshot with certain user and password
quoratectl --user=root --password=password123 snapshot save /backup/etcd-snapshot.db

# Get snapshot from given address with timeout
quoratectl --endpoints=https://127.0.0.1:2379 --dial-timeout=20s snapshot save /backup/etcd-snapshot.db

# Save snapshot with desirable time format
quoratectl snapshot save /mnt/backup/etcd/backup_$(date +%Y%m%d_%H%M%S).db";

/// `snapshot`
pub const COMMAND: Command = Command {
    name: "snapshot",
    usage: "<subcommand>",
    short: "Manages etcd node snapshots",
    example: EXAMPLE,
    section: Some(Section::Maintenance),
    flags: no_shared_flags,
    deed: Deed::Group(&[Command {
        name: "save",
        usage: "<filename>",
        short: "Stores an etcd node backend snapshot to a given file",
        example: EXAMPLE,
        deed: Deed::Run(|session, matches| Box::pin(save(session, matches))),
        ..Command::PLAIN
    }]),
    ..Command::PLAIN
};

/// What the end of a snapshot adds to a whole number of [`SECTOR`]s: the checksum of the rest, SHA-256.
const CHECKSUM_BYTES: u64 = 32;

/// A database's size is a multiple of it, whatever its pages are.
const SECTOR: u64 = 512;

async fn save(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let words = words(matches);
    let [path] = &words[..] else {
        return Err(Failure::bad_args("snapshot save expects one argument <filename>"));
    };
    let path = Path::new(path);
    let client = session.client().await?;
    let endpoints = session.global.endpoints.clone();
    if endpoints.len() != 1 {
        let text = format!("snapshot must be requested to one selected node, not multiple [{}]", endpoints.join(" "));
        return Err(Failure::new(Exit::Interrupted, text));
    }
    // The timeout of short commands is not meant for this one, unless it was given.
    let timeout = client.options().timeout.filter(|_| session.global.command_timeout_given);
    let mut stop = Stop::new()?;
    outlive_size_limit()?;
    let fetched = async {
        match timeout {
            None => fetch(&client.within(None), path).await,
            Some(timeout) => match tokio::time::timeout(timeout, fetch(&client, path)).await {
                Ok(fetched) => fetched,
                Err(_) => Err(client::Error::Deadline.to_string()),
            },
        }
    };
    let version = match stop.or(fetched).await {
        None => return Err(Failure::new(Exit::Stopped, "stopped: nothing was saved")),
        Some(fetched) => fetched.map_err(|text| Failure::new(Exit::Interrupted, text))?,
    };
    session.say(format_args!("Snapshot saved at {}", path.display()))?;
    if !version.is_empty() {
        session.say(format_args!("Server version {version}"))?;
    }
    Ok(())
}

/// Bytes written before they are made durable, while the next are fetched. All at once at the end is a queue that everybody else's
/// syncs on that disk stand behind: a server's puts took five times as long.
const FLUSH_BYTES: u64 = 8 * 1024 * 1024;

/// An unfinished file, taken away unless it was put in its place.
struct Unfinished {
    path: PathBuf,
    file: File,
    /// Written since the last part was handed on.
    unflushed: u64,
    /// The part that is being made durable.
    flushing: Option<JoinHandle<io::Result<()>>>,
}

impl Unfinished {
    fn create(place: &Path) -> Result<Unfinished, String> {
        let mut path = place.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        match opened {
            Ok(file) => Ok(Unfinished { path, file, unflushed: 0, flushing: None }),
            Err(error) => Err(format!("could not open {0} (open {0}: {1})", path.display(), reason(&error))),
        }
    }

    /// Writes what comes next.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let told = |path: &Path, error: &io::Error| {
            format!("could not write snapshot: write {}: {}", path.display(), reason(error))
        };
        self.file.write_all(bytes).map_err(|error| told(&self.path, &error))?;
        self.unflushed += bytes.len() as u64;
        if self.unflushed >= FLUSH_BYTES {
            self.flushed().await?;
            let file = self.file.try_clone().map_err(|error| told(&self.path, &error))?;
            self.flushing = Some(spawn_blocking(move || file.sync_data()));
            self.unflushed = 0;
        }
        Ok(())
    }

    /// Waits for the part that is being made durable: no more than one is, and one more is written meanwhile.
    async fn flushed(&mut self) -> Result<(), String> {
        let Some(flushing) = self.flushing.take() else { return Ok(()) };
        let synced = flushing.await.map_err(io::Error::other).flatten();
        synced.map_err(|error| format!("could not fsync snapshot: {}", reason(&error)))
    }

    /// Makes the file durable and puts it in its place.
    async fn finish(mut self, place: &Path) -> Result<(), String> {
        self.flushed().await?;
        self.file.sync_all().map_err(|error| format!("could not fsync snapshot: {}", reason(&error)))?;
        fs::rename(&self.path, place).map_err(|error| {
            let (from, to) = (self.path.display(), place.display());
            format!("could not rename {from} to {to} (rename {from} {to}: {})", reason(&error))
        })?;
        let directory = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| format!("could not fsync {}: {}", directory.display(), reason(&error)))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Gone already where it is in its place.
        let _ = fs::remove_file(&self.path);
    }
}

/// What the system says of an error, as Go words it.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// Fetches a snapshot into a file; the version of the server that made it.
async fn fetch(client: &Client, path: &Path) -> Result<String, String> {
    let mut unfinished = Unfinished::create(path)?;
    let mut parts = client.snapshot().await.map_err(|error| error.to_string())?;
    let mut progress = Progress::new(Unit::Bytes, 0);
    let (mut size, mut version) = (0, String::new());
    while let Some(part) = parts.next().await {
        let part = part.map_err(|status| format!("could not write snapshot: {}", client::Error::from(status)))?;
        if size == 0 {
            progress.whole(part.remaining_bytes + part.blob.len() as u64);
            version.clone_from(&part.version);
        }
        unfinished.write(&part.blob).await?;
        size += part.blob.len() as u64;
        progress.add(part.blob.len() as u64);
    }
    drop(progress);
    if size % SECTOR != CHECKSUM_BYTES {
        return Err(format!("sha256 checksum not found [bytes: {size}]"));
    }
    unfinished.finish(path).await?;
    Ok(version)
}
