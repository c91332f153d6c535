//! What waits to be sent to one peer: three lanes, each bounded by count and by bytes, and who takes from them.
//!
//! Which connection takes a lane depends on which are there, as in etcd: appends go by the msgapp stream, else by the
//! message stream, else they are posted one by one; everything else by the message stream, else it is posted.
//!
//! Invariants: the urgent lane is taken first and has posts of its own, so that nothing in it waits behind an append; a
//! connection of which there is a newer one takes nothing any more; what waited for a connection that is gone is
//! dropped, since it would come too late to be of use.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::base::limits;
use crate::consensus::{MessageKind, PeerMessage};

/// Who takes messages away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taker {
    /// The message stream.
    Messages = 0,
    /// The msgapp stream.
    Appends = 1,
    /// Posts of what is urgent.
    UrgentPosts = 2,
    /// Posts of the rest.
    OtherPosts = 3,
}

const URGENT: usize = 0;
const PROPOSALS: usize = 1;
const APPENDS: usize = 2;

/// Number of a connection; a newer one has a higher one. Posts need none.
pub(super) type LineNumber = u64;

#[derive(Default)]
struct Lane {
    messages: VecDeque<PeerMessage>,
    bytes: usize,
}

impl Lane {
    fn clear(&mut self) -> usize {
        self.bytes = 0;
        std::mem::take(&mut self.messages).len()
    }
}

#[derive(Default)]
struct State {
    lanes: [Lane; 3],
    wakers: [Option<Waker>; 4],
    /// The newest stream of each kind, message and msgapp, while it is there.
    streams: [Option<LineNumber>; 2],
    last_number: LineNumber,
    /// The last post failed, and its pause is not over.
    posts_fail: bool,
}

impl State {
    fn taker(&self, lane: usize) -> Taker {
        match (lane, self.streams) {
            (APPENDS, [_, Some(_)]) => Taker::Appends,
            (_, [Some(_), _]) => Taker::Messages,
            (URGENT, _) => Taker::UrgentPosts,
            _ => Taker::OtherPosts,
        }
    }

    /// Drops what these would have taken; how many messages that were.
    fn drop_for(&mut self, takers: &[Taker]) -> usize {
        let mut dropped = 0;
        for lane in 0..self.lanes.len() {
            if takers.contains(&self.taker(lane)) {
                dropped += self.lanes[lane].clear();
            }
        }
        dropped
    }
}

/// What waits to be sent to one peer.
#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
}

fn lane_of(kind: MessageKind) -> usize {
    match kind {
        MessageKind::Append => APPENDS,
        MessageKind::Propose => PROPOSALS,
        _ => URGENT,
    }
}

impl Outbox {
    /// Puts a message in; false where it was dropped, because there is no room or nobody who would take it.
    pub(super) fn put(&self, message: PeerMessage) -> bool {
        let lane = lane_of(message.kind());
        // What a message weighs beside its payloads is a matter of the count.
        let bytes = message.payload_bytes();
        let most = if lane == URGENT { limits::PEER_URGENT_BYTES } else { limits::PEER_QUEUE_BYTES };
        let waker = {
            let mut state = self.lock();
            let taker = state.taker(lane);
            let posted = matches!(taker, Taker::UrgentPosts | Taker::OtherPosts);
            let full = {
                let lane = &state.lanes[lane];
                // What is larger than all that is allowed is taken where it is alone.
                let heavy = lane.bytes > 0 && lane.bytes + bytes > most;
                lane.messages.len() >= limits::PEER_QUEUE_MESSAGES || heavy
            };
            if full || (posted && state.posts_fail) {
                return false;
            }
            state.lanes[lane].messages.push_back(message);
            state.lanes[lane].bytes += bytes;
            state.wakers[taker as usize].take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// A new stream takes over from whatever took its messages until now.
    pub(super) fn attach(&self, taker: Taker) -> LineNumber {
        let (number, wakers) = {
            let mut state = self.lock();
            state.last_number += 1;
            let number = state.last_number;
            state.streams[stream(taker)] = Some(number);
            (number, std::mem::take(&mut state.wakers))
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
        number
    }

    /// The stream is gone: what waited for it is dropped; how many messages that were. Nothing happens where a newer
    /// stream has taken over.
    pub(super) fn detach(&self, taker: Taker, number: LineNumber) -> usize {
        let (dropped, wakers) = {
            let mut state = self.lock();
            if state.streams[stream(taker)] != Some(number) {
                return 0;
            }
            let dropped = state.drop_for(&[taker]);
            state.streams[stream(taker)] = None;
            (dropped, std::mem::take(&mut state.wakers))
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
        dropped
    }

    /// Ends the streams that are there, as if newer ones had taken over; what waits for them is dropped.
    pub(super) fn end_streams(&self) {
        let wakers = {
            let mut state = self.lock();
            state.drop_for(&[Taker::Messages, Taker::Appends]);
            state.streams = [None, None];
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// A post failed: what waits to be posted is dropped, and so is what comes until [`Self::posts_resume`]. How many
    /// messages were dropped.
    pub(super) fn posts_fail(&self) -> usize {
        let mut state = self.lock();
        state.posts_fail = true;
        state.drop_for(&[Taker::UrgentPosts, Taker::OtherPosts])
    }

    /// Messages may be posted again.
    pub(super) fn posts_resume(&self) {
        self.lock().posts_fail = false;
    }

    /// Moves what is to be sent in one go into `into`, which must be empty. Ready with false when a newer stream has
    /// taken over; posts pass no number.
    pub(super) fn poll_take(
        &self,
        cx: &mut Context<'_>,
        taker: Taker,
        number: Option<LineNumber>,
        into: &mut Vec<PeerMessage>,
    ) -> Poll<bool> {
        debug_assert!(into.is_empty(), "what was taken before is done");
        let mut state = self.lock();
        if number.is_some() && state.streams[stream(taker)] != number {
            return Poll::Ready(false);
        }
        let mut room = limits::PEER_WRITE_BYTES;
        for lane in [URGENT, PROPOSALS, APPENDS] {
            if state.taker(lane) != taker {
                continue;
            }
            let lane = &mut state.lanes[lane];
            while into.len() < limits::PEER_WRITE_MESSAGES {
                let Some(next) = lane.messages.front() else { break };
                let bytes = next.payload_bytes();
                if bytes > room && !into.is_empty() {
                    break;
                }
                room = room.saturating_sub(bytes);
                lane.bytes -= bytes;
                into.extend(lane.messages.pop_front());
            }
        }
        if !into.is_empty() {
            return Poll::Ready(true);
        }
        let waker = &mut state.wakers[taker as usize];
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// How many messages wait, and the bytes of their payloads.
    pub(super) fn held(&self) -> (usize, usize) {
        let state = self.lock();
        state.lanes.iter().fold((0, 0), |(messages, bytes), lane| (messages + lane.messages.len(), bytes + lane.bytes))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stream(taker: Taker) -> usize {
    match taker {
        Taker::Messages => 0,
        Taker::Appends => 1,
        Taker::UrgentPosts | Taker::OtherPosts => unreachable!("a post is no stream"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{append, heartbeat};
    use super::*;

    fn take(outbox: &Outbox, taker: Taker, number: Option<LineNumber>) -> Vec<MessageKind> {
        let mut taken = Vec::new();
        let _ = outbox.poll_take(&mut Context::from_waker(Waker::noop()), taker, number, &mut taken);
        taken.iter().map(PeerMessage::kind).collect()
    }

    #[test]
    fn lanes_follow_the_streams_that_are_there() {
        let outbox = Outbox::default();
        use MessageKind::{Append, Heartbeat};
        let fill = || {
            assert!(outbox.put(append(10)));
            assert!(outbox.put(heartbeat()));
        };
        fill();
        assert_eq!(take(&outbox, Taker::UrgentPosts, None), [Heartbeat]);
        assert_eq!(take(&outbox, Taker::OtherPosts, None), [Append]);
        let messages = outbox.attach(Taker::Messages);
        fill();
        assert_eq!(take(&outbox, Taker::OtherPosts, None), []);
        assert_eq!(take(&outbox, Taker::Messages, Some(messages)), [Heartbeat, Append], "what is urgent goes first");
        let appends = outbox.attach(Taker::Appends);
        fill();
        assert_eq!(take(&outbox, Taker::Messages, Some(messages)), [Heartbeat]);
        assert_eq!(outbox.detach(Taker::Appends, appends), 1, "what waited is dropped");
        let newer = outbox.attach(Taker::Messages);
        let mut cx = Context::from_waker(Waker::noop());
        let ended = outbox.poll_take(&mut cx, Taker::Messages, Some(messages), &mut Vec::new());
        assert_eq!(ended, Poll::Ready(false));
        fill();
        assert_eq!(outbox.detach(Taker::Messages, messages), 0, "an old stream takes nothing with it");
        assert_eq!(take(&outbox, Taker::Messages, Some(newer)), [Heartbeat, Append]);
        fill();
        assert_eq!(outbox.detach(Taker::Messages, newer), 2);
    }

    #[test]
    fn nothing_waits_for_posts_that_fail() {
        let outbox = Outbox::default();
        assert!(outbox.put(append(10)));
        assert_eq!(outbox.posts_fail(), 1);
        assert!(!outbox.put(append(10)));
        let messages = outbox.attach(Taker::Messages);
        assert!(outbox.put(append(10)), "a stream does not mind");
        assert_eq!(outbox.detach(Taker::Messages, messages), 1);
        outbox.posts_resume();
        assert!(outbox.put(append(10)));
    }

    #[test]
    fn a_full_lane_drops_and_leaves_the_others_alone() {
        let outbox = Outbox::default();
        assert!(outbox.put(append(limits::PEER_QUEUE_BYTES + 1)), "alone, anything is taken");
        assert!(!outbox.put(append(1)));
        assert!(outbox.put(heartbeat()));
        assert_eq!(outbox.held(), (2, limits::PEER_QUEUE_BYTES + 1));
        for _ in 1..limits::PEER_QUEUE_MESSAGES {
            assert!(outbox.put(heartbeat()));
        }
        assert!(!outbox.put(heartbeat()));
        let messages = outbox.attach(Taker::Messages);
        let taken = take(&outbox, Taker::Messages, Some(messages));
        assert_eq!(taken.len(), limits::PEER_WRITE_MESSAGES);
        assert!(taken.iter().all(|kind| *kind == MessageKind::Heartbeat));
    }

    #[test]
    fn a_writing_is_bounded_by_bytes() {
        let outbox = Outbox::default();
        for _ in 0..4 {
            assert!(outbox.put(append(limits::PEER_WRITE_BYTES / 2)));
        }
        assert_eq!(take(&outbox, Taker::OtherPosts, None).len(), 2);
        assert!(outbox.put(append(limits::PEER_WRITE_BYTES * 3)));
        assert_eq!(take(&outbox, Taker::OtherPosts, None).len(), 2);
        assert_eq!(take(&outbox, Taker::OtherPosts, None).len(), 1, "one message may be larger");
    }
}
