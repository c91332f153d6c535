//! How many streams a client is told that it may have open (`SETTINGS_MAX_CONCURRENT_STREAMS`), as it changes.
//!
//! etcd tells no bound, so a client that has more to ask than is carried out sends it all, and what it sends grows old in the
//! windows of the system. Here it is told a few hundred requests at first, soon more where it uses them, and no more than are taken
//! in where reading had to wait because too many were; who keeps to it holds the rest back, and can still give it up. What lasts
//! (watches, keep-alives, locks that are waited for) is counted beside it, so that no number of such streams stands in the way of
//! requests.
//!
//! The HTTP library tells a bound once, at the beginning. Frames of ours go between its own, and what a client says to
//! acknowledge them is hidden from the library, which would take it for a fault: it gets another type, one that nobody knows
//! and everybody passes over.
//!
//! Invariants: one of ours is under way at most; acknowledgements are told apart by their order. Does not know how bytes travel.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use crate::api::Intake;
use crate::base::limits;
use crate::server::frames::{ACK, FRAME_HEAD_BYTES, Head, SETTINGS};

const MAX_CONCURRENT_STREAMS: u8 = 3;
const TELLING_BYTES: usize = FRAME_HEAD_BYTES + 6;

/// A type of frame that nobody has defined.
const UNKNOWN: u8 = 0xf5;

const GROW_TIME: Duration = Duration::from_millis(limits::STREAMS_GROW_MS);
const GROW_AGAIN_TIME: Duration = Duration::from_millis(limits::STREAMS_GROW_AGAIN_MS);
const CAUTIOUS_TIME: Duration = Duration::from_millis(limits::STREAMS_CAUTIOUS_MS);

/// Whose settings an acknowledgement is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Teller {
    Library,
    Here,
}

/// See the module's head.
#[derive(Debug)]
pub struct StreamBound {
    intake: Arc<Intake>,
    /// The bound that is kept to, which the library tells.
    most: u32,
    told: u32,
    /// Requests that may be under way beside what lasts.
    requests: u32,
    /// When that was changed.
    since: Instant,
    /// When they were too many.
    held_up_at: Option<Instant>,
    /// Whether the library has told its settings: they come first.
    begun: bool,
    /// Who waits for an acknowledgement, in order.
    awaited: VecDeque<Teller>,
    frame: [u8; TELLING_BYTES],
    sent: usize,
}

impl StreamBound {
    /// Of a connection that is told so much by the library.
    pub fn new(intake: Arc<Intake>, most: u32) -> Self {
        let (awaited, frame) = (VecDeque::new(), [0; TELLING_BYTES]);
        let since = Instant::now();
        let requests = limits::STREAMS_AT_FIRST;
        let (begun, sent) = (false, TELLING_BYTES);
        Self { intake, most, told: most, requests, since, held_up_at: None, begun, awaited, frame, sent }
    }

    /// The library sends a frame with this head.
    pub fn library_sends(&mut self, head: &Head) {
        if head.kind == SETTINGS && head.flags & ACK == 0 {
            self.begun = true;
            self.awaited.push_back(Teller::Library);
        }
    }

    /// The client sent a frame with this head, whose last byte is that before `end` in what was read: hides what is not for
    /// the library.
    pub fn received(&mut self, head: &Head, read: &mut [u8], end: usize) {
        if head.kind == SETTINGS && head.flags & ACK != 0 && self.awaited.pop_front() == Some(Teller::Here) {
            hide(read, end, FRAME_HEAD_BYTES);
        }
    }

    /// What was read ends with these bytes of a head: what is only to be hidden while its type is at hand.
    pub fn received_part(&mut self, part: &[u8], read: &mut [u8]) {
        if let [0, 0, 0, SETTINGS, flags @ ..] = part
            // Nobody has reason to send settings that say nothing.
            && flags.first().is_none_or(|flags| flags & ACK != 0)
            && self.awaited.front() == Some(&Teller::Here)
        {
            hide(read, read.len(), part.len());
        }
    }

    /// Looks at how it stands: how many streams are open, and whether reading is held up because too much waits. What is told
    /// then stands in [`StreamBound::rest`].
    pub fn look(&mut self, open: usize, is_held_up: bool, cx: &mut Context<'_>) {
        if !self.begun || !self.awaited.is_empty() {
            return;
        }
        let in_u32 = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (lasting, held) = (in_u32(self.intake.lasting()), in_u32(self.intake.held()));
        if is_held_up {
            self.held_up_at = Some(Instant::now());
            let share = in_u32(self.intake.most());
            if share < self.requests {
                (self.requests, self.since) = (share, Instant::now());
            }
        } else if held >= self.requests / 2 && self.requests < self.most {
            let was_held_up = self.held_up_at.is_some_and(|at| at.elapsed() < CAUTIOUS_TIME);
            let (time, more) = match was_held_up {
                true => (GROW_AGAIN_TIME, self.requests / 4),
                false => (GROW_TIME, self.requests),
            };
            if self.since.elapsed() >= time {
                (self.requests, self.since) = (self.requests.saturating_add(more), Instant::now());
            }
        }
        let bound = lasting.saturating_add(self.requests).min(self.most);
        if open >= self.told as usize / 2 {
            // The client may soon wait for more, and say nothing: what lasts and comes in later is looked at.
            self.intake.wake_reader(cx);
        }
        // Not for every stream: when an eighth is gone, or it is clearly less.
        if bound > self.told && bound - self.told >= self.requests.div_ceil(8) || bound < self.told / 4 * 3 {
            self.tell(bound);
        }
    }

    fn tell(&mut self, bound: u32) {
        self.told = bound;
        self.frame = [0; TELLING_BYTES];
        (self.frame[2], self.frame[3], self.frame[FRAME_HEAD_BYTES + 1]) = (6, SETTINGS, MAX_CONCURRENT_STREAMS);
        self.frame[FRAME_HEAD_BYTES + 2..].copy_from_slice(&bound.to_be_bytes());
        self.sent = 0;
        self.awaited.push_back(Teller::Here);
    }

    /// What is to be sent.
    pub fn rest(&self) -> &[u8] {
        &self.frame[self.sent..]
    }

    /// Whether a part of it was sent, and the rest comes next.
    pub fn is_cut(&self) -> bool {
        (1..TELLING_BYTES).contains(&self.sent)
    }

    /// So much of it was sent.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
    }
}

/// Gives a frame another type, if that is among these bytes: `seen` bytes of its head end at `end`.
fn hide(read: &mut [u8], end: usize, seen: usize) {
    if let Some(at) = end.checked_sub(seen - 3) {
        read[at] = UNKNOWN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::frames::testing::frame;
    use crate::server::frames::{Found, Frames};
    use std::task::Waker;

    const MOST: u32 = 1_000_000;

    fn bound() -> (StreamBound, Arc<Intake>) {
        let intake = Intake::new(Arc::default());
        let mut bound = StreamBound::new(intake.clone(), MOST);
        bound.library_sends(&Head { length: 0, kind: SETTINGS, flags: 0, stream: 0 });
        (bound, intake)
    }

    /// One whose library's settings were acknowledged.
    fn begun() -> (StreamBound, Arc<Intake>) {
        let (mut bound, intake) = bound();
        read(&mut bound, &frame(SETTINGS, ACK, 0, &[]), 9);
        (bound, intake)
    }

    /// What comes of bytes that are read in pieces of this size.
    fn read(bound: &mut StreamBound, bytes: &[u8], cut: usize) -> Vec<u8> {
        let (mut frames, mut all) = (Frames::of_server(), bytes.to_vec());
        for read in all.chunks_mut(cut) {
            let mut at = 0;
            while at < read.len() {
                let (used, found) = frames.next(&read[at..]);
                at += used;
                if let Found::Head(head) = found {
                    bound.received(&head, read, at);
                }
            }
            bound.received_part(frames.part_of_head(), read);
        }
        all
    }

    /// What is told next, acknowledged at once.
    fn told(bound: &mut StreamBound, is_held_up: bool) -> Option<u32> {
        bound.look(0, is_held_up, &mut Context::from_waker(Waker::noop()));
        let rest = bound.rest().to_vec();
        let number = rest.last_chunk()?;
        assert_eq!(rest[..11], [0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 3]);
        bound.sent(rest.len());
        read(bound, &frame(SETTINGS, ACK, 0, &[]), 9);
        Some(u32::from_be_bytes(*number))
    }

    #[test]
    fn an_acknowledgement_is_hidden_from_who_did_not_ask_wherever_it_is_cut() {
        let (ack, settings) = (frame(SETTINGS, ACK, 0, &[]), frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9]));
        let sent = [ack.clone(), settings.clone(), ack.clone(), frame(0, 1, 1, &[4; 9]), settings.clone()].concat();
        for cut in 1..sent.len() {
            let (mut bound, _) = bound();
            bound.look(0, true, &mut Context::from_waker(Waker::noop()));
            assert!(bound.rest().is_empty(), "first the library is answered");
            let first = read(&mut bound, &ack, cut);
            assert_eq!(first, ack);
            bound.look(0, true, &mut Context::from_waker(Waker::noop()));
            assert!(!bound.rest().is_empty());
            bound.library_sends(&Head { length: 0, kind: SETTINGS, flags: 0, stream: 0 });
            let passed = read(&mut bound, &sent, cut);
            let hidden = frame(UNKNOWN, ACK, 0, &[]);
            let expected = [hidden, settings.clone(), ack.clone(), frame(0, 1, 1, &[4; 9]), settings.clone()].concat();
            assert_eq!(passed, expected, "{cut}");
        }
    }

    #[test]
    fn it_begins_with_few_and_grows_where_they_are_used() {
        let (mut bound, intake) = begun();
        let first = limits::STREAMS_AT_FIRST;
        assert_eq!(told(&mut bound, false), Some(first));
        bound.since -= GROW_TIME;
        assert_eq!(told(&mut bound, false), None, "nobody wants more");
        let mut last = first;
        let mut waiting = Vec::new();
        while last < 10_000 {
            waiting.extend((0..last).map(|_| intake.enter()));
            bound.since = Instant::now();
            assert_eq!(told(&mut bound, false), None, "not at once");
            bound.since -= GROW_TIME;
            assert_eq!(told(&mut bound, false), Some(last * 2));
            last *= 2;
        }
        drop(waiting);
        let (mut few, intake) = (StreamBound::new(intake.clone(), 100), intake);
        few.library_sends(&Head { length: 0, kind: SETTINGS, flags: 0, stream: 0 });
        read(&mut few, &frame(SETTINGS, ACK, 0, &[]), 9);
        let _waiting: Vec<_> = (0..1_000).map(|_| intake.enter()).collect();
        few.since -= GROW_TIME;
        assert_eq!(told(&mut few, false), None, "no more than the flag says");
    }

    #[test]
    fn it_follows_what_is_taken_in() {
        let (mut bound, intake) = begun();
        told(&mut bound, false);
        let others: Vec<_> = (0..limits::REQUESTS_TAKEN_IN).map(|_| intake.enter()).collect();
        let share = u32::try_from(limits::REQUESTS_TAKEN_IN_OF_ONE).expect("a few");
        assert_eq!(told(&mut bound, true), Some(share));
        assert_eq!(told(&mut bound, true), None, "once");
        bound.since -= GROW_TIME;
        assert_eq!(told(&mut bound, false), None, "it is felt for slowly now");
        bound.since -= GROW_AGAIN_TIME;
        assert_eq!(told(&mut bound, false), Some(share / 4 * 5));
        drop(others);
    }

    #[test]
    fn what_lasts_is_beside_it() {
        let (mut bound, intake) = begun();
        let others: Vec<_> = (0..limits::REQUESTS_TAKEN_IN).map(|_| intake.enter()).collect();
        told(&mut bound, true);
        let mut streams = Vec::new();
        for count in 1..5_000 {
            streams.push(intake.lasts());
            told(&mut bound, true);
            assert!(bound.told > count && bound.told < MOST, "one more has room");
        }
        drop((others, streams));
    }
}
