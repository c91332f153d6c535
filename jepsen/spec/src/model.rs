//! The sequential model: one request after the other, each answered as etcd would.
//!
//! Invariants: `states` holds the whole key space after every revision from 1 on, and `events` what each
//! revision changed; nothing is ever removed, so the past stays known even behind a compaction (a judge needs
//! it). The model knows no time: an expiry is a revoke.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::range;
use crate::request::{
    AlarmKind, Answer, Bytes, Compare, DeleteRange, Event, KeyValue, Op, OpAnswer, Put, Range, RangeAnswer, Refusal,
    Request, Span, Target, Txn, TxnAnswer, text,
};
pub use crate::state::State;

/// Longest lease, in seconds.
pub const MAX_LEASE_TTL: i64 = 9_000_000_000;

/// What one request did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// What the client hears.
    pub answer: Result<Answer, Refusal>,
    /// The store's revision afterwards, as the header tells it.
    pub revision: i64,
    /// What changed, in order.
    pub events: Vec<Event>,
}

/// Where a reader stands: what is current and what is forgotten, for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Vantage {
    /// The current revision.
    pub revision: i64,
    /// The revision of the last compaction; −1 before the first.
    pub compacted: i64,
}

/// A store.
#[derive(Clone, Debug)]
pub struct Model {
    revision: i64,
    compacted: i64,
    min_ttl: i64,
    states: BTreeMap<i64, Arc<State>>,
    events: BTreeMap<i64, Vec<Event>>,
    leases: BTreeMap<i64, i64>,
    alarms: BTreeSet<(u64, AlarmKind)>,
}

/// What is needed to take a request back: where the store stood before it.
#[derive(Clone, Debug)]
pub struct Undo {
    revision: i64,
    compacted: i64,
    /// The lease the request speaks of, with its time to live if it was there.
    lease: Option<(i64, Option<i64>)>,
    /// The alarm the request speaks of, and whether it stood.
    alarm: Option<((u64, AlarmKind), bool)>,
}

/// A write transaction under way: the state as its next operation sees it.
struct Writing {
    before: Arc<State>,
    now: State,
    revision_before: i64,
    events: Vec<Event>,
}

impl Model {
    /// An empty store, which stands at revision 1. Leases live at least `min_ttl` seconds.
    pub fn new(min_ttl: i64) -> Self {
        Self {
            revision: 1,
            compacted: -1,
            min_ttl,
            states: BTreeMap::from([(1, Arc::new(State::default()))]),
            events: BTreeMap::new(),
            leases: BTreeMap::new(),
            alarms: BTreeSet::new(),
        }
    }

    /// The current revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The revision of the last compaction; −1 before the first.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// The leases that exist, with the time to live each was granted.
    pub fn leases(&self) -> &BTreeMap<i64, i64> {
        &self.leases
    }

    /// The keys attached to a lease, in order.
    pub fn keys_of_lease(&self, lease: i64) -> Vec<Bytes> {
        let state = self.current();
        state.keys.values().filter(|kv| kv.lease == lease).map(|kv| kv.key.clone()).collect()
    }

    /// The alarms that stand.
    pub fn alarms(&self) -> &BTreeSet<(u64, AlarmKind)> {
        &self.alarms
    }

    /// The key space at `revision`, also behind a compaction.
    pub fn state_at(&self, revision: i64) -> Option<&Arc<State>> {
        self.states.get(&revision)
    }

    /// What `revision` changed.
    pub fn events_of(&self, revision: i64) -> &[Event] {
        self.events.get(&revision).map_or(&[], Vec::as_slice)
    }

    /// The revisions after which something had changed, from `first` on, with their changes.
    pub fn events_from(&self, first: i64) -> impl Iterator<Item = (i64, &Vec<Event>)> {
        self.events.range(first..).map(|(revision, events)| (*revision, events))
    }

    fn current(&self) -> Arc<State> {
        Arc::clone(&self.states[&self.revision])
    }

    /// Where a reader stands now.
    pub fn vantage(&self) -> Vantage {
        Vantage { revision: self.revision, compacted: self.compacted }
    }

    /// Answers a read of the present or of the past, as seen now.
    ///
    /// # Errors
    /// The refusal's text: the revision is compacted or still to come.
    pub fn range(&self, query: &Range) -> Result<RangeAnswer, Refusal> {
        self.range_at(self.vantage(), query)
    }

    /// Answers a read as it was seen from `at`, which must have been so.
    ///
    /// # Errors
    /// As [`Model::range`].
    pub fn range_at(&self, at: Vantage, query: &Range) -> Result<RangeAnswer, Refusal> {
        let state = self.readable(at, query.revision)?;
        Ok(range::read(&state, query, at.revision))
    }

    /// Whether `got` is what a reader at `at` may hear; etcd's sort leaves the order of ties open.
    pub fn admits_range(&self, at: Vantage, query: &Range, got: &Result<RangeAnswer, String>) -> bool {
        match (self.readable(at, query.revision), got) {
            (Ok(state), Ok(answer)) => range::is_answer(&state, query, at.revision, answer),
            (Err(refusal), Err(text)) => refusal == text,
            _ => false,
        }
    }

    fn readable(&self, at: Vantage, revision: i64) -> Result<Arc<State>, Refusal> {
        if revision > at.revision {
            return Err(text::FUTURE_REVISION);
        }
        let seen = if revision <= 0 { at.revision } else { revision };
        if seen < at.compacted {
            return Err(text::COMPACTED);
        }
        Ok(Arc::clone(&self.states[&seen]))
    }

    /// Answers a transaction that only reads, as seen from `at`.
    ///
    /// # Errors
    /// The refusal's text.
    pub fn read_only_txn(&self, at: Vantage, txn: &Txn) -> Result<TxnAnswer, Refusal> {
        assert!(txn.is_read_only(), "a transaction that writes must be applied");
        let state = &self.states[&at.revision];
        self.check_taken(at, txn, &mut Vec::new())?;
        let succeeded = holds(state, txn);
        let taken = if succeeded { &txn.success } else { &txn.failure };
        let mut answers = Vec::new();
        for op in taken {
            let Op::Range(query) = op else { unreachable!("the transaction only reads") };
            answers.push(OpAnswer::Range(self.range_at(at, query)?));
        }
        Ok(TxnAnswer { succeeded, answers })
    }

    /// Whether two answers to a transaction that was done at `at` differ at most where etcd leaves it open:
    /// in the order of ties of a sort.
    pub fn same_answer(&self, at: Vantage, txn: &Txn, want: &TxnAnswer, got: &TxnAnswer) -> bool {
        let ops = if want.succeeded { &txn.success } else { &txn.failure };
        want.succeeded == got.succeeded
            && want.answers.len() == got.answers.len()
            && ops.iter().zip(want.answers.iter().zip(&got.answers)).all(|(op, (want, got))| match (op, want, got) {
                (Op::Range(query), OpAnswer::Range(want), OpAnswer::Range(got)) => {
                    want == got || self.same_ties(at, query, want, got)
                }
                (Op::Txn(txn), OpAnswer::Txn(want), OpAnswer::Txn(got)) => self.same_answer(at, txn, want, got),
                _ => want == got,
            })
    }

    /// A range inside a transaction that wrote sees a state between two revisions; there only the order of
    /// ties is let go, not which of them the limit cuts.
    fn same_ties(&self, at: Vantage, query: &Range, want: &RangeAnswer, got: &RangeAnswer) -> bool {
        if want.revision == at.revision {
            return self.admits_range(at, query, &Ok(got.clone()));
        }
        let sorted = |answer: &RangeAnswer| {
            let mut kvs = answer.kvs.clone();
            kvs.sort();
            (kvs, answer.more, answer.count, answer.revision)
        };
        let in_order = got.kvs.windows(2).all(|pair| {
            let order = range::by_target(query.sort_target, &pair[0], &pair[1]);
            order.is_eq() || order == if query.sort_order == 2 { Greater } else { Less }
        });
        // Keys alone have no value to look at, and a limit may have cut other ties: both are left open here.
        let blind = query.keys_only && query.sort_target == 4;
        let cut = want.more && query.sort_target != 0;
        if cut { want.kvs.len() == got.kvs.len() } else { sorted(want) == sorted(got) && (in_order || blind) }
    }

    /// Does one request.
    pub fn apply(&mut self, request: &Request) -> Step {
        let mut events = Vec::new();
        let answer = match self.alarmed(request) {
            Some(refusal) => Err(refusal),
            None => self.act(request, &mut events),
        };
        Step { answer, revision: self.revision, events }
    }

    /// Notes what `request` is about to change, so that it can be taken back.
    pub fn undo_of(&self, request: &Request) -> Undo {
        let lease = match request {
            Request::LeaseGrant { id, .. } | Request::LeaseRevoke { id } => Some((*id, self.leases.get(id).copied())),
            _ => None,
        };
        let alarm = match request {
            Request::Alarm { member, kind, .. } => Some(((*member, *kind), self.alarms.contains(&(*member, *kind)))),
            _ => None,
        };
        Undo { revision: self.revision, compacted: self.compacted, lease, alarm }
    }

    /// Takes the last request back; `undo` was noted right before it.
    pub fn take_back(&mut self, undo: &Undo) {
        while self.revision > undo.revision {
            self.states.remove(&self.revision);
            self.events.remove(&self.revision);
            self.revision -= 1;
        }
        self.compacted = undo.compacted;
        match undo.lease {
            Some((id, Some(ttl))) => drop(self.leases.insert(id, ttl)),
            Some((id, None)) => drop(self.leases.remove(&id)),
            None => {}
        }
        match undo.alarm {
            Some((alarm, true)) => drop(self.alarms.insert(alarm)),
            Some((alarm, false)) => drop(self.alarms.remove(&alarm)),
            None => {}
        }
    }

    /// Why no request of this kind is let in while an alarm stands, if one does: it is told before anything else.
    pub fn alarmed(&self, request: &Request) -> Option<Refusal> {
        let stands = |kind: AlarmKind| self.alarms.iter().any(|(_, standing)| *standing == kind);
        match request {
            Request::Alarm { .. } | Request::Other => None,
            _ if stands(AlarmKind::Corrupt) => Some(text::CORRUPT),
            Request::Put(_) | Request::LeaseGrant { .. } if stands(AlarmKind::NoSpace) => Some(text::NO_SPACE),
            Request::Txn(txn) if txn.has_put() && stands(AlarmKind::NoSpace) => Some(text::NO_SPACE),
            _ => None,
        }
    }

    fn act(&mut self, request: &Request, events: &mut Vec<Event>) -> Result<Answer, Refusal> {
        match request {
            Request::Put(put) => {
                self.check_lease(put.lease)?;
                self.check_kept(put)?;
                let mut writing = self.begin();
                let prev_kv = writing.put(put);
                *events = self.end(writing);
                Ok(Answer::Put { prev_kv })
            }
            Request::DeleteRange(delete) => {
                let mut writing = self.begin();
                let (deleted, prev_kvs) = writing.delete(delete);
                *events = self.end(writing);
                Ok(Answer::DeleteRange { deleted, prev_kvs })
            }
            Request::Txn(txn) => {
                self.check_taken(self.vantage(), txn, &mut Vec::new())?;
                let mut writing = self.begin();
                let answer = self.run(txn, &mut writing);
                *events = self.end(writing);
                Ok(Answer::Txn(answer))
            }
            Request::Compact { revision } => self.compact(*revision),
            Request::LeaseGrant { id, ttl } => self.grant(*id, *ttl),
            Request::LeaseRevoke { id } => {
                *events = self.revoke(*id)?;
                Ok(Answer::LeaseRevoke)
            }
            Request::Alarm { on, member, kind } => Ok(self.alarm(*on, *member, *kind)),
            Request::Other => Ok(Answer::Done),
        }
    }

    fn begin(&self) -> Writing {
        let before = self.current();
        let now = State::clone(&before);
        Writing { before, now, revision_before: self.revision, events: Vec::new() }
    }

    fn end(&mut self, writing: Writing) -> Vec<Event> {
        if writing.events.is_empty() {
            return Vec::new();
        }
        self.revision += 1;
        self.states.insert(self.revision, Arc::new(writing.now));
        self.events.insert(self.revision, writing.events.clone());
        writing.events
    }

    fn check_lease(&self, lease: i64) -> Result<(), Refusal> {
        if lease != 0 && !self.leases.contains_key(&lease) { Err(text::LEASE_NOT_FOUND) } else { Ok(()) }
    }

    fn check_kept(&self, put: &Put) -> Result<(), Refusal> {
        let keeps = put.ignore_value || put.ignore_lease;
        if keeps && !self.current().keys.contains_key(&put.key) { Err(text::KEY_NOT_FOUND) } else { Ok(()) }
    }

    /// Whether the operations on the path the compares choose can be done, looked at before any is. `gone` are the
    /// ranges deleted so far along the path: what was in them can no longer be kept.
    fn check_taken<'t>(&self, at: Vantage, txn: &'t Txn, gone: &mut Vec<&'t Span>) -> Result<(), Refusal> {
        let taken = if holds(&self.states[&at.revision], txn) { &txn.success } else { &txn.failure };
        for op in taken {
            match op {
                Op::Range(range) if range.revision == 0 => {}
                Op::Range(range) if range.revision > at.revision => return Err(text::FUTURE_REVISION),
                Op::Range(range) if range.revision < at.compacted => return Err(text::COMPACTED),
                Op::Range(_) => {}
                Op::DeleteRange(delete) => gone.push(&delete.span),
                Op::Put(put) => {
                    self.check_lease(put.lease)?;
                    self.check_kept(put)?;
                    let keeps = put.ignore_value || put.ignore_lease;
                    if keeps && gone.iter().any(|span| span.holds(&put.key)) {
                        return Err(text::KEY_NOT_FOUND);
                    }
                }
                Op::Txn(nested) => self.check_taken(at, nested, gone)?,
            }
        }
        Ok(())
    }

    fn run(&self, txn: &Txn, writing: &mut Writing) -> TxnAnswer {
        let succeeded = holds(&writing.before, txn);
        let taken = if succeeded { &txn.success } else { &txn.failure };
        let answers = taken.iter().map(|op| self.run_op(op, writing)).collect();
        TxnAnswer { succeeded, answers }
    }

    fn run_op(&self, op: &Op, writing: &mut Writing) -> OpAnswer {
        match op {
            Op::Range(query) => {
                let seen = if query.revision <= 0 { &writing.now } else { self.states[&query.revision].as_ref() };
                OpAnswer::Range(range::read(seen, query, writing.revision()))
            }
            Op::Put(put) => {
                let prev_kv = writing.put(put);
                OpAnswer::Put { prev_kv, revision: writing.revision() }
            }
            Op::DeleteRange(delete) => {
                let (deleted, prev_kvs) = writing.delete(delete);
                OpAnswer::DeleteRange { deleted, prev_kvs, revision: writing.revision() }
            }
            Op::Txn(nested) => OpAnswer::Txn(self.run(nested, writing)),
        }
    }

    fn compact(&mut self, revision: i64) -> Result<Answer, Refusal> {
        if revision <= self.compacted {
            return Err(text::COMPACTED);
        }
        if revision > self.revision {
            return Err(text::FUTURE_REVISION);
        }
        self.compacted = revision;
        Ok(Answer::Compact)
    }

    fn grant(&mut self, id: i64, ttl: i64) -> Result<Answer, Refusal> {
        if id == 0 {
            return Err(text::LEASE_NOT_FOUND);
        }
        if ttl > MAX_LEASE_TTL {
            return Err(text::LEASE_TTL_TOO_LARGE);
        }
        if self.leases.contains_key(&id) {
            return Err(text::LEASE_EXISTS);
        }
        let ttl = ttl.max(self.min_ttl);
        self.leases.insert(id, ttl);
        Ok(Answer::LeaseGrant { id, ttl })
    }

    fn revoke(&mut self, id: i64) -> Result<Vec<Event>, Refusal> {
        if !self.leases.contains_key(&id) {
            return Err(text::LEASE_NOT_FOUND);
        }
        let mut writing = self.begin();
        for key in self.keys_of_lease(id) {
            writing.delete(&DeleteRange { span: Span::one(key), prev_kv: false });
        }
        self.leases.remove(&id);
        Ok(self.end(writing))
    }

    fn alarm(&mut self, on: bool, member: u64, kind: AlarmKind) -> Answer {
        if on {
            self.alarms.insert((member, kind));
            return Answer::Alarm(vec![(member, kind)]);
        }
        let cleared = self.alarms.remove(&(member, kind));
        Answer::Alarm(if cleared { vec![(member, kind)] } else { Vec::new() })
    }
}

impl Writing {
    /// The revision a response inside the transaction carries: the next one as soon as something changed.
    fn revision(&self) -> i64 {
        if self.events.is_empty() { self.revision_before } else { self.revision_before + 1 }
    }

    fn put(&mut self, put: &Put) -> Option<KeyValue> {
        let old = self.now.keys.get(&put.key).cloned();
        let mod_revision = self.revision_before + 1;
        let (mut value, mut lease) = (put.value.clone(), put.lease);
        let (mut create_revision, mut version) = (mod_revision, 1);
        if let Some(old) = &old {
            (create_revision, version) = (old.create_revision, old.version + 1);
            if put.ignore_value {
                value.clone_from(&old.value);
            }
            if put.ignore_lease {
                lease = old.lease;
            }
        }
        let kv = KeyValue { key: put.key.clone(), value, create_revision, mod_revision, version, lease };
        self.now.keys.insert(put.key.clone(), Arc::new(kv.clone()));
        self.record(false, kv);
        old.filter(|_| put.prev_kv).map(|old| (*old).clone())
    }

    fn delete(&mut self, delete: &DeleteRange) -> (i64, Vec<KeyValue>) {
        let gone: Vec<Arc<KeyValue>> =
            self.now.keys.values().filter(|kv| delete.span.holds(&kv.key)).cloned().collect();
        for old in &gone {
            self.now.keys.remove(&old.key);
            let mod_revision = self.revision_before + 1;
            self.record(true, KeyValue { key: old.key.clone(), mod_revision, ..KeyValue::default() });
        }
        let deleted = gone.len() as i64;
        (deleted, if delete.prev_kv { gone.iter().map(|old| (**old).clone()).collect() } else { Vec::new() })
    }

    /// A watcher hears what the key held before the *revision*, not before the operation, and nothing when
    /// the change created the key.
    fn record(&mut self, deleted: bool, kv: KeyValue) {
        let created = !deleted && kv.create_revision == kv.mod_revision;
        let prev = self.before.keys.get(&kv.key).filter(|_| !created).map(|old| (**old).clone());
        self.events.push(Event { deleted, kv, prev });
    }
}

fn holds(state: &State, txn: &Txn) -> bool {
    txn.compares.iter().all(|compare| compare_holds(state, compare))
}

fn compare_holds(state: &State, compare: &Compare) -> bool {
    let kvs: Vec<&Arc<KeyValue>> = state.keys.values().filter(|kv| compare.span.holds(&kv.key)).collect();
    if kvs.is_empty() {
        // A missing key has no value to compare, and counts as zero in every number.
        return !matches!(compare.target, Target::Value(_)) && one_holds(&KeyValue::default(), compare);
    }
    kvs.into_iter().all(|kv| one_holds(kv, compare))
}

fn one_holds(kv: &KeyValue, compare: &Compare) -> bool {
    let order = match &compare.target {
        Target::Version(operand) => kv.version.cmp(operand),
        Target::Create(operand) => kv.create_revision.cmp(operand),
        Target::Mod(operand) => kv.mod_revision.cmp(operand),
        Target::Lease(operand) => kv.lease.cmp(operand),
        Target::Value(operand) => kv.value.cmp(operand),
        Target::Unknown(_) => Equal,
    };
    match compare.result {
        0 => order == Equal,
        1 => order == Greater,
        2 => order == Less,
        3 => order != Equal,
        _ => true,
    }
}
