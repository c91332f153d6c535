//! `make-mirror`: the keys of one cluster kept alike in another.
//!
//! Invariants: first the keys as of one revision, then every change after it in order, the changes of one revision
//! together (as far as `--max-txn-ops` and the destination allow); nothing is written twice, and keys outside the prefix are not touched.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::{ArgMatches, Args, FromArgMatches};

use crate::client::{Client, Options, TlsOptions, WatchRange, under_prefix};
use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::request_op::Request;
use crate::wire::mvccpb::Event;
use crate::wire::mvccpb::event::EventType;

use crate::ctl::command::{Command, Deed, Section, no_flags, words};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::global::password_of;
use crate::ctl::go;
use crate::ctl::session::{Session, log_in};
use crate::ctl::stop::Stop;
use crate::progress::{self, Progress, Unit};

/// `make-mirror`
pub const COMMAND: Command = Command {
    name: "make-mirror",
    usage: "[options] <destination>",
    short: "Makes a mirror at the destination etcd cluster",
    example: "quoratectl make-mirror --prefix /app/ backup.example.com:2379",
    section: Some(Section::Utility),
    flags: |command| Flags::augment_args(no_flags(command)),
    deed: Deed::Run(|session, matches| Box::pin(run(session, matches))),
    ..Command::PLAIN
};

#[derive(Args, Debug)]
struct Flags {
    /// Key-value prefix to mirror
    #[arg(long, value_name = "string", default_value = "")]
    prefix: String,
    /// Specify the kv revision to start to mirror
    #[arg(long, value_name = "int", default_value = "0", value_parser = go::parse_flag_int)]
    rev: i64,
    // A comment would lose its dot.
    #[arg(
        long,
        value_name = "uint",
        default_value = "128",
        value_parser = go::parse_flag_uint,
        help = "Maximum number of operations permitted in a transaction during syncing updates."
    )]
    max_txn_ops: u64,
    /// destination prefix to mirror a prefix to a different prefix in the destination cluster
    #[arg(long, value_name = "string", default_value = "")]
    dest_prefix: String,
    /// mirror key-values to the root of the destination cluster
    #[arg(long)]
    no_dest_prefix: bool,
    /// Identify secure client using this TLS certificate file for the destination cluster
    #[arg(long, value_name = "string", default_value = "")]
    dest_cert: String,
    /// Identify secure client using this TLS key file
    #[arg(long, value_name = "string", default_value = "")]
    dest_key: String,
    /// Verify certificates of TLS enabled secure servers using this CA bundle
    #[arg(long, value_name = "string", default_value = "")]
    dest_cacert: String,
    /// Disable transport security for client connections
    #[arg(long, default_value = "true")]
    dest_insecure_transport: bool,
    /// Destination username[:password] for authentication (prompt if password is not supplied)
    #[arg(long, value_name = "string", default_value = "")]
    dest_user: String,
    /// Destination password for authentication (if this option is used, --user option shouldn't include password)
    #[arg(long, value_name = "string", default_value = "")]
    dest_password: String,
}

/// Keys read at once, as in etcd's client.
const PAGE: i64 = 1_000;

/// Bytes put into one transaction at most: well below what a server takes by default (1.5 MiB).
const TXN_BYTES: usize = 512 * 1024;

/// Time between two lines that tell how many keys were written.
const TELL_EVERY: Duration = Duration::from_secs(30);

async fn run(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = Flags::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
    let words = words(matches);
    let [destination] = &words[..] else {
        return Err(Failure::bad_args("make-mirror takes one destination argument"));
    };
    let options = destination_options(session, &flags)?;
    let destination = session.opened_by(&[destination.to_string_lossy().into_owned()], options)?;
    log_in(&destination).await?;
    let destination = destination.within(None);
    let source = session.client().await?.within(None);
    if flags.no_dest_prefix && !flags.dest_prefix.is_empty() {
        return Err(Failure::bad_args(
            "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one",
        ));
    }
    let to = match (flags.no_dest_prefix, flags.dest_prefix.is_empty()) {
        (false, true) => flags.prefix.clone(),
        _ => flags.dest_prefix.clone(),
    };
    let written = Arc::new(AtomicU64::new(0));
    let mut mirror = Mirror {
        source,
        destination,
        from: Bytes::from(flags.prefix),
        to: Bytes::from(to),
        most: usize::try_from(flags.max_txn_ops).unwrap_or(usize::MAX).max(1),
        written: Arc::clone(&written),
        progress: Progress::new(Unit::Of("keys"), 0),
    };
    let mut stop = Stop::new()?;
    let mirroring = async {
        let mut mirroring = std::pin::pin!(mirror.run((flags.rev - 1).max(0)));
        loop {
            match tokio::time::timeout(TELL_EVERY, &mut mirroring).await {
                Ok(ended) => return ended,
                Err(_) => {
                    progress::make_room();
                    session.say(written.load(Ordering::Relaxed))?;
                }
            }
        }
    };
    // Stopped, it ends without a word, as etcdctl does, but for the line that says how far it has come: it is wiped.
    let ended = stop.or(mirroring).await;
    ended.unwrap_or_else(|| Err(Failure::silent(Exit::Stopped(stop.code()))))
}

/// How to reach the destination: as the source, but for who asks and how it is encrypted.
fn destination_options(session: &mut Session, flags: &Flags) -> Result<Options, Failure> {
    let user = Some(flags.dest_user.clone());
    let mut password = flags.dest_password.clone();
    if !flags.dest_user.is_empty() && password.is_empty() && !flags.dest_user.contains(':') {
        password = session.ask("Destination Password: ")?;
    }
    let credentials = password_of(&user, Some(&password));
    let files = [&flags.dest_cacert, &flags.dest_cert, &flags.dest_key];
    let sealed = !flags.dest_insecure_transport || files.iter().any(|file| !file.is_empty());
    let [cacert, cert, key] = files.map(PathBuf::from);
    let tls = sealed.then_some(TlsOptions { cacert, cert, key, ..TlsOptions::default() });
    Ok(Options { credentials, tls, ..session.options()? })
}

struct Mirror {
    source: Client,
    destination: Client,
    from: Bytes,
    to: Bytes,
    most: usize,
    written: Arc<AtomicU64>,
    progress: Progress,
}

impl Mirror {
    /// Mirrors what is there, unless a revision to begin at is given, and then every change for ever.
    async fn run(&mut self, begin: i64) -> Result<(), Failure> {
        let revision = if begin == 0 { self.copy().await? } else { begin };
        self.follow(revision + 1).await
    }

    /// All keys as of now; the revision they are of.
    async fn copy(&mut self) -> Result<i64, Failure> {
        let probe = if self.from.is_empty() { Bytes::from_static(b"foo") } else { self.from.clone() };
        let probed = self.source.range(pb::RangeRequest { key: probe, ..Default::default() }).await?;
        let revision = probed.header.map_or(0, |header| header.revision);
        let (mut key, range_end) = under_prefix(&self.from);
        loop {
            let request =
                pb::RangeRequest { key, range_end: range_end.clone(), limit: PAGE, revision, ..Default::default() };
            let page = self.source.range(request).await?;
            let next = page.kvs.last().map(|kv| Bytes::from([&kv.key[..], b"\0"].concat()));
            let mut batch = Batch::default();
            for kv in page.kvs {
                batch.put(self.renamed(&kv.key), kv.value);
                if batch.requests.len() >= self.most || batch.bytes >= TXN_BYTES {
                    self.write(&mut batch).await?;
                }
            }
            self.write(&mut batch).await?;
            match next.filter(|_| page.more) {
                Some(next) => key = next,
                None => return Ok(revision),
            }
        }
    }

    /// Every change from a revision on, those of one revision in one transaction.
    async fn follow(&mut self, start_revision: i64) -> Result<(), Failure> {
        let (key, range_end) = under_prefix(&self.from);
        let range = WatchRange { key, range_end, start_revision, ..WatchRange::default() };
        let mut watcher = self.source.watch(range);
        while let Some(response) = watcher.next().await {
            let response = response?;
            if response.compact_revision != 0 {
                let text = "etcdserver: mvcc: required revision has been compacted";
                return Err(Failure::new(Exit::Error, text));
            }
            if response.canceled {
                return Err(Failure::new(Exit::Error, response.cancel_reason));
            }
            self.repeat(response.events).await?;
        }
        Err(Failure::new(Exit::Error, "the watch at the source ended"))
    }

    async fn repeat(&mut self, events: Vec<Event>) -> Result<(), Failure> {
        let (mut batch, mut last) = (Batch::default(), 0);
        for event in events {
            let kv = event.kv.unwrap_or_default();
            if (last != 0 && kv.mod_revision > last) || batch.requests.len() >= self.most {
                self.write(&mut batch).await?;
            }
            last = kv.mod_revision;
            let key = self.renamed(&kv.key);
            if event.r#type == EventType::Delete as i32 { batch.delete(key) } else { batch.put(key, kv.value) }
        }
        self.write(&mut batch).await
    }

    /// The key's name at the destination.
    fn renamed(&self, key: &Bytes) -> Bytes {
        if self.from == self.to {
            return key.clone();
        }
        Bytes::from([&self.to[..], &key[self.from.len().min(key.len())..]].concat())
    }

    /// Writes all of it as one, or in halves where the destination takes less at once.
    async fn write(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let mut parts = vec![std::mem::take(&mut batch.requests)];
        batch.bytes = 0;
        while let Some(part) = parts.pop().filter(|part| !part.is_empty()) {
            let count = part.len();
            let success = part.iter().map(|request| pb::RequestOp { request: Some(request.clone()) }).collect();
            match self.destination.txn(pb::TxnRequest { success, ..Default::default() }).await {
                Ok(_) => {
                    self.written.fetch_add(count as u64, Ordering::Relaxed);
                    self.progress.add(count as u64);
                }
                Err(error) if count > 1 && is_too_much(error.text()) => {
                    let (first, second) = halves(part);
                    if error.text() == TOO_MANY {
                        self.most = self.most.min(first.len());
                    }
                    // In their order.
                    parts.extend([second, first]);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// What a server says of a transaction with more operations than it takes.
const TOO_MANY: &str = "etcdserver: too many operations in txn request";

/// Whether a server says that it takes less at once, or what stands between: the client's own limit, and gRPC's.
fn is_too_much(text: &str) -> bool {
    let too_long = ["trying to send message larger than max (", "grpc: received message larger than max ("];
    text == TOO_MANY
        || text == "etcdserver: request is too large"
        || too_long.iter().any(|beginning| text.starts_with(beginning))
}

/// The first half and the second; of an odd number the first has one more.
fn halves(mut requests: Vec<Request>) -> (Vec<Request>, Vec<Request>) {
    let second = requests.split_off(requests.len().div_ceil(2));
    (requests, second)
}

/// Requests that are written as one.
#[derive(Default)]
struct Batch {
    requests: Vec<Request>,
    bytes: usize,
}

impl Batch {
    fn put(&mut self, key: Bytes, value: Bytes) {
        self.bytes += key.len() + value.len();
        self.requests.push(Request::RequestPut(pb::PutRequest { key, value, ..Default::default() }));
    }

    fn delete(&mut self, key: Bytes) {
        self.requests.push(Request::RequestDeleteRange(pb::DeleteRangeRequest { key, ..Default::default() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_in_order_and_never_empty() {
        for count in 2..20_u8 {
            let mut batch = Batch::default();
            (0..count).for_each(|key| batch.put(Bytes::from(vec![key]), Bytes::new()));
            let whole = batch.requests.clone();
            let (first, second) = halves(batch.requests);
            assert!(!second.is_empty() && (first.len() - second.len()) < 2, "{count}");
            assert_eq!([first, second].concat(), whole);
        }
        assert!(is_too_much(TOO_MANY) && is_too_much("etcdserver: request is too large"));
        assert!(!is_too_much("etcdserver: permission denied") && !is_too_much(""));
    }
}
