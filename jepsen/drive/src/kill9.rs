//! kill -9 under load, round after round on one data directory, judged by the ledger.
//!
//! A round: start, wait until it serves, judge what is there, write with many clients, kill at a random moment. Invariants
//! held against the server: every acknowledged write is there with its revision, an unknown one is there whole or not at
//! all, the revision never goes back, no key comes out of nowhere, HashKV answers. Does not look into the data directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorate::base::{Dice, SeededDice};
use quorate::wire::etcdserverpb as pb;
use quorate::wire::etcdserverpb::request_op::Request;
use quorate::wire::services::kv_client::KvClient;
use quorate::wire::services::maintenance_client::MaintenanceClient;
use tonic::Status;
use tonic::transport::Channel;

use crate::ledger::{Held, Ledger, Write};
use crate::process::{ANSWER_LIMIT, Launch, Server, Trouble, connect, fresh_home};

/// Keys of one writer.
const KEYS: u64 = 40;

/// Options of the kill loop.
#[derive(clap::Args, Clone, Debug)]
pub struct Kill9Args {
    /// The server binary.
    #[arg(long)]
    bin: PathBuf,
    /// Flag for the server; may be given several times.
    #[arg(long = "flag", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// Rounds.
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// Concurrent writers.
    #[arg(long, default_value_t = 24)]
    writers: u64,
    /// Seed of the writes and of the moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Earliest moment of the kill after load began, in milliseconds.
    #[arg(long, default_value_t = 5)]
    min_ms: u64,
    /// Latest moment of the kill, in milliseconds.
    #[arg(long, default_value_t = 600)]
    max_ms: u64,
    /// Seconds a start may take.
    #[arg(long, default_value_t = 180)]
    start_limit: u64,
    /// Where the data directory goes; the system's temporary directory by default.
    #[arg(long)]
    base: Option<PathBuf>,
}

/// What one round did.
#[derive(Debug, Default)]
struct Round {
    ready: Duration,
    acknowledged: u64,
    unsure: usize,
    broken: Vec<String>,
}

/// The whole run.
struct Loop {
    args: Kill9Args,
    launch: Launch,
    dice: SeededDice,
    ledgers: Vec<Ledger>,
    /// The highest revision any client ever saw.
    revision: i64,
}

/// Runs the loop; true when no promise was broken.
pub async fn run(args: Kill9Args) -> Result<bool, Trouble> {
    if args.min_ms > args.max_ms || args.writers == 0 {
        return Err("no such moments or no writers".into());
    }
    let home = fresh_home(args.base.as_deref(), "kill9")?;
    let launch = Launch::new(&args.bin, &home, &args.flags)?;
    let ledgers = vec![Ledger::default(); args.writers as usize];
    let dice = SeededDice::new(args.seed);
    let rounds = args.rounds;
    let mut kill_loop = Loop { args, launch, dice, ledgers, revision: 0 };
    let (mut acknowledged, mut unsure, mut broken, mut ready) = (0, 0, 0, Vec::new());
    for number in 0..=rounds {
        // The last round only judges.
        let round = kill_loop.round(number, number < rounds).await.map_err(|why| format!("round {number}: {why}"))?;
        println!(
            "round {number}/{rounds}: ready in {} ms, revision {}, {} acknowledged, {} unknown, {} broken",
            round.ready.as_millis(),
            kill_loop.revision,
            round.acknowledged,
            round.unsure,
            round.broken.len()
        );
        for promise in &round.broken {
            println!("  BROKEN {promise}");
        }
        acknowledged += round.acknowledged;
        unsure += round.unsure;
        broken += round.broken.len();
        ready.push(round.ready);
        if broken > 0 {
            break;
        }
    }
    ready.sort();
    println!(
        "kill9: {} kills, {acknowledged} acknowledged writes, {unsure} unknown, {broken} broken promises, ready in {} ms (median), {} ms (worst)",
        ready.len().saturating_sub(1),
        ready[ready.len() / 2].as_millis(),
        ready[ready.len() - 1].as_millis()
    );
    if broken == 0 {
        std::fs::remove_dir_all(&home)?;
    } else {
        println!("kill9: data and log are in {}", home.display());
    }
    Ok(broken == 0)
}

impl Loop {
    async fn round(&mut self, number: u64, write: bool) -> Result<Round, Trouble> {
        if number > 0 && self.dice.one_in(5) {
            // Killed while starting.
            let mut server = self.launch.start()?;
            tokio::time::sleep(Duration::from_millis(self.dice.below(150))).await;
            server.kill().await?;
        }
        let mut server = self.launch.start()?;
        let mut round =
            Round { ready: server.ready(Duration::from_secs(self.args.start_limit)).await?, ..Round::default() };
        round.broken = self.judge(&server).await?;
        if write && round.broken.is_empty() {
            self.load(&mut server, number, &mut round).await?;
        }
        if !write {
            server.kill().await?;
        }
        Ok(round)
    }

    /// Compares everything the server holds with the ledgers.
    async fn judge(&mut self, server: &Server) -> Result<Vec<String>, Trouble> {
        let channel = connect(&server.url).await?;
        let mut kv = KvClient::new(channel.clone()).max_decoding_message_size(ANSWER_LIMIT);
        let all = Bytes::from_static(&[0]);
        let everything = pb::RangeRequest { key: all.clone(), range_end: all, ..Default::default() };
        let answer = kv.range(everything).await?.into_inner();
        let revision = answer.header.map_or(0, |header| header.revision);
        let mut broken = Vec::new();
        if revision < self.revision {
            broken.push(format!("the revision went back from {} to {revision}", self.revision));
        }
        self.revision = self.revision.max(revision);
        let mut there: Vec<BTreeMap<String, Held>> = vec![BTreeMap::new(); self.ledgers.len()];
        for entry in answer.kvs {
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            match owner(&key).and_then(|writer| there.get_mut(writer)) {
                Some(of_writer) => drop(of_writer.insert(key, Held::of(&entry))),
                None => broken.push(format!("{key}: no writer writes this key")),
            }
        }
        for (ledger, there) in self.ledgers.iter_mut().zip(&there) {
            broken.extend(ledger.judge(there));
        }
        let hash = MaintenanceClient::new(channel).hash_kv(pb::HashKvRequest { revision: 0 }).await;
        if let Err(status) = hash {
            broken.push(format!("HashKV does not answer: {status:?}"));
        }
        Ok(broken)
    }

    /// Load, and the kill in the middle of it.
    async fn load(&mut self, server: &mut Server, number: u64, round: &mut Round) -> Result<(), Trouble> {
        let killed = Arc::new(AtomicBool::new(false));
        let mut channels = Vec::new();
        for _ in 0..4 {
            channels.push(connect(&server.url).await?);
        }
        let mut tasks = Vec::new();
        for (id, ledger) in std::mem::take(&mut self.ledgers).into_iter().enumerate() {
            let writer = Writer {
                kv: KvClient::new(channels[id % channels.len()].clone()),
                dice: SeededDice::new(self.dice.next_u64()),
                label: format!("r{number}w{id}"),
                id,
                ledger,
            };
            tasks.push(tokio::spawn(writer.run(killed.clone())));
        }
        let compact_at =
            (self.dice.one_in(3) && self.revision > 100).then(|| self.revision - self.dice.below(50) as i64);
        let moment = self.args.min_ms + self.dice.below(self.args.max_ms - self.args.min_ms + 1);
        if let Some(revision) = compact_at {
            let mut kv = KvClient::new(channels[0].clone());
            // It may be refused (compacted before) or cut off by the kill: both are fine.
            tokio::spawn(async move { kv.compact(pb::CompactionRequest { revision, physical: false }).await });
        }
        tokio::time::sleep(Duration::from_millis(moment)).await;
        if !server.is_alive() {
            return Err("the server ended by itself under load".into());
        }
        killed.store(true, Ordering::SeqCst);
        server.kill().await?;
        for task in tasks {
            let (ledger, acknowledged, refused) = task.await?;
            if let Some(status) = refused {
                return Err(format!("a write failed before the kill: {status:?}").into());
            }
            round.acknowledged += acknowledged;
            round.unsure += usize::from(ledger.is_unsure());
            self.revision = self.revision.max(ledger.revision);
            self.ledgers.push(ledger);
        }
        Ok(())
    }
}

fn owner(key: &str) -> Option<usize> {
    key.strip_prefix('w')?.split_once('/')?.0.parse().ok()
}

struct Writer {
    kv: KvClient<Channel>,
    dice: SeededDice,
    label: String,
    id: usize,
    ledger: Ledger,
}

impl Writer {
    /// Writes until the server is gone. An error before the kill is handed back.
    async fn run(mut self, killed: Arc<AtomicBool>) -> (Ledger, u64, Option<Status>) {
        let mut acknowledged = 0;
        for number in 0_u64.. {
            let write = self.draw(number);
            self.ledger.send(write.clone());
            match self.send(write).await {
                Ok(revision) => {
                    self.ledger.acknowledge(revision);
                    acknowledged += 1;
                }
                Err(_) if killed.load(Ordering::SeqCst) => break,
                Err(status) => return (self.ledger, acknowledged, Some(status)),
            }
        }
        (self.ledger, acknowledged, None)
    }

    /// One to three different keys, each put or deleted.
    fn draw(&mut self, number: u64) -> Write {
        let first = self.dice.below(KEYS);
        let count = if self.dice.one_in(4) { 2 + self.dice.below(2) } else { 1 };
        (0..count)
            .map(|at| {
                let key = format!("w{}/{:02}", self.id, (first + at) % KEYS);
                let filler = "x".repeat(self.dice.below(600) as usize);
                let value = Bytes::from(format!("{}n{number}k{at} {filler}", self.label));
                (key, (!self.dice.one_in(6)).then_some(value))
            })
            .collect()
    }

    async fn send(&mut self, write: Write) -> Result<i64, Status> {
        let mut ops: Vec<Request> = write.into_iter().map(operation).collect();
        let header = match (ops.len(), ops.pop()) {
            (1, Some(Request::RequestPut(put))) => self.kv.put(put).await?.into_inner().header,
            (1, Some(Request::RequestDeleteRange(delete))) => self.kv.delete_range(delete).await?.into_inner().header,
            (_, last) => {
                let success = ops.into_iter().chain(last).map(|op| pb::RequestOp { request: Some(op) }).collect();
                self.kv.txn(pb::TxnRequest { success, ..Default::default() }).await?.into_inner().header
            }
        };
        Ok(header.map_or(0, |header| header.revision))
    }
}

fn operation((key, value): (String, Option<Bytes>)) -> Request {
    match value {
        Some(value) => Request::RequestPut(pb::PutRequest { key: key.into(), value, ..Default::default() }),
        None => Request::RequestDeleteRange(pb::DeleteRangeRequest { key: key.into(), ..Default::default() }),
    }
}
