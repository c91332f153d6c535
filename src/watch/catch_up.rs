//! Feeding watchers that fell behind.
//!
//! A turn names watchers and positions; somebody reads history and answers. A stream has one round of reading
//! at a time, and gets none while it is full. Invariants: a watcher is named once until it is answered; what
//! does not fit on answer is read again later, so the buffer's bound holds; streams take turns.

use std::ops::Bound;
use std::sync::Arc;

use super::buffer::Offer;
use super::hub::WatchHub;
use super::message::{CatchUpTask, EventBatch, HubNow, SharedEvent, StreamId, WatchMessage, WatcherKey};
use super::watcher::Standing;
use crate::base::limits::WATCHERS_CLOSED_PER_TURN;

impl WatchHub {
    /// Whether a turn of [`WatchHub::catch_up_work`] would find something to do.
    pub fn has_catch_up_work(&self) -> bool {
        let made = self.made.lock().expect("nobody panics holding the list of made room");
        !self.hungry.is_empty() || !made.is_empty() || self.is_closing()
    }

    /// One turn: up to `max` watchers to read history for, ordered by position. Each must be answered with
    /// [`WatchHub::caught_up`]; until then its stream gets no other. Watchers whose history is forgotten are
    /// cancelled on the way.
    pub fn catch_up_work(&mut self, max: usize) -> Vec<CatchUpTask> {
        self.give_back(WATCHERS_CLOSED_PER_TURN);
        let made = std::mem::take(&mut *self.made.lock().expect("nobody panics holding the list of made room"));
        for id in made {
            if self.streams.get(&id).is_some_and(super::stream::Stream::is_hungry) {
                self.hungry.insert(id);
            }
        }
        let mut tasks = Vec::new();
        // Each hungry stream is looked at once a turn, beginning behind the one the last turn ended with.
        let share = (max / self.hungry.len().max(1)).max(1);
        for _ in 0..self.hungry.len() {
            if tasks.len() >= max {
                break;
            }
            let behind = (Bound::Excluded(self.turn), Bound::Unbounded);
            let Some(id) = self.hungry.range(behind).next().or_else(|| self.hungry.first()).copied() else { break };
            self.turn = id;
            self.feed(id, share.min(max - tasks.len()), &mut tasks);
        }
        tasks.sort_by_key(|task| task.from);
        tasks
    }

    /// The answer to a [`CatchUpTask`]: the changes that it [wants](CatchUpTask::wants) of the revisions from its `from` up
    /// to, not including, `next`, in order. With `next` = `from` nothing was read, as with [`WatchHub::not_read`]. A watcher
    /// that is gone is passed over. It costs the same however many there are.
    pub fn caught_up(&mut self, key: WatcherKey, events: EventBatch, next: i64, now: HubNow) {
        self.observe(now);
        let Some(slot) = self.roster.find(key) else { return };
        let watcher = self.roster.get_mut(slot);
        if !self.streams.contains_key(&watcher.stream) {
            return;
        }
        assert_eq!(watcher.standing, Standing::Fetching, "a task is answered once");
        let from = watcher.next;
        assert!((from..=now.revision + 1).contains(&next), "read {from}..{next} of a store at {}", now.revision);
        let is_asked =
            |event: Option<&Arc<SharedEvent>>| event.is_none_or(|it| (from..next).contains(&it.event.kv.mod_revision));
        assert!(is_asked(events.first()) && is_asked(events.last()), "it is what was asked for");
        let mut reached = next;
        if !events.is_empty() {
            match watcher.buffer.offer(watcher.events(now.revision, events)) {
                Offer::Taken => watcher.quiet = false,
                // The room went to others: these revisions are read once more.
                Offer::Full | Offer::Closed => reached = from,
            }
        }
        self.put_back(slot, reached);
    }

    /// The other answer to a [`CatchUpTask`]: history was not read, for want of budget or because it was
    /// compacted meanwhile. The watcher waits for another turn, or for its end. A task that gets neither
    /// answer holds up its whole stream for ever.
    pub fn not_read(&mut self, key: WatcherKey) {
        let Some(slot) = self.roster.find(key) else { return };
        let watcher = self.roster.get(slot);
        if self.streams.contains_key(&watcher.stream) {
            assert_eq!(watcher.standing, Standing::Fetching, "a task is answered once");
            self.put_back(slot, watcher.next);
        }
    }

    /// Takes a watcher back from reading, told of everything below `reached`.
    fn put_back(&mut self, slot: u32, reached: i64) {
        let id = self.roster.get(slot).stream;
        let stream = self.streams.get_mut(&id).expect("looked up by the caller");
        stream.fetching -= 1;
        // While the next revision is being made it is not asked all the while whether this one is to be told of it.
        if reached > self.seen && !self.in_the_middle {
            self.roster.stand(slot, Standing::Synced, reached);
        } else {
            self.roster.stand(slot, Standing::CatchingUp, reached);
            stream.waiting.insert((reached, slot));
        }
        if stream.is_hungry() {
            self.hungry.insert(id);
        }
    }

    /// History up to `compact_revision` is forgotten: watchers that still need it are cancelled, with the
    /// compact revision and, as etcd does, revision 0 in the header. One whose stream has no room learns it
    /// when there is some.
    pub fn compacted(&mut self, compact_revision: i64, now: HubNow) {
        self.observe(now);
        self.compacted = self.compacted.max(compact_revision);
        let streams: Vec<StreamId> = self.hungry.iter().copied().collect();
        for id in streams {
            self.cancel_forgotten(id);
        }
    }

    /// Names up to `most` watchers of one stream, the furthest behind first.
    fn feed(&mut self, id: StreamId, most: usize, tasks: &mut Vec<CatchUpTask>) {
        self.cancel_forgotten(id);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let room = stream.buffer.room_or_call();
        if room == 0 || !stream.is_hungry() {
            // Full: the reader calls when it drained.
            self.hungry.remove(&id);
            return;
        }
        let count = most.min(stream.waiting.len());
        let room = (room / count.max(1)).max(self.bounds.least_room);
        for _ in 0..count {
            let (from, slot) = stream.waiting.pop_first().expect("counted above");
            self.roster.stand(slot, Standing::Fetching, from);
            stream.fetching += 1;
            let watcher = self.roster.get(slot);
            tasks.push(CatchUpTask {
                watcher: self.roster.key_of(slot),
                from,
                range: watcher.range.clone(),
                no_put: watcher.no_put,
                no_delete: watcher.no_delete,
                prev_kv: watcher.prev_kv,
                room,
            });
        }
        // Until these are answered.
        self.hungry.remove(&id);
    }

    /// Cancels the waiting watchers of a stream whose next revision is forgotten, as long as there is room.
    fn cancel_forgotten(&mut self, id: StreamId) {
        let compact_revision = self.compacted;
        while let Some(stream) = self.streams.get_mut(&id) {
            let Some((next, slot)) = stream.waiting.first().copied() else { break };
            if next >= compact_revision {
                break;
            }
            let watch_id = self.roster.get(slot).id;
            let message = WatchMessage::Canceled { watch_id, revision: 0, compact_revision };
            if stream.buffer.offer(message) != Offer::Taken {
                break;
            }
            self.remove(id, watch_id);
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.spent.insert(watch_id);
            }
        }
        if self.streams.get(&id).is_none_or(|stream| !stream.is_hungry()) {
            self.hungry.remove(&id);
        }
    }
}
