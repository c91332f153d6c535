//! The hub as a whole: etcd's rules one by one, and a naive twin under random readers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use proptest::prelude::*;

use super::buffer::Bounds;
use super::*;
use crate::base::{Account, Event, EventKind, KeyRange, KeyValue, Shares, WatchId, limits};

const STREAM: StreamId = StreamId(1);

fn spec(key: &'static str, end: &'static str, start_revision: i64) -> WatchSpec {
    WatchSpec::events(KeyRange::from_wire(Bytes::from(key), Bytes::from(end)), start_revision)
}

fn change(kind: EventKind, key: Bytes, revision: i64) -> Arc<SharedEvent> {
    let kv = KeyValue { key, mod_revision: revision, ..KeyValue::default() };
    Arc::new(SharedEvent::new(Event { kind, kv, prev_kv: None }))
}

fn put(key: &'static str, revision: i64) -> Arc<SharedEvent> {
    change(EventKind::Put, Bytes::from(key), revision)
}

fn at(revision: i64) -> HubNow {
    HubNow { revision, compact_revision: 0 }
}

/// An account of nobody else's.
fn nobody() -> Arc<Account> {
    Arc::<Shares>::default().open()
}

fn silent() -> RoomBell {
    Arc::new(|| {})
}

fn batch(buffer: &StreamBuffer) -> Vec<WatchMessage> {
    match buffer.poll_batch(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(batch)) => batch,
        Poll::Ready(None) | Poll::Pending => Vec::new(),
    }
}

/// Everything in the buffer, each message in short.
fn told(buffer: &StreamBuffer) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let batch = batch(buffer);
        if batch.is_empty() {
            return all;
        }
        all.extend(batch.iter().map(short));
    }
}

fn short(message: &WatchMessage) -> String {
    match message {
        WatchMessage::Created { watch_id, revision } => format!("created {watch_id} at {revision}"),
        WatchMessage::Refused { revision, reason } => format!("refused at {revision}: {reason}"),
        WatchMessage::Canceled { watch_id, revision, compact_revision } => {
            format!("canceled {watch_id} at {revision} compact {compact_revision}")
        }
        WatchMessage::Cut { watch_id, revision, reason } => format!("cut {watch_id} at {revision}: {reason}"),
        WatchMessage::Progress { watch_id, revision } => format!("progress {watch_id} at {revision}"),
        WatchMessage::Events { watch_id, revision, events, .. } => {
            let each: Vec<String> = events
                .iter()
                .map(|event| {
                    let kv = &event.event.kv;
                    format!("{}@{}", String::from_utf8_lossy(&kv.key), kv.mod_revision)
                })
                .collect();
            format!("events {watch_id} at {revision}: {}", each.join(" "))
        }
    }
}

fn small_hub(bytes: usize, responses: usize) -> WatchHub {
    let bounds = Bounds { bytes, responses, answers: 50, batch_bytes: usize::MAX, batch_responses: 2 };
    WatchHub::with_watchers(10, 1, HubBounds { buffer: bounds, ..HubBounds::default() }, 8)
}

#[test]
fn refusals_have_etcds_texts_and_order() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    let chosen = |key, end, start, watch_id| WatchSpec { watch_id, ..spec(key, end, start) };
    hub.create(STREAM, chosen("a", "", 0, 3), at(6));
    hub.create(STREAM, chosen("a", "", 0, 3), at(6));
    hub.create(STREAM, chosen("b", "a", 0, 3), at(6));
    hub.create(STREAM, chosen("b", "a", -1, 3), at(6));
    assert_eq!(
        told(&buffer),
        [
            "created 3 at 6",
            "refused at 6: mvcc: duplicate watch ID provided on the WatchStream",
            "refused at 6: mvcc: watcher range is empty",
            "refused at 6: etcdserver: mvcc: required revision has been compacted",
        ]
    );
}

#[test]
fn ids_are_the_next_unused_from_zero_and_negative_ones_may_be_chosen() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    let chosen = |watch_id| WatchSpec { watch_id, ..spec("a", "", 0) };
    for watch_id in [1, 0, 0, -1, -5] {
        hub.create(STREAM, chosen(watch_id), at(6));
    }
    hub.cancel(STREAM, 0, at(6));
    hub.cancel(STREAM, 77, at(6));
    hub.create(STREAM, chosen(0), at(6));
    assert_eq!(
        told(&buffer),
        [
            "created 1 at 6",
            "created 0 at 6",
            "created 2 at 6",
            "created -1 at 6",
            "created -5 at 6",
            "canceled 0 at 6 compact 0",
            "created 3 at 6",
        ]
    );
}

#[test]
fn a_stream_has_a_bounded_number_of_watchers() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    for _ in 0..9 {
        hub.create(STREAM, spec("a", "", 0), at(1));
    }
    let told = told(&buffer);
    assert_eq!(told.len(), 9);
    assert_eq!(told[8], "refused at 1: etcdserver: too many watchers on the watch stream");
    assert_eq!(hub.counts().watchers, 8);
}

#[test]
fn a_start_below_compaction_is_created_and_canceled_and_at_it_is_fine() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    let now = HubNow { revision: 9, compact_revision: 5 };
    hub.create(STREAM, spec("a", "", 4), now);
    hub.create(STREAM, spec("a", "", 5), now);
    assert_eq!(told(&buffer), ["created 0 at 9", "canceled 0 at 0 compact 5", "created 1 at 9"]);
    let tasks = hub.catch_up_work(10);
    assert_eq!(tasks.len(), 1);
    answer(&mut hub, &tasks[0], &[put("a", 5), put("b", 6), put("a", 9)], 10, now);
    assert_eq!(told(&buffer), ["events 1 at 9: a@5 a@9"]);
}

#[test]
fn the_id_of_a_watcher_that_compaction_ended_is_taken_until_the_client_cancels_it() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    let now = HubNow { revision: 9, compact_revision: 5 };
    let own = |watch_id, start| WatchSpec { watch_id, ..spec("a", "", start) };
    hub.create(STREAM, own(1, 3), now);
    hub.create(STREAM, spec("a", "", 3), now);
    told(&buffer);
    hub.create(STREAM, own(1, 0), now);
    hub.create(STREAM, spec("a", "", 0), now);
    hub.cancel(STREAM, 1, now);
    hub.cancel(STREAM, 1, now);
    hub.create(STREAM, own(1, 0), now);
    let answers = [
        "refused at 9: mvcc: duplicate watch ID provided on the WatchStream",
        "created 2 at 9",
        "canceled 1 at 9 compact 0",
        "created 1 at 9",
    ];
    assert_eq!(told(&buffer), answers);
}

#[test]
fn compaction_cancels_who_still_needs_what_it_forgot() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    hub.create(STREAM, spec("a", "", 2), at(9));
    hub.create(STREAM, spec("a", "", 7), at(9));
    hub.create(STREAM, spec("a", "", 0), at(9));
    told(&buffer);
    hub.compacted(7, HubNow { revision: 9, compact_revision: 7 });
    assert_eq!(told(&buffer), ["canceled 0 at 0 compact 7"]);
    assert_eq!(hub.catch_up_work(10).len(), 1);
}

#[test]
fn a_watcher_being_read_for_is_canceled_when_it_has_nothing_more_to_read() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    hub.create(STREAM, spec("a", "", 2), at(9));
    let task = hub.catch_up_work(10).remove(0);
    let now = HubNow { revision: 9, compact_revision: 7 };
    hub.compacted(7, now);
    answer(&mut hub, &task, &[put("a", 3)], 4, now);
    assert!(hub.catch_up_work(10).is_empty());
    assert_eq!(told(&buffer), ["created 0 at 9", "events 0 at 9: a@3", "canceled 0 at 0 compact 7"]);
}

/// Who was read for while a command is carried out in slices is not in step, though he has been told everything so far: he was
/// not asked whether he is to be told of what it does. He is told of it from history.
#[test]
fn nobody_comes_into_step_in_the_middle_of_a_revision() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    hub.create(STREAM, spec("a", "", 5), at(9));
    let task = hub.catch_up_work(10).remove(0);
    hub.in_the_middle(true);
    answer(&mut hub, &task, &[put("a", 7)], 10, at(9));
    assert!(!hub.tells_of(b"a"));
    hub.apply(10, &[]);
    hub.in_the_middle(false);
    let task = hub.catch_up_work(10).remove(0);
    assert_eq!(task.from, 10);
    answer(&mut hub, &task, &[put("a", 10)], 11, at(10));
    assert!(hub.tells_of(b"a"));
    assert_eq!(told(&buffer), ["created 0 at 9", "events 0 at 9: a@7", "events 0 at 10: a@10"]);
}

#[test]
fn a_batch_weighs_what_its_events_weigh() {
    let kv = KeyValue { key: "ab".into(), value: "cde".into(), mod_revision: 7, ..KeyValue::default() };
    let prev_kv = Some(KeyValue { key: "ab".into(), value: vec![1; 100].into(), ..KeyValue::default() });
    let event = Arc::new(SharedEvent::new(Event { kind: EventKind::Put, kv, prev_kv }));
    let batch: EventBatch = [event.clone(), put("a", 8), event.clone()].into_iter().collect();
    for prev in [false, true] {
        assert_eq!(batch.weight(prev), batch.iter().map(|event| event.weight(prev)).sum::<usize>());
    }
    assert_eq!(batch.weight(true) - batch.weight(false), 2 * 102);
    assert_eq!(EventBatch::default().weight(true), 0);
}

#[test]
fn a_future_start_waits_in_silence() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    hub.create(STREAM, spec("a", "", 4), at(2));
    hub.apply(3, &[put("a", 3)]);
    hub.request_progress(STREAM, at(3));
    hub.apply(4, &[put("a", 4)]);
    hub.request_progress(STREAM, at(4));
    assert_eq!(told(&buffer), ["created 0 at 2", "events 0 at 4: a@4", "progress -1 at 4"]);
}

#[test]
fn progress_is_answered_only_when_all_are_synced_and_somebody_watches() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    hub.request_progress(STREAM, at(6));
    hub.create(STREAM, spec("a", "", 0), at(6));
    hub.request_progress(STREAM, at(6));
    hub.create(STREAM, spec("b", "", 3), at(6));
    hub.request_progress(STREAM, at(6));
    let task = hub.catch_up_work(1).remove(0);
    hub.request_progress(STREAM, at(6));
    answer(&mut hub, &task, &[], 7, at(6));
    hub.request_progress(STREAM, at(6));
    assert_eq!(told(&buffer), ["created 0 at 6", "progress -1 at 6", "created 1 at 6", "progress -1 at 6"]);
}

#[test]
fn notices_come_in_rounds_and_are_spared_after_events() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    let wants = |key| WatchSpec { progress_notify: true, ..spec(key, "", 0) };
    hub.create(STREAM, wants("a"), at(6));
    hub.create(STREAM, wants("b"), at(6));
    hub.create(STREAM, spec("c", "", 0), at(6));
    hub.apply(7, &[put("a", 7)]);
    told(&buffer);
    // The period is 10 and a tenth of it jitter: rounds fall into ticks 10..=11 and 20..=22.
    let mut rounds = vec![Vec::new(); 3];
    for tick in 1..=24 {
        hub.tick_progress(at(7));
        rounds[tick / 10].extend(told(&buffer));
    }
    assert!(rounds[0].is_empty());
    assert_eq!(rounds[1], ["progress 1 at 7"]);
    assert_eq!(rounds[2], ["progress 0 at 7", "progress 1 at 7"]);
}

#[test]
fn a_round_of_notices_goes_on_where_the_buffer_was_full() {
    let mut hub = small_hub(10_000, 3);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    for _ in 0..5 {
        hub.create(STREAM, WatchSpec { progress_notify: true, ..spec("a", "", 0) }, at(6));
    }
    told(&buffer);
    let mut notices = Vec::new();
    for _ in 0..13 {
        hub.tick_progress(at(6));
        notices.extend(told(&buffer));
    }
    let want: Vec<String> = (0..5).map(|id| format!("progress {id} at 6")).collect();
    assert_eq!(notices, want);
}

#[test]
fn filters_and_order_within_a_revision() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    hub.create(STREAM, WatchSpec { no_put: true, ..spec("a", "z", 0) }, at(1));
    hub.create(STREAM, WatchSpec { no_delete: true, ..spec("a", "z", 0) }, at(1));
    hub.create(STREAM, spec("m", "", 0), at(1));
    told(&buffer);
    let delete = |key: &'static str, revision| change(EventKind::Delete, Bytes::from(key), revision);
    hub.apply(2, &[put("m", 2), delete("b", 2), put("a", 2)]);
    hub.apply(3, &[put("c", 3)]);
    assert_eq!(
        told(&buffer),
        ["events 0 at 2: b@2", "events 1 at 2: m@2 a@2", "events 2 at 2: m@2", "events 1 at 3: c@3"]
    );
}

#[test]
fn watchers_told_the_same_share_one_list_and_one_encoding() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    hub.create(STREAM, spec("a", "", 0), at(1));
    hub.create(STREAM, spec("a", "b", 0), at(1));
    told(&buffer);
    hub.apply(2, &[put("a", 2)]);
    let lists: Vec<EventBatch> = batch(&buffer)
        .into_iter()
        .filter_map(|message| match message {
            WatchMessage::Events { events, .. } => Some(events),
            _ => None,
        })
        .collect();
    assert_eq!(lists.len(), 2);
    assert!(std::ptr::eq(&*lists[0], &*lists[1]), "one list");
    let mut encodings = 0;
    for list in &lists {
        list[0].encoded_with(false, || {
            encodings += 1;
            Bytes::from_static(b"bare")
        });
    }
    assert_eq!(encodings, 1);
    assert_eq!(lists[0][0].encoded_with(true, || Bytes::from_static(b"prev")), b"prev"[..]);
}

#[test]
fn previous_values_are_wanted_while_somebody_asks() {
    let mut hub = small_hub(10_000, 100);
    hub.open_stream(STREAM, silent(), nobody());
    let wanted = |hub: &WatchHub| ["a", "b", "c", "d"].map(|key| hub.wants_prev_of(key.as_bytes()));
    assert!(wanted(&hub) == [false; 4] && !hub.has_watchers());
    hub.create(STREAM, WatchSpec { prev_kv: true, ..spec("a", "", 0) }, at(1));
    hub.create(STREAM, WatchSpec { prev_kv: true, ..spec("b", "d", 0) }, at(1));
    hub.create(STREAM, spec("a", "\0", 0), at(1));
    assert!(wanted(&hub) == [true, true, true, false] && hub.has_watchers());
    // Who is behind reads history, and costs writes nothing.
    hub.create(STREAM, WatchSpec { prev_kv: true, ..spec("d", "", 1) }, at(1));
    assert_eq!(wanted(&hub), [true, true, true, false]);
    hub.cancel(STREAM, 0, at(1));
    assert_eq!(wanted(&hub), [false, true, true, false]);
    hub.close_stream(STREAM);
    assert_eq!(wanted(&hub), [false; 4]);
}

#[test]
fn a_slow_reader_is_fed_from_history_once_it_drained() {
    let rung = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&rung);
    let mut hub = small_hub(10_000, 4);
    let bell: RoomBell = Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let buffer = hub.open_stream(STREAM, bell, nobody());
    hub.create(STREAM, spec("a", "", 0), at(1));
    for revision in 2..=9 {
        hub.apply(revision, &[put("a", revision)]);
    }
    assert_eq!(hub.counts(), HubCounts { streams: 1, watchers: 1, slow_watchers: 1, pending_events: 3 });
    assert!(!hub.has_catch_up_work() && hub.catch_up_work(10).is_empty(), "a full stream costs no turns");
    assert_eq!(batch(&buffer).len(), 2);
    assert_eq!(rung.load(Ordering::Relaxed), 1, "half empty: the hub is called");
    assert!(hub.has_catch_up_work());
    let task = hub.catch_up_work(10).remove(0);
    assert_eq!(task.from, 5);
    hub.apply(10, &[put("a", 10)]);
    let history: Vec<_> = (5..=9).map(|revision| put("a", revision)).collect();
    answer(&mut hub, &task, &history, 10, at(10));
    let task = hub.catch_up_work(10).remove(0);
    answer(&mut hub, &task, &[put("a", 10)], 11, at(10));
    assert_eq!(hub.counts().slow_watchers, 0);
    assert_eq!(
        told(&buffer),
        ["events 0 at 3: a@3", "events 0 at 4: a@4", "events 0 at 10: a@5 a@6 a@7 a@8 a@9", "events 0 at 10: a@10"]
    );
    assert_eq!(rung.load(Ordering::Relaxed), 1, "nobody was turned away since");
}

#[test]
fn questions_are_held_up_where_they_are_put_and_called_when_they_may_go_on() {
    let mut hub = small_hub(10_000, 8);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    let rung = Arc::new(Ring::default());
    let waker = Waker::from(Arc::clone(&rung));
    let mut cx = Context::from_waker(&waker);
    // Nobody answers: two answers to each of four fill the room.
    let asked: Vec<Question> = std::iter::from_fn(|| buffer.ask()).collect();
    assert_eq!(asked.len(), 4);
    assert!(buffer.poll_room(&mut cx).is_pending());
    // Answered with one message each, and half the room is free again, before anything was read.
    for question in asked {
        hub.create(STREAM, spec("b", "a", 0), at(1));
        drop(question);
    }
    assert!(rung.0.load(Ordering::Relaxed) > 0, "who waited to ask was called");
    let asked: Vec<Question> = std::iter::from_fn(|| buffer.ask()).collect();
    assert_eq!(asked.len(), 2);
    drop(asked);
    assert_eq!(told(&buffer).len(), 4);
    hub.close_stream(STREAM);
    assert!(buffer.ask().is_some() && buffer.poll_room(&mut cx).is_ready(), "on a closed stream nothing is held up");
}

#[derive(Default)]
struct Ring(AtomicUsize);

impl std::task::Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_client_that_does_not_read_is_held_up_before_its_next_request() {
    let mut hub = small_hub(10_000, 4);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    for _ in 0..4 {
        hub.create(STREAM, spec("a", "", 0), at(1));
    }
    assert!(buffer.poll_room(&mut Context::from_waker(Waker::noop())).is_pending());
    batch(&buffer);
    assert!(buffer.poll_room(&mut Context::from_waker(Waker::noop())).is_ready());
}

/// Counts how often it is woken.
#[derive(Default)]
struct Alarm(AtomicUsize);

impl std::task::Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_waiting_reader_is_woken_by_a_message_and_by_the_end() {
    let alarm = Arc::new(Alarm::default());
    let waker = Waker::from(Arc::clone(&alarm));
    let woken = || alarm.0.load(Ordering::Relaxed);
    let mut hub = small_hub(10_000, 4);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    assert!(buffer.poll_batch(&mut Context::from_waker(&waker)).is_pending());
    hub.create(STREAM, spec("a", "", 0), at(1));
    hub.apply(2, &[put("a", 2)]);
    assert_eq!(woken(), 1, "once for both: it was not waiting any more");
    assert_eq!(batch(&buffer).len(), 2);
    assert!(buffer.poll_batch(&mut Context::from_waker(&waker)).is_pending());
    hub.close_stream(STREAM);
    assert_eq!(woken(), 2);
    assert!(matches!(buffer.poll_batch(&mut Context::from_waker(&waker)), Poll::Ready(None)));
}

#[test]
fn a_held_up_client_is_woken_when_the_buffer_drained_or_the_stream_ended() {
    let alarm = Arc::new(Alarm::default());
    let waker = Waker::from(Arc::clone(&alarm));
    let mut hub = small_hub(10_000, 4);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    for end in [false, true] {
        for _ in 0..4 {
            hub.create(STREAM, spec("a", "", 0), at(1));
        }
        assert!(buffer.poll_room(&mut Context::from_waker(&waker)).is_pending());
        if end {
            hub.close_stream(STREAM);
        } else {
            told(&buffer);
        }
        assert_eq!(alarm.0.load(Ordering::Relaxed), 1 + usize::from(end));
        assert!(buffer.poll_room(&mut Context::from_waker(&waker)).is_ready());
    }
}

#[test]
fn a_closed_stream_gives_its_watchers_back_and_ends() {
    let mut hub = WatchHub::new(10, 1, HubBounds::default());
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    let mut answers = 0;
    for _ in 0..5_000 {
        answers += told(&buffer).len();
        hub.create(STREAM, spec("a", "", 0), at(1));
    }
    hub.close_stream(STREAM);
    assert_eq!(hub.counts().watchers, 3_000, "bounded in one go");
    hub.apply(2, &[put("a", 2)]);
    while hub.has_catch_up_work() {
        assert!(hub.catch_up_work(1).is_empty());
    }
    assert_eq!(hub.counts(), HubCounts::default());
    assert_eq!(answers + told(&buffer).len(), 5_000);
    assert!(matches!(buffer.poll_batch(&mut Context::from_waker(Waker::noop())), Poll::Ready(None)));
}

#[test]
fn many_watchers_of_many_streams_take_turns() {
    let mut hub = small_hub(10_000, 100);
    for stream in 1..=5 {
        hub.open_stream(StreamId(stream), silent(), nobody());
        for _ in 0..4 {
            hub.create(StreamId(stream), spec("a", "", 2), at(9));
        }
    }
    let mut turns = Vec::new();
    for _ in 0..5 {
        turns.push(hub.catch_up_work(4).len());
    }
    // Five hungry streams share four places: one each, the fifth first in the next turn, and so on.
    assert_eq!(turns, [4, 4, 0, 0, 0]);
}

mod twin;

/// Answers a task with those of `events` that are wanted.
fn answer(hub: &mut WatchHub, task: &CatchUpTask, events: &[Arc<SharedEvent>], next: i64, now: HubNow) {
    let wanted = events.iter().filter(|event| task.wants(&event.event)).cloned();
    hub.caught_up(task.watcher, wanted.collect(), next, now);
}

/// Answers every task with what the history holds for it, up to `now`.
fn feed(hub: &mut WatchHub, history: &[i64], now: HubNow) -> Vec<i64> {
    let tasks = hub.catch_up_work(10);
    for task in &tasks {
        assert!(task.from >= now.compact_revision, "nobody reads what is forgotten");
        let events: Vec<_> = history.iter().filter(|at| **at >= task.from).map(|at| put("a", *at)).collect();
        answer(hub, task, &events, now.revision + 1, now);
    }
    tasks.iter().map(|task| task.from).collect()
}

#[test]
fn an_installed_snapshot_leaves_no_gap() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    // Synced; starting within the jump; starting behind it.
    for start in [0, 12, 30] {
        hub.create(STREAM, spec("a", "", start), at(5));
    }
    hub.apply(6, &[put("a", 6)]);
    assert_eq!(told(&buffer)[3..], ["events 0 at 6: a@6"]);
    hub.restored(at(20));
    assert_eq!(feed(&mut hub, &[9, 12, 20], at(20)), [7, 12]);
    assert_eq!(told(&buffer), ["events 0 at 20: a@9 a@12 a@20", "events 1 at 20: a@12 a@20"]);
    hub.apply(21, &[put("a", 21)]);
    hub.apply(30, &[put("a", 30)]);
    assert_eq!(
        told(&buffer),
        [
            "events 0 at 21: a@21",
            "events 1 at 21: a@21",
            "events 0 at 30: a@30",
            "events 1 at 30: a@30",
            "events 2 at 30: a@30"
        ]
    );
}

#[test]
fn an_installed_snapshot_tells_who_needs_what_is_compacted() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    for start in [0, 11, 12] {
        hub.create(STREAM, spec("a", "", start), at(5));
    }
    // One that fell behind before, too.
    hub.create(STREAM, spec("a", "", 3), at(5));
    assert_eq!(told(&buffer).len(), 4);
    let now = HubNow { revision: 20, compact_revision: 12 };
    hub.restored(now);
    assert_eq!(feed(&mut hub, &[12, 15], now), [12]);
    let mut told = told(&buffer);
    told.sort();
    assert_eq!(
        told,
        [
            "canceled 0 at 0 compact 12",
            "canceled 1 at 0 compact 12",
            "canceled 3 at 0 compact 12",
            "events 2 at 20: a@12 a@15"
        ]
    );
}

/// Whoever may not read any more what he watches is told so and nothing more, be he in step or behind; the others go on.
#[test]
fn a_watch_is_cut_when_its_owner_may_not_watch_any_more() {
    let mut hub = small_hub(10_000, 100);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    hub.create_for(STREAM, Some("anna".into()), spec("a", "c", 0), at(6));
    hub.create_for(STREAM, Some("bert".into()), spec("a", "c", 0), at(6));
    hub.create_for(STREAM, Some("anna".into()), spec("a", "c", 3), at(6));
    assert_eq!(hub.counts().slow_watchers, 1);
    told(&buffer);
    hub.cut(at(6), |owner, range| {
        assert_eq!(range.start, "a");
        owner.filter(|owner| &***owner == "anna").map(|_| "no more".to_string())
    });
    hub.apply(7, &[put("b", 7)]);
    assert_eq!(told(&buffer), ["cut 0 at 6: no more", "cut 2 at 6: no more", "events 1 at 7: b@7"]);
    assert_eq!((hub.counts().watchers, hub.counts().slow_watchers), (1, 0));
    assert!(hub.catch_up_work(8).is_empty());
}

/// There may be more watchers to cut than the buffer has room for: the stream ends, and nothing more is told on it.
#[test]
fn a_stream_without_room_for_the_word_that_it_is_cut_is_closed() {
    let mut hub = small_hub(10_000, 4);
    let buffer = hub.open_stream(STREAM, silent(), nobody());
    for _ in 0..6 {
        hub.create_for(STREAM, None, spec("a", "c", 0), at(6));
        told(&buffer);
    }
    hub.cut(at(6), |_, _| Some("no more".to_string()));
    hub.apply(7, &[put("b", 7)]);
    assert_eq!(told(&buffer).len(), 4);
    assert_eq!((hub.counts().streams, hub.counts().watchers), (0, 0));
}

/// Streams of one account that nobody reads hold together what the account may hold, and one message each at the most;
/// nothing is lost to who reads after all, and others do not notice.
#[test]
fn streams_of_one_account_share_what_waits_for_it() {
    const STREAMS: u64 = 40;
    let (large, shares) = (1 << 20, Arc::<Shares>::default());
    let [greedy, other] = [(); 2].map(|()| shares.open());
    let mut hub = WatchHub::new(6000, 1, HubBounds::default());
    let unread: Vec<_> = (1..=STREAMS)
        .map(|id| {
            let buffer = hub.open_stream(StreamId(id), silent(), greedy.clone());
            hub.create(StreamId(id), spec("a", "b", 0), at(0));
            buffer
        })
        .collect();
    let reader = hub.open_stream(StreamId(99), silent(), other.clone());
    hub.create(StreamId(99), spec("a", "b", 0), at(0));
    let mut heard = told(&reader).len();
    let event = |revision| {
        let kv =
            KeyValue { key: "a".into(), value: vec![1; large].into(), mod_revision: revision, ..KeyValue::default() };
        Arc::new(SharedEvent::new(Event { kind: EventKind::Put, kv, prev_kv: None }))
    };
    for revision in 1..=7 {
        hub.apply(revision, &[event(revision)]);
        heard += told(&reader).len();
    }
    assert_eq!(heard, 8, "who reads is in step");
    let bound = limits::WATCH_BACKLOG_BYTES + 2 * large;
    assert!(shares.backlog() <= bound && shares.backlog() > limits::WATCH_BACKLOG_BYTES / 2, "{}", shares.backlog());
    assert_eq!(hub.counts().slow_watchers, STREAMS as usize, "all of them missed something");
    // The first is read to its end: it holds nothing, so it gets on though the others hold all there is.
    let mut events = told(&unread[0]).len() - 1;
    while events < 7 {
        for task in hub.catch_up_work(64) {
            let next = task.from + 1;
            answer(&mut hub, &task, &[event(task.from)], next, at(7));
        }
        let more = told(&unread[0]).len();
        assert!(more > 0, "it got {events} of 7");
        events += more;
    }
    drop((hub, unread));
    assert_eq!(shares.backlog(), 0, "closed and given back");
}
