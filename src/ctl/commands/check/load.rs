//! Writing a load with many clients, and what it took.
//!
//! Invariants: each client has a connection of its own and one write in flight; every write that was begun is counted,
//! done or failed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::client::{self, Client, under_prefix};
use crate::wire::etcdserverpb as pb;

use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go;
use crate::ctl::session::{Session, connect};
use crate::ctl::stop::Stop;
use crate::progress::Progress;

/// Longest wait for what tidies up after a load.
const TIDY_WITHIN: Duration = Duration::from_secs(30);

/// Tidying up is not talked of, unless it lasts so long.
const SOON: Duration = Duration::from_secs(1);

/// Longest wait for the writes under way of a load that was stopped.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// Time between two looks at a counter.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Load words and what they stand for.
pub const LOADS: [(&str, usize); 8] =
    [("s", 0), ("small", 0), ("m", 1), ("medium", 1), ("l", 2), ("large", 2), ("xl", 3), ("xLarge", 3)];

/// Which of the four loads a word names.
///
/// # Errors
/// None.
pub fn load(word: &str) -> Result<usize, Failure> {
    let found = LOADS.iter().find(|(name, _)| *name == word);
    found.map(|(_, load)| *load).ok_or_else(|| Failure::new(Exit::BadFeature, format!("unknown load option {word}")))
}

/// Clients with a connection each.
///
/// # Errors
/// An endpoint cannot be used, or the user is refused.
pub async fn clients(session: &mut Session, count: usize) -> Result<Vec<Client>, Failure> {
    let mut clients = vec![session.client().await?.within(None)];
    let (endpoints, options) = (session.global.endpoints.clone(), session.options()?);
    while clients.len() < count {
        clients.push(connect(&endpoints, options.clone()).await?.within(None));
    }
    Ok(clients)
}

/// Refuses to begin where keys have the prefix already.
///
/// # Errors
/// There are some, or they cannot be asked for.
pub async fn must_be_empty(client: &Client, prefix: &Bytes, hint: &str) -> Result<(), Failure> {
    let (key, range_end) = under_prefix(prefix);
    let request = pb::RangeRequest { key, range_end, limit: 1, ..Default::default() };
    if client.range(request).await?.kvs.is_empty() { Ok(()) } else { Err(Failure::new(Exit::InvalidInput, hint)) }
}

/// Takes away the keys of a load that was stopped, unless the user has no patience for that either, and says so.
///
/// It takes no longer than a command may, where that was said.
pub async fn clear(
    session: &mut Session,
    stop: &mut Stop,
    client: &Client,
    prefix: &Bytes,
    stopped: Stopped,
) -> Failure {
    let said = Some(session.global.command_timeout).filter(|_| session.global.command_timeout_given);
    let longest = said.unwrap_or(TIDY_WITHIN).max(SOON);
    let shown = String::from_utf8_lossy(prefix);
    let deleted = match &stopped {
        Stopped::AtOnce => None,
        Stopped::Waited(_) => {
            let mut deleting = std::pin::pin!(timeout(longest, delete_all(client, prefix)));
            match timeout(SOON, &mut deleting).await {
                Ok(deleted) => Some(deleted),
                Err(_) => {
                    stop.forget().await;
                    let most = go::show_duration(longest);
                    session.complain(format_args!(
                        "deleting keys {shown}*, for {most} at most; another Ctrl-C leaves them"
                    ));
                    stop.or(deleting).await
                }
            }
        }
    };
    let deleted = deleted.map(|deleted| deleted.unwrap_or(Err(client::Error::Deadline)));
    let text = match deleted {
        None => format!("stopped at once; keys {shown}* that were written may be left"),
        Some(Ok(_)) if matches!(stopped, Stopped::Waited(Some(_))) => {
            "stopped; the keys written were deleted".to_owned()
        }
        Some(Ok(_)) => format!("stopped; keys {shown}* that were being written may be left"),
        // Nobody knows what became of it.
        Some(Err(error @ client::Error::Deadline)) => {
            format!("stopped; keys {shown}* that were written may be left: {error}")
        }
        Some(Err(error)) => format!("stopped; the keys written, {shown}*, are left: {error}"),
    };
    Failure::new(Exit::Stopped(stop.code()), text)
}

/// Does what follows a load, unless the user stops it.
///
/// # Errors
/// Those of the work, or the user stopped it.
pub async fn unless_stopped(
    stop: &mut Stop,
    prefix: &Bytes,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let done = stop.or(work).await;
    let text = || format!("stopped; keys {}* that were written may be left", String::from_utf8_lossy(prefix));
    done.unwrap_or_else(|| Err(Failure::new(Exit::Stopped(stop.code()), text())))
}

/// What one write took, or why it failed.
pub type Write = Result<f64, String>;

/// What all writes took.
#[derive(Debug, Default, PartialEq)]
pub struct Took {
    /// Seconds of each write that was done.
    pub seconds: Vec<f64>,
    /// How often each failure was met.
    pub failures: BTreeMap<String, u64>,
    /// Seconds from the first write to the last.
    pub whole: f64,
}

impl Took {
    /// Writes done a second.
    pub fn rate(&self) -> f64 {
        if self.whole > 0.0 { self.seconds.len() as f64 / self.whole } else { 0.0 }
    }

    /// The slowest write, in seconds.
    pub fn slowest(&self) -> f64 {
        self.seconds.iter().copied().fold(0.0, f64::max)
    }

    /// How far writes spread around their average, in seconds.
    pub fn deviation(&self) -> f64 {
        let count = self.seconds.len().max(1) as f64;
        let average = self.seconds.iter().sum::<f64>() / count;
        let squares: f64 = self.seconds.iter().map(|seconds| (seconds - average).powi(2)).sum();
        (squares / count).sqrt()
    }
}

/// Writes the keys that come through `keys`, with every client, until there are no more.
pub async fn write_all(
    clients: Vec<Client>,
    keys: mpsc::Receiver<Bytes>,
    value: Bytes,
    counter: Arc<AtomicU64>,
) -> Took {
    let keys = Arc::new(Mutex::new(keys));
    let begun = Instant::now();
    let mut writers = JoinSet::new();
    for client in clients {
        let (keys, value, counter) = (Arc::clone(&keys), value.clone(), Arc::clone(&counter));
        writers.spawn(async move {
            let mut writes: Vec<Write> = Vec::new();
            loop {
                let next = keys.lock().await.recv().await;
                let Some(key) = next else { return writes };
                let started = Instant::now();
                let put = client.put(pb::PutRequest { key, value: value.clone(), ..Default::default() }).await;
                writes.push(put.map(|_| started.elapsed().as_secs_f64()).map_err(|error| error.to_string()));
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut took = Took::default();
    while let Some(writes) = writers.join_next().await {
        for write in writes.unwrap_or_default() {
            match write {
                Ok(seconds) => took.seconds.push(seconds),
                Err(text) => *took.failures.entry(text).or_default() += 1,
            }
        }
    }
    took.whole = begun.elapsed().as_secs_f64();
    took
}

/// Why a load has no result.
#[derive(Debug, PartialEq)]
pub enum Stopped {
    /// The user stopped it, and writes under way were waited for: what all took, if they were answered in time; others may still be
    /// carried out.
    Waited(Option<Took>),
    /// The user stopped the waiting, too.
    AtOnce,
}

/// Writes what `asking` asks for, shown by its counter, until all is written or the user stops it. Writes under way are waited for then:
/// what tidies up would come before them.
///
/// # Errors
/// The user stopped it.
pub async fn written(
    stop: &mut Stop,
    (asking, writing): (impl Future<Output = ()>, impl Future<Output = Took>),
    counter: &AtomicU64,
    progress: Progress,
) -> Result<Took, Stopped> {
    let work = async {
        let mut writing = std::pin::pin!(writing);
        let both = async {
            // The last keys are written when there are no more of them to ask for.
            let asking = std::pin::pin!(async {
                asking.await;
                pending::<Infallible>().await
            });
            match select(writing.as_mut(), asking).await {
                Either::Left((took, _)) => took,
                Either::Right((never, _)) => match never {},
            }
        };
        // With `asking` goes the end that keys come from.
        if let Some(took) = stop.or(both).await {
            return Ok(took);
        }
        Err(match stop.or(timeout(LEAVE_WITHIN, writing)).await {
            Some(ended) => Stopped::Waited(ended.ok()),
            None => Stopped::AtOnce,
        })
    };
    shown(work, counter, progress).await
}

/// Does some work while its counter is shown.
async fn shown<T>(work: impl Future<Output = T>, counter: &AtomicU64, mut progress: Progress) -> T {
    let mut work = std::pin::pin!(work);
    let mut seen = 0;
    loop {
        if let Ok(done) = timeout(LOOK_EVERY, &mut work).await {
            return done;
        }
        let counted = counter.load(Ordering::Relaxed);
        progress.add(counted - seen);
        seen = counted;
    }
}

/// A key of `size` bytes below a prefix that differs from all others with near certainty, shaped as etcdctl's.
pub fn key(prefix: &Bytes, size: usize, number: u64) -> Bytes {
    let mut key = prefix.to_vec();
    // Spread over the whole range, one to one: a multiplication by an odd number and a shift can be undone.
    let mut spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    spread ^= spread >> 32;
    let digits = format!("{spread:020}");
    key.extend_from_slice(digits.as_bytes());
    key.resize(prefix.len() + size, 0);
    key.into()
}

/// Deletes the keys of a load; the revision that did it.
///
/// # Errors
/// The server's refusal, or that no answer came in time.
pub async fn delete_all(client: &Client, prefix: &Bytes) -> Result<i64, crate::client::Error> {
    let (key, range_end) = under_prefix(prefix);
    let request = pb::DeleteRangeRequest { key, range_end, ..Default::default() };
    let client = client.within(Some(TIDY_WITHIN));
    Ok(client.delete_range(request).await?.header.map_or(0, |header| header.revision))
}

/// Compacts up to a revision, telling so.
///
/// # Errors
/// The server's refusal, or that no answer came in time.
pub async fn compact(session: &mut Session, client: &Client, revision: i64) -> Result<(), Failure> {
    session.say(format_args!("Compacting with revision {revision}"))?;
    let client = client.within(Some(TIDY_WITHIN));
    client.compact(pb::CompactionRequest { revision, physical: true }).await?;
    session.say(format_args!("Compacted with revision {revision}"))
}

/// Defragments every endpoint of the call, telling so.
///
/// # Errors
/// The server's refusal, or that no answer came in time.
pub async fn defragment(session: &mut Session) -> Result<(), Failure> {
    for endpoint in session.global.endpoints.clone() {
        session.say(format_args!("Defragmenting {endpoint:?}"))?;
        let client = session.client_of(std::slice::from_ref(&endpoint)).await?.within(Some(TIDY_WITHIN));
        client.defragment(pb::DefragmentRequest {}).await?;
        session.say(format_args!("Defragmented {endpoint:?}"))?;
    }
    Ok(())
}

/// Tells what failed; whether anything did.
///
/// # Errors
/// Writing failed.
pub fn tell_failures(session: &mut Session, took: &Took) -> Result<bool, Failure> {
    if took.failures.is_empty() {
        return Ok(false);
    }
    session.say("FAIL: too many errors")?;
    for (text, count) in &took.failures {
        session.say(format_args!("FAIL: ERROR({text}) -> {count}"))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Unit;

    /// Nothing is left to ask for, and the last writes are never answered.
    #[tokio::test]
    async fn a_stop_is_heard_when_all_was_asked_for_and_a_second_waits_for_nothing() {
        let mut stop = Stop::by([10, 12, 10]).expect("signals");
        let writing = async {
            for name in ["-USR1", "-USR2"] {
                let own = std::process::id().to_string();
                let status = std::process::Command::new("kill").args([name, &own]).status().expect("kill");
                assert!(status.success());
            }
            pending::<Took>().await
        };
        let progress = Progress::new(Unit::Of("keys"), 1);
        let outcome = written(&mut stop, (std::future::ready(()), writing), &AtomicU64::new(0), progress).await;
        assert_eq!(outcome.err(), Some(Stopped::AtOnce));
    }

    #[test]
    fn figures_of_a_load() {
        let took = Took { seconds: vec![0.1, 0.3], failures: BTreeMap::new(), whole: 2.0 };
        assert_eq!((took.rate(), took.slowest()), (1.0, 0.3));
        assert!((took.deviation() - 0.1).abs() < 1e-9);
        assert_eq!(Took::default().rate(), 0.0);
        assert_eq!(Took::default().deviation(), 0.0);
    }

    #[test]
    fn keys_of_a_load_differ_and_have_their_size() {
        let prefix = Bytes::from_static(b"/p/");
        let keys: std::collections::BTreeSet<Bytes> = (0..10_000).map(|number| key(&prefix, 256, number)).collect();
        assert_eq!(keys.len(), 10_000);
        assert!(keys.iter().all(|key| key.len() == 259 && key.starts_with(b"/p/")));
    }

    #[test]
    fn loads_by_either_name() {
        assert_eq!((load("s").ok(), load("xLarge").ok()), (Some(0), Some(3)));
        assert_eq!(load("huge").expect_err("none").text, "unknown load option huge");
    }
}
