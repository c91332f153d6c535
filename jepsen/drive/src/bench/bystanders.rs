//! Those who ask little of members that others overload: a lease that is kept alive and a put now and then, at each member.
//!
//! Invariants: each has a connection of its own, and waits for no other; a lease is as short as a server may be asked for, so
//! that a renewal that comes late loses it. Does not know what the overload is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quorate::wire::etcdserverpb as pb;
use quorate::wire::services::kv_client::KvClient;
use quorate::wire::services::lease_client::LeaseClient;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use crate::process::{Trouble, connect};

/// A lease of so many seconds, and how often it is renewed.
const TTL: i64 = 3;
const RENEWED_EVERY: Duration = Duration::from_millis(500);

/// How often a put is due.
const PUT_EVERY: Duration = Duration::from_millis(100);

/// What they were told; times in microseconds.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) renewals: Vec<u32>,
    pub(super) leases_lost: usize,
    /// Grants, renewals and streams of them that were refused or ended, by their codes.
    pub(super) refused: BTreeMap<String, usize>,
    pub(super) puts: Vec<u32>,
    /// Puts that failed, by their codes.
    pub(super) failed: BTreeMap<String, usize>,
}

impl Heard {
    /// Of several members.
    pub(super) fn add(&mut self, other: Self) {
        self.renewals.extend(other.renewals);
        self.leases_lost += other.leases_lost;
        self.puts.extend(other.puts);
        for (all, of_other) in [(&mut self.refused, other.refused), (&mut self.failed, other.failed)] {
            for (code, count) in of_other {
                *all.entry(code).or_default() += count;
            }
        }
    }
}

/// At one member, until then; a put has so long.
pub(super) async fn stand_by(url: String, patience: Duration, until: Instant) -> Result<Heard, Trouble> {
    let (leases, puts) = (connect(&url).await?, connect(&url).await?);
    let (mut heard, of_puts) = tokio::join!(keep_leases(leases, until), put(puts, patience, until));
    heard.add(of_puts);
    Ok(heard)
}

/// One lease after the other, for one may be lost or refused.
async fn keep_leases(channel: Channel, until: Instant) -> Heard {
    let mut client = LeaseClient::new(channel);
    let mut heard = Heard::default();
    while Instant::now() < until {
        if let Err(status) = keep_a_lease(&mut client, &mut heard, until).await {
            *heard.refused.entry(format!("{:?}", status.code())).or_default() += 1;
            tokio::time::sleep(RENEWED_EVERY).await;
        }
    }
    heard
}

/// Until it is lost, or until then.
async fn keep_a_lease(client: &mut LeaseClient<Channel>, heard: &mut Heard, until: Instant) -> Result<(), Status> {
    let ended = || Status::aborted("a stream of renewals ended");
    let id = client.lease_grant(pb::LeaseGrantRequest { ttl: TTL, id: 0 }).await?.into_inner().id;
    let (asking, asked) = tokio::sync::mpsc::channel(1);
    let ask = async || asking.send(pb::LeaseKeepAliveRequest { id }).await.map_err(|_| ended());
    ask().await?;
    let mut answers = client.lease_keep_alive(ReceiverStream::new(asked)).await?.into_inner();
    answers.message().await?;
    let mut due = Instant::now() + RENEWED_EVERY;
    while due < until {
        tokio::time::sleep_until(due.into()).await;
        ask().await?;
        let answer = answers.message().await?.ok_or_else(ended)?;
        heard.renewals.push(micros(due));
        if answer.ttl <= 0 {
            heard.leases_lost += 1;
            break;
        }
        due = Instant::now().max(due + RENEWED_EVERY);
    }
    Ok(())
}

async fn put(channel: Channel, patience: Duration, until: Instant) -> Heard {
    let mut client = KvClient::new(channel);
    let mut heard = Heard::default();
    let mut due = Instant::now();
    while due < until {
        tokio::time::sleep_until(due.into()).await;
        let put = pb::PutRequest { key: "bystander".into(), value: "here".into(), ..Default::default() };
        let mut request = tonic::Request::new(put);
        request.set_timeout(patience);
        match client.put(request).await {
            Ok(_) => heard.puts.push(micros(due)),
            Err(status) => *heard.failed.entry(format!("{:?}", status.code())).or_default() += 1,
        }
        due = Instant::now().max(due + PUT_EVERY);
    }
    heard
}

fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}
