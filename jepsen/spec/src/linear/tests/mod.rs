//! The checker against histories known to be good and known to be bad, against brute force, and against its own
//! promise to visit few states.

mod brute;
mod cost;
mod table;

use crate::Model;
use crate::history::{Call, Operation, Outcome};
use crate::request::*;

use super::*;

/// A history under construction; the interval of each operation is given with it.
#[derive(Default)]
struct Story {
    operations: Vec<Operation>,
}

impl Story {
    fn add(mut self, (called_at, returned_at): (u64, u64), call: Call, outcome: Outcome) -> Self {
        let id = self.operations.len() as u64;
        let operation = Operation { id, client: id as u32, called_at, returned_at, call, outcome, index: None };
        self.operations.push(operation);
        self
    }

    fn done(self, when: (u64, u64), request: Request, answer: Answer, revision: i64) -> Self {
        self.add(when, Call::Change(request), Outcome::Done { answer, revision })
    }

    fn wrote(self, when: (u64, u64), key: &str, value: &str, revision: i64) -> Self {
        self.done(when, put(key, value), Answer::Put { prev_kv: None }, revision)
    }

    fn refused(self, when: (u64, u64), request: Request, refusal: &str) -> Self {
        self.add(when, Call::Change(request), Outcome::Refused(refusal.to_string()))
    }

    fn surely_not(self, when: (u64, u64), request: Request) -> Self {
        self.add(when, Call::Change(request), Outcome::SurelyNot("etcdserver: too many requests".to_string()))
    }

    fn open(self, when: (u64, u64), request: Request) -> Self {
        self.add(when, Call::Change(request), Outcome::Unknown("etcdserver: request timed out".to_string()))
    }

    fn read(self, when: (u64, u64), query: Range, kvs: &[KeyValue], revision: i64) -> Self {
        self.ranged(when, query, kvs, revision, false)
    }

    fn read_old(self, when: (u64, u64), query: Range, kvs: &[KeyValue], revision: i64) -> Self {
        self.ranged(when, query, kvs, revision, true)
    }

    fn ranged(self, when: (u64, u64), query: Range, kvs: &[KeyValue], revision: i64, serializable: bool) -> Self {
        let answer = RangeAnswer { kvs: kvs.to_vec(), more: false, count: kvs.len() as i64, revision };
        let outcome = Outcome::Done { answer: Answer::Range(answer), revision };
        self.add(when, Call::Range { query, serializable }, outcome)
    }

    fn by(mut self, client: u32) -> Self {
        self.operations.last_mut().unwrap().client = client;
        self
    }

    fn judged(&self) -> Verdict {
        check(&self.operations, &start(true), Bounds::default()).verdict
    }
}

fn start(leases_expire: bool) -> Start {
    Start { model: Model::new(2), leases_expire }
}

fn put(key: &str, value: &str) -> Request {
    Request::Put(Put { key: key.into(), value: value.into(), ..Put::default() })
}

fn leased(key: &str, value: &str, lease: i64) -> Request {
    Request::Put(Put { key: key.into(), value: value.into(), lease, ..Put::default() })
}

fn delete(span: Span) -> Request {
    Request::DeleteRange(DeleteRange { span, prev_kv: false })
}

fn one(key: &str) -> Range {
    Range { span: Span::one(key), ..Range::default() }
}

fn all() -> Range {
    Range { span: Span::all(), ..Range::default() }
}

fn kv(key: &str, value: &str, (create_revision, mod_revision, version): (i64, i64, i64)) -> KeyValue {
    KeyValue { key: key.into(), value: value.into(), create_revision, mod_revision, version, lease: 0 }
}

/// Writes `value` if the key still has this mod revision.
fn swap(key: &str, mod_revision: i64, value: &str) -> Request {
    let compare = Compare { span: Span::one(key), target: Target::Mod(mod_revision), result: 0 };
    let Request::Put(put) = put(key, value) else { unreachable!() };
    Request::Txn(Txn { compares: vec![compare], success: vec![Op::Put(put)], failure: Vec::new() })
}

fn swapped(revision: i64) -> Answer {
    Answer::Txn(TxnAnswer { succeeded: true, answers: vec![OpAnswer::Put { prev_kv: None, revision }] })
}

fn not_swapped() -> Answer {
    Answer::Txn(TxnAnswer { succeeded: false, answers: Vec::new() })
}

/// An order found must be one: every operation that is done once, in its interval, answered as walked.
fn is_an_order(operations: &[Operation], order: &[Place], start: &Start) {
    let mut model = start.model.clone();
    let mut seen = std::collections::BTreeSet::new();
    let mut at = 0;
    for place in order {
        assert!(place.at >= at, "time falls: {order:?}");
        at = place.at;
        match place.placed {
            Placed::Expiry(id) => drop(model.apply(&Request::LeaseRevoke { id })),
            Placed::Operation(number) => {
                let operation = &operations[number];
                assert!(seen.insert(number), "{number} twice: {order:?}");
                assert!(place.at >= operation.called_at);
                let open = matches!(operation.outcome, Outcome::Unknown(_));
                assert!(open || place.at <= operation.returned_at, "{number} is late: {order:?}");
                assert!(brute::agrees(&mut model, operation), "{number}: {order:?}");
            }
        }
        assert_eq!(model.revision(), place.revision);
    }
    for (number, operation) in operations.iter().enumerate() {
        let must = matches!(operation.outcome, Outcome::Done { .. } | Outcome::Refused(_)) && !brute::is_old(operation);
        assert!(!must || seen.contains(&number), "{number} is missing: {order:?}");
    }
}
