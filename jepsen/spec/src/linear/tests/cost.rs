//! What a search costs, in states visited; time is not measured.

use super::*;

/// Numbers that look random and are the same in every run (the generator is Knuth's MMIX).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Operations by the dozen under way at once, `lost` of thousand of open outcome, half of which took effect.
fn busy(count: u64, lost: u64) -> Vec<Operation> {
    let mut numbers = Numbers(7);
    let mut model = Model::new(2);
    let mut story = Story::default();
    for at in 0..count {
        let moment = at * 100 + 5_000;
        let when = (moment - numbers.below(1_200), moment + numbers.below(1_200));
        let (key, value) = (format!("k{}", numbers.below(20)), format!("v{at}"));
        let seen = model.revision() - numbers.below(3) as i64;
        let lease = 1 + numbers.below(5) as i64;
        let request = match numbers.below(20) {
            0..=6 => put(&key, &value),
            7..=8 => leased(&key, &value, lease),
            9..=10 => delete(Span::one(&*key)),
            11..=12 => swap(&key, seen, &value),
            13 => Request::LeaseGrant { id: lease, ttl: 10 },
            14 => Request::LeaseRevoke { id: lease },
            15 => Request::Compact { revision: seen - 5 },
            _ => {
                let query = if numbers.below(2) == 0 { one(&key) } else { Range { revision: seen, ..all() } };
                let outcome = match model.range(&query) {
                    Ok(answer) => Outcome::Done { revision: answer.revision, answer: Answer::Range(answer) },
                    Err(text) => Outcome::Refused(text.to_string()),
                };
                story = story.add(when, Call::Range { query, serializable: false }, outcome);
                continue;
            }
        };
        if numbers.below(1000) < lost {
            if numbers.below(2) == 0 {
                model.apply(&request);
            }
            story = story.open(when, request);
            continue;
        }
        let step = model.apply(&request);
        story = match step.answer {
            Ok(answer) => story.done(when, request, answer, step.revision),
            Err(text) => story.refused(when, request, text),
        };
    }
    story.operations
}

fn states(operations: &[Operation], good: bool) -> u64 {
    let judged = check(operations, &start(true), Bounds::default());
    assert_eq!(matches!(judged.verdict, Verdict::Linearizable(_)), good, "{:?}", judged.states);
    if let Verdict::Linearizable(order) = &judged.verdict {
        is_an_order(operations, order, &start(true));
    }
    judged.states
}

/// At most one state for each change: nothing is tried in vain.
#[test]
fn a_history_without_open_outcomes_is_walked_straight_through() {
    let operations = busy(5_000, 0);
    let visited = states(&operations, true);
    assert!(visited < 5_000, "{visited} states");
}

#[test]
fn a_few_open_outcomes_cost_little() {
    let operations = busy(5_000, 20);
    let open = operations.iter().filter(|operation| matches!(operation.outcome, Outcome::Unknown(_))).count();
    assert!(open > 80, "{open}");
    let visited = states(&operations, true);
    assert!(visited < 5_000, "{visited} states");
}

/// One answer altered near the end of a long history: found out without trying everything before it again.
#[test]
fn a_wrong_answer_late_is_found_out() {
    let mut operations = busy(3_000, 0);
    let late = operations.iter_mut().rev().find_map(|operation| match &mut operation.outcome {
        Outcome::Done { answer: Answer::Range(answer), .. } if !answer.kvs.is_empty() => Some(&mut answer.kvs[0]),
        _ => None,
    });
    late.unwrap().value = b"altered".to_vec();
    let visited = states(&operations, false);
    assert!(visited < 10_000, "{visited} states");
}

#[test]
fn bounds_are_kept() {
    let operations = busy(500, 20);
    let judged = |bounds| check(&operations, &start(true), bounds).verdict;
    let usual = Bounds::default();
    assert_eq!(judged(Bounds { operations: 499, ..usual }), Verdict::Undecided(Met::Operations));
    assert_eq!(judged(Bounds { open: 2, ..usual }), Verdict::Undecided(Met::Open));
    assert_eq!(judged(Bounds { states: 50, ..usual }), Verdict::Undecided(Met::States));
    assert!(matches!(judged(usual), Verdict::Linearizable(_)));
}
