//! The hub: takes requests and new revisions, and fills the streams' buffers.
//!
//! Invariants: `seen` is the last revision the watchers were told of, and it only grows; a synced watcher has
//! been told everything up to it, a catching-up one everything below its `next`. A watcher whose event finds
//! no room is turned to catching up *at that revision*, so nothing is lost and nothing is queued for it.
//! Each turn of work is bounded by its caller, and so is the giving back of a closed stream's watchers.
//!
//! Does not know where history comes from, nor when its turns come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::buffer::{Bounds, Offer, RoomBell, RoomMade, StreamBuffer};
use super::message::{EventBatch, HubCounts, HubNow, SharedEvent, StreamId, WatchMessage, WatchSpec};
use super::progress_clock::{ProgressClock, WHOLE_STREAM};
use super::stream::Stream;
use super::watcher::{Roster, Standing, Watcher};
use crate::base::limits::{CATCH_UP_LEAST_ROOM, MAX_WATCHERS_PER_STREAM, WATCHERS_CLOSED_PER_TURN};
use crate::base::{Account, KeyRange, WatchId};

/// etcd's texts for a watcher that is not made.
const RANGE_IS_EMPTY: &str = "mvcc: watcher range is empty";
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
/// Ours: etcd has no such bound.
const TOO_MANY_WATCHERS: &str = "etcdserver: too many watchers on the watch stream";

/// Matches for which memory is kept from one revision to the next.
const KEPT_MATCHES: usize = 64 * 1024;

/// How much streams hold, and what a watcher that fell behind is read for at least; [`HubBounds::default`] is what ships.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HubBounds {
    /// Of each stream.
    pub buffer: Bounds,
    /// Bytes a watcher is read for, however little room its stream has.
    pub least_room: usize,
}

impl Default for HubBounds {
    fn default() -> Self {
        Self { buffer: Bounds::default(), least_room: CATCH_UP_LEAST_ROOM }
    }
}

/// All watch streams of this member.
pub struct WatchHub {
    pub(super) streams: BTreeMap<StreamId, Stream>,
    /// Closed streams whose watchers are given back turn by turn.
    closing: Vec<Stream>,
    pub(super) roster: Roster,
    /// Streams whose watchers wait for history and which, as far as known, have room.
    pub(super) hungry: BTreeSet<StreamId>,
    /// The stream the last turn ended with: the next one begins behind it.
    pub(super) turn: StreamId,
    /// Filled by the readers.
    pub(super) made: RoomMade,
    /// The last revision told.
    pub(super) seen: i64,
    /// History below it is forgotten.
    pub(super) compacted: i64,
    pub(super) clock: ProgressClock,
    /// Whether the revision behind `seen` is being made.
    pub(super) in_the_middle: bool,
    pub(super) bounds: HubBounds,
    max_watchers: usize,
    /// Kept between revisions to spare allocations: (slot, number of the event in the revision).
    matches: Vec<(u32, u32)>,
}

impl WatchHub {
    /// A hub without streams. Watchers that ask for it are told the progress every `progress_ticks` ticks
    /// (at least 1) and up to a tenth more, drawn from `seed` for each stream and round.
    pub fn new(progress_ticks: u64, seed: u64, bounds: HubBounds) -> Self {
        Self::with_watchers(progress_ticks, seed, bounds, MAX_WATCHERS_PER_STREAM)
    }

    pub(super) fn with_watchers(progress_ticks: u64, seed: u64, bounds: HubBounds, max_watchers: usize) -> Self {
        Self {
            streams: BTreeMap::new(),
            closing: Vec::new(),
            roster: Roster::new(seed),
            hungry: BTreeSet::new(),
            turn: StreamId(0),
            made: RoomMade::default(),
            seen: 0,
            compacted: 0,
            clock: ProgressClock::new(progress_ticks, seed),
            in_the_middle: false,
            bounds,
            max_watchers,
            matches: Vec::new(),
        }
    }

    /// Opens a stream; its reader keeps the buffer. `bell` is rung when a turn of [`WatchHub::catch_up_work`]
    /// became worth while for this stream; `account` is charged for what waits in it. An id is used once.
    pub fn open_stream(&mut self, id: StreamId, bell: RoomBell, account: Arc<Account>) -> Arc<StreamBuffer> {
        let buffer = Arc::new(StreamBuffer::new(id, self.bounds.buffer, Arc::clone(&self.made), bell, account));
        let was = self.streams.insert(id, Stream::new(Arc::clone(&buffer)));
        assert!(was.is_none(), "a stream is opened once");
        buffer
    }

    /// Closes a stream: its reader gets what is in the buffer and then the end. Unknown ids are passed over.
    pub fn close_stream(&mut self, id: StreamId) {
        let Some(stream) = self.streams.remove(&id) else { return };
        stream.buffer.close();
        self.hungry.remove(&id);
        if let Some(due) = stream.due {
            self.clock.forget(due, id);
        }
        self.closing.push(stream);
        self.give_back(WATCHERS_CLOSED_PER_TURN);
    }

    /// Makes a watcher, and says on the stream whether it was made. A stream that is gone is passed over: its
    /// client left while the request was under way.
    pub fn create(&mut self, id: StreamId, spec: WatchSpec, now: HubNow) {
        self.create_for(id, None, spec, now);
    }

    /// As [`WatchHub::create`], for a user: see [`WatchHub::cut`].
    pub fn create_for(&mut self, id: StreamId, owner: Option<Arc<str>>, spec: WatchSpec, now: HubNow) {
        self.observe(now);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let revision = now.revision;
        let buffer = Arc::clone(&stream.buffer);
        if let Some(reason) = refusal(stream, &spec, self.max_watchers) {
            self.answer(id, WatchMessage::Refused { revision, reason: reason.to_string() });
            return;
        }
        let watch_id = if spec.watch_id == 0 { stream.assign_id() } else { spec.watch_id };
        if !self.answer(id, WatchMessage::Created { watch_id, revision }) {
            return;
        }
        let stream = self.streams.get_mut(&id).expect("a stream that took an answer is open");
        if spec.start_revision > 0 && spec.start_revision < self.compacted {
            // As etcd: it was made, and is gone at once, with the compact revision and no revision in the header.
            let compact_revision = self.compacted;
            stream.spent.insert(watch_id);
            self.answer(id, WatchMessage::Canceled { watch_id, revision: 0, compact_revision });
            return;
        }
        let is_past = (1..=revision).contains(&spec.start_revision);
        let next = if is_past { spec.start_revision } else { spec.start_revision.max(revision + 1) };
        let behind = is_past || self.in_the_middle && next == revision + 1;
        let slot = self.roster.add(Watcher { owner, ..Watcher::new(id, buffer, watch_id, &spec, next) });
        let stream = self.streams.get_mut(&id).expect("a stream that took an answer is open");
        stream.watchers.insert(watch_id, slot);
        if behind {
            self.fall_behind(id, slot, next);
            self.hungry.insert(id);
        } else if spec.start_revision > 0 {
            stream.future.insert((spec.start_revision, slot));
        }
        // A client may choose -1, as in etcd; a notice of its own would then speak for the whole stream.
        if spec.progress_notify && watch_id != WHOLE_STREAM {
            self.notify(id, watch_id);
        }
    }

    /// Ends a watcher, and says so, also to one that compaction ended before. An unknown id is passed over. Both
    /// as etcd does.
    pub fn cancel(&mut self, id: StreamId, watch_id: WatchId, now: HubNow) {
        self.observe(now);
        let was_spent = self.streams.get_mut(&id).is_some_and(|stream| stream.spent.remove(&watch_id));
        if was_spent || self.remove(id, watch_id) {
            self.answer(id, WatchMessage::Canceled { watch_id, revision: now.revision, compact_revision: 0 });
        }
    }

    /// Says that a watcher is not made, for a reason of the caller's.
    pub fn refuse(&mut self, id: StreamId, reason: String, now: HubNow) {
        self.observe(now);
        self.answer(id, WatchMessage::Refused { revision: now.revision, reason });
    }

    /// Ends every watcher of which `why` gives a reason, by its owner and range, and says so: nothing that happens from
    /// now on is told it, and history no further. Costs time in proportion to all watchers.
    pub fn cut(&mut self, now: HubNow, why: impl Fn(Option<&Arc<str>>, &KeyRange) -> Option<String>) {
        self.observe(now);
        let cut: Vec<(StreamId, WatchId, String)> = self
            .roster
            .all()
            .filter_map(|it| why(it.owner.as_ref(), &it.range).map(|reason| (it.stream, it.id, reason)))
            .collect();
        for (id, watch_id, reason) in cut {
            let Some(stream) = self.streams.get(&id) else { continue };
            let told = stream.buffer.offer(WatchMessage::Cut { watch_id, revision: now.revision, reason });
            // Nobody asked, so no room was set aside. Who does not read loses the stream, and hears why when he comes back.
            match told {
                Offer::Taken => drop(self.remove(id, watch_id)),
                Offer::Full | Offer::Closed => self.close_stream(id),
            }
        }
    }

    /// Tells the watchers of one revision: all its changes, in order. Every revision is told, each once, before
    /// the hub is asked anything with a `now` that includes it; only while there is no watcher may it be left out.
    pub fn apply(&mut self, revision: i64, events: &[Arc<SharedEvent>]) {
        assert!(revision > self.seen, "revision {revision} told after {}", self.seen);
        self.seen = revision;
        let mut matches = std::mem::take(&mut self.matches);
        for (number, event) in (0u32..).zip(events) {
            assert_eq!(event.event.kv.mod_revision, revision, "an event belongs to the revision it is told with");
            self.roster.matching(&event.event.kv.key, |slot| matches.push((slot, number)));
        }
        if events.len() > 1 {
            // By watcher, then in order of the changes.
            matches.sort_unstable();
        }
        let mut last: Option<(Vec<u32>, EventBatch)> = None;
        for group in matches.chunk_by(|a, b| a.0 == b.0) {
            self.tell(revision, events, group, &mut last);
        }
        matches.clear();
        // What one revision of a huge fan-out needed is not kept for ever.
        matches.shrink_to(KEPT_MATCHES);
        self.matches = matches;
    }

    /// Whether somebody who is in step asks what `key` held before a change: only then need it be loaded. Who fell behind
    /// is told that from history.
    pub fn wants_prev_of(&self, key: &[u8]) -> bool {
        self.roster.wants_prev(key)
    }

    /// Whether a change of `key` would be told to somebody in step.
    pub fn tells_of(&self, key: &[u8]) -> bool {
        self.roster.is_watched(key)
    }

    /// Whether the next revision is being made: who begins to watch now is told of it from history, for it was not asked all the
    /// while whether he is to be told.
    pub fn in_the_middle(&mut self, is: bool) {
        self.in_the_middle = is;
    }

    /// The last revision told.
    pub fn seen(&self) -> i64 {
        self.seen
    }

    /// Whether there is any watcher: without one a revision need not be told. Costs nothing.
    pub fn has_watchers(&self) -> bool {
        self.roster.len() > 0
    }

    /// The store took over a peer's state and jumped to `now`: the revisions between were not told, and
    /// synced watchers get them from history. To be called before anything else is asked with that `now`.
    /// Costs time in proportion to all watchers.
    pub fn restored(&mut self, now: HubNow) {
        let missed = self.seen + 1;
        self.observe(now);
        let seen = self.seen;
        for slot in self.roster.synced(|watcher| watcher.next.max(missed) <= seen) {
            let watcher = self.roster.get(slot);
            let (id, next) = (watcher.stream, watcher.next.max(missed));
            if self.streams.contains_key(&id) {
                self.fall_behind(id, slot, next);
                self.hungry.insert(id);
            }
        }
    }

    /// Ends every stream: what was told is not to be believed, or another history begins. Nothing was told of it yet.
    pub fn end_all(&mut self) {
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        ids.into_iter().for_each(|id| self.close_stream(id));
        (self.seen, self.compacted) = (0, 0);
    }

    /// Whether somebody has not been told everything up to now. Costs nothing.
    pub fn has_slow_watchers(&self) -> bool {
        self.roster.behind() > 0
    }

    /// How much there is of everything. Costs time in proportion to the streams.
    pub fn counts(&self) -> HubCounts {
        HubCounts {
            streams: self.streams.len(),
            watchers: self.roster.len(),
            slow_watchers: self.roster.behind(),
            pending_events: self.streams.values().map(|stream| stream.buffer.pending_events()).sum(),
        }
    }

    /// As [`StreamBuffer::held`], of the streams that hold most of each. Costs time in proportion to what all hold.
    pub fn fullest(&self) -> (usize, usize) {
        let held = self.streams.values().map(|stream| stream.buffer.held());
        held.fold((0, 0), |most, held| (most.0.max(held.0), most.1.max(held.1)))
    }

    /// Tells one watcher of its part of a revision. `last` is the last list of events made and what it was
    /// made of: watchers that are told the same share it.
    fn tell(
        &mut self,
        revision: i64,
        events: &[Arc<SharedEvent>],
        group: &[(u32, u32)],
        last: &mut Option<(Vec<u32>, EventBatch)>,
    ) {
        let slot = group[0].0;
        let watcher = self.roster.get_mut(slot);
        if revision < watcher.next {
            return; // It starts in the future.
        }
        let wanted = || group.iter().map(|(_, number)| *number).filter(|at| watcher.wants(&events[*at as usize]));
        if wanted().next().is_none() {
            return;
        }
        if !last.as_ref().is_some_and(|(numbers, _)| wanted().eq(numbers.iter().copied())) {
            let batch: EventBatch = wanted().map(|at| Arc::clone(&events[at as usize])).collect();
            *last = Some((wanted().collect(), batch));
        }
        let batch = &last.as_ref().expect("made above").1;
        let message = watcher.events(revision, batch.clone());
        match watcher.buffer.offer(message) {
            Offer::Taken => {
                watcher.quiet = false;
                watcher.next = revision + 1;
            }
            Offer::Full => {
                let stream = watcher.stream;
                self.fall_behind(stream, slot, revision);
            }
            Offer::Closed => {}
        }
    }

    /// Turns a synced watcher to catching up from `next` on.
    fn fall_behind(&mut self, id: StreamId, slot: u32, next: i64) {
        self.roster.stand(slot, Standing::CatchingUp, next);
        let stream = self.streams.get_mut(&id).expect("an open buffer has its stream");
        stream.waiting.insert((next, slot));
    }

    /// Takes a watcher out of everything; `false` when there is none of that id.
    pub(super) fn remove(&mut self, id: StreamId, watch_id: WatchId) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        let Some(slot) = stream.watchers.get(&watch_id).copied() else { return false };
        let watcher = self.roster.remove(slot);
        stream.forget(slot, &watcher);
        if stream.is_hungry() {
            self.hungry.insert(id);
        }
        true
    }

    /// Answers a request; `false` when the stream was given up because its client does not read.
    pub(super) fn answer(&mut self, id: StreamId, message: WatchMessage) -> bool {
        let Some(stream) = self.streams.get(&id) else { return false };
        let taken = stream.buffer.answer(message);
        if !taken {
            self.close_stream(id);
        }
        taken
    }

    /// Gives back up to `max` watchers of closed streams.
    pub(super) fn give_back(&mut self, max: usize) {
        for _ in 0..max {
            let Some(stream) = self.closing.last_mut() else { return };
            match stream.watchers.pop_first() {
                Some((_, slot)) => drop(self.roster.remove(slot)),
                None => drop(self.closing.pop()),
            }
        }
    }

    /// Whether closed streams still have watchers.
    pub(super) fn is_closing(&self) -> bool {
        !self.closing.is_empty()
    }

    /// Takes note of where the store stands.
    pub(super) fn observe(&mut self, now: HubNow) {
        self.seen = self.seen.max(now.revision);
        self.compacted = self.compacted.max(now.compact_revision);
    }
}

/// Why a watcher is not made, in the order in which etcd looks.
fn refusal(stream: &Stream, spec: &WatchSpec, max_watchers: usize) -> Option<&'static str> {
    if spec.start_revision < 0 {
        Some(COMPACTED)
    } else if spec.range.is_empty() {
        Some(RANGE_IS_EMPTY)
    } else if spec.watch_id != 0 && stream.has_id(spec.watch_id) {
        Some(DUPLICATE_ID)
    } else if stream.watchers.len() + stream.spent.len() >= max_watchers {
        Some(TOO_MANY_WATCHERS)
    } else {
        None
    }
}
