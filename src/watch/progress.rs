//! Progress: telling watchers how far they have been told.
//!
//! Invariant: a notice for revision R stands in the queue behind every event up to R of the watchers it
//! speaks for, because it is only made for synced watchers and travels as events do.

use super::buffer::Offer;
use super::hub::WatchHub;
use super::message::{HubNow, StreamId, WatchMessage};
use super::progress_clock::WHOLE_STREAM;
use crate::base::WatchId;
use crate::base::limits::PROGRESS_NOTICES_PER_TURN;

impl WatchHub {
    /// The client asks how far the whole stream has been told. Answered, with id -1, only when every watcher
    /// on it is synced and past its start; else dropped in silence, as etcd does.
    pub fn request_progress(&mut self, id: StreamId, now: HubNow) {
        self.observe(now);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.all_may_know(now.revision) {
            self.answer(id, WatchMessage::Progress { watch_id: WHOLE_STREAM, revision: now.revision });
        }
    }

    /// A tick went by: streams whose round is due tell the watchers that want it, are synced and were told
    /// nothing since the last round.
    pub fn tick_progress(&mut self, now: HubNow) {
        self.observe(now);
        self.clock.tick();
        while let Some(id) = self.clock.take_due() {
            self.progress_round(id, now.revision);
        }
    }

    /// Enters a watcher into its stream's rounds.
    pub(super) fn notify(&mut self, id: StreamId, watch_id: WatchId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.notifying.insert(watch_id);
        if stream.due.is_none() {
            stream.due = Some(self.clock.next_round(id));
        }
    }

    /// A round, or a part of one: it ends early at a full buffer or after its share of watchers, and goes on
    /// from there at the next tick.
    fn progress_round(&mut self, id: StreamId, revision: i64) {
        let stream = self.streams.get_mut(&id).expect("a closed stream has no rounds");
        stream.due = None;
        if stream.notifying.is_empty() {
            stream.resume = WatchId::MIN;
            return;
        }
        let mut left = PROGRESS_NOTICES_PER_TURN;
        for watch_id in stream.notifying.range(stream.resume..).copied() {
            let watcher = self.roster.get_mut(stream.watchers[&watch_id]);
            let tell = watcher.quiet && watcher.may_know(revision);
            let refused = || stream.buffer.offer(WatchMessage::Progress { watch_id, revision }) == Offer::Full;
            if left == 0 || (tell && refused()) {
                stream.resume = watch_id;
                stream.due = Some(self.clock.next_tick(id));
                return;
            }
            watcher.quiet = true;
            left -= 1;
        }
        stream.resume = WatchId::MIN;
        stream.due = Some(self.clock.next_round(id));
    }
}
