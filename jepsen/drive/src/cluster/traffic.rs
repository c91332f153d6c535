//! Clients under which the members are examined: writers with ledgers, counters, readers and a watcher.
//!
//! Invariants: a writer has one write in flight, and leaves its keys for new ones when it does not learn an outcome, so that
//! every ledger has at most one unknown write; every counter step is told apart from every other. Nothing is compacted, so
//! that every read can be held against the history at the end. Does not know what is done to the members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorate::base::{Dice, SeededDice};
use quorate::client::{Client, Error, WatchRange};
use quorate::wire::etcdserverpb as pb;
use quorate::wire::etcdserverpb::request_op::Request;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::members::{SETTLE_LIMIT, client};
use crate::ledger::{Held, Ledger, Write};
use crate::process::Trouble;

/// Keys of one ledger.
const KEYS: u64 = 20;

/// Time a client waits for one answer: longer than an election, shorter than what is done to members takes.
const CLIENT_TIME: Duration = Duration::from_secs(2);

/// The longest pause between two requests of a client.
const PAUSE_MS: u64 = 12;

/// Reads that one reader remembers for the end.
const READS_KEPT: usize = 2_000;

/// Where the clients count together.
pub const COUNTER: &str = "counter";

/// How many clients of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Clients that put, delete and run transactions.
    pub writers: usize,
    /// Clients that count.
    pub counters: usize,
    /// Clients that read.
    pub readers: usize,
}

/// What the clients know of each other.
#[derive(Debug)]
struct Common {
    stop: AtomicBool,
    /// The highest revision anyone was told: no linearizable read that begins later may be behind it.
    floor: AtomicI64,
    endpoints: watch::Receiver<Vec<String>>,
}

/// An answer to a read, to be held against the history.
#[derive(Clone, Debug)]
pub struct Read {
    /// The key.
    pub key: String,
    /// The revision of the answer.
    pub revision: i64,
    /// What was there.
    pub found: Option<Held>,
}

/// Everything the clients were told.
#[derive(Debug, Default)]
pub struct Told {
    /// By the prefix of its keys.
    pub ledgers: BTreeMap<String, Ledger>,
    /// Changes that were acknowledged: key and revision.
    pub changes: Vec<(String, i64)>,
    /// Numbers that a client was told it counted to, and steps of which it was not told.
    pub counted: Vec<i64>,
    /// Counter steps with an unknown outcome.
    pub uncounted: i64,
    /// Answers to reads.
    pub reads: Vec<Read>,
    /// What the watcher saw, in order: key and revision.
    pub events: Vec<(String, i64)>,
    /// Broken promises that were seen under way.
    pub broken: Vec<String>,
    /// Answers without success, by their text.
    pub failures: BTreeMap<String, u64>,
    /// The highest revision anyone was told.
    pub floor: i64,
}

impl Told {
    fn absorb(&mut self, other: Told) {
        self.ledgers.extend(other.ledgers);
        self.changes.extend(other.changes);
        self.counted.extend(other.counted);
        self.uncounted += other.uncounted;
        self.reads.extend(other.reads);
        self.broken.extend(other.broken);
        for (text, times) in other.failures {
            *self.failures.entry(text).or_default() += times;
        }
    }

    fn fail(&mut self, why: &Error) {
        *self.failures.entry(why.to_string()).or_default() += 1;
    }
}

/// The clients at work.
#[derive(Debug)]
pub struct Traffic {
    common: Arc<Common>,
    tasks: Vec<JoinHandle<Result<Told, Trouble>>>,
    watcher: JoinHandle<Vec<(String, i64)>>,
    seen: watch::Receiver<i64>,
}

impl Traffic {
    /// Sends the clients to work.
    pub fn start(crowd: Crowd, endpoints: watch::Receiver<Vec<String>>, dice: &mut SeededDice) -> Self {
        let common = Common { stop: AtomicBool::new(false), floor: AtomicI64::new(0), endpoints };
        let common = Arc::new(common);
        let mut tasks = Vec::new();
        let visitor = |dice: &mut SeededDice| Visitor {
            common: common.clone(),
            dice: SeededDice::new(dice.next_u64()),
            told: Told::default(),
        };
        for id in 0..crowd.writers {
            tasks.push(tokio::spawn(visitor(dice).write(id)));
        }
        for _ in 0..crowd.counters {
            tasks.push(tokio::spawn(visitor(dice).count()));
        }
        for _ in 0..crowd.readers {
            tasks.push(tokio::spawn(visitor(dice).read(crowd.writers)));
        }
        let (sees, seen) = watch::channel(0);
        let watcher = tokio::spawn(watch_all(common.clone(), sees));
        Self { common, tasks, watcher, seen }
    }

    /// Sends everybody home; what they were told.
    pub async fn finish(mut self) -> Result<Told, Trouble> {
        self.common.stop.store(true, Ordering::SeqCst);
        let mut told = Told::default();
        for task in self.tasks {
            told.absorb(task.await??);
        }
        told.floor = self.common.floor.load(Ordering::SeqCst);
        // The watcher goes last: it has to see what was acknowledged.
        let last = told.changes.iter().map(|(_, revision)| *revision).max().unwrap_or(0);
        let caught_up = tokio::time::timeout(SETTLE_LIMIT, self.seen.wait_for(|seen| *seen >= last)).await;
        if !matches!(caught_up, Ok(Ok(_))) {
            told.broken.push(format!("the watcher did not see revision {last} within {SETTLE_LIMIT:?}"));
        }
        self.common.stop.store(true, Ordering::SeqCst);
        drop(caught_up);
        drop(self.seen);
        told.events = self.watcher.await?;
        Ok(told)
    }
}

/// A client.
struct Visitor {
    common: Arc<Common>,
    dice: SeededDice,
    told: Told,
}

impl Visitor {
    fn goes_on(&self) -> bool {
        !self.common.stop.load(Ordering::SeqCst)
    }

    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.dice.below(PAUSE_MS))).await;
    }

    fn was_told(&self, revision: i64) {
        self.common.floor.fetch_max(revision, Ordering::SeqCst);
    }

    /// A client of everybody who is there now, beginning with one of them by chance.
    async fn everybody(&mut self) -> Result<Client, Trouble> {
        let mut urls = self.common.endpoints.borrow().clone();
        let first = self.dice.below(urls.len() as u64) as usize;
        urls.rotate_left(first);
        client(&urls, CLIENT_TIME).await
    }

    /// Writes until told to stop.
    async fn write(mut self, id: usize) -> Result<Told, Trouble> {
        let mut client = self.everybody().await?;
        for generation in 0_u64.. {
            let prefix = format!("w{id}g{generation}/");
            let mut ledger = Ledger::default();
            let mut number = 0;
            while self.goes_on() && !ledger.is_unsure() {
                number += 1;
                let write = self.draw(&prefix, number);
                ledger.send(write.clone());
                match send(&client, write.clone()).await {
                    Ok(revision) => {
                        self.was_told(revision);
                        self.note_changes(&ledger, &write, revision);
                        ledger.acknowledge(revision);
                    }
                    Err(why) => self.told.fail(&why),
                }
                self.pause().await;
            }
            self.told.ledgers.insert(prefix, ledger);
            if !self.goes_on() {
                break;
            }
            client = self.everybody().await?;
        }
        Ok(self.told)
    }

    /// What a watcher has to see: every put, and the deletion of what was there.
    fn note_changes(&mut self, before: &Ledger, write: &Write, revision: i64) {
        for (key, value) in write {
            if value.is_some() || before.holds(key) {
                self.told.changes.push((key.clone(), revision));
            }
        }
    }

    /// One to three different keys, each put or deleted.
    fn draw(&mut self, prefix: &str, number: u64) -> Write {
        let first = self.dice.below(KEYS);
        let count = if self.dice.one_in(4) { 2 + self.dice.below(2) } else { 1 };
        (0..count)
            .map(|at| {
                let key = format!("{prefix}{:02}", (first + at) % KEYS);
                let filler = "x".repeat(self.dice.below(400) as usize);
                let value = Bytes::from(format!("{prefix}n{number}k{at} {filler}"));
                (key, (!self.dice.one_in(6)).then_some(value))
            })
            .collect()
    }

    /// Counts until told to stop: read, then one more if nobody else was quicker.
    async fn count(mut self) -> Result<Told, Trouble> {
        let mut client = self.everybody().await?;
        while self.goes_on() {
            self.pause().await;
            match count_one(&client).await {
                Ok(Some((number, revision))) => {
                    self.was_told(revision);
                    self.told.counted.push(number);
                }
                Ok(None) => {}
                Err((why, unsure)) => {
                    self.told.uncounted += i64::from(unsure);
                    self.told.fail(&why);
                    client = self.everybody().await?;
                }
            }
        }
        Ok(self.told)
    }

    /// Reads writers' first keys until told to stop, at one member each time.
    async fn read(mut self, writers: usize) -> Result<Told, Trouble> {
        while self.goes_on() {
            let urls = self.common.endpoints.borrow().clone();
            let url = urls[self.dice.below(urls.len() as u64) as usize].clone();
            let client = client(std::slice::from_ref(&url), CLIENT_TIME).await?;
            for _ in 0..20 {
                self.pause().await;
                if !self.goes_on() || !self.read_one(&client, &url, writers).await {
                    break;
                }
            }
        }
        Ok(self.told)
    }

    async fn read_one(&mut self, client: &Client, url: &str, writers: usize) -> bool {
        let writer = self.dice.below(writers as u64);
        let key = format!("w{writer}g{}/{:02}", self.dice.below(3), self.dice.below(KEYS));
        let serializable = self.dice.one_in(3);
        let floor = self.common.floor.load(Ordering::SeqCst);
        let request = pb::RangeRequest { key: key.clone().into(), serializable, ..Default::default() };
        let answer = match client.range(request).await {
            Ok(answer) => answer,
            Err(why) => {
                self.told.fail(&why);
                return false;
            }
        };
        let revision = answer.header.map_or(0, |header| header.revision);
        if !serializable {
            if revision < floor {
                self.told.broken.push(format!(
                    "{url}: a linearizable read answers as of revision {revision}; {floor} was acknowledged before it began"
                ));
            }
            self.was_told(revision);
        }
        if self.told.reads.len() < READS_KEPT {
            self.told.reads.push(Read { key, revision, found: answer.kvs.first().map(Held::of) });
        }
        true
    }
}

async fn send(client: &Client, write: Write) -> Result<i64, Error> {
    let mut ops: Vec<Request> = write.into_iter().map(operation).collect();
    let header = match (ops.len(), ops.pop()) {
        (1, Some(Request::RequestPut(put))) => client.put(put).await?.header,
        (1, Some(Request::RequestDeleteRange(delete))) => client.delete_range(delete).await?.header,
        (_, last) => {
            let success = ops.into_iter().chain(last).map(|op| pb::RequestOp { request: Some(op) }).collect();
            client.txn(pb::TxnRequest { success, ..Default::default() }).await?.header
        }
    };
    Ok(header.map_or(0, |header| header.revision))
}

fn operation((key, value): (String, Option<Bytes>)) -> Request {
    match value {
        Some(value) => Request::RequestPut(pb::PutRequest { key: key.into(), value, ..Default::default() }),
        None => Request::RequestDeleteRange(pb::DeleteRangeRequest { key: key.into(), ..Default::default() }),
    }
}

/// The number counted to and its revision; nothing when another client was quicker. An error says whether the step may have
/// been made.
async fn count_one(client: &Client) -> Result<Option<(i64, i64)>, (Error, bool)> {
    let read = pb::RangeRequest { key: COUNTER.into(), ..Default::default() };
    let answer = client.range(read).await.map_err(|why| (why, false))?;
    let (number, seen) = answer.kvs.first().map_or((0, 0), |entry| (number_of(&entry.value), entry.mod_revision));
    let unchanged = pb::Compare {
        result: pb::compare::CompareResult::Equal as i32,
        target: pb::compare::CompareTarget::Mod as i32,
        key: COUNTER.into(),
        target_union: Some(pb::compare::TargetUnion::ModRevision(seen)),
        ..Default::default()
    };
    let put = pb::PutRequest { key: COUNTER.into(), value: (number + 1).to_string().into(), ..Default::default() };
    let success = vec![pb::RequestOp { request: Some(Request::RequestPut(put)) }];
    let step = pb::TxnRequest { compare: vec![unchanged], success, ..Default::default() };
    let answer = client.txn(step).await.map_err(|why| (why, true))?;
    let revision = answer.header.map_or(0, |header| header.revision);
    Ok(answer.succeeded.then_some((number + 1, revision)))
}

/// A counter's value.
pub fn number_of(value: &[u8]) -> i64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(-1)
}

/// Sees every change of the writers' keys, over as many members and streams as it takes. Ends when nobody wants to know
/// how far it is.
async fn watch_all(common: Arc<Common>, sees: watch::Sender<i64>) -> Vec<(String, i64)> {
    let mut events = Vec::new();
    let mut next = 1;
    let mut endpoints = common.endpoints.clone();
    loop {
        let urls = endpoints.borrow_and_update().clone();
        let Ok(client) = client(&urls, CLIENT_TIME).await else { return events };
        let range = WatchRange { key: "w".into(), range_end: "x".into(), start_revision: next, ..Default::default() };
        let mut watcher = client.watch(range);
        loop {
            tokio::select! {
                biased;
                () = sees.closed() => return events,
                changed = endpoints.changed() => {
                    if changed.is_err() {
                        // Nobody comes or goes any more.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    break;
                }
                response = watcher.next() => {
                    let Some(Ok(response)) = response else {
                        // Ended for want of a leader, most likely: there will be one again.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        break;
                    };
                    let changes = response.events.into_iter().filter_map(|event| event.kv);
                    events.extend(changes.map(|kv| (String::from_utf8_lossy(&kv.key).into_owned(), kv.mod_revision)));
                    next = watcher.next_revision();
                    // It may be closed: then this is over.
                    let _ = sees.send(next - 1);
                }
            }
        }
    }
}
