//! The bounded buffer between the hub and the reader of one stream.
//!
//! Invariants: messages leave in the order they came; events are taken in only while there is room, so the
//! buffer holds at most its bounds and one message more (a revision is never split); answers to questions are
//! always taken in, and room for them is set aside when the question is asked: see [`Question`].
//! Whoever was turned away for lack of room is called once the buffer drained below half, and not before.
//!
//! Does not know which watchers fill it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use super::message::{StreamId, WatchMessage};
use crate::base::Account;
use crate::base::limits::{WATCH_BATCH_BYTES, WATCH_BATCH_RESPONSES, WATCH_BUFFER_BYTES, WATCH_BUFFER_RESPONSES};
use crate::base::sync::{Arc, Mutex, MutexGuard};

/// Most answers to one question: a watcher was made, and is gone at once because its start is compacted.
const ANSWERS_TO_ONE: usize = 2;

/// Called, on the reader's side, when a buffer that had turned the hub away has room again: the node then
/// gives the hub a turn. It must not block and must not call into the hub.
pub type RoomBell = Arc<dyn Fn() + Send + Sync>;

/// Streams that have room again, on their way to the hub. One that was filled and drained anew before the hub looked stands in
/// it more than once: as often at most as the hub was turned away.
pub(super) type RoomMade = Arc<Mutex<Vec<StreamId>>>;

/// How much a buffer holds and a batch takes; [`Bounds::default`] is what ships.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Bytes held before events are turned away.
    pub bytes: usize,
    /// Messages held before events are turned away.
    pub responses: usize,
    /// Messages held at most, answers included: beyond it more was answered than was asked.
    pub answers: usize,
    /// Bytes after which a batch ends.
    pub batch_bytes: usize,
    /// Messages after which a batch ends.
    pub batch_responses: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: WATCH_BUFFER_BYTES,
            responses: WATCH_BUFFER_RESPONSES,
            // Events fill what is for events, and the answers to what was asked before come behind them.
            answers: 2 * WATCH_BUFFER_RESPONSES,
            batch_bytes: WATCH_BATCH_BYTES,
            batch_responses: WATCH_BATCH_RESPONSES,
        }
    }
}

/// What became of a message that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Offer {
    /// It stands in the queue.
    Taken,
    /// There was no room for it.
    Full,
    /// The stream is closed; nobody will read it.
    Closed,
}

/// The buffer of one stream, shared by the hub, which fills it, and the stream's reader.
pub struct StreamBuffer {
    id: StreamId,
    bounds: Bounds,
    made: RoomMade,
    bell: RoomBell,
    /// Whose: all his streams share what may wait for him.
    account: Arc<Account>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<WatchMessage>,
    /// Weight of the queue.
    bytes: usize,
    /// Events in the queue.
    events: usize,
    /// The hub was turned away and waits to be called.
    hub_waits: bool,
    closed: bool,
    /// Questions on their way to the hub.
    asked: usize,
    reader: Option<Waker>,
    requester: Option<Waker>,
}

impl State {
    /// Where the account's streams hold all it may one that holds nothing still has room: its reader would never call.
    fn has_room(&self, bounds: &Bounds, account: &Account) -> bool {
        let own = !self.closed && self.bytes < bounds.bytes && self.queue.len() < bounds.responses;
        own && (self.bytes == 0 || account.backlog_room() > 0)
    }

    /// Whether the answers to one more question will fit beside what is held and what is still to be answered.
    fn has_room_to_ask(&self, bounds: &Bounds) -> bool {
        self.bytes < bounds.bytes && self.queue.len() + ANSWERS_TO_ONE * (self.asked + 1) <= bounds.responses
    }

    fn below_half(&self, bounds: &Bounds) -> bool {
        self.bytes <= bounds.bytes / 2 && self.queue.len() <= bounds.responses / 2
    }

    fn put(&mut self, message: WatchMessage, account: &Account) -> Option<Waker> {
        self.bytes += message.weight();
        account.backlog_added(message.weight());
        self.events += message.event_count();
        self.queue.push_back(message);
        self.reader.take()
    }
}

impl StreamBuffer {
    pub(super) fn new(id: StreamId, bounds: Bounds, made: RoomMade, bell: RoomBell, account: Arc<Account>) -> Self {
        let least = bounds.bytes > 0 && bounds.responses >= ANSWERS_TO_ONE;
        assert!(least, "a buffer without room would never call the hub, or never be asked anything");
        assert!(bounds.batch_bytes > 0 && bounds.batch_responses > 0, "an empty batch would make no room");
        Self { id, bounds, made, bell, account, state: Mutex::default() }
    }

    /// The next messages, in order, at least one; `None` once the stream is closed and drained.
    /// One reader at a time.
    pub fn poll_batch(&self, cx: &mut Context<'_>) -> Poll<Option<Vec<WatchMessage>>> {
        let mut state = self.lock();
        if state.queue.is_empty() {
            if state.closed {
                return Poll::Ready(None);
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let batch = self.take(&mut state);
        let drained = state.below_half(&self.bounds);
        let requester = if drained { state.requester.take() } else { None };
        let call_hub = drained && std::mem::take(&mut state.hub_waits) && !state.closed;
        drop(state);
        if let Some(requester) = requester {
            requester.wake();
        }
        if call_hub {
            self.made.lock().expect("nobody panics holding the list of made room").push(self.id);
            (self.bell)();
        }
        Poll::Ready(Some(batch))
    }

    /// [`StreamBuffer::poll_batch`] as a future; dropping it loses nothing.
    pub async fn next_batch(&self) -> Option<Vec<WatchMessage>> {
        poll_fn(|cx| self.poll_batch(cx)).await
    }

    /// Sets room aside for the answers to one question; `None` where there is too little. Whoever asks does so
    /// before the question leaves, and the question takes this along. On a closed stream anything may be asked: nothing
    /// is answered.
    pub fn ask(self: &Arc<Self>) -> Option<Question> {
        let mut state = self.lock();
        if !state.closed && !state.has_room_to_ask(&self.bounds) {
            return None;
        }
        state.asked += 1;
        Some(Question(Arc::clone(self)))
    }

    /// Ready when the stream may take another question from its client, or is closed: a client that sends
    /// without reading is held up here, not in memory. One waiter at a time.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.closed || state.has_room_to_ask(&self.bounds) {
            return Poll::Ready(());
        }
        state.requester = Some(cx.waker().clone());
        Poll::Pending
    }

    /// [`StreamBuffer::poll_room`] as a future.
    pub async fn room(&self) {
        poll_fn(|cx| self.poll_room(cx)).await;
    }

    /// Whether events would be taken in.
    pub fn has_room(&self) -> bool {
        self.lock().has_room(&self.bounds, &self.account)
    }

    /// Whether a reader would get something, be it the end.
    #[cfg(test)]
    pub(super) fn has_messages(&self) -> bool {
        !self.lock().queue.is_empty()
    }

    /// Bytes of the messages with events that wait for the reader, but for the heaviest, and how many messages wait: looks at
    /// each.
    pub fn held(&self) -> (usize, usize) {
        let state = self.lock();
        let told = state.queue.iter().filter(|message| message.event_count() > 0);
        let (all, heaviest) =
            told.fold((0, 0), |(all, heaviest), message| (all + message.weight(), message.weight().max(heaviest)));
        (all - heaviest, state.queue.len())
    }

    /// Events waiting for the reader.
    pub fn pending_events(&self) -> usize {
        self.lock().events
    }

    /// Bytes that would still be taken in; 0 means full, and the hub will be called when it drains.
    pub(super) fn room_or_call(&self) -> usize {
        let mut state = self.lock();
        if state.has_room(&self.bounds, &self.account) {
            // Reading for next to nothing costs more than it brings: whoever is told so reads a little all the same.
            return (self.bounds.bytes - state.bytes).min(self.account.backlog_room().max(1));
        }
        state.hub_waits = true;
        0
    }

    /// Takes `message` in if there is room. When full the hub will be called, once it drained.
    pub(super) fn offer(&self, message: WatchMessage) -> Offer {
        let mut state = self.lock();
        if state.closed {
            return Offer::Closed;
        }
        if !state.has_room(&self.bounds, &self.account) {
            state.hub_waits = true;
            return Offer::Full;
        }
        let reader = state.put(message, &self.account);
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        Offer::Taken
    }

    /// Takes in the answer to a question, for which room was set aside. `false`: the stream is closed.
    ///
    /// # Panics
    /// If more is answered than was asked: a bug of whoever asks without a [`Question`].
    pub(super) fn answer(&self, message: WatchMessage) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        let held = state.queue.len();
        if held >= self.bounds.answers {
            // Not under the lock: questions are dropped on the way out, and take it.
            drop(state);
            panic!("{held} messages wait on one stream: it was answered more than it asked");
        }
        let reader = state.put(message, &self.account);
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        true
    }

    /// Nothing more comes; the reader gets what is there and then the end.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let wakers = [state.reader.take(), state.requester.take()];
        drop(state);
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    fn take(&self, state: &mut State) -> Vec<WatchMessage> {
        let bounds = &self.bounds;
        let mut batch = Vec::with_capacity(state.queue.len().min(bounds.batch_responses));
        let mut bytes = 0;
        while bytes < bounds.batch_bytes && batch.len() < bounds.batch_responses {
            let Some(message) = state.queue.pop_front() else { break };
            bytes += message.weight();
            state.events -= message.event_count();
            batch.push(message);
        }
        assert!(bytes <= state.bytes, "a buffer weighs what its messages weigh");
        state.bytes -= bytes;
        self.account.backlog_taken(bytes);
        batch
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics holding a stream's buffer")
    }
}

impl Drop for StreamBuffer {
    fn drop(&mut self) {
        let unread = self.state.get_mut().map_or(0, |state| state.bytes);
        self.account.backlog_taken(unread);
    }
}

/// A question on its way to the hub, with room set aside for its answers. It travels with what is asked and is dropped
/// when the hub has answered, or when it is clear that nobody will.
///
/// Counted where questions are put, because only there they can be held up: the node takes its mailbox whole, so any
/// number may be under way by the time the first is answered.
#[derive(Debug)]
pub struct Question(Arc<StreamBuffer>);

impl Drop for Question {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.asked -= 1;
        let requester = if state.has_room_to_ask(&self.0.bounds) { state.requester.take() } else { None };
        drop(state);
        if let Some(requester) = requester {
            requester.wake();
        }
    }
}

impl std::fmt::Debug for StreamBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        write!(f, "StreamBuffer({}: {} messages, {} bytes)", self.id.0, state.queue.len(), state.bytes)
    }
}
