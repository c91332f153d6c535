//! Watchers: told of every revision, fed from history where they fell behind.

use std::sync::Arc;

use super::input::WatchInput;
use crate::auth::{Access, Auth};
use crate::base::{Event, KeyRange, Refusal, Wrong, limits};
use crate::env::Disk;
use crate::mvcc::{ReadFailure, Store};
use crate::watch::{HubNow, RoomBell, SharedEvent, WatchHub};

/// The hub, and the budget on which its slow watchers are fed.
pub(super) struct Watches {
    hub: WatchHub,
    bell: RoomBell,
}

impl Watches {
    /// The state was replaced by another member's: who was in step is fed what lies between.
    pub(super) fn restored(&mut self, now: HubNow) {
        self.hub.restored(now);
    }

    /// The state is not to be believed: nobody is told of it any more.
    pub(super) fn end_all(&mut self) {
        self.hub.end_all();
    }

    pub(super) fn new(hub: WatchHub, bell: RoomBell) -> Self {
        Self { hub, bell }
    }

    /// Whether the next revision is being made, in slices.
    pub(super) fn in_the_middle(&mut self, is: bool) {
        self.hub.in_the_middle(is);
    }

    /// A stream speaks. Who may not read what is to be watched is told so, in the order of his questions.
    pub(super) fn input(&mut self, input: WatchInput, auth: &Auth, now: HubNow) {
        match input {
            WatchInput::Open { stream, account, reply } => {
                let buffer = self.hub.open_stream(stream, self.bell.clone(), account);
                reply.send(buffer);
            }
            // A question is dropped once it is answered.
            WatchInput::Create { stream, asker, spec, question: _question } => {
                let may = |asker: Option<_>| {
                    auth.check(asker.as_ref(), &spec.range, Access::Read).map(|()| asker.map(|asker| asker.user))
                };
                // What is no revision is told first, as in etcd.
                match asker.and_then(may) {
                    Err(refusal) if spec.start_revision >= 0 => self.hub.refuse(stream, told_reason(&refusal), now),
                    may => self.hub.create_for(stream, may.ok().flatten(), spec, now),
                }
            }
            WatchInput::Cancel { stream, watch_id, question: _question } => self.hub.cancel(stream, watch_id, now),
            WatchInput::Progress { stream, question: _question } => self.hub.request_progress(stream, now),
            WatchInput::Close { stream } => self.hub.close_stream(stream),
            // Room alone asks for nothing; the next turn finds it.
            WatchInput::Room => {}
        }
    }

    /// Ends the watchers of whom `check` says that they may not read any more what they watch.
    pub(super) fn cut(&mut self, now: HubNow, check: impl Fn(Option<&Arc<str>>, &KeyRange) -> Result<(), Refusal>) {
        self.hub.cut(now, |owner, range| check(owner, range).err().map(|refusal| told_reason(&refusal)));
    }

    /// Tells the watchers of one revision, where it is a new one. Of what was carried out in slices only those events may be
    /// there that somebody is told of.
    pub(super) fn applied(&mut self, revision: i64, events: Vec<Event>) {
        if !self.hub.has_watchers() || events.is_empty() && revision <= self.hub.seen() {
            return;
        }
        let shared: Vec<Arc<SharedEvent>> = events.into_iter().map(|event| Arc::new(SharedEvent::new(event))).collect();
        self.hub.apply(revision, &shared);
    }

    /// Whether a change of `key` is to be told with what it held before.
    pub(super) fn want_prev_of(&self, key: &[u8]) -> bool {
        self.hub.wants_prev_of(key)
    }

    /// Whether somebody is told of a change of `key` when it happens.
    pub(super) fn are_told_of(&self, key: &[u8]) -> bool {
        self.hub.tells_of(key)
    }

    pub(super) fn compacted(&mut self, revision: i64, now: HubNow) {
        self.hub.compacted(revision, now);
    }

    pub(super) fn tick(&mut self, now: HubNow) {
        self.hub.tick_progress(now);
    }

    pub(super) fn hub(&self) -> &WatchHub {
        &self.hub
    }

    /// Feeds watchers that fell behind, within one turn's budget; whether there is more to do.
    /// What was read is added to `read`.
    pub(super) fn catch_up<D: Disk>(&mut self, store: &Store<D>, now: HubNow, read: &mut usize) -> Result<bool, Wrong> {
        let tasks = self.hub.catch_up_work(limits::CATCH_UP_TASKS_PER_TURN);
        if tasks.is_empty() {
            return Ok(self.hub.has_catch_up_work());
        }
        let view = store.view();
        let mut budget = limits::CATCH_UP_BYTES_PER_TURN;
        let mut tasks = tasks.into_iter();
        while let Some(task) = tasks.next() {
            if budget == 0 {
                self.hub.not_read(task.watcher);
                continue;
            }
            let bytes = task.room.min(budget);
            let found = view.events(
                task.from,
                now.revision,
                &|key| task.range.contains(key),
                task.prev_kv,
                bytes,
                limits::CATCH_UP_REVISIONS,
            );
            match found {
                Ok(caught) => {
                    // What was looked at, not what was found: a watcher that waits for something rare costs as
                    // much as one that wants all.
                    budget = budget.saturating_sub(caught.read);
                    *read += caught.read;
                    let events: Vec<Arc<SharedEvent>> =
                        caught.events.into_iter().map(|event| Arc::new(SharedEvent::new(event))).collect();
                    self.hub.caught_up(task.watcher, events, caught.next, now);
                }
                // Compacted meanwhile: the hub cancels it when it hears of the compaction.
                Err(ReadFailure::Refused(_)) => {
                    self.hub.not_read(task.watcher);
                    self.hub.compacted(now.compact_revision, now);
                }
                // The member may outlive it, and read on: whoever was to be fed waits for that.
                Err(ReadFailure::Wrong(wrong)) => {
                    std::iter::once(task).chain(tasks).for_each(|task| self.hub.not_read(task.watcher));
                    return Err(wrong);
                }
            }
        }
        Ok(true)
    }
}

/// Why a watch is not made, or ends, as etcd words it: as its gRPC library shows a refusal, which clients compare. What it
/// has no words for is a lack of permission.
fn told_reason(refusal: &Refusal) -> String {
    let (code, told) = match refusal {
        Refusal::InvalidAuthToken => ("Unauthenticated", refusal),
        Refusal::AuthOldRevision | Refusal::UserEmpty => ("InvalidArgument", refusal),
        _ => ("PermissionDenied", &Refusal::PermissionDenied),
    };
    format!("rpc error: code = {code} desc = {told}")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::{KeyRange, RangeEnd, Shares};
    use crate::env::{MemoryDisk, ScramblingDisk};
    use crate::mvcc::{HistoryWriter, NO_PREV, NewValue, StoreOptions, StorePosition};
    use crate::watch::{StreamId, WatchSpec};

    fn waiting_for_a_key(start_revision: i64) -> WatchSpec {
        WatchSpec::events(KeyRange { start: "rare".into(), end: RangeEnd::Open }, start_revision)
    }

    /// The node takes all that was asked at once, and before it has answered as much is asked again, and again: nobody
    /// reads. The stream lives, what is asked is bounded, and each question is answered.
    #[test]
    fn a_stream_that_asks_faster_than_it_is_answered_is_held_up_and_loses_nothing() {
        const STREAM: StreamId = StreamId(1);
        let now = HubNow { revision: 9, compact_revision: 5 };
        let mut watches = Watches::new(WatchHub::new(6000, 1), Arc::new(|| {}));
        let buffer = watches.hub.open_stream(STREAM, watches.bell.clone(), Arc::<Shares>::default().open());
        let (mut asked, mut told) = (0, 0);
        while asked < 20_000 {
            let mut held_up = false;
            while !held_up {
                let batch: Vec<_> = std::iter::from_fn(|| buffer.ask()).take(limits::MAX_PENDING_REQUESTS).collect();
                held_up = batch.is_empty();
                asked += batch.len();
                for question in batch {
                    // Compacted: two answers, the most there are.
                    let spec = waiting_for_a_key(2);
                    let asker = Ok(None);
                    watches.input(WatchInput::Create { stream: STREAM, asker, spec, question }, &Auth::default(), now);
                }
            }
            assert_eq!(watches.hub.counts().streams, 1, "the stream is not given up");
            while let std::task::Poll::Ready(batch) =
                buffer.poll_batch(&mut std::task::Context::from_waker(std::task::Waker::noop()))
            {
                told += batch.expect("open").len();
            }
            assert_eq!(told, 2 * asked);
        }
    }

    /// Watchers that find nothing cost what they look at: one turn reads its budget, not once for each.
    #[test]
    fn watchers_of_rare_keys_share_the_turn() {
        const STREAMS: u64 = 64;
        let mut store = Store::open(MemoryDisk::new(), StoreOptions::default(), &StorePosition::default(), &[])
            .expect("a memory disk has no faults");
        let value = Bytes::from(vec![7; limits::CATCH_UP_BYTES_PER_TURN / 20]);
        for _ in 0..15 {
            let mut txn = store.begin(NO_PREV);
            txn.put(NewValue { key: "a".into(), value: value.clone(), lease: 0, backing_bytes: 0 }).expect("written");
            txn.commit();
        }
        let now = HubNow { revision: store.revision(), compact_revision: store.compact_revision() };
        let mut watches = Watches::new(WatchHub::new(6000, 1), Arc::new(|| {}));
        let mut buffers = Vec::new();
        for stream in (1..=STREAMS).map(StreamId) {
            buffers.push(watches.hub.open_stream(stream, watches.bell.clone(), Arc::<Shares>::default().open()));
            watches.hub.create(stream, waiting_for_a_key(1), now);
        }
        let slow = |watches: &Watches| watches.hub.counts().slow_watchers as u64;
        assert_eq!(slow(&watches), STREAMS);
        watches.catch_up(&store, now, &mut 0).expect("no faults");
        assert!(slow(&watches) >= STREAMS - 2, "one turn's budget is not enough for two");
        for _ in 0..2 * STREAMS {
            watches.catch_up(&store, now, &mut 0).expect("no faults");
        }
        assert_eq!(slow(&watches), 0, "every turn brings at least one there");
    }

    /// What the device cannot read now it may read again; a watcher that was to be fed meanwhile is fed then, and with it all
    /// others of its stream.
    #[test]
    fn who_was_to_be_fed_when_the_history_could_not_be_read_is_fed_once_it_can() {
        let disk = ScramblingDisk::new(MemoryDisk::new(), 1);
        disk.create_dir("history").expect("made");
        let options = StoreOptions { cache_bytes: 0, ..StoreOptions::default() };
        let mut store = Store::open(disk.clone(), options, &StorePosition::default(), &[]).expect("it is empty");
        for key in ["a", "rare"] {
            let mut txn = store.begin(NO_PREV);
            txn.put(NewValue { key: key.into(), value: vec![7; 9_000].into(), lease: 0, backing_bytes: 0 })
                .expect("written");
            txn.commit();
        }
        let writes = store.take_writes();
        let mark = HistoryWriter::new(disk.clone()).write(&writes).expect("written").expect("there was something");
        store.written(mark);
        let now = HubNow { revision: store.revision(), compact_revision: store.compact_revision() };
        let mut watches = Watches::new(WatchHub::new(6000, 1), Arc::new(|| {}));
        let buffer = watches.hub.open_stream(StreamId(1), watches.bell.clone(), Arc::<Shares>::default().open());
        (0..3).for_each(|_| watches.hub.create(StreamId(1), waiting_for_a_key(1), now));
        for file in disk.list("history").expect("listed") {
            disk.make_unreadable(&format!("history/{file}"), 0..1 << 20);
        }
        for _ in 0..3 {
            watches.catch_up(&store, now, &mut 0).expect_err("it cannot be read");
            assert_eq!(watches.hub.counts().slow_watchers, 3);
        }
        disk.make_readable();
        assert!(store.look_at_damage_again());
        for _ in 0..6 {
            watches.catch_up(&store, now, &mut 0).expect("it can be read again");
        }
        assert_eq!(watches.hub.counts().slow_watchers, 0);
        drop(buffer);
    }
}
