//! States on the message lane: the head and the chunks of a snapshot, one packet after the other.
//!
//! What is modelled: each packet takes as long as the link says and arrives unless the link is clogged when it leaves or
//! when it would arrive; a whole sending may be dropped. What is not: a transfer goes on only as long as both lives do, and a
//! receiver that keeps silent for long is given up.
//!
//! Invariant: the fate of a snapshot is told to its sender, once, unless the sender's life ended.

use std::time::Duration;

use quorate::consensus::PeerMessage;
use quorate::peer::ChunkSource;

use super::clock::{true_now, true_sleep};
use super::lane::Lane;
use super::net::SimNet;

/// How long a transfer may take: the receiver's disk may stall, but not for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a state, and tells what became of it.
pub(super) async fn carry(lane: Lane, sender: SimNet, message: PeerMessage, source: Box<dyn ChunkSource>) {
    let sent = transfer(&lane, &sender, &message, source);
    match madsim::time::timeout(PATIENCE, sent).await {
        Ok(Some(back)) => lane.tell_sent(&message, &sender, back),
        Ok(None) | Err(_) => lane.failed(&message, &sender),
    }
}

/// When the sender hears that it arrived; nothing if it did not.
async fn transfer(
    lane: &Lane,
    sender: &SimNet,
    message: &PeerMessage,
    mut source: Box<dyn ChunkSource>,
) -> Option<Duration> {
    let (from, to) = (message.from(), message.to());
    if lane.drops(from, to) {
        return None;
    }
    let (receiver, door) = lane.life_of(to)?;
    let (here, there) = (sender.host_name(), receiver.host_name());
    pass(sender, &receiver, message.payload_bytes()).await?;
    if door.roster().removed.contains(&from) {
        let back = sender.arrival(&there, &here, 0)?;
        lane.tell_removed(from, sender, back);
        return None;
    }
    let mut sink = door.snapshot_offered(message, source.manifest()).await.ok()?;
    while let Some(chunk) = source.chunk(sink.next()).await.ok()? {
        pass(sender, &receiver, chunk.len()).await?;
        sink.put(chunk).await.ok()?;
    }
    pass(sender, &receiver, 0).await?;
    sink.finish().await.ok()?;
    if !receiver.is_alive() {
        return None;
    }
    door.arrived(message.clone());
    sender.arrival(&there, &here, 0)
}

/// A packet goes its way; nothing if it does not arrive.
async fn pass(sender: &SimNet, receiver: &SimNet, bytes: usize) -> Option<()> {
    let (here, there) = (sender.host_name(), receiver.host_name());
    let at = sender.arrival(&here, &there, bytes)?;
    true_sleep(at.saturating_sub(true_now())).await;
    (receiver.is_alive() && sender.passes(&here, &there).0).then_some(())
}
