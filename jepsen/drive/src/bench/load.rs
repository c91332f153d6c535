//! Closed-loop load and what it cost: the same client code against whichever server.
//!
//! Invariants: latencies are those of the measured window only; the server's costs are read at both ends of the same
//! window. Does not know which server it drives. A closed loop hides queueing; figures above about 50,000 requests/s on
//! one core are this client's limit, not the server's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::base::{Dice, SeededDice};
use quorate::wire::etcdserverpb as pb;
use quorate::wire::etcdserverpb::request_op::Request;
use quorate::wire::services::kv_client::KvClient;
use tonic::service::interceptor::InterceptedService;

use crate::badge::{Badge, Wire};
use crate::process::{ANSWER_LIMIT, Cost, Server, Trouble, busy_of_all, connect};

/// Keys of the small store.
pub const SMALL_STORE: u64 = 10_000;
/// Large values, and the keys they are put under: few, so that what lives is little and what is written much.
const LARGE_VALUE: usize = 64 * 1024;
const LARGE_VALUE_KEYS: u64 = 200;
/// Connections that carry a load of many clients.
const CONNECTIONS: usize = 4;
/// Load that is not measured, before the window.
const WARM_UP: Duration = Duration::from_millis(1_000);

/// Time between two looks at the server's memory.
const PEAK_EVERY: Duration = Duration::from_millis(100);

/// What each client does, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Put of a random key of the small store.
    Put,
    /// Linearizable get of a random key of the small store.
    Get,
    /// Put of a value of 64 KiB under one of few keys.
    PutLarge,
    /// Range over the whole prefix, limited to 500.
    Page,
    /// The same, limited to 10,000.
    LongPage,
    /// Count of the whole prefix.
    Count,
}

/// What one measured window showed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Operations per second.
    pub rate: f64,
    /// Median latency in milliseconds.
    pub p50: f64,
    /// 99th percentile in milliseconds.
    pub p99: f64,
    /// Processor time of the server per operation, in microseconds.
    pub cpu: f64,
    /// Most resident memory of the server that was seen within the window, in MiB.
    pub resident: f64,
    /// Bytes the server sent to the disk per operation.
    pub disk: f64,
    /// Cores kept busy by anything but the server and this program: above 0.3 the run was disturbed.
    pub others: f64,
}

/// The key of a number: 38 bytes.
pub fn key(number: u64) -> Bytes {
    Bytes::from(format!("bench/{number:032}"))
}

/// Drives `clients` clients against the server for `window` and measures.
pub async fn drive(server: &Server, work: Work, clients: usize, window: Duration) -> Result<Figures, Trouble> {
    drive_as(&Badge::default(), server, work, clients, window).await
}

/// The same, with clients who show a badge.
pub async fn drive_as(
    badge: &Badge,
    server: &Server,
    work: Work,
    clients: usize,
    window: Duration,
) -> Result<Figures, Trouble> {
    let connections = CONNECTIONS.min(clients);
    let mut channels = Vec::new();
    for _ in 0..connections {
        channels.push(connect(&server.url).await?);
    }
    let from = Instant::now() + WARM_UP;
    let until = from + window;
    let mut tasks = Vec::new();
    for number in 0..clients {
        let wire = InterceptedService::new(channels[number % connections].clone(), badge.clone());
        let kv = KvClient::new(wire).max_decoding_message_size(ANSWER_LIMIT);
        tasks.push(tokio::spawn(client(kv, work, number as u64, from, until)));
    }
    tokio::time::sleep_until(from.into()).await;
    let before = Reading::take(server)?;
    let mut resident = 0;
    while Instant::now() < until {
        tokio::time::sleep_until(until.min(Instant::now() + PEAK_EVERY).into()).await;
        resident = resident.max(server.cost().map_or(0, |cost| cost.resident));
    }
    let after = Reading::take(server)?;
    let mut latencies: Vec<u32> = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    latencies.sort_unstable();
    if latencies.is_empty() {
        return Err("no operation finished within the window".into());
    }
    let operations = latencies.len() as f64;
    let elapsed = (after.at - before.at).as_secs_f64();
    let at = |share: f64| f64::from(latencies[((operations - 1.0) * share) as usize]) / 1_000.0;
    let server_busy = (after.cost.cpu - before.cost.cpu).as_secs_f64();
    let own_busy = (after.own.cpu - before.own.cpu).as_secs_f64();
    let all_busy = (after.all - before.all).as_secs_f64();
    Ok(Figures {
        rate: operations / elapsed,
        p50: at(0.50),
        p99: at(0.99),
        cpu: server_busy * 1e6 / operations,
        resident: resident as f64 / f64::from(1 << 20),
        disk: (after.cost.written - before.cost.written) as f64 / operations,
        others: ((all_busy - server_busy - own_busy) / elapsed).max(0.0),
    })
}

/// Everything that is read at one end of the window.
pub struct Reading {
    /// When.
    pub at: Instant,
    /// Of the server.
    pub cost: Cost,
    own: Cost,
    all: Duration,
}

impl Reading {
    /// Reads now.
    pub fn take(server: &Server) -> Result<Self, Trouble> {
        let cost = server.cost().ok_or("the server's costs cannot be read here (no /proc)")?;
        let own = Cost::of(std::process::id()).ok_or("no /proc/self")?;
        Ok(Self { at: Instant::now(), cost, own, all: busy_of_all().ok_or("no /proc/stat")? })
    }
}

/// One client; hands back the latencies in microseconds of the operations that lay within the window.
async fn client(
    mut kv: KvClient<Wire>,
    work: Work,
    number: u64,
    from: Instant,
    until: Instant,
) -> Result<Vec<u32>, tonic::Status> {
    let mut dice = SeededDice::new(number);
    let mut latencies = Vec::new();
    loop {
        let began = Instant::now();
        if began >= until {
            return Ok(latencies);
        }
        let prefix = pb::RangeRequest { key: "bench/".into(), range_end: "bench0".into(), ..Default::default() };
        match work {
            Work::Put => {
                let key = key(dice.below(SMALL_STORE));
                drop(kv.put(pb::PutRequest { key, value: value(&mut dice), ..Default::default() }).await?);
            }
            Work::Get => {
                let key = key(dice.below(SMALL_STORE));
                drop(kv.range(pb::RangeRequest { key, ..Default::default() }).await?);
            }
            Work::PutLarge => {
                let key = key(dice.below(LARGE_VALUE_KEYS));
                let value = Bytes::from(vec![dice.next_u64() as u8; LARGE_VALUE]);
                drop(kv.put(pb::PutRequest { key, value, ..Default::default() }).await?);
            }
            Work::Page | Work::LongPage => {
                let limit = if work == Work::Page { 500 } else { 10_000 };
                let answer = kv.range(pb::RangeRequest { limit, ..prefix }).await?;
                assert_eq!(answer.get_ref().kvs.len() as i64, limit, "an answer without all its keys is no page");
            }
            Work::Count => drop(kv.range(pb::RangeRequest { count_only: true, ..prefix }).await?),
        }
        let done = Instant::now();
        if began >= from && done <= until {
            latencies.push((done - began).as_micros().min(u128::from(u32::MAX)) as u32);
        }
    }
}

/// 256 bytes that do not compress.
pub fn value(dice: &mut SeededDice) -> Bytes {
    let mut bytes = Vec::with_capacity(256);
    while bytes.len() < 256 {
        bytes.extend_from_slice(&dice.next_u64().to_le_bytes());
    }
    bytes.into()
}

/// Puts the keys `0..count`, 100 in a transaction. Returns the time it took.
pub async fn fill(server: &Server, count: u64) -> Result<Duration, Trouble> {
    let began = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for number in 0..8 {
        let mut kv = KvClient::new(connect(&server.url).await?);
        let next = next.clone();
        tasks.push(tokio::spawn(async move {
            let mut dice = SeededDice::new(1_000 + number);
            loop {
                let first = next.fetch_add(100, Ordering::Relaxed);
                if first >= count {
                    return Ok::<(), tonic::Status>(());
                }
                let put = |number| {
                    let put = pb::PutRequest { key: key(number), value: value(&mut dice), ..Default::default() };
                    pb::RequestOp { request: Some(Request::RequestPut(put)) }
                };
                let success = (first..count.min(first + 100)).map(put).collect();
                kv.txn(pb::TxnRequest { success, ..Default::default() }).await?;
            }
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(began.elapsed())
}
