//! The hub against a naive twin: a list of all changes, and readers that check what they are told against it.

use super::*;

const KEYS: [&str; 6] = ["a", "a/1", "a/2", "b", "c", "c/1"];
const RANGES: [(&str, &str); 7] =
    [("a", ""), ("b", ""), ("a/", "a0"), ("a", "b"), ("b", "\0"), ("\0", "\0"), ("c", "d")];

#[derive(Clone, Debug)]
enum Step {
    /// One revision: (key, delete) each.
    Apply(Vec<(usize, bool)>),
    Create {
        stream: usize,
        range: usize,
        start: i64,
        watch_id: WatchId,
        no_put: bool,
        no_delete: bool,
        notify: bool,
    },
    Cancel {
        stream: usize,
        watch_id: WatchId,
    },
    Progress {
        stream: usize,
    },
    Tick,
    Read {
        stream: usize,
    },
    Turn {
        max: usize,
    },
    /// Answers one of the tasks that are out, with at most so many revisions.
    Answer {
        which: prop::sample::Index,
        revisions: i64,
    },
    /// Compacts up to so many revisions behind now.
    Compact {
        behind: i64,
    },
    /// So many revisions arrive as a peer's state, untold.
    Jump {
        revisions: usize,
    },
}

fn some_step() -> impl Strategy<Value = Step> {
    let changes = || prop::collection::vec((0..KEYS.len(), prop::bool::weighted(0.3)), 1..4);
    let create = (0..3usize, 0..RANGES.len(), -1..12i64, 0..4i64, any::<[bool; 3]>(), 0..3u8).prop_map(
        |(stream, range, start, watch_id, [no_put, no_delete, notify], filtered)| Step::Create {
            stream,
            range,
            start,
            watch_id: watch_id - 1,
            no_put: no_put && filtered == 0,
            no_delete: no_delete && filtered == 0,
            notify,
        },
    );
    prop_oneof![
        8 => changes().prop_map(Step::Apply),
        4 => create,
        1 => (0..3usize, -1..4i64).prop_map(|(stream, watch_id)| Step::Cancel { stream, watch_id }),
        1 => (0..3usize).prop_map(|stream| Step::Progress { stream }),
        2 => Just(Step::Tick),
        5 => (0..3usize).prop_map(|stream| Step::Read { stream }),
        4 => (1..5usize).prop_map(|max| Step::Turn { max }),
        5 => (any::<prop::sample::Index>(), 0..4i64).prop_map(|(which, revisions)| Step::Answer { which, revisions }),
        1 => (0..8i64).prop_map(|behind| Step::Compact { behind }),
        1 => (1..4usize).prop_map(|revisions| Step::Jump { revisions }),
    ]
}

/// A watcher as its client sees it.
struct Told {
    spec: WatchSpec,
    start: i64,
    /// (revision, number in it) of what came, in order.
    seen: Vec<(i64, usize)>,
}

struct Reader {
    buffer: Arc<StreamBuffer>,
    /// Create requests not yet answered, with the revision they were made at.
    asked: VecDeque<(WatchSpec, i64)>,
    live: BTreeMap<WatchId, Told>,
    /// Cancelled by compaction, and not yet by the client.
    spent: BTreeSet<WatchId>,
}

struct Twin {
    hub: WatchHub,
    readers: Vec<Reader>,
    /// Revision n is at n - 2.
    history: Vec<Vec<Arc<SharedEvent>>>,
    compacted: i64,
    tasks: Vec<CatchUpTask>,
}

const BOUNDS: Bounds = Bounds { bytes: 900, responses: 4, answers: 10_000, batch_bytes: 300, batch_responses: 2 };

impl Twin {
    fn new() -> Self {
        let mut hub = WatchHub::with_watchers(4, 7, HubBounds { buffer: BOUNDS, ..HubBounds::default() }, 100);
        let readers = (0..3)
            .map(|id| Reader {
                buffer: hub.open_stream(StreamId(id), silent(), nobody()),
                asked: VecDeque::new(),
                live: BTreeMap::new(),
                spent: BTreeSet::new(),
            })
            .collect();
        Self { hub, readers, history: Vec::new(), compacted: 0, tasks: Vec::new() }
    }

    fn now(&self) -> HubNow {
        HubNow { revision: self.history.len() as i64 + 1, compact_revision: self.compacted }
    }

    fn write(&mut self, changes: &[(usize, bool)]) -> i64 {
        let revision = self.now().revision + 1;
        let event = |(key, delete): &(usize, bool)| {
            let kind = if *delete { EventKind::Delete } else { EventKind::Put };
            change(kind, Bytes::from(KEYS[*key]), revision)
        };
        self.history.push(changes.iter().map(event).collect());
        revision
    }

    /// What a watcher must be told up to, and with, `until`.
    fn due(&self, told: &Told, until: i64) -> Vec<(i64, usize)> {
        let mut due = Vec::new();
        for revision in told.start..=until {
            let Some(events) = usize::try_from(revision - 2).ok().and_then(|at| self.history.get(at)) else { continue };
            for (number, event) in events.iter().enumerate() {
                let filtered = match event.event.kind {
                    EventKind::Put => told.spec.no_put,
                    EventKind::Delete => told.spec.no_delete,
                };
                if !filtered && told.spec.range.contains(&event.event.kv.key) {
                    due.push((revision, number));
                }
            }
        }
        due
    }

    fn step(&mut self, step: Step) {
        let now = self.now();
        match step {
            Step::Apply(changes) => {
                let revision = self.write(&changes);
                let events = self.history.last().expect("just written").clone();
                self.hub.apply(revision, &events);
            }
            Step::Create { stream, range, start, watch_id, no_put, no_delete, notify } => {
                let (key, end) = RANGES[range];
                let asked =
                    WatchSpec { watch_id, no_put, no_delete, progress_notify: notify, ..super::spec(key, end, start) };
                self.readers[stream].asked.push_back((asked.clone(), now.revision));
                self.hub.create(StreamId(stream as u64), asked, now);
            }
            Step::Cancel { stream, watch_id } => self.hub.cancel(StreamId(stream as u64), watch_id, now),
            Step::Progress { stream } => self.hub.request_progress(StreamId(stream as u64), now),
            Step::Tick => self.hub.tick_progress(now),
            Step::Read { stream } => self.read(stream),
            Step::Turn { max } => {
                let tasks = self.hub.catch_up_work(max);
                assert!(tasks.len() <= max && tasks.is_sorted_by_key(|task| task.from));
                self.tasks.extend(tasks);
            }
            Step::Answer { which, revisions } => {
                if !self.tasks.is_empty() {
                    let task = self.tasks.swap_remove(which.index(self.tasks.len()));
                    self.serve(&task, revisions);
                }
            }
            Step::Compact { behind } => {
                let to = now.revision - behind;
                if to > self.compacted {
                    self.compacted = to;
                    self.hub.compacted(to, self.now());
                }
            }
            Step::Jump { revisions } => {
                for number in 0..revisions {
                    self.write(&[(number % KEYS.len(), false)]);
                }
                self.hub.restored(self.now());
            }
        }
    }

    /// History as it is: nothing below the compact revision.
    fn serve(&mut self, task: &CatchUpTask, revisions: i64) {
        let now = self.now();
        let next = if task.from < self.compacted { task.from } else { (task.from + revisions).min(now.revision + 1) };
        if next == task.from {
            self.hub.not_read(task.watcher);
            return;
        }
        // Nothing was ever written at revision 1.
        let read = (task.from.max(2)..next).flat_map(|revision| self.history[(revision - 2) as usize].clone());
        let events: Vec<_> = read.collect();
        answer(&mut self.hub, task, &events, next, now);
    }

    fn read(&mut self, stream: usize) {
        for message in batch(&Arc::clone(&self.readers[stream].buffer)) {
            self.check(stream, &message);
        }
    }

    fn check(&mut self, stream: usize, message: &WatchMessage) {
        let head = self.now().revision;
        match message {
            WatchMessage::Created { watch_id, revision } => {
                let reader = &mut self.readers[stream];
                let (spec, asked_at) = reader.asked.pop_front().expect("answers follow requests");
                assert_eq!(*revision, asked_at);
                assert!(spec.start_revision >= 0);
                let start = if spec.start_revision == 0 { asked_at + 1 } else { spec.start_revision };
                let was = reader.live.insert(*watch_id, Told { spec, start, seen: Vec::new() });
                assert!(was.is_none() && !reader.spent.contains(watch_id), "an id in use was given");
            }
            WatchMessage::Refused { revision, .. } => {
                let (spec, asked_at) = self.readers[stream].asked.pop_front().expect("answers follow requests");
                assert_eq!(*revision, asked_at);
                assert!(spec.start_revision < 0 || spec.watch_id != 0, "refused without a reason");
            }
            WatchMessage::Cut { .. } => panic!("nobody's permission goes here"),
            WatchMessage::Canceled { watch_id, compact_revision: 0, .. }
                if self.readers[stream].spent.remove(watch_id) => {}
            WatchMessage::Canceled { watch_id, compact_revision, .. } => {
                if *compact_revision != 0 {
                    self.readers[stream].spent.insert(*watch_id);
                }
                let told = self.readers[stream].live.remove(watch_id).expect("only a live watcher is cancelled");
                let seen_to = told.seen.last().map_or(0, |last| last.0);
                assert_eq!(told.seen, self.due(&told, seen_to), "a prefix in whole revisions");
                let lacking = seen_to + 1 < *compact_revision;
                assert!(*compact_revision == 0 || lacking, "cancelled though it needed nothing forgotten");
            }
            WatchMessage::Events { watch_id, revision, events, .. } => {
                assert!(!events.is_empty() && *revision <= head);
                let at = |event: &Arc<SharedEvent>| {
                    let main = event.event.kv.mod_revision;
                    let all = &self.history[(main - 2) as usize];
                    let number = all.iter().position(|one| Arc::ptr_eq(one, event)).expect("from history");
                    (main, number)
                };
                let fresh: Vec<_> = events.iter().map(at).collect();
                let told = self.readers[stream].live.get_mut(watch_id).expect("only a live watcher is told");
                told.seen.extend(fresh);
                // Complete and in order up to the last revision of the message: nothing lost, doubled or split.
                let told = &self.readers[stream].live[watch_id];
                let last = told.seen.last().expect("not empty").0;
                assert_eq!(told.seen, self.due(told, last));
            }
            WatchMessage::Progress { watch_id, revision } => {
                let live = &self.readers[stream].live;
                for (id, told) in live.iter().filter(|(id, _)| *watch_id == -1 || **id == *watch_id) {
                    assert!(told.spec.start_revision <= *revision, "watcher {id} has not begun");
                    let up_to: Vec<_> = told.seen.iter().copied().filter(|at| at.0 <= *revision).collect();
                    assert_eq!(up_to, self.due(told, *revision), "the notice overtook an event");
                }
            }
        }
    }

    /// Reads and feeds until nothing moves. Turns are taken only when the hub says so: a lost call shows.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut moved = false;
            if self.hub.has_catch_up_work() {
                let tasks = self.hub.catch_up_work(3);
                self.tasks.extend(tasks);
                moved = true;
            }
            while let Some(task) = self.tasks.pop() {
                self.serve(&task, 3);
                moved = true;
            }
            for stream in 0..self.readers.len() {
                let before = self.readers[stream].buffer.has_messages();
                self.read(stream);
                moved |= before;
            }
            if !moved {
                return;
            }
        }
        panic!("the hub does not come to rest");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// However slow the readers, whatever is compacted or jumped over: every watcher is told exactly what
    /// history holds for it, or that it was cancelled.
    #[test]
    fn every_watcher_is_told_history(steps in prop::collection::vec(some_step(), 1..120)) {
        let mut twin = Twin::new();
        for step in steps {
            twin.step(step);
            for reader in &twin.readers {
                let events = reader.buffer.pending_events();
                // A message holds at most some revisions of three events, and one is let in when almost full.
                prop_assert!(events <= (BOUNDS.responses + 1) * 9, "{events} events in a small buffer");
            }
        }
        twin.settle();
        let head = twin.now().revision;
        prop_assert_eq!(twin.hub.counts().slow_watchers, 0);
        let mut live = 0;
        for reader in &twin.readers {
            prop_assert!(reader.asked.is_empty(), "every request was answered");
            for told in reader.live.values() {
                prop_assert_eq!(&told.seen, &twin.due(told, head));
                live += 1;
            }
        }
        prop_assert_eq!(twin.hub.counts().watchers, live);
    }
}
