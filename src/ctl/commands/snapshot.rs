//! `snapshot save`: a member's whole state as a file.
//!
//! Invariant: the file is in its place whole, or not at all ([`Draft`]), whatever ends the command.

use std::path::Path;

use clap::ArgMatches;

use crate::client::{self, Client};

use crate::ctl::command::{Command, Deed, Section, no_shared_flags, words};
use crate::ctl::draft::Draft;
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::session::Session;
use crate::ctl::stop::{Stop, outlive_size_limit};
use crate::progress::{Progress, Unit};

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
    let endpoints = session.endpoints().await?;
    if endpoints.len() != 1 {
        let text = format!("snapshot must be requested to one selected node, not multiple [{}]", endpoints.join(" "));
        return Err(Failure::new(Exit::Interrupted, text));
    }
    // Whoever is not let in there is told so with the exit code of a snapshot that was not saved, as by etcdctl.
    let client = session.client().await.map_err(|failure| match failure.exit {
        Exit::BadConnection => Failure { exit: Exit::Interrupted, ..failure },
        _ => failure,
    })?;
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
        None => return Err(Failure::new(Exit::Stopped(stop.code()), "stopped: nothing was saved")),
        Some(fetched) => fetched.map_err(|text| Failure::new(Exit::Interrupted, text))?,
    };
    session.say(format_args!("Snapshot saved at {}", path.display()))?;
    if !version.is_empty() {
        session.say(format_args!("Server version {version}"))?;
    }
    Ok(())
}

/// Fetches a snapshot into a file; the version of the server that made it.
async fn fetch(client: &Client, path: &Path) -> Result<String, String> {
    let mut draft = Draft::create(path)?;
    let mut parts = client.snapshot().await.map_err(|error| error.with_code())?;
    let mut progress = Progress::new(Unit::Bytes, 0);
    let (mut size, mut version) = (0, String::new());
    while let Some(part) = parts.next().await {
        // As etcdctl has it: where nothing came yet it was refused, and not lost.
        let lost = if size == 0 { "" } else { "could not write snapshot: " };
        let part = part.map_err(|error| format!("{lost}{}", error.with_code()))?;
        if size == 0 {
            progress.whole(part.remaining_bytes + part.blob.len() as u64);
            version.clone_from(&part.version);
        }
        draft.write(&part.blob).await?;
        size += part.blob.len() as u64;
        progress.add(part.blob.len() as u64);
    }
    drop(progress);
    if size % SECTOR != CHECKSUM_BYTES {
        return Err(format!("sha256 checksum not found [bytes: {size}]"));
    }
    draft.finish(path).await?;
    Ok(version)
}
