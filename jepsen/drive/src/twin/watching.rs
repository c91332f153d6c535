//! The watch streams of a sequence on both sides, and what must have come out of them.
//!
//! A witness watches the whole keyspace of each side from the start. What it saw, equal on both sides, is the history;
//! from the history follows exactly which events every other watcher must have delivered, so that draining never waits
//! longer than a correct server needs and a lost event is named. Invariants: at [`Watching::drain`] every watcher has
//! delivered what it owes, both sides the same, in the same order; no response splits a revision unless fragments were
//! asked for; a progress answer never runs ahead of an event. Does not know what the requests of a sequence are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quorate::wire::etcdserverpb as pb;
use quorate::wire::etcdserverpb::watch_request::RequestUnion;
use quorate::wire::mvccpb::Event;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::reply::plain_header;
use super::side::Side;

/// How long an event may take; only ever used up by a server that lost it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why watching stopped: the text of a difference.
pub type Finding = String;

/// One stream on one side.
struct Stream {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
    created: VecDeque<pb::WatchResponse>,
    canceled: BTreeMap<i64, pb::WatchResponse>,
    events: BTreeMap<i64, Vec<Event>>,
    /// For each watcher the highest revision delivered, and whether it asked for fragments.
    last: BTreeMap<i64, (i64, bool)>,
    /// The highest revision a progress answer named, and how many events each watcher had delivered by then.
    progress: (i64, BTreeMap<i64, usize>),
}

impl Stream {
    /// Opens a stream by its first create request: a server sends nothing, not even headers, before that.
    async fn open(side: &Side, first: pb::WatchCreateRequest) -> Result<Self, Finding> {
        let (requests, queue) = mpsc::channel(16);
        let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(first)) };
        requests.send(request).await.map_err(|_| "stream queue closed".to_owned())?;
        let answer = side.watch.clone().watch(ReceiverStream::new(queue)).await;
        let responses = answer.map_err(|status| format!("watch stream refused: {status:?}"))?.into_inner();
        Ok(Self {
            requests,
            responses,
            created: VecDeque::new(),
            canceled: BTreeMap::new(),
            events: BTreeMap::new(),
            last: BTreeMap::new(),
            progress: (0, BTreeMap::new()),
        })
    }

    async fn send(&mut self, union: RequestUnion) -> Result<(), Finding> {
        let request = pb::WatchRequest { request_union: Some(union) };
        if self.requests.send(request).await.is_ok() {
            return Ok(());
        }
        // Why it ended is told where answers come, behind those that were under way.
        let until = Instant::now() + Duration::from_secs(1);
        let why = loop {
            match timeout_at(until, self.responses.message()).await {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => break "closed by the server".to_owned(),
                Ok(Err(status)) => break format!("{status:?}"),
                Err(_) => break "nobody says why".to_owned(),
            }
        };
        Err(format!("the watch stream has ended: {why}"))
    }

    /// Reads until `done`; false when `until` passes first.
    async fn read_until(&mut self, until: Instant, done: impl Fn(&Self) -> bool) -> Result<bool, Finding> {
        while !done(self) {
            match timeout_at(until, self.responses.message()).await {
                Err(_) => return Ok(false),
                Ok(Ok(Some(response))) => self.file(response)?,
                Ok(Ok(None)) => return Err("the watch stream was closed by the server".to_owned()),
                Ok(Err(status)) => return Err(format!("the watch stream failed: {status:?}")),
            }
        }
        Ok(true)
    }

    fn file(&mut self, mut response: pb::WatchResponse) -> Result<(), Finding> {
        let revision = plain_header(&mut response.header);
        if response.created {
            self.created.push_back(response);
        } else if response.canceled {
            self.canceled.insert(response.watch_id, response);
        } else if response.events.is_empty() {
            // Progress, asked for or by the clock.
            let delivered = |id: &i64| (*id, self.events.get(id).map_or(0, Vec::len));
            let counts = self.last.keys().map(delivered).collect();
            self.progress = (self.progress.0.max(revision), counts);
        } else {
            self.file_events(revision, response)?;
        }
        Ok(())
    }

    /// Keeps the events and checks what holds for each response by itself. Where responses are cut between revisions and
    /// which current revision their header names depends on timing and is not compared.
    fn file_events(&mut self, revision: i64, response: pb::WatchResponse) -> Result<(), Finding> {
        let (mut last, fragments) = self.last.get(&response.watch_id).copied().unwrap_or((0, false));
        for (at, event) in response.events.iter().enumerate() {
            let this = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            let split = at == 0 && this == last && !fragments;
            if this < last || split || this > revision {
                return Err(format!(
                    "watcher {}: event of revision {this} after {last} in a response of header revision {revision}{}",
                    response.watch_id,
                    if split { ": a revision was split" } else { "" }
                ));
            }
            last = this;
        }
        self.last.insert(response.watch_id, (last, fragments));
        self.events.entry(response.watch_id).or_default().extend(response.events);
        Ok(())
    }
}

/// A watcher both sides have.
struct Watcher {
    request: pb::WatchCreateRequest,
    /// Events from this revision on are owed and not yet drained.
    from: i64,
    /// It starts in the compacted past: what is owed is a cancel.
    doomed: bool,
    /// Whose it is, where callers are asked who they are.
    owner: Option<String>,
}

impl Watcher {
    fn wants(&self, event: &Event) -> bool {
        let Some(kv) = &event.kv else { return false };
        kv.mod_revision >= self.from
            && !self.request.filters.contains(&event.r#type)
            && covers(&self.request.key, &self.request.range_end, &kv.key)
    }
}

/// etcd's rule for the range of a watch.
fn covers(key: &Bytes, end: &Bytes, candidate: &Bytes) -> bool {
    let key: &[u8] = if key.is_empty() { &[0] } else { key };
    match end.as_ref() {
        [] => candidate.as_ref() == key,
        [0] => candidate.as_ref() >= key,
        end => candidate.as_ref() >= key && candidate.as_ref() < end,
    }
}

/// A stream on both sides with its watchers.
struct Pair {
    left: Stream,
    right: Stream,
    watchers: BTreeMap<i64, Watcher>,
    /// Watchers the server cancelled because of a compaction: their ids stay taken until the client cancels them too.
    ghosts: BTreeSet<i64>,
    /// A watcher that starts in the past may not have caught up, although it owes nothing.
    maybe_behind: bool,
}

impl Pair {
    async fn open(left: &Side, right: &Side, first: &pb::WatchCreateRequest) -> Result<Self, Finding> {
        let (left, right) = tokio::join!(Stream::open(left, first.clone()), Stream::open(right, first.clone()));
        let left = left.map_err(|why| format!("left: {why}"))?;
        let right = right.map_err(|why| format!("right: {why}"))?;
        Ok(Self { left, right, watchers: BTreeMap::new(), ghosts: BTreeSet::new(), maybe_behind: false })
    }

    /// Reads both sides until `done` holds for each.
    async fn read_both(&mut self, what: &str, done: impl Fn(&Stream) -> bool) -> Result<(), Finding> {
        let until = Instant::now() + PATIENCE;
        let (left, right) = tokio::join!(self.left.read_until(until, &done), self.right.read_until(until, &done));
        for (name, outcome) in [("left", left), ("right", right)] {
            if !outcome.map_err(|why| format!("{name}: {why}"))? {
                return Err(format!("{name}: {what} did not come within {PATIENCE:?}"));
            }
        }
        Ok(())
    }

    async fn send(&mut self, union: RequestUnion) -> Result<(), Finding> {
        self.left.send(union.clone()).await.map_err(|why| format!("left: {why}"))?;
        self.right.send(union).await.map_err(|why| format!("right: {why}"))
    }

    /// Compares the two answers to a create and notes the watcher if there is one now.
    async fn created(
        &mut self,
        request: pb::WatchCreateRequest,
        owner: Option<String>,
        (current, compact): (i64, i64),
    ) -> Result<String, Finding> {
        self.read_both("the answer to a create", |stream| !stream.created.is_empty()).await?;
        let (left, right) = (self.left.created.pop_front(), self.right.created.pop_front());
        let (Some(left), Some(right)) = (left, right) else { return Err("no answer to a create".to_owned()) };
        if left != right {
            return Err(format!("answers to a create differ\n  left  {left:?}\n  right {right:?}"));
        }
        if left.canceled {
            return Ok(format!("{left:?}"));
        }
        for stream in [&mut self.left, &mut self.right] {
            stream.last.insert(left.watch_id, (0, request.fragment));
            stream.events.remove(&left.watch_id);
            stream.canceled.remove(&left.watch_id);
            stream.progress.1.remove(&left.watch_id);
        }
        let past = request.start_revision > 0 && request.start_revision <= current;
        let from = if request.start_revision == 0 { current + 1 } else { request.start_revision };
        let doomed = past && request.start_revision < compact;
        self.maybe_behind |= past && !doomed;
        self.watchers.insert(left.watch_id, Watcher { request, from, doomed, owner });
        Ok(format!("{left:?}"))
    }

    async fn drain(&mut self, history: &[Event], current: i64) -> Result<usize, Finding> {
        let ids: Vec<i64> = self.watchers.keys().copied().collect();
        let mut drained = 0;
        for id in ids {
            let watcher = &self.watchers[&id];
            if watcher.doomed {
                self.compare_cancel(id).await?;
                self.ghosts.insert(id);
                continue;
            }
            let from =
                history.partition_point(|event| event.kv.as_ref().is_some_and(|kv| kv.mod_revision < watcher.from));
            let owed: Vec<&Event> = history[from..].iter().filter(|event| watcher.wants(event)).collect();
            let count = owed.len();
            let request = format!("{:?}", watcher.request);
            let what = format!("{count} events of watcher {id} ({request})");
            self.read_both(&what, |stream| stream.events.get(&id).map_or(0, Vec::len) >= count).await?;
            let left = self.left.events.remove(&id).unwrap_or_default();
            let right = self.right.events.remove(&id).unwrap_or_default();
            compare_events(id, &request, &owed, &left, &right)?;
            for (name, stream) in [("left", &self.left), ("right", &self.right)] {
                let (revision, counts) = &stream.progress;
                let before =
                    owed.iter().filter(|event| event.kv.as_ref().is_some_and(|kv| kv.mod_revision <= *revision));
                // A watcher created after the progress answer owes nothing to it.
                let (before, Some(delivered)) = (before.count(), counts.get(&id)) else { continue };
                if before > *delivered {
                    return Err(format!(
                        "{name}: progress at {revision} came before event {} of {before} of watcher {id}",
                        delivered + 1
                    ));
                }
            }
            drained += count;
            if let Some(watcher) = self.watchers.get_mut(&id) {
                watcher.from = watcher.from.max(current + 1);
            }
        }
        self.left.progress.1.clear();
        self.right.progress.1.clear();
        Ok(drained)
    }

    async fn compare_cancel(&mut self, id: i64) -> Result<(), Finding> {
        self.read_both("a cancel", |stream| stream.canceled.contains_key(&id)).await?;
        let (left, right) = (self.left.canceled.remove(&id), self.right.canceled.remove(&id));
        self.watchers.remove(&id);
        if left != right {
            return Err(format!("cancels of watcher {id} differ\n  left  {left:?}\n  right {right:?}"));
        }
        Ok(())
    }

    /// The right side ends a watcher by itself, for this reason; the left one is told to.
    async fn cut(&mut self, id: i64, reason: &str) -> Result<(), Finding> {
        self.left.send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: id })).await?;
        self.read_both("the end of a watch", |stream| stream.canceled.contains_key(&id)).await?;
        self.left.canceled.remove(&id);
        let told = self.right.canceled.remove(&id).map(|response| response.cancel_reason);
        self.watchers.remove(&id);
        match told {
            Some(told) if told == reason => Ok(()),
            told => Err(format!("watcher {id} is to be told {reason:?}, and is told {told:?}")),
        }
    }

    /// Waits until every watcher has caught up on both sides: a server answers a progress request only then, and drops
    /// it silently before, so it is asked again.
    async fn catch_up(&mut self, current: i64) -> Result<(), Finding> {
        let began = Instant::now();
        loop {
            self.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await?;
            let until = Instant::now() + Duration::from_millis(30);
            let done = |stream: &Stream| stream.progress.0 >= current;
            let (left, right) = tokio::join!(self.left.read_until(until, done), self.right.read_until(until, done));
            let left = left.map_err(|why| format!("left: {why}"))?;
            let right = right.map_err(|why| format!("right: {why}"))?;
            if left && right {
                break;
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("no progress answer at revision {current}: left {left}, right {right}"));
            }
        }
        let (left, right) = (self.left.progress.0, self.right.progress.0);
        if left != right {
            return Err(format!("progress answers differ: left {left}, right {right}"));
        }
        self.maybe_behind = false;
        Ok(())
    }
}

fn compare_events(id: i64, request: &str, owed: &[&Event], left: &[Event], right: &[Event]) -> Result<(), Finding> {
    if left != right {
        let at = left.iter().zip(right).take_while(|(l, r)| l == r).count();
        return Err(format!(
            "events of watcher {id} ({request}) differ at {at} of {}\n  left  {:?}\n  right {:?}",
            owed.len(),
            left.get(at),
            right.get(at)
        ));
    }
    let same = |owed: &Event, had: &Event| owed.r#type == had.r#type && owed.kv == had.kv;
    if left.len() != owed.len() || !owed.iter().zip(left).all(|(owed, had)| same(owed, had)) {
        return Err(format!(
            "watcher {id} ({request}): both sides disagree with the witness\n  owed {owed:?}\n  had  {left:?}"
        ));
    }
    Ok(())
}

/// All streams of a sequence, and the witness.
pub struct Watching {
    witness: Pair,
    streams: Vec<Pair>,
    history: Vec<Event>,
    /// Events after this revision are in the history.
    pub base: i64,
}

impl Watching {
    /// Starts the witness. `current` is the revision of both sides.
    pub async fn begin(left: &Side, right: &Side, current: i64) -> Result<Self, Finding> {
        let everything = pb::WatchCreateRequest {
            key: Bytes::from_static(&[0]),
            range_end: Bytes::from_static(&[0]),
            ..Default::default()
        };
        let mut witness = Pair::open(left, right, &everything).await?;
        witness.created(everything, None, (current, 0)).await?;
        Ok(Self { witness, streams: Vec::new(), history: Vec::new(), base: current })
    }

    /// Ends all streams but the witness and opens `count` new ones, each with a watcher on `key`.
    pub async fn reopen(
        &mut self,
        (left, right): (&Side, &Side),
        count: usize,
        key: &[u8],
        current: i64,
    ) -> Result<(), Finding> {
        self.streams.clear();
        for _ in 0..count {
            let first = pb::WatchCreateRequest { key: key.to_vec().into(), ..Default::default() };
            let mut pair = Pair::open(left, right, &first).await?;
            pair.created(first, None, (current, 0)).await?;
            self.streams.push(pair);
        }
        Ok(())
    }

    /// Creates a watcher on both sides and compares the answers; returns the answer both gave.
    pub async fn create(
        &mut self,
        stream: usize,
        request: pb::WatchCreateRequest,
        owner: Option<String>,
        at: (i64, i64),
    ) -> Result<String, Finding> {
        let pair = &mut self.streams[stream];
        pair.send(RequestUnion::CreateRequest(request.clone())).await?;
        pair.created(request, owner, at).await
    }

    /// Opens a stream in the place of another, or as a further one, by its first request; returns the answer both gave.
    pub async fn open(
        &mut self,
        stream: usize,
        (left, right): (&Side, &Side),
        first: pb::WatchCreateRequest,
        owner: Option<String>,
        at: (i64, i64),
    ) -> Result<String, Finding> {
        let mut pair = Pair::open(left, right, &first).await?;
        let answer = pair.created(first, owner, at).await?;
        self.streams.truncate(self.streams.len().max(stream));
        match self.streams.get_mut(stream) {
            Some(place) => *place = pair,
            None => self.streams.push(pair),
        }
        Ok(answer)
    }

    /// After a change of users or roles, with everything drained before it: quorate ends each watch whose owner may not
    /// read its range any more, for the reason that `why` gives, and no other; stock etcd lets them go on, and is told to end
    /// them.
    pub async fn cut(&mut self, why: impl Fn(Option<&str>, &[u8], &[u8]) -> Option<String>) -> Result<(), Finding> {
        for pair in &mut self.streams {
            let cut: Vec<(i64, String)> = pair
                .watchers
                .iter()
                .filter_map(|(id, it)| {
                    let (key, end) = (&it.request.key, &it.request.range_end);
                    why(it.owner.as_deref(), key, end).map(|reason| (*id, reason))
                })
                .collect();
            for (id, reason) in cut {
                pair.cut(id, &reason).await?;
            }
        }
        self.none_cut()
    }

    /// A watch of this stream that should not be, by what `why` says.
    pub fn forbidden(
        &self,
        stream: usize,
        why: impl Fn(Option<&str>, &[u8], &[u8]) -> Option<String>,
    ) -> Option<String> {
        let mut watchers = self.streams[stream].watchers.values();
        watchers.find_map(|it| why(it.owner.as_deref(), &it.request.key, &it.request.range_end))
    }

    /// That nothing has ended that nobody ended.
    pub fn none_cut(&self) -> Result<(), Finding> {
        let ended = |pair: &Pair| {
            let ended = pair.left.canceled.values().chain(pair.right.canceled.values());
            ended.map(|response| format!("a watch ended by itself: {response:?}")).next()
        };
        self.streams.iter().chain([&self.witness]).find_map(ended).map_or(Ok(()), Err)
    }

    /// Cancels a watcher on both sides; an id that is not there is ignored by the servers. True when
    /// it was there.
    pub async fn cancel(&mut self, stream: usize, id: i64, current: i64) -> Result<bool, Finding> {
        // An event under way would race with the cancel.
        self.drain(current).await?;
        let pair = &mut self.streams[stream];
        let known = pair.watchers.contains_key(&id) || pair.ghosts.remove(&id);
        pair.send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: id })).await?;
        if known {
            pair.compare_cancel(id).await?;
        }
        Ok(known)
    }

    /// Asks for progress and compares, on a stream that has watchers.
    pub async fn progress(&mut self, stream: usize, current: i64) -> Result<(), Finding> {
        if self.streams[stream].watchers.is_empty() { Ok(()) } else { self.streams[stream].catch_up(current).await }
    }

    /// The ids of the watchers of a stream, those cancelled by the server included.
    pub fn ids(&self, stream: usize) -> Vec<i64> {
        let pair = &self.streams[stream];
        pair.watchers.keys().chain(&pair.ghosts).copied().collect()
    }

    /// Waits until everything up to `current` was delivered everywhere, and compares it. Returns how many events.
    pub async fn drain(&mut self, current: i64) -> Result<usize, Finding> {
        if current > self.base {
            let reached = |stream: &Stream| stream.last.values().any(|(last, _)| *last >= current);
            let known = self.history.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
            if known < current {
                self.witness.read_both(&format!("revision {current} at the witness"), reached).await?;
                let left: Vec<Event> = self.witness.left.events.remove(&0).unwrap_or_default();
                let right: Vec<Event> = self.witness.right.events.remove(&0).unwrap_or_default();
                let owed: Vec<&Event> = left.iter().collect();
                compare_events(0, "the witness", &owed, &left, &right)?;
                self.history.extend(left);
            }
        }
        let mut drained = 0;
        for pair in &mut self.streams {
            drained += pair.drain(&self.history, current).await?;
        }
        Ok(drained)
    }

    /// After this no watcher can be overtaken by a compaction: everything is delivered and everyone has caught up.
    pub async fn settle(&mut self, current: i64) -> Result<usize, Finding> {
        let drained = self.drain(current).await?;
        for pair in &mut self.streams {
            if pair.maybe_behind && !pair.watchers.is_empty() {
                pair.catch_up(current).await?;
            }
        }
        Ok(drained)
    }
}
