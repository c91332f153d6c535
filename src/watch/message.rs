//! What is asked of the hub and what it says.
//!
//! Does not know how messages travel; the porch turns them into etcd's `WatchResponse`.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::base::{Event, EventKind, KeyRange, KeyValue, WatchId};

/// What one event costs a buffer beyond its keys and values, in bytes: the record's numbers and framing.
const EVENT_OVERHEAD: usize = 64;

/// What a message costs a buffer beyond its events, in bytes.
const MESSAGE_OVERHEAD: usize = 64;

/// A watch stream; the number is the caller's and is used once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub u64);

/// What a client wants to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchSpec {
    /// The keys. The caller has already turned an empty key into `"\0"`.
    pub range: KeyRange,
    /// The first revision wanted; 0 is the one after now.
    pub start_revision: i64,
    /// The id the client chose, or 0 to be given one.
    pub watch_id: WatchId,
    /// Leave puts out.
    pub no_put: bool,
    /// Leave deletes out.
    pub no_delete: bool,
    /// Tell what the key held before.
    pub prev_kv: bool,
    /// Tell the revision from time to time when nothing happens.
    pub progress_notify: bool,
    /// Big answers may be split by the porch.
    pub fragment: bool,
}

impl WatchSpec {
    /// Every event of a range from a revision on, and nothing beside.
    pub fn events(range: KeyRange, start_revision: i64) -> Self {
        Self {
            range,
            start_revision,
            watch_id: 0,
            no_put: false,
            no_delete: false,
            prev_kv: false,
            progress_notify: false,
            fragment: false,
        }
    }
}

/// Where the store stands. Every revision up to `revision` has been told to the hub before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HubNow {
    /// The store's current revision.
    pub revision: i64,
    /// The revision up to which history is forgotten; watching may start at it, not below.
    pub compact_revision: i64,
}

/// One event, shared by all watchers that are told of it and encoded once for all of them.
#[derive(Debug)]
pub struct SharedEvent {
    /// The event.
    pub event: Event,
    bare: OnceLock<Bytes>,
    with_prev: OnceLock<Bytes>,
}

impl SharedEvent {
    /// An event that is not encoded yet.
    pub fn new(event: Event) -> Self {
        Self { event, bare: OnceLock::new(), with_prev: OnceLock::new() }
    }

    /// The event's encoding with (`prev`) or without the previous key-value: made by `encode` for the first
    /// who asks, and shared from then on.
    pub fn encoded_with(&self, prev: bool, encode: impl FnOnce() -> Bytes) -> Bytes {
        let cell = if prev { &self.with_prev } else { &self.bare };
        cell.get_or_init(encode).clone()
    }

    /// What the event costs a buffer, in bytes: close to what it takes on the wire.
    pub fn weight(&self, prev: bool) -> usize {
        let size = |kv: &KeyValue| kv.key.len() + kv.value.len();
        let before = if prev { self.event.prev_kv.as_ref().map_or(0, size) } else { 0 };
        EVENT_OVERHEAD + size(&self.event.kv) + before
    }
}

/// Events of one message, in order; one list serves every watcher that is told the same. It knows what it weighs, so that a
/// queue takes it in, and lets it go, without looking at each.
#[derive(Clone, Debug)]
pub struct EventBatch {
    events: Arc<[Arc<SharedEvent>]>,
    /// Without and with what was there before.
    weights: [usize; 2],
}

impl EventBatch {
    /// What the events cost a buffer, in bytes.
    pub fn weight(&self, prev: bool) -> usize {
        self.weights[usize::from(prev)]
    }
}

impl Default for EventBatch {
    fn default() -> Self {
        std::iter::empty().collect()
    }
}

impl FromIterator<Arc<SharedEvent>> for EventBatch {
    fn from_iter<T: IntoIterator<Item = Arc<SharedEvent>>>(events: T) -> Self {
        let events: Arc<[Arc<SharedEvent>]> = events.into_iter().collect();
        let weigh = |prev| events.iter().map(|event| event.weight(prev)).sum();
        let weights = [weigh(false), weigh(true)];
        Self { events, weights }
    }
}

impl Deref for EventBatch {
    type Target = [Arc<SharedEvent>];

    fn deref(&self) -> &Self::Target {
        &self.events
    }
}

/// One answer on a watch stream.
#[derive(Clone, Debug)]
pub enum WatchMessage {
    /// The watcher exists.
    Created {
        /// Its id.
        watch_id: WatchId,
        /// The store's revision at that moment.
        revision: i64,
    },
    /// The watcher was not made: `created` and `canceled` at once, with id -1.
    Refused {
        /// The store's revision at that moment.
        revision: i64,
        /// `cancel_reason`, etcd's own text.
        reason: String,
    },
    /// The watcher is gone; nothing with its id follows.
    Canceled {
        /// Its id.
        watch_id: WatchId,
        /// For the header: the store's revision, or 0 where the cause is compaction (as etcd does).
        revision: i64,
        /// The compact revision where the watcher needed forgotten history, else 0.
        compact_revision: i64,
    },
    /// The watcher was ended because its owner may not read any more what it watches; nothing with its id follows.
    Cut {
        /// Its id.
        watch_id: WatchId,
        /// The store's revision at that moment.
        revision: i64,
        /// `cancel_reason`.
        reason: String,
    },
    /// Something happened: one or more whole revisions.
    Events {
        /// Whose.
        watch_id: WatchId,
        /// For the header.
        revision: i64,
        /// In order of revision, then of the changes inside it.
        events: EventBatch,
        /// Whether the previous key-values are to be sent.
        prev_kv: bool,
        /// Whether the porch may split the message.
        fragment: bool,
    },
    /// Everything up to `revision` has been told.
    Progress {
        /// The watcher, or -1 for every watcher on the stream.
        watch_id: WatchId,
        /// The store's revision.
        revision: i64,
    },
}

impl WatchMessage {
    /// What the message costs a buffer, in bytes.
    pub fn weight(&self) -> usize {
        match self {
            Self::Events { events, prev_kv, .. } => MESSAGE_OVERHEAD + events.weight(*prev_kv),
            _ => MESSAGE_OVERHEAD,
        }
    }

    /// How many events the message holds.
    pub fn event_count(&self) -> usize {
        match self {
            Self::Events { events, .. } => events.len(),
            _ => 0,
        }
    }
}

/// A watcher as the hub names it to the one who reads history; stays true to one watcher for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WatcherKey {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// History wanted for a watcher that fell behind. Tasks come ordered by `from`, so that neighbours with the
/// same position can be served by one read. Each must be answered by `WatchHub::caught_up`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatchUpTask {
    /// For the answer.
    pub watcher: WatcherKey,
    /// The first revision wanted.
    pub from: i64,
    /// The keys wanted.
    pub range: KeyRange,
    /// Puts are not wanted.
    pub no_put: bool,
    /// Deletes are not wanted.
    pub no_delete: bool,
    /// Whether previous key-values are wanted.
    pub prev_kv: bool,
    /// How many bytes of events are worth reading; at least one revision is taken in any case.
    pub room: usize,
}

impl CatchUpTask {
    /// Whether the watcher wants the event.
    pub fn wants(&self, event: &Event) -> bool {
        let kind = match event.kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        };
        kind && self.range.contains(&event.kv.key)
    }

    /// Whether what another watcher is told of its task, `told`, is what this one is to be told.
    pub fn is_told_as(&self, other: &Self, told: &EventBatch) -> bool {
        let filter = |task: &Self| (task.from, task.prev_kv, task.no_put, task.no_delete);
        filter(self) == filter(other) && self.range == other.range && told.weight(self.prev_kv) <= self.room
    }
}

/// For the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HubCounts {
    /// Open streams.
    pub streams: usize,
    /// Watchers.
    pub watchers: usize,
    /// Watchers that are fed from history.
    pub slow_watchers: usize,
    /// Events in buffers, not yet taken by the readers.
    pub pending_events: usize,
}
