//! Digests at the revisions of compactions, physical and not, before and after both sides are started again.
//!
//! Invariant: one request at a time, to both sides at once. A compaction that is not physical may make its digest after
//! its answer, so each digest has a moment to become equal. Does not know which side is right.

use std::path::Path;
use std::time::{Duration, Instant};

use quorate::wire::etcdserverpb as pb;

use super::side::{Heard, Side};
use super::step::Step;
use crate::process::{Launch, Server, Trouble};

/// A server starts, or ends, within this time.
const PATIENCE: Duration = Duration::from_secs(180);

/// Two digests become equal within this time, or differ.
const DIGEST_LIMIT: Duration = Duration::from_secs(60);

/// Compactions beyond the ten that are remembered.
const COMPACTIONS: i64 = 14;

/// One side.
struct Seat {
    launch: Launch,
    server: Server,
    side: Side,
}

impl Seat {
    async fn sit(launch: Launch) -> Result<Self, Trouble> {
        let mut server = launch.start()?;
        server.ready(PATIENCE).await?;
        let side = Side::connect(&server.url, server.tls.as_ref()).await?;
        Ok(Self { launch, server, side })
    }

    async fn again(&mut self, killed: bool) -> Result<(), Trouble> {
        if killed {
            self.server.kill().await?;
        } else {
            self.server.stop(PATIENCE).await?;
        }
        *self = Self::sit(self.launch.clone()).await?;
        Ok(())
    }
}

/// Both sides.
struct Pair {
    left: Seat,
    right: Seat,
    compared: usize,
}

impl Pair {
    async fn both(&mut self, step: &Step) -> (Heard, Heard) {
        self.compared += 1;
        tokio::join!(self.left.side.ask(step), self.right.side.ask(step))
    }

    async fn take(&mut self, step: Step) -> Result<Heard, String> {
        let since = Instant::now();
        loop {
            let (left, right) = self.both(&step).await;
            if left == right {
                return Ok(left);
            }
            if !matches!(step, Step::HashKv(_)) || since.elapsed() > DIGEST_LIMIT {
                return Err(format!("asked {step:?}\n  left  {:?}\n  right {:?}", left.replies, right.replies));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn put(&mut self, key: &str, value: String) -> Result<i64, String> {
        let put = pb::PutRequest { key: key.to_owned().into(), value: value.into(), ..Default::default() };
        Ok(self.take(Step::Put(put)).await?.revision)
    }

    async fn delete(&mut self, key: &str) -> Result<i64, String> {
        let delete = pb::DeleteRangeRequest { key: key.to_owned().into(), ..Default::default() };
        Ok(self.take(Step::Delete(delete)).await?.revision)
    }

    async fn compact(&mut self, revision: i64, physical: bool) -> Result<(), String> {
        self.take(Step::Compact(pb::CompactionRequest { revision, physical })).await.map(drop)
    }

    /// A digest of every compaction there was, and of now.
    async fn look(&mut self, compactions: &[i64]) -> Result<(), String> {
        for revision in compactions.iter().copied().chain([0]) {
            self.take(Step::HashKv(revision)).await?;
        }
        Ok(())
    }

    async fn again(&mut self, killed: bool) -> Result<(), String> {
        // What one side writes in the background only is on its disk by then.
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.left.again(killed).await.map_err(|why| why.to_string())?;
        self.right.again(killed).await.map_err(|why| why.to_string())
    }
}

/// Walks; how many answers were compared.
pub(super) async fn walk(left: &Path, right: &Path, home: &Path, flags: &[String]) -> Result<usize, String> {
    let seat = async |name: &str, binary: &Path| Seat::sit(Launch::new(binary, &home.join(name), flags)?).await;
    let left = seat("left", left).await.map_err(|why| why.to_string())?;
    let right = seat("right", right).await.map_err(|why| why.to_string())?;
    let mut pair = Pair { left, right, compared: 0 };
    for n in 1..=9 {
        pair.put("key0", n.to_string()).await?;
    }
    let mut revision = pair.delete("key0").await?;
    pair.take(Step::HashKv(revision)).await?;
    pair.compact(revision, false).await?;
    let mut compactions = vec![revision];
    pair.look(&compactions).await?;
    for round in 0..COMPACTIONS {
        for n in 0..20 + round {
            revision = pair.put(&format!("key{}", n % 7), format!("{round}/{n}")).await?;
        }
        if round % 2 == 0 {
            revision = pair.delete(&format!("key{}", round % 7)).await?;
        }
        let at = revision - round % 3 * 4;
        pair.take(Step::HashKv(at)).await?;
        pair.compact(at, round % 4 < 2).await?;
        compactions.push(at);
        pair.look(&compactions).await?;
        if round % 5 == 4 {
            pair.again(round % 10 == 4).await?;
            pair.look(&compactions).await?;
        }
    }
    for seat in [&mut pair.left, &mut pair.right] {
        seat.server.stop(PATIENCE).await.map_err(|why| why.to_string())?;
    }
    Ok(pair.compared)
}
