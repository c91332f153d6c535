//! States on the message lane: the head and the chunks of a snapshot, one packet after the other.
//!
//! What is modelled: each packet takes as long as the link says and arrives unless the link is clogged when it leaves or
//! when it would arrive; a whole sending may be dropped. What is not: a transfer goes on only as long as both lives do, and a
//! receiver that keeps silent for long is given up.
//!
//! Invariant: the fate of a snapshot is told to its sender, once, unless the sender's life ended.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use quorate::consensus::PeerMessage;
use quorate::peer::ChunkSource;

use super::clock::{true_now, true_sleep};
use super::lane::Lane;
use super::net::SimNet;

/// How long a transfer may take: the receiver's disk may stall, but not for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether the receiver lives still: its connection would end with it.
const LOOK: Duration = Duration::from_millis(20);

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
    let mut sink = loop {
        let offered = door.snapshot_offered(message, source.manifest());
        match while_it_lives(&receiver, offered).await?.ok()? {
            Some(sink) => break sink,
            // It still reads what it has.
            None => true_sleep(LOOK).await,
        }
    };
    while let Some(chunk) = source.chunk(sink.next()).await.ok()? {
        pass(sender, &receiver, chunk.len()).await?;
        while_it_lives(&receiver, sink.put(chunk)).await?.ok()?;
    }
    pass(sender, &receiver, 0).await?;
    while_it_lives(&receiver, sink.finish()).await?.ok()?;
    door.arrived(message.clone());
    sender.arrival(&there, &here, 0)
}

/// What the receiver is asked to do; nothing if its life ends before it is done.
async fn while_it_lives<T>(receiver: &SimNet, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    while receiver.is_alive() {
        if let Ok(done) = madsim::time::timeout(LOOK, work.as_mut()).await {
            return receiver.is_alive().then_some(done);
        }
    }
    None
}

/// A packet goes its way; nothing if it does not arrive.
async fn pass(sender: &SimNet, receiver: &SimNet, bytes: usize) -> Option<()> {
    let (here, there) = (sender.host_name(), receiver.host_name());
    let at = sender.arrival(&here, &there, bytes)?;
    true_sleep(at.saturating_sub(true_now())).await;
    (receiver.is_alive() && sender.passes(&here, &there).0).then_some(())
}
