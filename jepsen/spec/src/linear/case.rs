//! A history made ready for the search: who may go when, and what the answers give away about the order.
//!
//! Every answer carries a revision, and each revision is made by one operation. That leaves little to search:
//! what was done is placed at its revision ([`Want::Done`]), a revision whose maker is known is made by nobody
//! else ([`Case::makers`]), and a key-value that was seen tells what its revision wrote ([`Case::seen`]).

use std::collections::{BTreeMap, HashMap};

use crate::history::{Call, Effect, Operation, Outcome};
use crate::request::{Answer, Bytes, KeyValue, Op, OpAnswer, Range, RangeAnswer, Request, Txn, TxnAnswer};

use super::{Placed, Session, Start};

/// What becomes of serializable reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Old {
    LeftOut,
    Within(Session),
}

/// What a task asks.
pub enum Ask {
    Change(Request),
    Range(Range),
    ReadOnlyTxn(Txn),
}

/// What a task must come to.
pub enum Want {
    Done {
        answer: Answer,
        revision: i64,
    },
    Refused(String),
    /// Anything, or nothing.
    Open,
}

/// What else a change that no revision shows could make a difference to, and what could make one to it.
#[derive(Default)]
pub struct Touched {
    /// The leases that are granted, revoked, or attached to.
    pub leases: Vec<i64>,
    /// Looks at a revision by its number, so that a compaction matters.
    pub past: bool,
    compacts: bool,
    changes: bool,
    alarms: bool,
}

impl Touched {
    /// Whether the order of the two can matter where neither changes a key.
    pub fn meets(&self, other: &Self) -> bool {
        self.leases.iter().any(|lease| other.leases.contains(lease))
            || (self.compacts && other.past)
            || (other.compacts && self.past)
            || (self.alarms && other.changes)
            || (other.alarms && self.changes)
    }
}

/// One operation, or one possible expiry.
pub struct Task {
    pub placed: Placed,
    pub called: u64,
    pub ask: Ask,
    pub want: Want,
    pub touched: Touched,
    /// A task that must be placed before.
    pub after: Option<usize>,
}

impl Task {
    /// The revision in its header, if that is the store's in the moment it took effect. etcd fills in an alarm's
    /// when it answers, later.
    pub fn revision(&self) -> Option<i64> {
        match (&self.ask, &self.want) {
            (Ask::Change(Request::Alarm { .. }), _) => None,
            (_, Want::Done { revision, .. }) => Some(*revision),
            _ => None,
        }
    }
}

/// A key-value as some answer showed it.
pub struct Seen {
    kv: KeyValue,
    keys_only: bool,
    /// A revision at which it was so.
    at: i64,
}

impl Seen {
    /// Whether it is `kv`.
    pub fn is(&self, kv: &KeyValue) -> bool {
        if !self.keys_only {
            return self.kv == *kv;
        }
        (&self.kv.key, self.kv.create_revision, self.kv.version) == (&kv.key, kv.create_revision, kv.version)
    }
}

/// One end of a task, as the list of all ends holds them in order of time.
#[derive(Clone, Copy)]
pub struct End {
    pub at: u64,
    pub task: usize,
    pub returns: bool,
}

/// See the module's head.
pub struct Case {
    pub tasks: Vec<Task>,
    /// Calls and returns of all that is done, in order of time. At the same moment calls come first: then the two
    /// count as concurrent, which turns nothing away that has an order.
    pub ends: Vec<End>,
    /// Tasks of open outcome, those with equal requests together, in order of their calls. Equal ones can stand for
    /// each other, and whenever a later one may go an earlier one may: so only the first of each is looked at.
    pub open_groups: Vec<Vec<usize>>,
    /// Operations of open outcome, expiries not counted.
    pub open: usize,
    /// By revision: the tasks whose answer says that they made it.
    pub makers: BTreeMap<i64, Vec<usize>>,
    /// By mod revision: what was seen.
    pub seen: BTreeMap<i64, Vec<Seen>>,
    /// By key: the revision it was written at and one at which that was still the last, for each that was seen.
    pub at_rest: HashMap<Bytes, Vec<(i64, i64)>>,
}

impl Case {
    pub fn new(operations: &[Operation], start: &Start, old: Old) -> Self {
        let mut case = Self {
            tasks: Vec::new(),
            ends: Vec::new(),
            open_groups: Vec::new(),
            open: 0,
            makers: BTreeMap::new(),
            seen: BTreeMap::new(),
            at_rest: HashMap::new(),
        };
        let mut groups: HashMap<Request, Vec<usize>> = HashMap::new();
        let mut sessions: HashMap<u32, usize> = HashMap::new();
        let mut order: Vec<usize> = (0..operations.len()).collect();
        order.sort_by_key(|at| (operations[*at].called_at, operations[*at].returned_at));
        for at in order {
            let operation = &operations[at];
            let serializable = is_serializable(&operation.call);
            if serializable && old == Old::LeftOut {
                continue;
            }
            let Some(mut task) = task_of(at, operation) else { continue };
            if serializable {
                // Any moment before the answer will do.
                task.called = 0;
            }
            if serializable && old == Old::Within(Session::Monotone) {
                task.after = sessions.insert(operation.client, case.tasks.len());
            }
            if start.leases_expire {
                case.add_expiry(&task, &mut groups);
            }
            case.add(task, operation.returned_at, &mut groups);
        }
        case.ends.sort_by_key(|end| (end.at, end.returns, end.task));
        case.open_groups = groups.into_values().collect();
        for group in &mut case.open_groups {
            group.sort_by_key(|task| (case.tasks[*task].called, *task));
        }
        case.open_groups.sort_by_key(|group| (case.tasks[group[0]].called, group[0]));
        case
    }

    fn add(&mut self, task: Task, returned: u64, groups: &mut HashMap<Request, Vec<usize>>) {
        let number = self.tasks.len();
        if let (Want::Open, Ask::Change(request)) = (&task.want, &task.ask) {
            groups.entry(request.clone()).or_default().push(number);
            self.open += usize::from(matches!(task.placed, Placed::Operation(_)));
        } else {
            self.ends.push(End { at: task.called, task: number, returns: false });
            self.ends.push(End { at: returned, task: number, returns: true });
        }
        if let Want::Done { answer, revision } = &task.want {
            if made_a_revision(answer) {
                self.makers.entry(*revision).or_default().push(number);
            }
            for seen in shown(&task.ask, answer, *revision) {
                if seen.kv.mod_revision < seen.at {
                    let spells = self.at_rest.entry(seen.kv.key.clone()).or_default();
                    spells.push((seen.kv.mod_revision, seen.at));
                }
                self.seen.entry(seen.kv.mod_revision).or_default().push(seen);
            }
        }
        self.tasks.push(task);
    }

    /// What was granted may expire, at any time after the grant was asked for. (Not sooner than its seconds, which
    /// another judge holds against the clock.)
    fn add_expiry(&mut self, grant: &Task, groups: &mut HashMap<Request, Vec<usize>>) {
        let Ask::Change(Request::LeaseGrant { id, .. }) = &grant.ask else { return };
        if matches!(grant.want, Want::Refused(_)) {
            return;
        }
        let ask = Ask::Change(Request::LeaseRevoke { id: *id });
        let touched = touched_by(&ask);
        let called = grant.called;
        self.add(Task { placed: Placed::Expiry(*id), called, ask, want: Want::Open, touched, after: None }, 0, groups);
    }
}

fn is_serializable(call: &Call) -> bool {
    matches!(call, Call::Range { serializable: true, .. } | Call::ReadOnlyTxn { serializable: true, .. })
}

/// The task of an operation, unless it can have had no effect that anybody could see.
fn task_of(at: usize, operation: &Operation) -> Option<Task> {
    let ask = match &operation.call {
        Call::Change(request) => Ask::Change(request.clone()),
        Call::Range { query, .. } => Ask::Range(query.clone()),
        Call::ReadOnlyTxn { txn, .. } => Ask::ReadOnlyTxn(txn.clone()),
    };
    if operation.outcome.effect() == Effect::SurelyNot {
        return None;
    }
    let want = match &operation.outcome {
        Outcome::Done { answer, revision } => Want::Done { answer: answer.clone(), revision: *revision },
        Outcome::Refused(text) => Want::Refused(text.clone()),
        Outcome::SurelyNot(_) | Outcome::Unknown(_) => Want::Open,
    };
    let ask = match (ask, &want) {
        (Ask::Change(Request::LeaseGrant { id: 0, ttl }), want) => {
            let id = match want {
                Want::Done { answer: Answer::LeaseGrant { id, .. }, .. } => *id,
                // The store chose an id that nobody was told, so nobody can use it.
                Want::Open => return None,
                // One that the model knows to be free: no other request speaks of it.
                _ => i64::MIN + at as i64,
            };
            Ask::Change(Request::LeaseGrant { id, ttl })
        }
        (Ask::Range(_) | Ask::ReadOnlyTxn(_), Want::Open) => return None,
        (ask, _) => ask,
    };
    let touched = touched_by(&ask);
    Some(Task { placed: Placed::Operation(at), called: operation.called_at, ask, want, touched, after: None })
}

fn touched_by(ask: &Ask) -> Touched {
    let mut touched = Touched::default();
    match ask {
        Ask::Range(query) => touched.past = query.revision > 0,
        Ask::ReadOnlyTxn(txn) => touch_txn(txn, &mut touched),
        Ask::Change(request) => {
            touched.changes = true;
            match request {
                Request::Put(put) => touched.leases.push(put.lease),
                Request::Txn(txn) => touch_txn(txn, &mut touched),
                Request::Compact { .. } => (touched.past, touched.compacts) = (true, true),
                Request::LeaseGrant { id, .. } | Request::LeaseRevoke { id } => touched.leases.push(*id),
                Request::Alarm { .. } => touched.alarms = true,
                Request::DeleteRange(_) | Request::Other => {}
            }
        }
    }
    touched.leases.retain(|lease| *lease != 0);
    touched
}

/// Both branches: which one is taken is not known yet.
fn touch_txn(txn: &Txn, touched: &mut Touched) {
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Range(query) => touched.past |= query.revision != 0,
            Op::Put(put) => touched.leases.push(put.lease),
            Op::DeleteRange(_) => {}
            Op::Txn(nested) => touch_txn(nested, touched),
        }
    }
}

/// Whether the answer alone says that something changed.
fn made_a_revision(answer: &Answer) -> bool {
    fn wrote(answer: &TxnAnswer) -> bool {
        answer.answers.iter().any(|answer| match answer {
            OpAnswer::Put { .. } => true,
            OpAnswer::DeleteRange { deleted, .. } => *deleted > 0,
            OpAnswer::Txn(nested) => wrote(nested),
            OpAnswer::Range(_) => false,
        })
    }
    match answer {
        Answer::Put { .. } => true,
        Answer::DeleteRange { deleted, .. } => *deleted > 0,
        Answer::Txn(answer) => wrote(answer),
        _ => false,
    }
}

/// Every key-value an answer shows; `revision` is its header's.
fn shown(ask: &Ask, answer: &Answer, revision: i64) -> Vec<Seen> {
    // A change may have made its revision; what it shows of before was so at the one before, at least.
    let at = if matches!(ask, Ask::Change(_)) { revision - 1 } else { revision };
    let mut shown = Vec::new();
    match (ask, answer) {
        (_, Answer::Put { prev_kv }) => show(prev_kv.iter(), false, at, &mut shown),
        (_, Answer::DeleteRange { prev_kvs, .. }) => show(prev_kvs.iter(), false, at, &mut shown),
        (Ask::Range(query), Answer::Range(answer)) => show_range(query, answer, at, &mut shown),
        (Ask::Change(Request::Txn(txn)) | Ask::ReadOnlyTxn(txn), Answer::Txn(answer)) => {
            show_txn(txn, answer, at, &mut shown);
        }
        _ => {}
    }
    shown
}

fn show<'a>(kvs: impl Iterator<Item = &'a KeyValue>, keys_only: bool, at: i64, shown: &mut Vec<Seen>) {
    shown.extend(kvs.map(|kv| Seen { kv: kv.clone(), keys_only, at }));
}

fn show_range(query: &Range, answer: &RangeAnswer, now: i64, shown: &mut Vec<Seen>) {
    let at = if query.revision > 0 { query.revision } else { now };
    show(answer.kvs.iter(), query.keys_only, at, shown);
}

fn show_txn(txn: &Txn, answer: &TxnAnswer, at: i64, shown: &mut Vec<Seen>) {
    let ops = if answer.succeeded { &txn.success } else { &txn.failure };
    for (op, answer) in ops.iter().zip(&answer.answers) {
        match (op, answer) {
            (Op::Range(query), OpAnswer::Range(answer)) => show_range(query, answer, at, shown),
            (Op::Txn(nested), OpAnswer::Txn(answer)) => show_txn(nested, answer, at, shown),
            (_, OpAnswer::Put { prev_kv, .. }) => show(prev_kv.iter(), false, at, shown),
            (_, OpAnswer::DeleteRange { prev_kvs, .. }) => show(prev_kvs.iter(), false, at, shown),
            _ => {}
        }
    }
}
