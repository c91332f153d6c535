//! Watchers: told of every revision, fed from history where they fell behind.
//!
//! Invariants: who is far behind is read for beside the node, one read at a time; who is nearly in step in the node's turn,
//! or he would never be. A watcher that was named to be read for is answered once.

use std::sync::Arc;

use super::catch_up::{CatchUpBounds, CatchUpRead, Caught, CaughtUp, KeptPieces};
use super::input::WatchInput;
use crate::auth::{Access, Auth};
use crate::base::{Event, KeyRange, Refusal, Wrong, limits};
use crate::env::Disk;
use crate::mvcc::Store;
use crate::watch::{CatchUpTask, HubNow, RoomBell, SharedEvent, WatchHub, WatcherKey};

/// The hub, and how its slow watchers are fed.
pub(super) struct Watches {
    hub: WatchHub,
    bell: RoomBell,
    bounds: CatchUpBounds,
    /// Who is far behind and waits for the reader.
    far: Vec<CatchUpTask>,
    /// History that was read; nothing while the reader has it.
    kept: Option<KeptPieces>,
    /// Counts the states that took the place of others.
    era: u64,
    /// Something could not be read: until the next tick nothing is.
    rests: bool,
}

impl Watches {
    /// The state was replaced by another member's: who was in step is fed what lies between.
    pub(super) fn restored(&mut self, now: HubNow) {
        self.another_state();
        self.hub.restored(now);
    }

    /// The state is not to be believed: nobody is told of it any more.
    pub(super) fn end_all(&mut self) {
        self.another_state();
        self.far.clear();
        self.hub.end_all();
    }

    fn another_state(&mut self) {
        self.era += 1;
        if let Some(kept) = &mut self.kept {
            *kept = KeptPieces::default();
        }
    }

    pub(super) fn new(hub: WatchHub, bell: RoomBell, bounds: CatchUpBounds) -> Self {
        Self { hub, bell, bounds, far: Vec::new(), kept: Some(KeptPieces::default()), era: 0, rests: false }
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
        self.rests = false;
        self.hub.tick_progress(now);
    }

    pub(super) fn hub(&self) -> &WatchHub {
        &self.hub
    }

    /// Feeds watchers that are nearly in step, within one turn's budget, and says what is to be read beside the node for the
    /// others; whether there is more to do at once. What was read here is added to `read`.
    pub(super) fn catch_up<D: Disk>(
        &mut self,
        store: &Store<D>,
        now: HubNow,
        read: &mut usize,
    ) -> Result<(bool, Option<CatchUpRead<D>>), Wrong> {
        if self.rests {
            return Ok((false, None));
        }
        let bounds = self.bounds;
        let places = limits::CATCH_UP_TASKS_PER_TURN - self.far.len();
        let tasks = if places > 0 { self.hub.catch_up_work(places) } else { Vec::new() };
        if !tasks.is_empty() {
            let past = store.past();
            let is_near = |task: &CatchUpTask| past.is_short(task.from, bounds.in_turn as u64);
            let (near, far): (Vec<_>, Vec<_>) = tasks.into_iter().partition(is_near);
            self.far.extend(far);
            let fresh = (KeptPieces::default(), self.era);
            let done = CatchUpRead::new(past, || store.view(), near, fresh, (bounds.piece, bounds.in_turn)).run();
            *read += done.read;
            self.answer(done.answers, now);
            if let Some(wrong) = done.wrong {
                self.rests = true;
                return Err(wrong);
            }
        }
        let mut beside = None;
        if !self.far.is_empty()
            && let Some(kept) = self.kept.take()
        {
            let mut tasks = std::mem::take(&mut self.far);
            tasks.sort_by_key(|task| task.from);
            let (view, kept) = (|| store.view(), (kept, self.era));
            beside = Some(CatchUpRead::new(store.past(), view, tasks, kept, (bounds.piece, bounds.beside)));
        }
        let has_places = self.far.len() < limits::CATCH_UP_TASKS_PER_TURN;
        Ok((has_places && self.hub.has_catch_up_work(), beside))
    }

    /// What was to be read beside the node was.
    pub(super) fn caught_up(&mut self, done: CaughtUp, now: HubNow) -> Result<(), Wrong> {
        let is_of_now = done.era == self.era;
        self.kept = Some(if is_of_now { done.kept } else { KeptPieces::default() });
        if is_of_now {
            self.answer(done.answers, now);
        } else {
            // Of a state that is gone: what it says of revisions may not be so.
            done.answers.iter().for_each(|(watcher, _)| self.hub.not_read(*watcher));
        }
        match done.wrong {
            // The member may outlive it: whoever was to be fed waits for the next tick, and is read for again.
            Some(wrong) if is_of_now => {
                self.rests = true;
                Err(wrong)
            }
            _ => Ok(()),
        }
    }

    fn answer(&mut self, answers: Vec<(WatcherKey, Caught)>, now: HubNow) {
        let mut compacted = false;
        for (watcher, caught) in answers {
            match caught {
                Caught::Read { events, next } => self.hub.caught_up(watcher, events, next, now),
                Caught::NotRead => self.hub.not_read(watcher),
                Caught::Compacted => {
                    self.hub.not_read(watcher);
                    compacted = true;
                }
            }
        }
        if compacted {
            // Meanwhile: who needs it is told.
            self.hub.compacted(now.compact_revision, now);
        }
    }

    /// What is kept of history while nobody needs it.
    pub(super) fn let_go(&mut self) -> Option<KeptPieces> {
        if self.hub.has_slow_watchers() {
            return None;
        }
        self.kept.as_mut().map(std::mem::take).filter(|kept| !kept.is_empty())
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
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;

    use super::*;
    use crate::base::{KeyRange, RangeEnd, Shares};
    use crate::env::{MemoryDisk, ScramblingDisk};
    use crate::mvcc::{HistoryWriter, NO_PREV, NewValue, StoreOptions, StorePosition};
    use crate::watch::{HubBounds, StreamBuffer, StreamId, WatchMessage, WatchSpec};

    fn waiting_for_a_key(start_revision: i64) -> WatchSpec {
        WatchSpec::events(KeyRange { start: "rare".into(), end: RangeEnd::Open }, start_revision)
    }

    /// The node takes all that was asked at once, and before it has answered as much is asked again, and again: nobody
    /// reads. The stream lives, what is asked is bounded, and each question is answered.
    #[test]
    fn a_stream_that_asks_faster_than_it_is_answered_is_held_up_and_loses_nothing() {
        const STREAM: StreamId = StreamId(1);
        let now = HubNow { revision: 9, compact_revision: 5 };
        let mut watches = watches();
        let buffer = open(&mut watches, 1);
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
            while let Poll::Ready(batch) = buffer.poll_batch(&mut Context::from_waker(Waker::noop())) {
                told += batch.expect("open").len();
            }
            assert_eq!(told, 2 * asked);
        }
    }

    /// A store of so many values of that size, one a revision, written to its files.
    fn filled(disk: &impl Disk, keys: &[&str], value: usize) -> Store<impl Disk> {
        let options = StoreOptions { cache_bytes: 0, ..StoreOptions::default() };
        let mut store = Store::open(disk.clone(), options, &StorePosition::default(), &[]).expect("it is empty");
        keys.iter().for_each(|key| put(&mut store, key, value));
        let writes = store.take_writes();
        let mark = HistoryWriter::new(disk.clone()).write(&writes).expect("written").expect("there was something");
        store.written(mark);
        store
    }

    fn put(store: &mut Store<impl Disk>, key: &str, value: usize) {
        let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::from(vec![7; value]));
        let mut txn = store.begin(NO_PREV);
        txn.put(NewValue { key, value, lease: 0, backing_bytes: 0 }).expect("written");
        txn.commit();
    }

    fn now(store: &Store<impl Disk>) -> HubNow {
        HubNow { revision: store.revision(), compact_revision: store.compact_revision() }
    }

    fn watches() -> Watches {
        Watches::new(WatchHub::new(6000, 1, HubBounds::default()), Arc::new(|| {}), CatchUpBounds::default())
    }

    fn open(watches: &mut Watches, stream: u64) -> Arc<StreamBuffer> {
        watches.hub.open_stream(StreamId(stream), watches.bell.clone(), Arc::<Shares>::default().open())
    }

    /// A turn, and what it wants read beside it; the bytes read in it.
    fn turn<D: Disk>(watches: &mut Watches, store: &Store<D>) -> (bool, Option<CatchUpRead<D>>, usize) {
        let mut read = 0;
        let (more, beside) = watches.catch_up(store, now(store), &mut read).expect("no faults");
        (more, beside, read)
    }

    /// Turns until nobody is behind or nothing more can be done; the bytes read in all.
    fn feed(watches: &mut Watches, store: &Store<impl Disk>) -> Result<usize, Wrong> {
        let mut read = 0;
        loop {
            let (more, beside) = watches.catch_up(store, now(store), &mut read)?;
            let goes_on = more || beside.is_some();
            if let Some(beside) = beside {
                let done = beside.run();
                read += done.read;
                watches.caught_up(done, now(store))?;
            }
            if !goes_on {
                return Ok(read);
            }
        }
    }

    fn slow(watches: &Watches) -> usize {
        watches.hub.counts().slow_watchers
    }

    /// What came, in words; of events the revisions.
    fn told(buffer: &StreamBuffer) -> Vec<String> {
        let mut told = Vec::new();
        while let Poll::Ready(Some(batch)) = buffer.poll_batch(&mut Context::from_waker(Waker::noop())) {
            told.extend(batch.into_iter().map(|message| match message {
                WatchMessage::Created { .. } => "created".to_string(),
                WatchMessage::Canceled { compact_revision, .. } => format!("canceled compact {compact_revision}"),
                WatchMessage::Events { events, .. } => {
                    let revisions: Vec<i64> = events.iter().map(|event| event.event.kv.mod_revision).collect();
                    format!("events {revisions:?}")
                }
                other => format!("{other:?}"),
            }));
        }
        told
    }

    const LARGE: usize = limits::CATCH_UP_BYTES_PER_TURN / 4;

    /// Watchers that find nothing share what is looked at for them; who is nearly in step comes into step in the turn.
    #[test]
    fn watchers_of_rare_keys_share_the_turn() {
        const STREAMS: u64 = 64;
        let store = filled(&MemoryDisk::new(), &["a"; 15], limits::CATCH_UP_BYTES_PER_TURN / 20);
        let mut watches = watches();
        let _buffers: Vec<_> = (1..=STREAMS)
            .map(|stream| {
                let buffer = open(&mut watches, stream);
                watches.hub.create(StreamId(stream), waiting_for_a_key(1), now(&store));
                buffer
            })
            .collect();
        assert_eq!(slow(&watches) as u64, STREAMS);
        let (more, beside, read) = turn(&mut watches, &store);
        assert!(!more && beside.is_none() && read < limits::CATCH_UP_BYTES_PER_TURN, "{read}");
        assert_eq!(slow(&watches), 0);
    }

    /// Who is far behind is read for beside the node: its turn reads nothing, and has nothing to do until the answer comes,
    /// whoever else falls behind meanwhile. Then he is near.
    #[test]
    fn who_is_far_behind_is_read_for_beside_the_node() {
        let mut store = filled(&MemoryDisk::new(), &["rare"; 20], LARGE);
        let mut watches = watches();
        let buffer = open(&mut watches, 1);
        watches.hub.create(StreamId(1), waiting_for_a_key(2), now(&store));
        let (more, beside, read) = turn(&mut watches, &store);
        assert!(!more && read == 0);
        let done = beside.expect("it is far behind").run();
        put(&mut store, "rare", 1);
        let other = open(&mut watches, 2);
        watches.hub.create(StreamId(2), waiting_for_a_key(3), now(&store));
        let (more, second, read) = turn(&mut watches, &store);
        assert!(!more && second.is_none() && read == 0, "one read at a time");
        assert!(!turn(&mut watches, &store).0, "and no turn for nothing");
        assert_eq!(slow(&watches), 2);
        watches.caught_up(done, now(&store)).expect("no faults");
        feed(&mut watches, &store).expect("no faults");
        assert_eq!(slow(&watches), 0);
        for (buffer, first) in [(buffer, 2), (other, 3)] {
            let told = told(&buffer).join(" ").replace("] events [", ", ");
            let all: Vec<i64> = (first..=store.revision()).collect();
            assert_eq!(told, format!("created events {all:?}"));
        }
    }

    /// A hundred watchers from the beginning, read at different speeds: the history is read about once, not for each.
    #[test]
    fn watchers_from_the_beginning_share_what_is_read() {
        const WATCHERS: u64 = 100;
        let store = filled(&MemoryDisk::new(), &["rare"; 700], LARGE / 4);
        let mut watches = watches();
        let mut streams: Vec<_> = (1..=WATCHERS)
            .map(|stream| {
                let buffer = open(&mut watches, stream);
                watches.hub.create(StreamId(stream), waiting_for_a_key(1), now(&store));
                (buffer, Vec::new())
            })
            .collect();
        let (mut read, mut round) = (0, 0);
        while slow(&watches) > 0 {
            round += 1;
            read += feed(&mut watches, &store).expect("no faults");
            for (at, (buffer, seen)) in streams.iter_mut().enumerate() {
                // Some read each time, some seldom.
                if round % (at % 3 + 1) == 0 {
                    seen.extend(told(buffer));
                }
            }
        }
        for (buffer, mut seen) in streams {
            seen.extend(told(&buffer));
            let all: Vec<i64> = (2..=store.revision()).collect();
            assert_eq!(seen.join(" ").replace("] events [", ", "), format!("created events {all:?}"));
        }
        let whole = store.size_bytes() as usize;
        assert!(round > 3 && read < 4 * whole, "{read} of {whole} in {round} rounds");
        assert!(watches.let_go().is_some() && watches.let_go().is_none(), "nothing is kept for nobody");
    }

    /// However many stand however far apart, one read is bounded, and each gets his turn.
    #[test]
    fn what_is_read_at_once_is_bounded() {
        let store = filled(&MemoryDisk::new(), &["a"; 400], LARGE);
        let mut watches = watches();
        let _buffers: Vec<_> = (1..=60)
            .map(|stream| {
                let buffer = open(&mut watches, stream);
                watches.hub.create(StreamId(stream), waiting_for_a_key(6 * stream as i64), now(&store));
                buffer
            })
            .collect();
        let done = turn(&mut watches, &store).1.expect("they are far behind").run();
        let most = limits::CATCH_UP_BYTES_BESIDE + limits::CATCH_UP_PIECE_BYTES;
        assert!((limits::CATCH_UP_BYTES_BESIDE..most).contains(&done.read), "{}", done.read);
        assert!(done.kept.bytes() <= limits::CATCH_UP_KEPT_BYTES);
        watches.caught_up(done, now(&store)).expect("no faults");
        feed(&mut watches, &store).expect("no faults");
        assert_eq!(slow(&watches), 0);
    }

    /// Compaction may overtake a read, before it and after it: who still needs what is gone is told so.
    #[test]
    fn compaction_that_overtakes_a_read_is_told() {
        for reads_first in [false, true] {
            let mut store = filled(&MemoryDisk::new(), &["rare"; 20], LARGE);
            let mut watches = watches();
            let buffer = open(&mut watches, 1);
            watches.hub.create(StreamId(1), waiting_for_a_key(2), now(&store));
            let beside = turn(&mut watches, &store).1.expect("it is far behind");
            let compact = |store: &mut Store<_>| store.compact(15).expect("compacted");
            let done = if reads_first {
                let done = beside.run();
                compact(&mut store);
                done
            } else {
                compact(&mut store);
                beside.run()
            };
            watches.compacted(15, now(&store));
            watches.caught_up(done, now(&store)).expect("no faults");
            feed(&mut watches, &store).expect("no faults");
            let told = told(&buffer);
            assert_eq!(told.last().map(String::as_str), Some("canceled compact 15"), "{told:?}");
            assert_eq!(told.len(), if reads_first { 3 } else { 2 }, "{told:?}");
            assert_eq!(watches.hub.counts().watchers, 0);
        }
    }

    /// What was read of a state that another took the place of is told to nobody; it is read again. Who went away meanwhile is
    /// passed over.
    #[test]
    fn what_was_read_of_another_state_is_not_told() {
        let store = filled(&MemoryDisk::new(), &["rare"; 20], LARGE);
        let mut watches = watches();
        let (buffer, gone) = (open(&mut watches, 1), open(&mut watches, 2));
        for stream in [1, 2] {
            watches.hub.create(StreamId(stream), waiting_for_a_key(2), now(&store));
        }
        let done = turn(&mut watches, &store).1.expect("it is far behind").run();
        watches.restored(now(&store));
        watches.hub.close_stream(StreamId(2));
        watches.caught_up(done, now(&store)).expect("no faults");
        assert_eq!(told(&buffer), ["created"]);
        feed(&mut watches, &store).expect("no faults");
        assert_eq!(slow(&watches), 0);
        let all: Vec<i64> = (2..=store.revision()).collect();
        assert_eq!(told(&buffer).join(" ").replace("] events [", ", "), format!("events {all:?}"));
        assert_eq!(told(&gone), ["created"]);
    }

    /// What the device cannot read now it may read again; a watcher that was to be fed meanwhile is fed then, and with it all
    /// others of its stream.
    #[test]
    fn who_was_to_be_fed_when_the_history_could_not_be_read_is_fed_once_it_can() {
        // One is read for in the node's turn, and one beside it.
        for keys in [vec!["a", "rare"], ["a", "rare"].repeat(100)] {
            let disk = ScramblingDisk::new(MemoryDisk::new(), 1);
            disk.create_dir("history").expect("made");
            let store = filled(&disk, &keys, 9_000);
            let mut watches = watches();
            let buffer = open(&mut watches, 1);
            (0..3).for_each(|_| watches.hub.create(StreamId(1), waiting_for_a_key(1), now(&store)));
            for file in disk.list("history").expect("listed") {
                disk.make_unreadable(&format!("history/{file}"), 0..1 << 20);
            }
            for _ in 0..3 {
                feed(&mut watches, &store).expect_err("it cannot be read");
                assert_eq!(slow(&watches), 3);
                let (more, beside, _) = turn(&mut watches, &store);
                assert!(!more && beside.is_none(), "it is not tried again and again");
                watches.tick(now(&store));
            }
            disk.make_readable();
            assert!(store.look_at_damage_again());
            feed(&mut watches, &store).expect("it can be read again");
            assert_eq!(slow(&watches), 0);
            drop(buffer);
        }
    }

    /// What cannot be read for one is no reason not to read for another.
    #[test]
    fn who_can_be_read_for_is_fed_though_others_cannot() {
        let disk = ScramblingDisk::new(MemoryDisk::new(), 1);
        disk.create_dir("history").expect("made");
        let store = filled(&disk, &["rare"; 100], LARGE);
        let mut watches = watches();
        let (first, last) = (open(&mut watches, 1), open(&mut watches, 2));
        for (stream, start) in [(1, 2), (2, 50)] {
            watches.hub.create(StreamId(stream), waiting_for_a_key(start), now(&store));
        }
        let file = disk.list("history").expect("listed").remove(0);
        disk.make_unreadable(&format!("history/{file}"), 0..LARGE as u64);
        for _ in 0..50 {
            let _ = feed(&mut watches, &store);
            watches.tick(now(&store));
        }
        assert_eq!(told(&first), ["created"]);
        let all: Vec<i64> = (50..=store.revision()).collect();
        assert_eq!(told(&last).join(" ").replace("] events [", ", "), format!("created events {all:?}"));
    }
}
