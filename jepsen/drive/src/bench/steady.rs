//! Puts at a steady pace, timed from the moment they were due, so that one that waits delays no other.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quorate::base::{Dice, SeededDice};
use quorate::wire::etcdserverpb as pb;
use quorate::wire::services::kv_client::KvClient;
use tonic::transport::Channel;

use super::load::{SMALL_STORE, key, value};
use crate::process::{Server, Trouble, connect};

/// The head of a table of stretches.
pub const HEAD: &str =
    "| stretch | s | puts | p50 ms | p99 ms | worst ms | most RSS, MiB |\n|---|---|---|---|---|---|---|";

/// Latencies of one stretch, in microseconds, rising; and the most memory the server had, in MiB.
#[derive(Debug, Default)]
pub struct Stretch {
    pub latencies: Vec<u64>,
    pub resident: u64,
    /// The slowest of each half second.
    pub slowest: Vec<u64>,
}

impl Stretch {
    /// The latency that this share of the puts does not exceed, in milliseconds.
    pub fn at(&self, share: f64) -> f64 {
        let place = ((self.latencies.len().saturating_sub(1)) as f64 * share) as usize;
        self.latencies.get(place).map_or(0.0, |latency| *latency as f64 / 1_000.0)
    }

    /// Its row of the table.
    pub fn print(&self, name: &str, took: Duration) {
        println!(
            "| {name} | {:.1} | {} | {:.2} | {:.2} | {:.2} | {} |",
            took.as_secs_f64(),
            self.latencies.len(),
            self.at(0.5),
            self.at(0.99),
            self.at(1.0),
            self.resident
        );
    }
}

/// Puts `rate` times a second until `until` ends.
pub async fn stretch(
    rate: u32,
    server: &Server,
    until: impl Future<Output = Result<(), Trouble>>,
) -> Result<Stretch, Trouble> {
    let channel = connect(&server.url).await?;
    let seen = Arc::new(Mutex::new(Stretch::default()));
    let mut until = std::pin::pin!(until);
    let mut dice = SeededDice::new(u64::from(rate));
    let began = Instant::now();
    let mut due = began;
    let mut under_way = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            biased;
            outcome = &mut until => {
                outcome?;
                break;
            }
            () = tokio::time::sleep_until(due.into()) => {}
        }
        let half = (due.duration_since(began).as_millis() / 500) as usize;
        let what = (key(dice.below(SMALL_STORE)), value(&mut dice));
        under_way.spawn(put(channel.clone(), what, (due, half), seen.clone()));
        due += Duration::from_secs(1) / rate;
        while let Some(done) = under_way.try_join_next() {
            done??;
        }
        let resident = server.cost().map_or(0, |cost| cost.resident >> 20);
        let mut seen = seen.lock().expect("no holder panics");
        seen.resident = seen.resident.max(resident);
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    let mut seen = std::mem::take(&mut *seen.lock().expect("no holder panics"));
    seen.latencies.sort_unstable();
    Ok(seen)
}

async fn put(
    channel: Channel,
    (key, value): (bytes::Bytes, bytes::Bytes),
    (due, half): (Instant, usize),
    seen: Arc<Mutex<Stretch>>,
) -> Result<(), tonic::Status> {
    KvClient::new(channel).put(pb::PutRequest { key, value, ..Default::default() }).await?;
    let latency = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
    let seen = &mut *seen.lock().expect("no holder panics");
    seen.latencies.push(latency);
    let halves = seen.slowest.len().max(half + 1);
    seen.slowest.resize(halves, 0);
    seen.slowest[half] = seen.slowest[half].max(latency);
    Ok(())
}
