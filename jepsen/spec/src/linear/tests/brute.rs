//! Every order tried, without a thought: what the search must agree with on tiny histories.

use proptest::prelude::*;

use super::*;

/// Whether the operation, done now, is answered as recorded; the model is changed.
pub fn agrees(model: &mut Model, operation: &Operation) -> bool {
    let got: (Result<Answer, &str>, i64) = match &operation.call {
        Call::Change(request) => {
            let request = match (request, &operation.outcome) {
                (Request::LeaseGrant { id: 0, ttl }, Outcome::Done { answer: Answer::LeaseGrant { id, .. }, .. }) => {
                    Request::LeaseGrant { id: *id, ttl: *ttl }
                }
                (request, _) => request.clone(),
            };
            let step = model.apply(&request);
            (step.answer, step.revision)
        }
        Call::Range { query, .. } => (model.range(query).map(Answer::Range), model.revision()),
        Call::ReadOnlyTxn { txn, .. } => (model.read_only_txn(model.vantage(), txn).map(Answer::Txn), model.revision()),
    };
    let alarm = matches!(operation.call, Call::Change(Request::Alarm { .. }));
    match &operation.outcome {
        Outcome::Done { answer, revision } => {
            got.0.as_ref() == Ok(answer) && (got.1 == *revision || (alarm && got.1 <= *revision))
        }
        Outcome::Refused(text) => got.0 == Err(text.as_str()),
        Outcome::Unknown(_) => true,
        Outcome::SurelyNot(_) => false,
    }
}

pub fn is_old(operation: &Operation) -> bool {
    matches!(operation.call, Call::Range { serializable: true, .. } | Call::ReadOnlyTxn { serializable: true, .. })
}

/// Whether some order explains everything.
fn explained(model: &Model, left: &[Operation]) -> bool {
    let must = |operation: &&Operation| !matches!(operation.outcome, Outcome::Unknown(_));
    let Some(first_return) = left.iter().filter(must).map(|operation| operation.returned_at).min() else { return true };
    (0..left.len()).filter(|at| left[*at].called_at <= first_return).any(|at| {
        let mut after = model.clone();
        let mut rest = left.to_vec();
        let next = rest.remove(at);
        agrees(&mut after, &next) && explained(&after, &rest)
    })
}

/// What brute force says of the changes and linearizable reads, or of these together with the old reads.
fn brute_force(operations: &[Operation], with_old: bool) -> bool {
    let mut tried = Vec::new();
    for operation in operations {
        if matches!(operation.outcome, Outcome::SurelyNot(_)) || (is_old(operation) && !with_old) {
            continue;
        }
        let mut operation = operation.clone();
        if is_old(&operation) {
            operation.called_at = 0;
        }
        let grant = match (&operation.call, &operation.outcome) {
            (_, Outcome::Refused(_)) => None,
            (Call::Change(Request::LeaseGrant { id, .. }), _) => Some(*id),
            _ => None,
        };
        if let Some(id) = grant {
            let call = Call::Change(Request::LeaseRevoke { id });
            tried.push(Operation { call, outcome: Outcome::Unknown(String::new()), ..operation.clone() });
        }
        tried.push(operation);
    }
    explained(&Model::new(2), &tried)
}

fn call(kind: u8, detail: u8, stamp: usize) -> Call {
    let key = if detail & 1 == 0 { "a" } else { "b" };
    let value = format!("v{stamp}");
    let revision = i64::from(detail % 5);
    let get = |key: &str| Op::Range(one(key));
    let write = |key: &str| Op::Put(Put { key: key.into(), value: value.clone().into(), ..Put::default() });
    let change = match kind {
        0..=2 => put(key, &value),
        3 => Request::Put(Put { key: key.into(), value: value.clone().into(), prev_kv: true, ..Put::default() }),
        4..=5 => leased(key, &value, 1 + i64::from(detail & 2) / 2),
        6 => delete(Span::one(key)),
        7 => delete(Span::all()),
        8 => swap(key, revision, &value),
        9 => {
            let success = vec![get("a"), write("a"), write("b"), get("b")];
            Request::Txn(Txn { success, ..Txn::default() })
        }
        10..=11 => Request::LeaseGrant { id: 1 + i64::from(detail & 1), ttl: 5 },
        12 => Request::LeaseRevoke { id: 1 + i64::from(detail & 1) },
        13 => Request::Compact { revision },
        14 => Request::Alarm { on: detail & 1 == 0, member: 1, kind: AlarmKind::NoSpace },
        15 => return Call::Range { query: Range { revision, ..all() }, serializable: false },
        16 => {
            return Call::Range { query: Range { keys_only: detail & 2 == 0, ..all() }, serializable: detail & 4 == 0 };
        }
        17 => {
            let txn = Txn { success: vec![get("a"), get("b")], ..Txn::default() };
            return Call::ReadOnlyTxn { txn, serializable: false };
        }
        _ => return Call::Range { query: one(key), serializable: false },
    };
    Call::Change(change)
}

/// One step as drawn: what, its detail, when it is called, how long it takes, where in between it takes effect,
/// and how it ends.
type Draw = (u8, u8, u8, u8, u8, u8);

/// Does the steps in the order of their moments, so that there is an order, unless an ending lies.
fn history(draws: &[Draw]) -> Vec<Operation> {
    let mut order: Vec<usize> = (0..draws.len()).collect();
    let moment = |draw: &Draw| u32::from(draw.2) * 100 + u32::from(draw.3) * u32::from(draw.4);
    order.sort_by_key(|at| moment(&draws[*at]));
    let mut model = Model::new(2);
    let mut operations = Vec::new();
    for at in order {
        let (kind, detail, called, long, _, end) = draws[at];
        let call = call(kind, detail, at);
        let (lost, done) = (end == 0, end <= 1);
        let outcome = if lost {
            Outcome::Unknown("it was lost".to_string())
        } else {
            let (answer, revision) = match &call {
                Call::Change(request) => {
                    let step = model.apply(request);
                    (step.answer, step.revision)
                }
                Call::Range { query, .. } => (model.range(query).map(Answer::Range), model.revision()),
                Call::ReadOnlyTxn { txn, .. } => {
                    (model.read_only_txn(model.vantage(), txn).map(Answer::Txn), model.revision())
                }
            };
            match answer {
                _ if done => Outcome::Unknown("it took effect".to_string()),
                // A lie: it took effect.
                Ok(_) if end == 2 => Outcome::SurelyNot("turned away".to_string()),
                Ok(answer) => Outcome::Done { answer, revision },
                Err(text) => Outcome::Refused(text.to_string()),
            }
        };
        let (called_at, returned_at) = (u64::from(called) * 100, u64::from(called) * 100 + u64::from(long) * 100);
        operations.push(Operation { id: at as u64, client: 0, called_at, returned_at, call, outcome, index: None });
    }
    operations
}

/// Spoils one answer: another's, another revision, another refusal; or calls it earlier or later.
fn spoil(operations: &mut [Operation], (which, how): (u8, u8)) {
    let at = usize::from(which) % operations.len();
    let other = operations[usize::from(how / 8) % operations.len()].outcome.clone();
    let operation = &mut operations[at];
    match (how % 8, &mut operation.outcome) {
        (0, Outcome::Done { revision, .. }) => *revision += 1,
        (1, Outcome::Done { revision, .. }) => *revision -= 1,
        (2, outcome) => *outcome = other,
        (3, Outcome::Done { answer: Answer::Range(answer), .. }) => drop(answer.kvs.pop()),
        (4, Outcome::Refused(text)) => *text = text::LEASE_NOT_FOUND.to_string(),
        (5, outcome) => *outcome = Outcome::Refused(text::KEY_NOT_FOUND.to_string()),
        (6, _) => (operation.called_at, operation.returned_at) = (3000, 3100),
        (7, _) => (operation.called_at, operation.returned_at) = (0, 0),
        _ => {}
    }
}

fn draw() -> impl Strategy<Value = Draw> {
    (0_u8..20, 0_u8..8, 0_u8..8, 0_u8..6, 0_u8..100, 0_u8..8)
}

/// A dozen times the usual number of cases: they are tiny.
fn many() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: 12 * usual.cases, ..usual }
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn the_search_agrees_with_brute_force(
        draws in prop::collection::vec(draw(), 1..7),
        spoiled in prop::option::of((0_u8..8, 0_u8..64)),
    ) {
        let mut operations = history(&draws);
        if let Some(spoiled) = spoiled {
            spoil(&mut operations, spoiled);
        }
        // Brute force must end: at most so many of open outcome, possible expiries among them.
        let open = |operation: &&Operation| matches!(operation.outcome, Outcome::Unknown(_));
        let grants = |operation: &&Operation| matches!(operation.call, Call::Change(Request::LeaseGrant { .. }));
        prop_assume!(operations.iter().filter(open).count() + operations.iter().filter(grants).count() <= 4);
        match check(&operations, &start(true), Bounds::default()).verdict {
            Verdict::Linearizable(order) => {
                is_an_order(&operations, &order, &start(true));
                prop_assert!(brute_force(&operations, false));
            }
            Verdict::NotLinearizable(failure) => {
                prop_assert!(!brute_force(&operations, false), "{failure:?}");
                prop_assert!(!failure.stuck.is_empty());
            }
            Verdict::Undecided(met) => prop_assert!(false, "{met:?}"),
        }
        let with_old = check_serializable(&operations, &start(true), Bounds::default(), Session::None).verdict;
        prop_assert_eq!(matches!(with_old, Verdict::Linearizable(_)), brute_force(&operations, true));
    }

    /// What was done in order has an order, whatever was lost on the way.
    #[test]
    fn a_history_of_the_model_itself_is_linearizable(draws in prop::collection::vec(draw(), 1..40)) {
        let honest: Vec<Draw> = draws.into_iter().map(|draw| (draw.0, draw.1, draw.2, draw.3, draw.4, draw.5.max(3))).collect();
        let operations = history(&honest);
        match check(&operations, &start(false), Bounds::default()).verdict {
            Verdict::Linearizable(order) => is_an_order(&operations, &order, &start(false)),
            verdict => prop_assert!(false, "{verdict:?}"),
        }
    }
}
