//! The measure of availability: puts at a steady pace to every member, whatever became of the ones before.
//!
//! Invariants: a put that is not answered delays no other (the load is open, so a gap is the cluster's and not a client's);
//! what was sent and acknowledged to each key is counted. Does not know what is done to the members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use quorate::wire::etcdserverpb as pb;
use quorate::wire::services::kv_client::KvClient;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use crate::process::Trouble;

/// Time between two puts to one member.
const PACE: Duration = Duration::from_millis(10);

/// Time a put may take; with the pace it bounds what is under way.
const PUT_TIME: Duration = Duration::from_secs(1);
const UNDER_WAY: usize = 120;

/// What was seen, shared with the puts under way.
#[derive(Debug, Default)]
struct Seen {
    /// When a put was acknowledged; ascending.
    successes: Vec<Instant>,
    /// By key: sent, acknowledged.
    counts: BTreeMap<String, (i64, i64)>,
}

/// A running probe; dropped, it ends.
#[derive(Debug)]
pub struct Probe {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Probe {
    /// Puts to whoever `endpoints` holds at the time. Keys begin with `p/`.
    pub fn start(endpoints: watch::Receiver<Vec<String>>) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(run(endpoints, seen.clone()));
        Self { seen, task }
    }

    /// When a put was first acknowledged after `moment`, waiting for it up to `limit`.
    pub async fn success_after(&self, moment: Instant, limit: Duration) -> Result<Instant, Trouble> {
        let began = Instant::now();
        while began.elapsed() < limit {
            let last = self.seen.lock().expect("no holder panics").successes.last().copied();
            if let Some(last) = last.filter(|last| *last > moment) {
                return Ok(last);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Err(format!("no put was acknowledged for {limit:?}").into())
    }

    /// The longest time without an acknowledged put that reaches into `from..to`.
    pub fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        longest_gap(&self.seen.lock().expect("no holder panics").successes, from, to)
    }

    /// Ends it, and tells for each key how many puts were sent and how many acknowledged. Some may still be under way.
    pub fn finish(self) -> BTreeMap<String, (i64, i64)> {
        self.task.abort();
        self.seen.lock().expect("no holder panics").counts.clone()
    }
}

fn longest_gap(successes: &[Instant], from: Instant, to: Instant) -> Duration {
    let first = successes.partition_point(|at| *at <= from).saturating_sub(1);
    let within = successes[first..].iter().copied().take_while(|at| *at < to);
    let ends = within.clone().skip(1).chain([to]);
    within.zip(ends).map(|(one, next)| next.saturating_duration_since(one)).max().unwrap_or(to - from)
}

async fn run(mut endpoints: watch::Receiver<Vec<String>>, seen: Arc<Mutex<Seen>>) {
    loop {
        let urls = endpoints.borrow_and_update().clone();
        let lanes: Vec<(String, Channel, Arc<Semaphore>)> = urls
            .iter()
            .filter_map(|url| {
                let channel = Endpoint::from_shared(url.clone()).ok()?.tcp_nodelay(true).connect_timeout(PUT_TIME);
                Some((key_of(url), channel.connect_lazy(), Arc::new(Semaphore::new(UNDER_WAY))))
            })
            .collect();
        let mut pace = tokio::time::interval(PACE / u32::try_from(lanes.len().max(1)).unwrap_or(1));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for (key, channel, room) in lanes.iter().cycle() {
            pace.tick().await;
            if endpoints.has_changed().unwrap_or(true) {
                break;
            }
            let Ok(place) = room.clone().try_acquire_owned() else { continue };
            let (seen, key, channel) = (seen.clone(), key.clone(), channel.clone());
            tokio::spawn(async move {
                put(&seen, key, channel).await;
                drop(place);
            });
        }
        if endpoints.has_changed().is_err() {
            return;
        }
    }
}

fn key_of(url: &str) -> String {
    format!("p/{}", url.rsplit(':').next().unwrap_or(url))
}

async fn put(seen: &Mutex<Seen>, key: String, channel: Channel) {
    let number = {
        let mut seen = seen.lock().expect("no holder panics");
        let count = seen.counts.entry(key.clone()).or_default();
        count.0 += 1;
        count.0
    };
    let put = pb::PutRequest { key: key.clone().into(), value: number.to_string().into(), ..Default::default() };
    if let Ok(Ok(_)) = tokio::time::timeout(PUT_TIME, KvClient::new(channel).put(put)).await {
        let mut seen = seen.lock().expect("no holder panics");
        seen.successes.push(Instant::now());
        seen.counts.entry(key).or_default().1 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_from_the_success_before_to_the_one_after() {
        let zero = Instant::now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        let successes = [0, 10, 20, 900, 910].map(at);
        assert_eq!(longest_gap(&successes, at(25), at(911)), Duration::from_millis(880));
        assert_eq!(longest_gap(&successes, at(905), at(930)), Duration::from_millis(20));
        assert_eq!(longest_gap(&successes, at(915), at(1915)), Duration::from_millis(1005));
        assert_eq!(longest_gap(&successes, at(0), at(15)), Duration::from_millis(10));
        assert_eq!(longest_gap(&[], at(0), at(15)), Duration::from_millis(15));
    }
}
